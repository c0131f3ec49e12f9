//! What people wrote: COCO's annotations and Karpathy's dataset files.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::Deserialize;

use crate::{Error, Result};

/// Images with the captions that people wrote of them.
#[derive(Clone, Debug)]
pub struct References {
    place: String,
    images: Vec<(i64, Vec<String>)>,
    /// One an image, where the file has them.
    splits: Option<Vec<String>>,
}

/// Either format: COCO's captions stand in `annotations`, Karpathy's with their images.
#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow)]
    images: Vec<Entry<'a>>,
    #[serde(borrow)]
    annotations: Option<Vec<Annotation<'a>>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    id: Option<i64>,
    cocoid: Option<i64>,
    #[serde(borrow)]
    filename: Option<Cow<'a, str>>,
    #[serde(borrow)]
    split: Option<Cow<'a, str>>,
    #[serde(borrow)]
    sentences: Option<Vec<Raw<'a>>>,
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow)]
    raw: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Annotation<'a> {
    image_id: i64,
    #[serde(borrow)]
    caption: Cow<'a, str>,
}

impl References {
    /// Captions from `place`, which errors name.
    pub fn new(place: impl Into<String>, images: Vec<(i64, Vec<String>)>) -> Self {
        Self { place: place.into(), images, splits: None }
    }

    /// Reads COCO's `captions_val2014.json` and its like, or Karpathy's `dataset_coco.json` and its like, where an
    /// image's id is its `cocoid`, or the digits that lead its file name (Flickr8k and 30k).
    ///
    /// # Errors
    /// A file that cannot be read or is of neither form.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        let file: File<'_> = serde_json::from_slice(&bytes).map_err(Error::json(path))?;
        let place = path.display().to_string();
        match file.annotations {
            Some(annotations) => coco(place, file.images, annotations),
            None => karpathy(place, file.images),
        }
    }

    /// The file's name, or what [`References::new`] was given.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Image ids with their captions, in the file's order.
    pub fn images(&self) -> &[(i64, Vec<String>)] {
        &self.images
    }

    /// Whether the file says which split an image is of: Karpathy's do.
    pub fn has_splits(&self) -> bool {
        self.splits.is_some()
    }

    /// The images of one split: `train`, to which `restval` counts, `val` or `test`.
    ///
    /// # Errors
    /// [`Error::Data`] that lists the splits there are where this is none of them.
    pub fn split(self, split: &str) -> Result<Self> {
        let Some(splits) = self.splits else {
            return Err(Error::data(
                self.place,
                "has no splits: it is not one of Karpathy's files",
            ));
        };
        let name = |of: &str| if of == "restval" { "train".into() } else { of.to_owned() };
        let mut counts = BTreeMap::<String, usize>::new();
        let mut images = Vec::new();
        for (image, of) in self.images.into_iter().zip(splits) {
            let of = name(&of);
            if of == split {
                images.push(image);
            }
            *counts.entry(of).or_default() += 1;
        }
        if images.is_empty() {
            let there: Vec<_> = counts.iter().map(|(name, n)| format!("{name} ({n})")).collect();
            let reason =
                format!("no image is of split {split}; images there are: {}", there.join(", "));
            return Err(Error::data(self.place, reason));
        }
        Ok(Self::new(self.place, images))
    }
}

fn coco(
    place: String,
    entries: Vec<Entry<'_>>,
    annotations: Vec<Annotation<'_>>,
) -> Result<References> {
    let mut images = Vec::with_capacity(entries.len());
    let mut positions = HashMap::with_capacity(entries.len());
    for (number, entry) in entries.into_iter().enumerate() {
        let Some(id) = entry.id else {
            return Err(Error::data(format!("{place}: images[{number}]"), "has no id"));
        };
        positions.insert(id, images.len());
        images.push((id, Vec::new()));
    }
    for (number, Annotation { image_id, caption }) in annotations.into_iter().enumerate() {
        let Some(&position) = positions.get(&image_id) else {
            let place = format!("{place}: annotations[{number}]");
            return Err(Error::data(place, format!("image_id {image_id} is not in images")));
        };
        images[position].1.push(caption.into_owned());
    }
    Ok(References::new(place, images))
}

fn karpathy(place: String, entries: Vec<Entry<'_>>) -> Result<References> {
    let mut images = Vec::with_capacity(entries.len());
    let mut splits = Vec::with_capacity(entries.len());
    for (number, entry) in entries.into_iter().enumerate() {
        let fault =
            |reason: &str| Error::data(format!("{place}: images[{number}]"), reason.to_owned());
        let Some(sentences) = entry.sentences else {
            let reason = "has no sentences as in Karpathy's files, and the file has no annotations as COCO's have";
            return Err(fault(reason));
        };
        let id = entry.cocoid.or_else(|| leading_digits(&entry.filename?));
        let id = id.ok_or_else(|| fault("has no cocoid, and no digits lead its filename"))?;
        images
            .push((id, sentences.into_iter().map(|sentence| sentence.raw.into_owned()).collect()));
        splits.push(entry.split.ok_or_else(|| fault("has no split"))?.into_owned());
    }
    Ok(References { splits: Some(splits), ..References::new(place, images) })
}

fn leading_digits(name: &str) -> Option<i64> {
    let end = name.find(|c: char| !c.is_ascii_digit()).unwrap_or(name.len());
    name[..end].parse().ok()
}
