//! Images with their captions.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Result;

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

/// An image with its captions. Where its bytes are, only the dataset knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// COCO's id; for Flickr8k and 30k the digits that lead the file name.
    pub id: i64,
    /// Which part.
    pub split: Split,
    /// As written.
    pub captions: Vec<String>,
}

/// A dataset: what its descriptor (`datasets/*.toml`) names, opened.
#[derive(Debug)]
pub struct Dataset {
    name: String,
    records: Vec<Record>,
}

impl Dataset {
    /// Opens a descriptor; reads all captions, no image.
    pub fn open(_descriptor: &Path) -> Result<Self> {
        unimplemented!()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All records, in the order in which the dataset states them.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The records of one split; an error that lists the splits there are where it has none.
    pub fn split(&self, _split: Split) -> Result<Vec<&Record>> {
        unimplemented!()
    }

    /// The encoded images of the records with these (rising) positions in [`Dataset::records`], in that order.
    pub fn images(&self, _positions: &[usize]) -> Result<Images<'_>> {
        unimplemented!()
    }
}

/// Encoded images, one after the other: bytes, or why an image cannot be had (the next may be fine).
#[derive(Debug)]
pub struct Images<'a> {
    _dataset: &'a Dataset,
}

impl Iterator for Images<'_> {
    type Item = Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        unimplemented!()
    }
}
