//! VGG16 (Simonyan and Zisserman 2015), for batches, with fc7.

use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

use crate::Result;

/// The widths of a VGG16: sixteen layers, any number of channels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VggConfig {
    /// Output channels of the thirteen convolutions.
    pub channels: [usize; 13],
    /// fc6 and fc7.
    pub hidden: [usize; 2],
    /// Logits.
    pub classes: usize,
    /// The image's side in pixels, a multiple of 32.
    pub image: usize,
}

/// VGG16 with its weights.
#[derive(Clone, Debug)]
pub struct Vgg16 {
    config: VggConfig,
}

impl Vgg16 {
    /// From tensors in torchvision's names.
    pub fn new(_config: &VggConfig, _vb: VarBuilder<'_>) -> Result<Self> {
        unimplemented!()
    }

    /// From one or several safetensors files in timm's or torchvision's names; the widths are read off the tensors.
    pub fn load(_files: &[PathBuf], _dtype: DType, _device: &Device) -> Result<Self> {
        unimplemented!()
    }

    /// The widths.
    pub fn config(&self) -> &VggConfig {
        &self.config
    }

    /// `[B, 3, S, S]` to fc7 after its ReLU, `[B, F]`.
    pub fn fc7(&self, _images: &Tensor) -> Result<Tensor> {
        unimplemented!()
    }

    /// `[B, 3, S, S]` to `[B, classes]`.
    pub fn logits(&self, _images: &Tensor) -> Result<Tensor> {
        unimplemented!()
    }
}
