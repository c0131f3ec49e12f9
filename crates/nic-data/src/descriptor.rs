//! What `datasets/*.toml` says.

use std::path::{Path, PathBuf};

use nic_core::Location;
use serde::Deserialize;

use crate::{Error, Result, Split, read_toml};

/// A dataset's descriptor.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Descriptor {
    pub(crate) name: String,
    pub(crate) format: Format,
    /// Files with captions whose split the file name or the file itself says.
    #[serde(default)]
    pub(crate) captions: Vec<String>,
    /// Directories or .zip archives, searched in this order.
    #[serde(default)]
    pub(crate) images: Vec<String>,
    #[serde(default)]
    pub(crate) splits: Splits,
    #[serde(default)]
    pub(crate) columns: Columns,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    Coco,
    Karpathy,
    Flickr8k,
    Parquet,
}

/// Files by split: caption files, or Flickr8k's lists of images.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Splits {
    pub(crate) train: Vec<String>,
    pub(crate) val: Vec<String>,
    pub(crate) test: Vec<String>,
}

/// Names of Parquet columns; a column inside a struct or list is `outer.inner`.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Columns {
    /// The image's id, a number; without one, the digits that lead the file name, else the row's number.
    pub(crate) id: Option<String>,
    /// The encoded image: bytes, or a struct with a field `bytes`.
    pub(crate) image: Option<String>,
    /// The image's file name.
    pub(crate) file_name: Option<String>,
    /// A list of captions, one caption, or what `_0`, `_1` ... follow in the names of several columns.
    pub(crate) captions: Option<String>,
    /// `train`, `val` ... in every row.
    pub(crate) split: Option<String>,
}

impl Descriptor {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let descriptor: Self = read_toml(path, &[])?;
        let invalid =
            |reason: &str| Err(Error::Toml { path: path.to_owned(), reason: reason.to_owned() });
        match descriptor.format {
            Format::Karpathy if descriptor.splits != Splits::default() => {
                return invalid(
                    "[splits] does not go with format karpathy: its file says the split of each image",
                );
            }
            Format::Flickr8k if descriptor.splits == Splits::default() => {
                return invalid(
                    "format flickr8k needs [splits]: train, val, test = [the lists of their images]",
                );
            }
            Format::Coco | Format::Parquet if descriptor.splits != Splits::default() => {}
            _ if descriptor.captions.is_empty() => return invalid("captions = [files] is missing"),
            _ => {}
        }
        if descriptor.format != Format::Parquet && descriptor.columns != Columns::default() {
            return invalid("[columns] goes with format parquet only");
        }
        Ok(descriptor)
    }

    /// The files of `[splits]` and of `captions`, each with its split where the descriptor or its name says it.
    pub(crate) fn caption_files(&self, base: &Path) -> Result<Vec<(PathBuf, Option<Split>)>> {
        let Splits { train, val, test } = &self.splits;
        let stated = [
            (train, Some(Split::Train)),
            (val, Some(Split::Val)),
            (test, Some(Split::Test)),
            (&self.captions, None),
        ];
        let mut files = Vec::new();
        for (texts, split) in stated {
            for text in texts {
                for path in resolve(text, base)? {
                    let split = split.or_else(|| Split::of_file(&path));
                    files.push((path, split));
                }
            }
        }
        Ok(files)
    }
}

/// The files that `text` names: one, or for a `*` in its last part several, sorted by name.
pub(crate) fn resolve(text: &str, base: &Path) -> Result<Vec<PathBuf>> {
    let files = Location::parse(text, base)?.matching()?;
    Ok(files.iter().map(Location::fetch).collect::<nic_core::Result<_>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_descriptors_that_come_along_can_be_read() {
        let datasets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets");
        let mut names = Vec::new();
        for entry in std::fs::read_dir(datasets).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                let described = Descriptor::read(&path).unwrap();
                let Splits { train, val, test } = &described.splits;
                for text in
                    [train, val, test, &described.captions, &described.images].into_iter().flatten()
                {
                    Location::parse(text, Path::new("")).unwrap();
                }
                names.push(described.name);
            }
        }
        names.sort();
        names.retain(|name| name != "shapes");
        assert_eq!(names, ["coco", "coco", "flickr30k", "flickr8k"]);
    }
}
