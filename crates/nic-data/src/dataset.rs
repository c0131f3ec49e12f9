//! Images with their captions.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::OnceLock;

use nic_core::Location;
use serde::{Deserialize, Serialize};

use crate::descriptor::{Descriptor, Format};
use crate::folder::{Folder, base_name};
use crate::images::Images;
use crate::rows::ImageRows;
use crate::{Error, Result, coco, flickr8k, karpathy, rows};

/// Which part of a dataset. Karpathy's `restval` counts as train.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// To learn from.
    Train,
    /// To choose by.
    Val,
    /// To report.
    Test,
}

impl Split {
    /// What datasets call it.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "train" | "restval" => Some(Self::Train),
            "val" | "valid" | "validation" | "dev" => Some(Self::Val),
            "test" => Some(Self::Test),
            _ => None,
        }
    }

    /// Of a file with one of those words in its name: `captions_val2014.json`, `train-00000-of-00002.parquet`.
    pub(crate) fn of_file(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        name.split(|c: char| !c.is_ascii_alphabetic()).find_map(Self::parse)
    }
}

impl Display for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
        })
    }
}

impl FromStr for Split {
    type Err = nic_core::Error;

    fn from_str(name: &str) -> nic_core::Result<Self> {
        [Self::Train, Self::Val, Self::Test]
            .into_iter()
            .find(|split| split.to_string() == name)
            .ok_or_else(|| nic_core::Error::Usage(format!("`{name}` is not train, val or test")))
    }
}

/// An image with its captions. Where its bytes are, only the dataset knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// COCO's id; for Flickr8k and 30k the digits that lead the file name.
    pub id: i64,
    /// Which part.
    pub split: Split,
    /// As written; none where the dataset lists an image without a caption.
    pub captions: Vec<String>,
}

/// A dataset: what its descriptor (`datasets/*.toml`) names, opened.
#[derive(Debug)]
pub struct Dataset {
    pub(crate) descriptor: PathBuf,
    name: String,
    records: Vec<Record>,
    left_out: usize,
    pub(crate) source: Source,
}

/// Where the bytes of each record's image are.
#[derive(Debug)]
pub(crate) enum Source {
    /// In files.
    Files {
        /// One a record, perhaps with directories before it.
        names: Vec<String>,
        /// Whether the directories before a name are needed to tell it from another.
        in_directories: bool,
        /// Directories or archives.
        roots: Vec<Location>,
        /// The same, opened when the first image is asked for: captions and features do without.
        folders: OnceLock<Vec<Folder>>,
    },
    /// In rows.
    Rows(ImageRows),
}

impl Dataset {
    /// Opens a descriptor; reads all captions, no image.
    pub fn open(descriptor: &Path) -> Result<Self> {
        let described = Descriptor::read(descriptor)?;
        let base = descriptor.parent().unwrap_or(Path::new(""));
        let mut entries = Entries::default();
        let image_rows = match described.format {
            Format::Coco => coco::read(&described, base, &mut entries).map(|()| None),
            Format::Karpathy => karpathy::read(&described, base, &mut entries).map(|()| None),
            Format::Flickr8k => flickr8k::read(&described, base, &mut entries).map(|()| None),
            Format::Parquet => rows::read(&described, base, &mut entries),
        }?;
        let Entries { records, names, left_out, .. } = entries;
        if records.is_empty() {
            return Err(Error::data(descriptor.display(), "the dataset has no image"));
        }
        let source = match image_rows {
            Some(rows) => Source::Rows(rows),
            None => {
                let roots = described.images.iter().map(|root| Location::parse(root, base));
                let roots = roots.collect::<nic_core::Result<_>>()?;
                let bases: HashSet<_> = names.iter().map(|name| base_name(name)).collect();
                let in_directories = bases.len() < names.len();
                Source::Files { names, in_directories, roots, folders: OnceLock::new() }
            }
        };
        let descriptor = descriptor.to_owned();
        Ok(Self { descriptor, name: described.name, records, left_out, source })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All records, in the order in which the dataset states them.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// How many images with captions belong to no split and are not in [`Dataset::records`] (Flickr8k has 92).
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// The records of one split; an error that lists the splits there are where it has none.
    pub fn split(&self, split: Split) -> Result<Vec<&Record>> {
        let of = |split| self.records.iter().filter(move |record| record.split == split);
        let records: Vec<_> = of(split).collect();
        if records.is_empty() {
            let there = [Split::Train, Split::Val, Split::Test]
                .map(|split| (split, of(split).count()))
                .iter()
                .filter(|(_, count)| *count > 0)
                .map(|(split, count)| format!("{split} ({count})"))
                .collect::<Vec<_>>();
            return Err(nic_core::Error::Missing {
                place: self.descriptor.display().to_string(),
                what: format!("an image of split {split}"),
                hint: format!("; images there are: {}", there.join(", ")),
            }
            .into());
        }
        Ok(records)
    }

    /// The encoded images of the records with these (rising) positions in [`Dataset::records`], in that order.
    pub fn images(&self, positions: &[usize]) -> Result<Images<'_>> {
        Images::new(self, positions)
    }
}

/// Records as a reader finds them, each id once.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    pub(crate) records: Vec<Record>,
    /// Image files, one a record; empty where rows hold the images.
    pub(crate) names: Vec<String>,
    pub(crate) left_out: usize,
    by_id: HashMap<i64, usize>,
    by_name: HashMap<String, i64>,
}

impl Entries {
    /// The position of the record with this id.
    pub(crate) fn position(&self, id: i64) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    /// Adds a record whose id must be new; `place` is where it is stated. Returns its position.
    pub(crate) fn push(&mut self, record: Record, place: impl Display) -> Result<usize> {
        let position = self.records.len();
        if self.by_id.insert(record.id, position).is_some() {
            return Err(Error::data(place, format!("image id {} comes twice", record.id)));
        }
        self.records.push(record);
        Ok(position)
    }

    /// Adds a record with its image file.
    pub(crate) fn push_file(
        &mut self,
        record: Record,
        name: String,
        place: impl Display,
    ) -> Result<()> {
        check_name(&name).map_err(|reason| Error::data(&place, reason))?;
        let id = record.id;
        if let Some(other) = self.by_name.insert(name.clone(), id) {
            let reason = format!("file `{name}` is that of image id {other} and of {id}");
            return Err(Error::data(place, reason));
        }
        self.push(record, place)?;
        self.names.push(name);
        Ok(())
    }
}

/// A caption file must not reach outside the image directories.
fn check_name(name: &str) -> std::result::Result<(), String> {
    let inside = !name.is_empty()
        && !name.contains(['\\', '\0'])
        && Path::new(name).components().all(|part| matches!(part, std::path::Component::Normal(_)));
    if inside {
        Ok(())
    } else {
        Err(format!("`{name}` is not the name of a file inside an image directory"))
    }
}

/// The digits that lead a file's name: Flickr's own id of the photograph.
pub(crate) fn leading_digits(name: &str) -> Option<i64> {
    let name = base_name(name);
    let end = name.find(|c: char| !c.is_ascii_digit()).unwrap_or(name.len());
    name[..end].parse().ok()
}
