//! A directory of shards on a disk, this process's own or shared with workers on other machines.
//!
//! A worker writes into a directory of its own inside, `.worker-I-of-N`, and renames what is whole out of it, so nobody
//! meets or removes another's unfinished file. `.lock` is held by one process alone or shared by workers; a second lock
//! inside the worker's directory keeps out its double. The system lets go of both with the process, however that ends;
//! a network file system has to pass locks on to its server, as NFS does.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use nic_core::Error as CoreError;
use nic_data::{Index, write_whole};

use crate::error::{Error, Result};
use crate::place::{FAILED, PLAN, marker, worker_of};
use crate::worker::Worker;

const LOCK: &str = ".lock";

/// A directory, locked.
#[derive(Debug)]
pub(crate) struct Directory {
    dir: PathBuf,
    /// Where a worker's files are until they are whole.
    staging: Option<PathBuf>,
    _locks: Vec<File>,
}

impl Directory {
    /// For this process alone.
    pub(crate) fn alone(dir: &Path) -> Result<Self> {
        let lock = open_lock(dir)?;
        locked(lock.try_lock(), dir, || Error::Locked(dir.to_owned()))?;
        let directory = Self { dir: dir.to_owned(), staging: None, _locks: vec![lock] };
        for name in directory.names()? {
            if is_ours(name.strip_suffix(".tmp")) {
                directory.remove(&name)?; // of a run that was killed
            }
        }
        Ok(directory)
    }

    /// For one worker among others.
    pub(crate) fn shared(dir: &Path, worker: Worker) -> Result<Self> {
        let among = open_lock(dir)?;
        locked(among.try_lock_shared(), dir, || Error::Locked(dir.to_owned()))?;
        let staging = dir.join(marker(worker));
        let own = open_lock(&staging)?;
        locked(own.try_lock(), &staging, || Error::SameWorker { out: dir.to_owned(), worker })?;
        for name in names(&staging)?.iter().filter(|name| *name != LOCK) {
            remove(&staging.join(name))?; // of the same worker, killed
        }
        Ok(Self { dir: dir.to_owned(), staging: Some(staging), _locks: vec![among, own] })
    }

    /// The place of a file.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The content of a file that may not be there.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.path(name);
        match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            content => Ok(Some(content.map_err(CoreError::io(path))?)),
        }
    }

    /// What is there, sorted.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        names(&self.dir)
    }

    /// Writes `name` whole unless somebody already has; of several who try, one does.
    pub(crate) fn create(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let Some(staging) = &self.staging else { return self.write(name, bytes) };
        let (from, to) = (staging.join(name), self.path(name));
        write_whole(&from, |file| file.write_all(bytes))?;
        match fs::hard_link(&from, &to) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(CoreError::io(&to)(error).into());
            }
            _ => {}
        }
        remove(&from)?;
        flush(&self.dir)
    }

    /// Writes `name` whole, in the place of what is there.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.publish(name, |path| Ok(write_whole(path, |file| file.write_all(bytes))?))
    }

    /// Lets `write` make a whole file and gives it its name.
    pub(crate) fn publish(
        &self,
        name: &str,
        write: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        let to = self.path(name);
        let Some(staging) = &self.staging else { return write(&to) };
        let from = staging.join(name);
        write(&from)?;
        fs::rename(&from, &to).map_err(CoreError::io(&to))?;
        flush(&self.dir)
    }

    /// Removes a file that may not be there.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        remove(&self.path(name))
    }

    /// Removes what workers left for themselves; for a process that is alone.
    pub(crate) fn forget_workers(&self) -> Result<()> {
        for name in self.names()?.iter().filter(|name| worker_of(name).is_some()) {
            let path = self.path(name);
            fs::remove_dir_all(&path).map_err(CoreError::io(&path))?;
        }
        Ok(())
    }
}

/// Whether a file of this name is one that a run makes.
fn is_ours(name: Option<&str>) -> bool {
    name.is_some_and(|name| {
        [PLAN, FAILED, Index::FILE].contains(&name)
            || (name.starts_with("features-") && name.ends_with(".safetensors"))
    })
}

/// Makes `dir` and its lock; NFS wants a file that is open for reading to share a lock, for writing to have it alone.
fn open_lock(dir: &Path) -> Result<File> {
    fs::create_dir_all(dir).map_err(CoreError::io(dir))?;
    let path = dir.join(LOCK);
    let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    Ok(file.map_err(CoreError::io(path))?)
}

fn locked(
    attempt: std::result::Result<(), TryLockError>,
    dir: &Path,
    taken: impl FnOnce() -> Error,
) -> Result<()> {
    match attempt {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(taken()),
        Err(TryLockError::Error(error)) => Err(CoreError::io(dir.join(LOCK))(error).into()),
    }
}

fn names(dir: &Path) -> Result<Vec<String>> {
    let entries =
        fs::read_dir(dir).and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>());
    let mut names: Vec<String> = entries
        .map_err(CoreError::io(dir))?
        .iter()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(names)
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(CoreError::io(path)(error).into()),
        _ => Ok(()),
    }
}

/// A new name must survive a power failure too.
fn flush(dir: &Path) -> Result<()> {
    #[cfg(unix)]
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(CoreError::io(dir))?;
    Ok(())
}
