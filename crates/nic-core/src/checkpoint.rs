//! A trained decoder on disk: `config.json`, `vocab.json`, `model.safetensors`.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};

use crate::{Decoder, DecoderConfig, EncoderSpec, Result, Vocab};

/// What a checkpoint holds.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The decoder's shape.
    pub config: DecoderConfig,
    /// What made the features it was trained on; none where they came from elsewhere.
    pub encoder: Option<EncoderSpec>,
    /// The words.
    pub vocab: Vocab,
    /// The weights by name.
    pub tensors: BTreeMap<String, Tensor>,
}

impl Checkpoint {
    /// Reads and checks a checkpoint's directory.
    pub fn load(_dir: &Path, _device: &Device) -> Result<Self> {
        unimplemented!()
    }

    /// Writes into an existing empty directory (the caller renames it into place).
    pub fn write(&self, _dir: &Path) -> Result<()> {
        unimplemented!()
    }

    /// The decoder with these weights.
    pub fn decoder(&self) -> Result<Decoder> {
        unimplemented!()
    }
}
