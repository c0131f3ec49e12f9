//! Tensors in safetensors files: finding the files, mapping them, checking what is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use candle_core::safetensors::{Load, MmapedSafetensors};
use candle_core::{DType, Device, Tensor};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::{Error, Location, Result};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

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

/// The tensors of one or several safetensors files, memory-mapped.
pub(crate) struct Weights {
    files: Vec<(PathBuf, MmapedSafetensors)>,
}

impl Weights {
    /// Maps `files`; no tensor may be in two of them.
    pub(crate) fn open(paths: &[PathBuf]) -> Result<Self> {
        let mut files: Vec<(PathBuf, MmapedSafetensors)> = Vec::with_capacity(paths.len());
        for path in paths {
            File::open(path).map_err(Error::io(path))?;
            // SAFETY: as for every memory map, the file must not be cut while it is read.
            let map = unsafe { MmapedSafetensors::new(path) }.map_err(|error| {
                let reason = match error {
                    candle_core::Error::WithPath { inner, .. } => inner.to_string(),
                    error => error.to_string(),
                };
                Error::Safetensors { path: path.clone(), reason }
            })?;
            for (name, _) in map.tensors() {
                if let Some((first, _)) = files.iter().find(|(_, map)| map.get(&name).is_ok()) {
                    return Err(Error::Mismatch {
                        place: path.display().to_string(),
                        what: format!("tensor {name}"),
                        found: format!("in {} too", first.display()),
                        expected: "one file to hold it; name the one that is meant".into(),
                    });
                }
            }
            files.push((path.clone(), map));
        }
        Ok(Self { files })
    }

    /// The tensor of the first of `names` that is there.
    pub(crate) fn find(&self, names: &[String]) -> Result<Found<'_>> {
        for name in names {
            for (path, map) in &self.files {
                if let Ok(view) = map.get(name) {
                    return Ok(Found { path, name: name.clone(), view });
                }
            }
        }
        let paths: Vec<_> = self.files.iter().map(|(path, _)| path.display().to_string()).collect();
        Err(Error::Missing {
            place: paths.join(", "),
            what: format!("tensor {}", names.join(" or ")),
            hint: String::new(),
        })
    }
}

/// A tensor in its file.
pub(crate) struct Found<'a> {
    path: &'a Path,
    name: String,
    view: TensorView<'a>,
}

impl Found<'_> {
    pub(crate) fn shape(&self) -> &[usize] {
        self.view.shape()
    }

    /// The tensor as `shape`; the file may have it with more axes (a 1 x 1 convolution for a matrix).
    pub(crate) fn load(&self, shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor> {
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
        if !matches!(self.view.dtype(), Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            return Err(Error::Mismatch {
                place: self.path.display().to_string(),
                what: format!("tensor {}", self.name),
                found: format!("{:?}", self.view.dtype()),
                expected: "F32, F16 or BF16".into(),
            });
        }
        Ok(self.view.load(device)?.reshape(shape)?.to_dtype(dtype)?)
    }

    /// The error for a tensor of another shape than `expected`.
    pub(crate) fn mismatch(&self, expected: &str) -> Error {
        Error::Mismatch {
            place: self.path.display().to_string(),
            what: format!("tensor {}", self.name),
            found: format!("{:?}", self.shape()),
            expected: expected.into(),
        }
    }
}
