//! The dataset on disk: pictures in one archive, captions in Karpathy's form, and the scenes themselves.

use std::fs;
use std::io::{self, Cursor, Write};
use std::path::Path;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use crate::draw::draw;
use crate::grammar::captions;
use crate::scene::{Kind, Scene};
use crate::{Error, Result};

/// The pictures, `0000.png` and so on.
pub const IMAGES: &str = "images.zip";
/// The captions, in the form of Karpathy's `dataset_coco.json`.
pub const CAPTIONS: &str = "dataset_shapes.json";
/// What each picture shows.
pub const SCENES: &str = "scenes.json";

/// How many scenes of which kind go where, in this order.
pub const PLAN: [(Split, Kind, u64); 4] = [
    (Split::Train, Kind::Seen, 3000),
    (Split::Val, Kind::Seen, 150),
    (Split::Test, Kind::Seen, 180),
    (Split::Test, Kind::Unseen, 120),
];

/// Part of the dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// To learn from.
    Train,
    /// To choose by.
    Val,
    /// To report.
    Test,
}

/// A scene and its place in the dataset: an element of `scenes.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The number that leads the picture's file name.
    pub id: u64,
    /// Which part of the dataset.
    pub split: Split,
    /// Whether it shows a pair of colour and shape that train and val never do.
    pub kind: Kind,
    /// What the picture shows.
    pub scene: Scene,
}

impl Entry {
    /// Its picture's name in the archive.
    pub fn file_name(&self) -> String {
        format!("{:04}.png", self.id)
    }
}

#[derive(Serialize)]
struct Captions {
    dataset: &'static str,
    images: Vec<CaptionedImage>,
}

#[derive(Serialize)]
struct CaptionedImage {
    filename: String,
    imgid: u64,
    split: Split,
    sentences: Vec<Sentence>,
}

#[derive(Serialize)]
struct Sentence {
    raw: String,
}

/// Draws lots for the scenes of `plan`.
pub fn sample(seed: u64, plan: &[(Split, Kind, u64)]) -> Vec<Entry> {
    plan.iter()
        .flat_map(|&(split, kind, count)| std::iter::repeat_n((split, kind), count as usize))
        .zip(0..)
        .map(|((split, kind), id)| Entry { id, split, kind, scene: Scene::sample(seed, id, kind) })
        .collect()
}

/// Writes the three files to `dir`.
///
/// # Errors
/// Where the files cannot be written.
pub fn write(dir: &Path, seed: u64, entries: &[Entry]) -> Result<()> {
    fs::create_dir_all(dir).map_err(|e| Error::file(dir, e))?;
    let images = entries
        .iter()
        .map(|entry| CaptionedImage {
            filename: entry.file_name(),
            imgid: entry.id,
            split: entry.split,
            sentences: captions(&entry.scene, seed, entry.id)
                .into_iter()
                .map(|raw| Sentence { raw })
                .collect(),
        })
        .collect();
    let path = dir.join(IMAGES);
    save(&path, &archive(entries).map_err(|e| Error::file(&path, e))?)?;
    let path = dir.join(CAPTIONS);
    let captions = Captions { dataset: "shapes", images };
    save(&path, &serde_json::to_vec(&captions).map_err(|e| Error::file(&path, e))?)?;
    let path = dir.join(SCENES);
    save(&path, &serde_json::to_vec(&entries).map_err(|e| Error::file(&path, e))?)
}

/// Reads `scenes.json`.
///
/// # Errors
/// Where it cannot be read or is not what [`write()`] makes.
pub fn read_scenes(dir: &Path) -> Result<Vec<Entry>> {
    let path = dir.join(SCENES);
    let bytes = fs::read(&path).map_err(|e| Error::file(&path, e))?;
    serde_json::from_slice(&bytes).map_err(|e| Error::content(&path, e))
}

/// The pictures as a zip file, which stores them as they are.
fn archive(entries: &[Entry]) -> io::Result<Vec<u8>> {
    let pictures: Vec<Vec<u8>> = entries
        .par_iter()
        .map(|entry| {
            let mut png = Vec::new();
            // even colours take least room unfiltered
            let encoder =
                PngEncoder::new_with_quality(&mut png, CompressionType::Best, FilterType::NoFilter);
            draw(&entry.scene).write_with_encoder(encoder).map_err(io::Error::other)?;
            Ok(png)
        })
        .collect::<io::Result<_>>()?;
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default());
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (entry, png) in entries.iter().zip(pictures) {
        zip.start_file(entry.file_name(), options)?;
        zip.write_all(&png)?;
    }
    Ok(zip.finish()?.into_inner())
}

/// All of a file or nothing of it.
pub(crate) fn save(path: &Path, bytes: &[u8]) -> Result<()> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let write = || -> io::Result<()> {
        let mut file = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(dir)?;
        file.write_all(bytes)?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|e| Error::file(path, e))
}
