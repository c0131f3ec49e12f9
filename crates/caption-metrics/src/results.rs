//! COCO's results format.

use std::path::Path;

use serde::Deserialize;

use crate::{Error, Result};

/// Captions to score: image ids with a caption each.
#[derive(Clone, Debug)]
pub struct Results {
    place: String,
    captions: Vec<(i64, String)>,
}

#[derive(Deserialize)]
struct Row {
    image_id: i64,
    caption: String,
}

impl Results {
    /// Captions from `place`, which errors name.
    pub fn new(place: impl Into<String>, captions: Vec<(i64, String)>) -> Self {
        Self { place: place.into(), captions }
    }

    /// Reads `[{"image_id": 42, "caption": "a dog runs"}, ...]`; other keys are left alone.
    ///
    /// # Errors
    /// A file that cannot be read or is not of this form.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        let rows: Vec<Row> = serde_json::from_slice(&bytes).map_err(Error::json(path))?;
        let captions = rows.into_iter().map(|row| (row.image_id, row.caption)).collect();
        Ok(Self::new(path.display().to_string(), captions))
    }

    /// The file's name, or what [`Results::new`] was given.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Image ids with their captions, in the file's order.
    pub fn captions(&self) -> &[(i64, String)] {
        &self.captions
    }
}
