//! A feature shard: `features` `[N, D]` (f16 or f32) and `image_id` `[N]` (i64) in one safetensors file.

use std::collections::{BTreeMap, HashSet};
use std::fmt::{Display, Write as _};
use std::fs::File;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use half::f16;
use half::slice::HalfFloatSliceExt;
use memmap2::Mmap;
use nic_core::EncoderSpec;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::file::write_whole;
use crate::{Error, Result};

/// The value of the metadata's `format`.
const FORMAT: &str = "nic-features-1";

/// What a shard says of itself in its safetensors metadata.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardHeader {
    /// What made the features.
    pub encoder: EncoderSpec,
    /// The dataset's name.
    pub dataset: String,
    /// Images of this shard that could not be read: id and reason.
    pub failed: Vec<(i64, String)>,
}

impl ShardHeader {
    /// Every value is a string, as safetensors wants it.
    fn to_metadata(&self, data_sha256: String) -> BTreeMap<&'static str, String> {
        let Self { encoder, dataset, failed } = self;
        BTreeMap::from([
            ("format", FORMAT.to_owned()),
            ("encoder", encoder.architecture.clone()),
            ("layer", encoder.layer.clone()),
            ("dim", encoder.dim.to_string()),
            ("weights", encoder.weights.clone()),
            ("weights_sha256", encoder.weights_sha256.clone()),
            ("preprocess", json!(encoder.preprocess).to_string()),
            ("dataset", dataset.clone()),
            ("failed", json!(failed).to_string()),
            ("data_sha256", data_sha256),
        ])
    }

    /// The reverse; an error names the key that is missing or malformed.
    fn from_metadata(
        metadata: &std::collections::HashMap<String, String>,
    ) -> std::result::Result<Self, String> {
        fn parse<T: serde::de::DeserializeOwned>(
            key: &str,
            text: &str,
        ) -> std::result::Result<T, String> {
            serde_json::from_str(text).map_err(|error| format!("metadata `{key}`: {error}"))
        }
        let get =
            |key: &str| metadata.get(key).ok_or_else(|| format!("metadata `{key}` is missing"));
        let encoder = EncoderSpec {
            architecture: get("encoder")?.clone(),
            layer: get("layer")?.clone(),
            dim: parse("dim", get("dim")?)?,
            weights: get("weights")?.clone(),
            weights_sha256: get("weights_sha256")?.clone(),
            preprocess: parse("preprocess", get("preprocess")?)?,
        };
        let failed = parse("failed", get("failed")?)?;
        Ok(Self { encoder, dataset: get("dataset")?.clone(), failed })
    }
}

/// Writes a shard to a temporary file beside `path` and renames it; `features` is `[N, D]`, stored as `dtype` (f16 or
/// f32), N may be 0. Equal arguments give equal bytes. A feature that is not finite as `dtype` is an error.
pub fn write_shard(
    path: &Path,
    header: &ShardHeader,
    ids: &[i64],
    features: &Tensor,
    dtype: DType,
) -> Result<()> {
    let (rows, dim) = features.dims2().map_err(nic_core::Error::from)?;
    expect(
        path,
        "features",
        format_args!("{rows} rows wide {dim}"),
        rows == ids.len() && dim == header.encoder.dim,
        || format!("{} rows wide {}", ids.len(), header.encoder.dim),
    )?;
    let mut seen = HashSet::with_capacity(rows);
    if let Some(id) = ids.iter().find(|id| !seen.insert(**id)) {
        return Err(Error::data(path.display(), format!("image {id} comes twice")));
    }
    let (name, features) = encode(path, ids, features, dtype)?;
    let ids: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    let data_sha256 = hex(Sha256::new().chain_update(&ids).chain_update(&features));
    let (middle, end) = (ids.len(), ids.len() + features.len());
    // Not through the safetensors crate: it keeps metadata in a hash map, whose order differs from run to run.
    let mut head = serde_json::to_vec(&json!({
        "__metadata__": header.to_metadata(data_sha256),
        "features": { "dtype": name, "shape": [rows, dim], "data_offsets": [middle, end] },
        "image_id": { "dtype": "I64", "shape": [rows], "data_offsets": [0, middle] },
    }))
    .map_err(nic_core::Error::json(path))?;
    head.resize(head.len().next_multiple_of(8), b' ');
    write_whole(path, |file| {
        file.write_all(&(head.len() as u64).to_le_bytes())?;
        file.write_all(&head)?;
        file.write_all(&ids)?;
        file.write_all(&features)
    })
}

