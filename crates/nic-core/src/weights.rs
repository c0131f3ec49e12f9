//! Tensors in safetensors files: finding the files, reading them, checking what is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Device, Tensor};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::{Error, Location, Result};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The longest header in bytes; safetensors' own limit.
const MAX_HEADER: u64 = 100_000_000;

/// The safetensors files that `weights` names: itself, those listed in an index, or those in a directory or repository.
pub(crate) fn files(weights: &Location) -> Result<Vec<PathBuf>> {
    match weights {
        Location::Local(path) if path.is_dir() => directory(path),
        Location::Hub { path, .. } if path.is_empty() => {
            match weights.join(SINGLE).fetch_if_there()? {
                Some(file) => Ok(vec![file]),
                None => indexed(&weights.join(INDEX)),
            }
        }
        Location::Local(path) if path.extension().is_some_and(|end| end == "json") => {
            indexed(weights)
        }
        Location::Hub { path, .. } | Location::Object { key: path, .. }
            if path.ends_with(".json") =>
        {
            indexed(weights)
        }
        _ => Ok(vec![weights.fetch()?]),
    }
}

fn directory(path: &Path) -> Result<Vec<PathBuf>> {
    let single = path.join(SINGLE);
    if single.is_file() {
        return Ok(vec![single]);
    }
    let index = path.join(INDEX);
    if index.is_file() {
        return indexed(&Location::Local(index));
    }
    let mut files = Vec::new();
    for entry in path.read_dir().map_err(Error::io(path))? {
        let file = entry.map_err(Error::io(path))?.path();
        if file.extension().is_some_and(|end| end == "safetensors") {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(Error::Missing {
            place: path.display().to_string(),
            what: "a *.safetensors file".into(),
            hint: String::new(),
        });
    }
    files.sort();
    Ok(files)
}

/// Of `model.safetensors.index.json`.
#[derive(Deserialize)]
struct Index {
    /// Tensor to file.
    weight_map: BTreeMap<String, String>,
}

fn indexed(index: &Location) -> Result<Vec<PathBuf>> {
    let file = index.fetch()?;
    let text = std::fs::read(&file).map_err(Error::io(&file))?;
    let parsed: Index = serde_json::from_slice(&text).map_err(Error::json(&file))?;
    let names: BTreeSet<&String> = parsed.weight_map.values().collect();
    if names.is_empty() {
        return Err(Error::Missing {
            place: file.display().to_string(),
            what: "any file in weight_map".into(),
            hint: String::new(),
        });
    }
    names.into_iter().map(|name| index.sibling(name).fetch()).collect()
}

/// SHA-256 of the files' bytes, one after the other, in hexadecimal; of one file what `sha256sum` prints.
pub(crate) fn sha256(files: &[PathBuf]) -> Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    for path in files {
        let mut file = File::open(path).map_err(Error::io(path))?;
        loop {
            match file.read(&mut buffer).map_err(Error::io(path))? {
                0 => break,
                length => hash.update(&buffer[..length]),
            }
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The tensors of one or several safetensors files. They are read, not mapped: a mapped page counts as memory of its own
/// beside what is made of it.
pub(crate) struct Weights {
    files: Vec<WeightsFile>,
}

/// A safetensors file, open.
struct WeightsFile {
    path: PathBuf,
    file: Mutex<File>,
    tensors: Metadata,
    /// Where the tensors' bytes begin.
    start: u64,
}

impl WeightsFile {
    fn open(path: &Path) -> Result<Self> {
        let broken = |reason: String| Error::Safetensors { path: path.to_path_buf(), reason };
        let mut file = File::open(path).map_err(Error::io(path))?;
        let size = file.metadata().map_err(Error::io(path))?.len();
        let mut length = [0; 8];
        if size < 8 {
            return Err(broken(format!("{size} bytes")));
        }
        file.read_exact(&mut length).map_err(Error::io(path))?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER.min(size - 8) {
            return Err(broken(format!("a header of {length} bytes in {size}")));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).map_err(Error::io(path))?;
        let tensors: Metadata =
            serde_json::from_slice(&header).map_err(|error| broken(error.to_string()))?;
        let start = 8 + length;
        let expected = start + tensors.data_len() as u64;
        if expected != size {
            return Err(broken(format!("{size} bytes, expected {expected}")));
        }
        Ok(Self { path: path.to_path_buf(), file: Mutex::new(file), tensors, start })
    }

    fn read(&self, bytes: Range<usize>) -> Result<Vec<u8>> {
        let mut buffer = vec![0; bytes.len()];
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.start + bytes.start as u64))
            .and_then(|_| file.read_exact(&mut buffer))
            .map_err(Error::io(&self.path))?;
        Ok(buffer)
    }
}

impl Weights {
    /// Opens `files`; no tensor may be in two of them.
    pub(crate) fn open(paths: &[PathBuf]) -> Result<Self> {
        let mut files: Vec<WeightsFile> = Vec::with_capacity(paths.len());
        for path in paths {
            let file = WeightsFile::open(path)?;
            for name in file.tensors.offset_keys() {
                if let Some(first) = files.iter().find(|file| file.tensors.info(&name).is_some()) {
                    return Err(Error::Mismatch {
                        place: path.display().to_string(),
                        what: format!("tensor {name}"),
                        found: format!("in {} too", first.path.display()),
                        expected: "one file to hold it; name the one that is meant".into(),
                    });
                }
            }
            files.push(file);
        }
        Ok(Self { files })
    }

    /// The tensor of the first of `names` that is there.
    pub(crate) fn find(&self, names: &[String]) -> Result<Found<'_>> {
        for name in names {
            for file in &self.files {
                if let Some(info) = file.tensors.info(name) {
                    return Ok(Found { file, name: name.clone(), info });
                }
            }
        }
        let paths: Vec<_> = self.files.iter().map(|file| file.path.display().to_string()).collect();
        Err(Error::Missing {
            place: paths.join(", "),
            what: format!("tensor {}", names.join(" or ")),
            hint: String::new(),
        })
    }
}

