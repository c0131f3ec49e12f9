//! COCO's captions JSON.

use std::borrow::Cow;
use std::path::Path;

use serde::Deserialize;

use crate::dataset::Entries;
use crate::descriptor::Descriptor;
use crate::{Error, Record, Result};

/// `captions_train2014.json` and its like; an `image_info_test2014.json` has no annotations.
#[derive(Deserialize)]
struct Captions<'a> {
    #[serde(borrow)]
    images: Vec<Image<'a>>,
    #[serde(borrow, default)]
    annotations: Vec<Annotation<'a>>,
}

#[derive(Deserialize)]
struct Image<'a> {
    id: i64,
    #[serde(borrow)]
    file_name: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Annotation<'a> {
    image_id: i64,
    #[serde(borrow)]
    caption: Cow<'a, str>,
}

pub(crate) fn read(described: &Descriptor, base: &Path, entries: &mut Entries) -> Result<()> {
    for (path, split) in described.caption_files(base)? {
        let Some(split) = split else {
            let reason =
                "its name does not say which split it is: name it in [splits] train, val or test";
            return Err(Error::data(path.display(), reason));
        };
        let text = std::fs::read(&path).map_err(nic_core::Error::io(&path))?;
        let captions: Captions<'_> =
            serde_json::from_slice(&text).map_err(nic_core::Error::json(&path))?;
        let first = entries.records.len();
        for Image { id, file_name } in captions.images {
            let record = Record { id, split, captions: Vec::new() };
            entries.push_file(record, file_name.into_owned(), path.display())?;
        }
        for (number, Annotation { image_id, caption }) in
            captions.annotations.into_iter().enumerate()
        {
            // an image of an earlier file is not one of this file
            let Some(position) = entries.position(image_id).filter(|position| *position >= first)
            else {
                let place = format!("{}: annotations[{number}]", path.display());
                return Err(Error::data(place, format!("image_id {image_id} is not in images")));
            };
            entries.records[position].captions.push(caption.into_owned());
        }
    }
    Ok(())
}
