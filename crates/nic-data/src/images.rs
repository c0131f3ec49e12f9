//! Encoded images in sequence.

use std::sync::OnceLock;

use nic_core::Location;

use crate::dataset::Source;
use crate::folder::Folder;
use crate::rows::RowReader;
use crate::{Dataset, Error, Result};

/// Encoded images, one after the other: bytes, or why an image cannot be had (the next may be fine).
#[derive(Debug)]
pub struct Images<'a> {
    /// In reverse: the next one is the last.
    positions: Vec<usize>,
    reader: Reader<'a>,
}

#[derive(Debug)]
enum Reader<'a> {
    Files { names: &'a [String], in_directories: bool, folders: &'a [Folder] },
    Rows(Box<RowReader<'a>>),
}

impl<'a> Images<'a> {
    pub(crate) fn new(dataset: &'a Dataset, positions: &[usize]) -> Result<Self> {
        let count = dataset.records().len();
        if let Some(position) = positions.iter().find(|position| **position >= count) {
            let reason = format!("there is no record {position}, only {count}");
            return Err(nic_core::Error::Usage(reason).into());
        }
        let reader = match &dataset.source {
            Source::Rows(rows) => Reader::Rows(Box::new(RowReader::new(rows))),
            Source::Files { roots, .. } if roots.is_empty() => {
                return Err(nic_core::Error::Missing {
                    place: dataset.descriptor.display().to_string(),
                    what: "`images`".to_owned(),
                    hint: "; it lists directories or .zip archives".to_owned(),
                }
                .into());
            }
            Source::Files { names, in_directories, roots, folders } => Reader::Files {
                names,
                in_directories: *in_directories,
                folders: open(roots, folders)?,
            },
        };
        Ok(Self { positions: positions.iter().rev().copied().collect(), reader })
    }
}

/// Opens the folders unless they are open.
fn open<'a>(roots: &[Location], folders: &'a OnceLock<Vec<Folder>>) -> Result<&'a [Folder]> {
    if let Some(folders) = folders.get() {
        return Ok(folders);
    }
    let opened = roots.iter().map(Folder::open).collect::<Result<_>>()?;
    Ok(folders.get_or_init(|| opened))
}

impl Iterator for Images<'_> {
    type Item = Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        let position = self.positions.pop()?;
        Some(match &mut self.reader {
            Reader::Files { names, in_directories, folders } => {
                read_file(&names[position], *in_directories, folders)
            }
            Reader::Rows(rows) => rows.read(position),
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.positions.len(), Some(self.positions.len()))
    }
}

fn read_file(name: &str, exact: bool, folders: &[Folder]) -> Result<Vec<u8>> {
    for folder in folders {
        if let Some(bytes) = folder.read(name, exact)? {
            return Ok(bytes);
        }
    }
    let searched: Vec<_> =
        folders.iter().map(|folder| folder.path().display().to_string()).collect();
    Err(Error::data(name, format!("no such file in {}", searched.join(", "))))
}
