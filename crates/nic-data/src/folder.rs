//! Where image files lie: a directory, a .zip archive that stays packed, or an object store.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nic_core::Location;
use zip::ZipArchive;

use crate::{Error, Result};

/// No photograph is larger; a damaged or hostile archive may claim anything.
const MAX_IMAGE_BYTES: u64 = 1 << 30;

/// A directory, archive or prefix of images.
#[derive(Debug)]
pub(crate) enum Folder {
    Directory(PathBuf),
    Archive(Archive),
    #[cfg(feature = "object-store")]
    Objects(PathBuf, nic_core::Objects),
}

#[derive(Debug)]
pub(crate) struct Archive {
    path: PathBuf,
    zip: Mutex<ZipArchive<BufReader<File>>>,
    /// Entry by file name without directories; none where two entries share it.
    by_name: HashMap<String, Option<usize>>,
}

impl Folder {
    pub(crate) fn open(location: &Location) -> Result<Self> {
        #[cfg(feature = "object-store")]
        if matches!(location, Location::Object { .. }) {
            let url = location.to_string();
            let objects = nic_core::Objects::open(&url)?;
            if objects.any()? {
                return Ok(Self::Objects(url.into(), objects));
            }
        }
        let path = location.fetch()?;
        if path.metadata().map_err(nic_core::Error::io(&path))?.is_dir() {
            return Ok(Self::Directory(path));
        }
        let file = File::open(&path).map_err(nic_core::Error::io(&path))?;
        let damaged = |error| {
            Error::data(
                path.display(),
                format!("neither a directory nor a whole .zip archive: {error}"),
            )
        };
        let zip = ZipArchive::new(BufReader::new(file)).map_err(damaged)?;
        let mut by_name = HashMap::with_capacity(zip.len());
        for (index, name) in zip.file_names().enumerate() {
            let name = name.map_err(damaged)?;
            match by_name.entry(base_name(&name).to_owned()) {
                Entry::Vacant(vacant) => _ = vacant.insert(Some(index)),
                Entry::Occupied(mut occupied) => _ = occupied.insert(None),
            }
        }
        Ok(Self::Archive(Archive { path, zip: Mutex::new(zip), by_name }))
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Directory(path) | Self::Archive(Archive { path, .. }) => path,
            #[cfg(feature = "object-store")]
            Self::Objects(path, _) => path,
        }
    }

    /// The bytes of `name`, or of the file called so without directories unless they must be `exact`; none where
    /// neither is here.
    pub(crate) fn read(&self, name: &str, exact: bool) -> Result<Option<Vec<u8>>> {
        match self {
            Self::Directory(directory) => {
                for name in [name, base_name(name)].into_iter().take(if exact { 1 } else { 2 }) {
                    let path = directory.join(name);
                    match std::fs::read(&path) {
                        Err(error) if error.kind() == ErrorKind::NotFound => {}
                        bytes => return Ok(Some(bytes.map_err(nic_core::Error::io(path))?)),
                    }
                }
                Ok(None)
            }
            Self::Archive(archive) => archive.read(name, exact),
            #[cfg(feature = "object-store")]
            Self::Objects(_, objects) => match (objects.get(name)?, base_name(name)) {
                (None, base) if !exact && base != name => Ok(objects.get(base)?),
                (found, _) => Ok(found),
            },
        }
    }
}

impl Archive {
    fn read(&self, name: &str, exact: bool) -> Result<Option<Vec<u8>>> {
        let place = || format!("{}: {name}", self.path.display());
        let mut zip = self.zip.lock().unwrap_or_else(PoisonError::into_inner);
        let by_name = self.by_name.get(base_name(name)).filter(|_| !exact);
        let index = match (zip.index_for_name_raw(name.as_bytes()), by_name) {
            (Some(index), _) | (None, Some(&Some(index))) => index,
            (None, None) => return Ok(None),
            (None, Some(None)) => {
                return Err(Error::data(place(), "several files of the archive have this name"));
            }
        };
        let entry =
            zip.by_index(index).map_err(|error| Error::reading(&self.path, place(), error))?;
        let mut bytes = Vec::new();
        entry
            .take(MAX_IMAGE_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| Error::reading(&self.path, place(), error))?;
        if bytes.len() as u64 > MAX_IMAGE_BYTES {
            return Err(Error::data(place(), "larger than 1 GiB"));
        }
        Ok(Some(bytes))
    }
}

/// A name without the directories before it.
pub(crate) fn base_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}