/// A tensor in its file.
pub(crate) struct Found<'a> {
    file: &'a WeightsFile,
    name: String,
    info: &'a TensorInfo,
}

impl Found<'_> {
    pub(crate) fn shape(&self) -> &[usize] {
        &self.info.shape
    }

    /// Whether it can be taken as numbers of `shape`; the file may have it with more axes (a 1 x 1 convolution for a
    /// matrix).
    pub(crate) fn check(&self, shape: &[usize]) -> Result<DType> {
        let found = self.shape();
        // Axes beyond those of `shape` are flattened into the last: a matrix kept as a convolution.
        let fits = match (found, shape) {
            ([rows, rest @ ..], [outputs, inputs]) => {
                rows == outputs && rest.iter().product::<usize>() == *inputs
            }
            _ => found == shape,
        };
        if !fits {
            return Err(self.mismatch(&format!("{shape:?}")));
        }
        match self.info.dtype {
            Dtype::F32 => Ok(DType::F32),
            Dtype::F16 => Ok(DType::F16),
            Dtype::BF16 => Ok(DType::BF16),
            other => Err(Error::Mismatch {
                place: self.file.path.display().to_string(),
                what: format!("tensor {}", self.name),
                found: format!("{other:?}"),
                expected: "F32, F16 or BF16".into(),
            }),
        }
    }

    /// The tensor as `shape`.
    pub(crate) fn load(&self, shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor> {
        let stored = self.check(shape)?;
        let (start, end) = self.info.data_offsets;
        let bytes = self.file.read(start..end)?;
        Ok(Tensor::from_raw_buffer(&bytes, stored, shape, device)?.to_dtype(dtype)?)
    }

    /// Some of its rows.
    pub(crate) fn rows(&self, rows: Range<usize>) -> Result<Vec<f32>> {
        let stored = self.check(self.shape())?;
        let width = self.shape()[1..].iter().product::<usize>();
        let values = rows.len() * width;
        let (start, row) = (self.info.data_offsets.0, width * stored.size_in_bytes());
        let bytes = self.file.read(start + rows.start * row..start + rows.end * row)?;
        let values = Tensor::from_raw_buffer(&bytes, stored, &[values], &Device::Cpu)?;
        Ok(values.to_dtype(DType::F32)?.to_vec1()?)
    }

    /// The error for a tensor of another shape than `expected`.
    pub(crate) fn mismatch(&self, expected: &str) -> Error {
        Error::Mismatch {
            place: self.file.path.display().to_string(),
            what: format!("tensor {}", self.name),
            found: format!("{:?}", self.shape()),
            expected: expected.into(),
        }
    }
}
