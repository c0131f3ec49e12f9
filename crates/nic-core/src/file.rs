//! Files and directories that are whole or not there.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// `path` with `suffix` behind its name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().map(OsString::from).unwrap_or_default();
    name.push(suffix);
    path.with_file_name(name)
}

/// Writes a temporary file beside `path`, flushes it to the disk and renames it.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = beside(path, ".tmp");
    let mut file = File::create(&temporary).map_err(Error::io(&temporary))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Error::io(&temporary))?;
    fs::rename(&temporary, path).map_err(Error::io(path))
}

/// Where a directory is written before it takes its name.
fn new_name(dir: &Path) -> PathBuf {
    hidden(dir, ".new")
}

/// Where a directory is while the next one takes its name.
fn old_name(dir: &Path) -> PathBuf {
    hidden(dir, ".old")
}

fn hidden(dir: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(dir.file_name().unwrap_or_default());
    name.push(suffix);
    dir.with_file_name(name)
}

/// The directory to read for `dir`: itself, or what a replacement cut off between its two renames left.
pub(crate) fn whole_directory(dir: &Path) -> PathBuf {
    let old = old_name(dir);
    if !dir.exists() && old.exists() { old } else { dir.to_owned() }
}

/// Puts right what a replacement that was cut off left: the directory gets its name back, and what was not finished or
/// is not needed any more goes.
pub(crate) fn recover_directory(dir: &Path) -> Result<()> {
    let old = old_name(dir);
    if !dir.exists() && old.exists() {
        fs::rename(&old, dir).map_err(Error::io(&old))?;
    }
    remove(&new_name(dir))?;
    remove(&old)
}

/// Replaces `dir` by what `fill` writes into an empty directory beside it. Whenever the process ends, one of the two is
/// there, whole, under its name or, between two renames, under one that [`whole_directory`] knows.
pub(crate) fn replace_directory<E: From<Error>>(
    dir: &Path,
    fill: impl FnOnce(&Path) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    // "." and ".." have no name that could be given to another directory
    let dir = std::path::absolute(dir).map_err(Error::io(dir))?;
    if dir.file_name().is_none() {
        return Err(Error::Usage(format!(
            "{}: a checkpoint needs a directory with a name",
            dir.display()
        ))
        .into());
    }
    recover_directory(&dir)?;
    let (new, old) = (new_name(&dir), old_name(&dir));
    fs::create_dir_all(&new).map_err(Error::io(&new))?;
    if let Err(error) = fill(&new).and_then(|()| Ok(flush(&new)?)) {
        // gives the room back; the error to report is the first
        let _ = remove(&new);
        return Err(error);
    }
    if dir.exists() {
        fs::rename(&dir, &old).map_err(Error::io(&dir))?;
    }
    fs::rename(&new, &dir).map_err(Error::io(&new))?;
    if let Some(parent) = dir.parent() {
        flush_entry(parent)?;
    }
    Ok(remove(&old)?)
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(dir)(error)),
        _ => Ok(()),
    }
}

/// Everything below `dir` is on the disk before its name is.
fn flush(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(Error::io(dir))? {
        let path = entry.map_err(Error::io(dir))?.path();
        if path.is_dir() { flush(&path)? } else { flush_entry(&path)? }
    }
    flush_entry(dir)
}

fn flush_entry(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(Error::io(path))
}