/// The tensor's little-endian bytes and safetensors' name of its type.
fn encode(
    path: &Path,
    ids: &[i64],
    features: &Tensor,
    dtype: DType,
) -> Result<(&'static str, Vec<u8>)> {
    let name = match dtype {
        DType::F16 => "F16",
        DType::F32 => "F32",
        other => {
            return Err(nic_core::Error::Usage(format!(
                "features are f16 or f32, not {}",
                other.as_str()
            ))
            .into());
        }
    };
    let (rows, dim) = features.dims2().map_err(nic_core::Error::from)?;
    if rows == 0 {
        return Ok((name, Vec::new()));
    }
    let values =
        || features.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>();
    let values = values().map_err(nic_core::Error::from)?;
    let narrow =
        |value: f32| if dtype == DType::F16 { f16::from_f32(value).to_f32() } else { value };
    if let Some(at) = values.iter().position(|value| !narrow(*value).is_finite()) {
        let place = format!("{}: image {}", path.display(), ids[at / dim]);
        return Err(Error::data(
            place,
            format!(
                "feature {} is {}, which is not finite as {}",
                at % dim,
                values[at],
                name.to_lowercase()
            ),
        ));
    }
    let bytes = match dtype {
        DType::F16 => values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    };
    Ok((name, bytes))
}

/// What a shard that [`write_shard`] made says of itself; reads no feature.
pub fn read_shard_header(path: &Path) -> Result<ShardHeader> {
    Shard::open(path)?.header.ok_or_else(|| not_ours(path))
}

/// Like [`read_shard_header`], after comparing the tensors' bytes with the hash in it.
pub fn verify_shard(path: &Path) -> Result<ShardHeader> {
    let shard = Shard::open(path)?;
    shard.verify()?;
    shard.header.ok_or_else(|| not_ours(path))
}

pub(crate) fn not_ours(path: &Path) -> Error {
    let what = format!("metadata `format` = `{FORMAT}`");
    nic_core::Error::Missing { place: path.display().to_string(), what, hint: String::new() }.into()
}

/// A mapped shard.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) path: PathBuf,
    /// None where the file was made elsewhere.
    pub(crate) header: Option<ShardHeader>,
    pub(crate) ids: Vec<i64>,
    pub(crate) dim: usize,
    pub(crate) dtype: DType,
    /// Where `features` begins.
    start: usize,
    /// Where the tensors' bytes begin, and their hash where the file states it.
    data: usize,
    data_sha256: Option<String>,
    map: Mmap,
}

