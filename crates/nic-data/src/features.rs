//! Features by image id, memory-mapped.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use nic_core::{EncoderSpec, Location};

use crate::index::same_encoder;
use crate::shard::{Shard, expect};
use crate::{Error, Index, Result};

/// Bytes of a device that features leave free.
const BESIDES: usize = 1 << 30;

/// Features by image id, memory-mapped: a directory of shards or one file, ours or made elsewhere.
///
/// Positions count the images of all shards, one shard after the other.
#[derive(Debug)]
pub struct Features {
    shards: Vec<Shard>,
    /// The position of each shard's first image.
    starts: Vec<usize>,
    /// Image ids, rising, with their positions.
    positions: Vec<(i64, usize)>,
    encoder: Option<EncoderSpec>,
    index: Option<Index>,
    dim: usize,
    dtype: DType,
    /// All rows on a device, `[N, D]`.
    placed: Option<Tensor>,
}

impl Features {
    /// Maps one file, a directory, or what lies below `s3://...`, `gs://...` or `az://...`, fetched into the cache: the
    /// shards that its `index.json` lists, or every `*.safetensors` where it has none.
    ///
    /// Lengths, shapes and types are checked; hashes only by [`Features::verify`].
    pub fn open(path: &Path) -> Result<Self> {
        let fetched = match path.to_str().map(|text| Location::parse(text, Path::new(""))) {
            Some(Ok(location @ Location::Object { .. })) => {
                Some(location.fetch_directory(|name| {
                    name == Index::FILE || name.ends_with(".safetensors")
                })?)
            }
            _ => None,
        };
        let path = fetched.as_deref().unwrap_or(path);
        let directory = path.metadata().map_err(nic_core::Error::io(path))?.is_dir();
        let index = match directory && path.join(Index::FILE).exists() {
            true => Some(Index::load(path)?),
            false => None,
        };
        let files = match &index {
            Some(index) => index.shards.iter().map(|shard| path.join(&shard.file)).collect(),
            None if directory => safetensors_in(path)?,
            None => vec![path.to_owned()],
        };
        let shards = files.iter().map(|file| Shard::open(file)).collect::<Result<Vec<_>>>()?;
        let Some(first) = shards.first() else {
            return Err(nic_core::Error::Missing {
                place: path.display().to_string(),
                what: "a shard (*.safetensors)".to_owned(),
                hint: "; `extract` makes them".to_owned(),
            }
            .into());
        };
        let mut encoder: Option<EncoderSpec> = None;
        for (number, shard) in shards.iter().enumerate() {
            expect(&shard.path, "features' width D", shard.dim, shard.dim == first.dim, || {
                format!("{}, as in {}", first.dim, first.path.display())
            })?;
            if let Some(header) = &shard.header {
                same_encoder(
                    &shard.path,
                    &header.encoder,
                    encoder.get_or_insert(header.encoder.clone()),
                )?;
            }
            if let Some(index) = &index {
                index.check(shard)?;
                let rows = index.shards[number].rows;
                expect(
                    &shard.path,
                    "the number of images",
                    shard.ids.len(),
                    shard.ids.len() == rows,
                    || format!("{rows}, as {} says", Index::FILE),
                )?;
            }
        }
        // Features of which only some say where they are from are not known to be of one encoder.
        let encoder = encoder.filter(|_| shards.iter().all(|shard| shard.header.is_some()));
        let (dim, dtype) = (first.dim, first.dtype);
        let starts = shards
            .iter()
            .scan(0, |sum, shard| Some(std::mem::replace(sum, *sum + shard.ids.len())))
            .collect();
        let mut positions: Vec<_> =
            shards.iter().flat_map(|shard| shard.ids.iter().copied()).zip(0..).collect();
        positions.sort_unstable();
        let features = Self { shards, starts, positions, encoder, index, dim, dtype, placed: None };
        if let Some(pair) = features.positions.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let (first, _) = features.shard_of(pair[0].1);
            let (second, _) = features.shard_of(pair[1].1);
            let reason = format!("image {} is here and in {}", pair[1].0, first.path.display());
            return Err(Error::data(second.path.display(), reason));
        }
        Ok(features)
    }

    /// D.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// How they are stored, f16 or f32; of several shards, the first.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// How many images.
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    /// No image at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What made them; none where the files do not say. `weights` is as the shards have it: a relative path is relative
    /// to their directory.
    pub fn encoder(&self) -> Option<&EncoderSpec> {
        self.encoder.as_ref()
    }

    /// The row of an image.
    pub fn position(&self, id: i64) -> Option<usize> {
        let at = self.positions.binary_search_by_key(&id, |pair| pair.0).ok()?;
        Some(self.positions[at].1)
    }

    /// Copies all rows to `device`, in f16 where all shards are; [`Features::gather`] for that device then takes them
    /// from there, and no row travels twice. More than 2^32 values stay in their files: candle's kernels cannot number
    /// them.
    ///
    /// # Errors
    /// [`nic_core::Error::DeviceMemory`] where it has no room for them and 1 GiB besides, which is for the decoder's
    /// training; they stay in their files.
    pub fn place(&mut self, device: &Device) -> Result<()> {
        if self.len().saturating_mul(self.dim) > u32::MAX as usize {
            return Ok(());
        }
        let all_f16 = self.shards.iter().all(|shard| shard.dtype == DType::F16);
        let dtype = if all_f16 { DType::F16 } else { DType::F32 };
        let place = || {
            let all = Tensor::zeros((self.len(), self.dim), dtype, device)?;
            drop(Tensor::zeros(BESIDES, DType::U8, device)?);
            for (shard, &start) in self.shards.iter().zip(&self.starts) {
                if !shard.ids.is_empty() {
                    all.slice_set(&shard.rows(device)?.to_dtype(dtype)?, 0, start)?;
                }
            }
            candle_core::Result::Ok(all)
        };
        self.placed = Some(place().map_err(nic_core::Error::from)?);
        Ok(())
    }

    /// Rows `[B, D]` as f32 on `device`; reads those rows alone.
    pub fn gather(&self, positions: &[usize], device: &Device) -> Result<Tensor> {
        if let Some(position) = positions.iter().find(|position| **position >= self.len()) {
            let reason = format!("there is no feature row {position}, only {}", self.len());
            return Err(nic_core::Error::Usage(reason).into());
        }
        if let Some(all) = &self.placed
            && all.device().same_device(device)
        {
            let rows = positions.iter().map(|&position| position as u32).collect();
            let rows = Tensor::from_vec(rows, positions.len(), device)
                .and_then(|rows| all.index_select(&rows, 0)?.to_dtype(DType::F32));
            return Ok(rows.map_err(nic_core::Error::from)?);
        }
        let mut rows = Vec::with_capacity(positions.len() * self.dim);
        for position in positions {
            let (shard, row) = self.shard_of(*position);
            shard.read_row(row, &mut rows);
        }
        let rows = Tensor::from_vec(rows, (positions.len(), self.dim), device);
        Ok(rows.map_err(nic_core::Error::from)?)
    }

    /// Reads everything, to find what has spoilt a computation.
    ///
    /// # Errors
    /// The first image with a feature that is infinite or no number.
    pub fn check_finite(&self) -> Result<()> {
        let mut values = Vec::with_capacity(self.dim);
        for shard in &self.shards {
            for (row, id) in shard.ids.iter().enumerate() {
                values.clear();
                shard.read_row(row, &mut values);
                if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                    let value = values[at];
                    let reason =
                        format!("feature {at} of image {id} is {value}, expected a finite number");
                    return Err(Error::data(shard.path.display(), reason));
                }
            }
        }
        Ok(())
    }

    /// Reads everything and compares it with the hashes in the shards and in `index.json`.
    pub fn verify(&self) -> Result<()> {
        for (number, shard) in self.shards.iter().enumerate() {
            shard.verify()?;
            if let Some(index) = &self.index {
                let (found, stated) = (shard.sha256(), &index.shards[number].sha256);
                expect(&shard.path, "SHA-256", &found, found == *stated, || {
                    format!("{stated}, as {} says", Index::FILE)
                })?;
            }
        }
        Ok(())
    }

    /// The shard of a position (below the length) and the row in it.
    fn shard_of(&self, position: usize) -> (&Shard, usize) {
        let number = self.starts.partition_point(|start| *start <= position) - 1;
        (&self.shards[number], position - self.starts[number])
    }
}

/// Sorted by name.
fn safetensors_in(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        std::fs::read_dir(dir).and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>());
    let mut files: Vec<_> = entries
        .map_err(nic_core::Error::io(dir))?
        .iter()
        .map(std::fs::DirEntry::path)
        .filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"))
        .collect();
    files.sort();
    Ok(files)
}
