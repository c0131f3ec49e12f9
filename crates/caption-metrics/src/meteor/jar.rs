//! What METEOR's `.jar`, which is a zip archive, carries beside the program.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use zip::ZipArchive;

use crate::{Error, Result};

/// `meteor-1.5.jar`, open.
pub(super) struct Jar {
    path: PathBuf,
    archive: ZipArchive<BufReader<File>>,
}

impl Jar {
    /// Opens the archive at `path`.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path))?;
        let archive = ZipArchive::new(BufReader::new(file))
            .map_err(|e| Error::data(path.display(), format!("not a whole .jar file: {e}")))?;
        Ok(Self { path: path.to_owned(), archive })
    }

    /// The text file `name`, parsed; errors name both files.
    pub(super) fn read<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> std::result::Result<T, String>,
    ) -> Result<T> {
        let place = format!("{}: {name}", self.path.display());
        let mut text = String::new();
        self.archive
            .by_name(name)
            .map_err(|e| Error::data(&place, e))?
            .read_to_string(&mut text)
            .map_err(|e| Error::data(&place, e))?;
        parse(&text).map_err(|reason| Error::data(place, reason))
    }
}