impl Shard {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let damaged =
            |reason: String| nic_core::Error::Safetensors { path: path.to_owned(), reason };
        let map = map(path)?;
        let (head, metadata) =
            SafeTensors::read_metadata(&map).map_err(|error| damaged(error.to_string()))?;
        let data = 8 + head;
        let find = |name: &str| {
            metadata.info(name).ok_or_else(|| {
                let found = metadata.offset_keys().join(", ");
                nic_core::Error::Missing {
                    place: path.display().to_string(),
                    what: format!("tensor `{name}`"),
                    hint: format!("; there are: {found}"),
                }
            })
        };
        let (features, image_id) = (find("features")?, find("image_id")?);
        let dtype = match features.dtype {
            Dtype::F16 => DType::F16,
            Dtype::F32 => DType::F32,
            other => return Err(mismatch(path, "features", format!("{other:?}"), "F16 or F32")),
        };
        let &[rows, dim] = features.shape.as_slice() else {
            return Err(mismatch(path, "features", format!("{:?}", features.shape), "[N, D]"));
        };
        expect(path, "features' width D", dim, dim > 0, || "at least 1")?;
        expect(
            path,
            "image_id",
            format_args!("{:?} {:?}", image_id.dtype, image_id.shape),
            image_id.dtype == Dtype::I64 && image_id.shape == [rows],
            || format!("I64 [{rows}], as features is [{rows}, {dim}]"),
        )?;
        let (from, to) = image_id.data_offsets;
        let ids = map[data + from..data + to]
            .chunks_exact(8)
            .map(|id| i64::from_le_bytes([id[0], id[1], id[2], id[3], id[4], id[5], id[6], id[7]]))
            .collect();
        let stated = metadata.metadata().as_ref();
        let header = stated
            .filter(|stated| stated.get("format").is_some_and(|format| format == FORMAT))
            .map(|stated| ShardHeader::from_metadata(stated).map_err(damaged))
            .transpose()?;
        if let Some(header) = &header {
            expect(path, "features' width D", dim, dim == header.encoder.dim, || {
                format!("{}, as its metadata says", header.encoder.dim)
            })?;
        }
        let data_sha256 =
            header.as_ref().and(stated).and_then(|stated| stated.get("data_sha256").cloned());
        let start = data + features.data_offsets.0;
        Ok(Self { path: path.to_owned(), header, ids, dim, dtype, start, data, data_sha256, map })
    }

    /// Compares the tensors' bytes with the hash that the file states; a file from elsewhere states none.
    pub(crate) fn verify(&self) -> Result<()> {
        let Some(stated) = &self.data_sha256 else { return Ok(()) };
        let found = hex(Sha256::new().chain_update(&self.map[self.data..]));
        expect(&self.path, "the tensors' SHA-256", &found, found == *stated, || stated)
    }

    /// SHA-256 of the whole file.
    pub(crate) fn sha256(&self) -> String {
        hex(Sha256::new().chain_update(&self.map[..]))
    }

    /// All rows `[N, D]` as they are stored.
    pub(crate) fn rows(&self, device: &Device) -> candle_core::Result<Tensor> {
        let shape = [self.ids.len(), self.dim];
        let length = shape[0] * shape[1] * self.dtype.size_in_bytes();
        let bytes = &self.map[self.start..self.start + length];
        Tensor::from_raw_buffer(bytes, self.dtype, &shape, device)
    }

    /// Appends row `row` (below N) to `out`.
    pub(crate) fn read_row(&self, row: usize, out: &mut Vec<f32>) {
        let width = self.dim * self.dtype.size_in_bytes();
        let start = self.start + row * width;
        let bytes = &self.map[start..start + width];
        match self.dtype {
            DType::F16 => {
                let row: Vec<_> =
                    bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]])).collect();
                let filled = out.len();
                out.resize(filled + self.dim, 0.0);
                row.convert_to_f32_slice(&mut out[filled..]);
            }
            _ => out.extend(
                bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            ),
        }
    }
}

fn map(path: &Path) -> Result<Mmap> {
    let file = File::open(path).map_err(nic_core::Error::io(path))?;
    // SAFETY: shards appear by rename and are never changed in place; a program that truncates one while it is read
    // would break any reader.
    Ok(unsafe { Mmap::map(&file) }.map_err(nic_core::Error::io(path))?)
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(crate) fn mismatch(
    path: &Path,
    what: &str,
    found: impl Display,
    expected: impl Display,
) -> Error {
    let (found, expected) = (found.to_string(), expected.to_string());
    let place = path.display().to_string();
    nic_core::Error::Mismatch { place, what: what.to_owned(), found, expected }.into()
}

/// An error that says what was found and expected unless `fits`.
pub(crate) fn expect<E: Display>(
    path: &Path,
    what: &str,
    found: impl Display,
    fits: bool,
    expected: impl FnOnce() -> E,
) -> Result<()> {
    if fits { Ok(()) } else { Err(mismatch(path, what, found, expected())) }
}
