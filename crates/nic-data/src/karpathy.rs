//! Karpathy's `dataset_coco.json`, `dataset_flickr8k.json`, `dataset_flickr30k.json`.

use std::borrow::Cow;
use std::path::Path;

use serde::Deserialize;

use crate::dataset::{Entries, leading_digits};
use crate::descriptor::{Descriptor, resolve};
use crate::{Error, Record, Result, Split};

#[derive(Deserialize)]
struct Captions<'a> {
    #[serde(borrow)]
    images: Vec<Image<'a>>,
}

#[derive(Deserialize)]
struct Image<'a> {
    #[serde(borrow)]
    filename: Cow<'a, str>,
    /// COCO's `val2014`.
    #[serde(borrow, default)]
    filepath: Cow<'a, str>,
    cocoid: Option<i64>,
    #[serde(borrow)]
    split: Cow<'a, str>,
    #[serde(borrow)]
    sentences: Vec<Sentence<'a>>,
}

#[derive(Deserialize)]
struct Sentence<'a> {
    #[serde(borrow)]
    raw: Cow<'a, str>,
}

pub(crate) fn read(described: &Descriptor, base: &Path, entries: &mut Entries) -> Result<()> {
    for file in &described.captions {
        for path in resolve(file, base)? {
            let text = std::fs::read(&path).map_err(nic_core::Error::io(&path))?;
            let captions: Captions<'_> =
                serde_json::from_slice(&text).map_err(nic_core::Error::json(&path))?;
            for (number, image) in captions.images.into_iter().enumerate() {
                let place = format!("{}: images[{number}]", path.display());
                // `imgid` is only the image's number in this file
                let id =
                    image.cocoid.or_else(|| leading_digits(&image.filename)).ok_or_else(|| {
                        let reason = format!(
                            "no cocoid, and no digits lead the filename `{}`",
                            image.filename
                        );
                        Error::data(&place, reason)
                    })?;
                let split = Split::parse(&image.split).ok_or_else(|| {
                    let reason =
                        format!("split is `{}`, expected train, restval, val or test", image.split);
                    Error::data(&place, reason)
                })?;
                let captions = image.sentences.into_iter().map(|s| s.raw.into_owned()).collect();
                let name = match image.filepath.trim_end_matches('/') {
                    "" => image.filename.into_owned(),
                    directory => format!("{directory}/{}", image.filename),
                };
                entries.push_file(Record { id, split, captions }, name, place)?;
            }
        }
    }
    Ok(())
}
