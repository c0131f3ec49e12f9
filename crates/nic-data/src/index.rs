//! `index.json`: the shards of a finished extraction, written last.

use std::collections::HashMap;
use std::path::Path;

use nic_core::EncoderSpec;
use serde::{Deserialize, Serialize};

use crate::file::write_whole;
use crate::shard::{Shard, expect, not_ours};
use crate::{Error, Result};

/// The number in `index.json` that changes when its meaning does.
const FORMAT: u32 = 1;

/// The shards that make up a feature directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// 1.
    pub format: u32,
    /// D.
    pub dim: usize,
    /// `f16` or `f32`.
    pub dtype: String,
    /// How many images, over all shards.
    pub rows: usize,
    /// The dataset's name.
    pub dataset: String,
    /// What made the features.
    pub encoder: EncoderSpec,
    /// In the order of the dataset's records.
    pub shards: Vec<IndexedShard>,
}

/// One line of [`Index::shards`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexedShard {
    /// The name of the file, beside `index.json`.
    pub file: String,
    /// How many images.
    pub rows: usize,
    /// Of the whole file, in hexadecimal.
    pub sha256: String,
}

impl Index {
    /// The file's name.
    pub const FILE: &str = "index.json";

    /// Hashes the shards `files` (names in `dir`), which must fit together and share no image.
    pub fn of(dir: &Path, files: &[String]) -> Result<Self> {
        Self::of_each(dir, files.iter().map(|file| Ok((file.clone(), dir.join(file)))))
    }

    /// As [`Index::of`], of names for `dir` with the files that stand for them one after the other.
    pub fn of_each<P: AsRef<Path>>(
        dir: &Path,
        shards: impl Iterator<Item = Result<(String, P)>>,
    ) -> Result<Self> {
        let mut index: Option<Self> = None;
        let mut seen = HashMap::new();
        for shard in shards {
            let (file, path) = shard?;
            plain(dir, &file)?;
            let path = path.as_ref();
            let shard = Shard::open(path)?;
            let header = shard.header.as_ref().ok_or_else(|| not_ours(path))?;
            let index = index.get_or_insert_with(|| Self {
                format: FORMAT,
                dim: shard.dim,
                dtype: shard.dtype.as_str().to_owned(),
                rows: 0,
                dataset: header.dataset.clone(),
                encoder: header.encoder.clone(),
                shards: Vec::new(),
            });
            index.check(&shard)?;
            expect(path, "dataset", &header.dataset, header.dataset == index.dataset, || {
                format!("{}, as in the first shard", index.dataset)
            })?;
            for &id in &shard.ids {
                if let Some(first) = seen.insert(id, file.clone()) {
                    let reason = format!("image {id} is here and in {first}");
                    return Err(Error::data(path.display(), reason));
                }
            }
            let rows = shard.ids.len();
            index.rows += rows;
            index.shards.push(IndexedShard { file, rows, sha256: shard.sha256() });
        }
        index.ok_or_else(|| Error::data(dir.display(), "an index needs at least one shard"))
    }

    /// Reads `dir/index.json`.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join(Self::FILE);
        let text = std::fs::read(&path).map_err(nic_core::Error::io(&path))?;
        let index: Self = serde_json::from_slice(&text).map_err(nic_core::Error::json(&path))?;
        expect(&path, "format", index.format, index.format == FORMAT, || FORMAT)?;
        let rows = index.shards.iter().try_fold(0usize, |sum, shard| sum.checked_add(shard.rows));
        expect(&path, "rows", index.rows, rows == Some(index.rows), || {
            format!("{}, the sum over its shards", rows.unwrap_or(usize::MAX))
        })?;
        for shard in &index.shards {
            plain(&path, &shard.file)?;
        }
        Ok(index)
    }

    /// The text of `index.json`.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let mut text =
            serde_json::to_vec_pretty(self).map_err(nic_core::Error::json(Self::FILE))?;
        text.push(b'\n');
        Ok(text)
    }

    /// Writes `dir/index.json`.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join(Self::FILE);
        let text = self.to_json()?;
        write_whole(&path, |file| file.write_all(&text))
    }

    /// That `shard` is of the same kind as the index says.
    pub(crate) fn check(&self, shard: &Shard) -> Result<()> {
        let path = &shard.path;
        expect(path, "features' width D", shard.dim, shard.dim == self.dim, || self.dim)?;
        let dtype = shard.dtype.as_str();
        expect(path, "features", dtype, dtype == self.dtype, || &self.dtype)?;
        match &shard.header {
            Some(header) => same_encoder(path, &header.encoder, &self.encoder),
            None => Ok(()),
        }
    }
}

/// An error that says what differs unless `found` is `expected`.
pub(crate) fn same_encoder(path: &Path, found: &EncoderSpec, expected: &EncoderSpec) -> Result<()> {
    let differences = expected.differences(found);
    if differences.is_empty() {
        return Ok(());
    }
    let differences = differences.join("; ");
    Err(Error::data(
        path.display(),
        format!("made by another encoder than the shards before: {differences}"),
    ))
}

/// A file name without directories: an index from elsewhere must not name files outside its directory.
fn plain<'a>(place: &Path, file: &'a str) -> Result<&'a str> {
    match Path::new(file).file_name() {
        Some(name) if name == file => Ok(file),
        _ => Err(Error::data(
            place.display(),
            format!("`{file}` is not the name of a file beside it"),
        )),
    }
}
