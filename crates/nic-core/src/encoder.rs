//! The frozen network that turns an image into a feature vector, and the record of what it was.

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::{Crop, Location, Preprocess, Result};

/// What made a feature vector. Written into every shard and checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderSpec {
    /// `vgg16`.
    pub architecture: String,
    /// `fc7`.
    pub layer: String,
    /// The vector's length D.
    pub dim: usize,
    /// Where the weights came from: `hf://...`, or a path relative to the file that holds this record.
    pub weights: String,
    /// SHA-256 of the weights' tensors' file(s), in hexadecimal: what identifies them.
    pub weights_sha256: String,
    /// What was done to the image before.
    pub preprocess: Preprocess,
}

impl EncoderSpec {
    /// What differs from `other`, a line each; empty where the features are interchangeable
    /// (`weights` is only a place and not compared).
    pub fn differences(&self, _other: &Self) -> Vec<String> {
        unimplemented!()
    }
}

/// VGG16 with its preprocessing.
#[derive(Debug)]
pub struct Encoder {
    spec: EncoderSpec,
}

impl Encoder {
    /// Loads weights: a safetensors file, a `*.index.json` naming several, a directory of them, or a hub repository.
    pub fn load(
        _weights: &Location,
        _preprocess: Preprocess,
        _dtype: DType,
        _device: &Device,
    ) -> Result<Self> {
        unimplemented!()
    }

    /// What it is.
    pub fn spec(&self) -> &EncoderSpec {
        &self.spec
    }

    /// fc7 of a batch: `[B, D]`, f32.
    pub fn encode(&self, _crops: &[Crop]) -> Result<Tensor> {
        unimplemented!()
    }
}
