//! Feature shards: `features` `[N, D]` and `image_id` `[N]` in safetensors files.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use nic_core::EncoderSpec;
use serde::{Deserialize, Serialize};

use crate::Result;

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

/// Writes a shard to a temporary file beside `path` and renames it; `features` is `[N, D]`, stored as `dtype`.
pub fn write_shard(
    _path: &Path,
    _header: &ShardHeader,
    _ids: &[i64],
    _features: &Tensor,
    _dtype: DType,
) -> Result<()> {
    unimplemented!()
}

/// Features by image id, memory-mapped: a directory of shards or one file, ours or made elsewhere.
#[derive(Debug)]
pub struct Features {}

impl Features {
    /// Maps every `*.safetensors` of a directory, or one file.
    pub fn open(_path: &Path) -> Result<Self> {
        unimplemented!()
    }

    /// D.
    pub fn dim(&self) -> usize {
        unimplemented!()
    }

    /// How many images.
    pub fn len(&self) -> usize {
        unimplemented!()
    }

    /// No image at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What made them; none where the file does not say.
    pub fn encoder(&self) -> Option<&EncoderSpec> {
        unimplemented!()
    }

    /// The row of an image.
    pub fn position(&self, _id: i64) -> Option<usize> {
        unimplemented!()
    }

    /// Rows `[B, D]` as f32 on `device`.
    pub fn gather(&self, _positions: &[usize], _device: &Device) -> Result<Tensor> {
        unimplemented!()
    }
}
