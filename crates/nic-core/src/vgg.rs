//! VGG16 (Simonyan and Zisserman 2015), for batches, with fc7.

use std::path::PathBuf;

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{Conv2d, Conv2dConfig, Linear, VarBuilder};
use serde::{Deserialize, Serialize};

use crate::weights::Weights;
use crate::{Error, Result};

/// torchvision's names of the convolutions; timm's are the same.
const CONVOLUTIONS: [&str; 13] = [
    "features.0",
    "features.2",
    "features.5",
    "features.7",
    "features.10",
    "features.12",
    "features.14",
    "features.17",
    "features.19",
    "features.21",
    "features.24",
    "features.26",
    "features.28",
];

/// torchvision's and timm's names of fc6, fc7 and the logits' layer.
const DENSE: [[&str; 2]; 3] = [
    ["classifier.0", "pre_logits.fc1"],
    ["classifier.3", "pre_logits.fc2"],
    ["classifier.6", "head.fc"],
];

/// The convolutions that a 2 x 2 max pooling follows.
const POOLED: [usize; 5] = [1, 3, 6, 9, 12];

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

impl Default for VggConfig {
    /// The widths of the paper.
    fn default() -> Self {
        Self {
            channels: [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512],
            hidden: [4096, 4096],
            classes: 1000,
            image: 224,
        }
    }
}

impl VggConfig {
    /// Width of what fc6 reads: the last feature map, flattened.
    fn flat(&self) -> usize {
        self.channels[12] * (self.image / 32).pow(2)
    }

    /// Reads the widths off the tensors' shapes.
    pub(crate) fn of(weights: &Weights) -> Result<Self> {
        let rows = |names: &[&str]| -> Result<usize> {
            let found = weights.find(&parameter(names, "weight"))?;
            Ok(found.shape().first().copied().unwrap_or(0))
        };
        let mut channels = [0; 13];
        for (channels, name) in channels.iter_mut().zip(CONVOLUTIONS) {
            *channels = rows(&[name])?;
        }
        let hidden = [rows(&DENSE[0])?, rows(&DENSE[1])?];
        let classes = rows(&DENSE[2])?;

        let fc6 = weights.find(&parameter(&DENSE[0], "weight"))?;
        let flat: usize = fc6.shape().iter().skip(1).product();
        let side = (flat / channels[12].max(1)).isqrt();
        let config = Self { channels, hidden, classes, image: 32 * side };
        if flat == 0 || config.flat() != flat {
            let c = channels[12];
            return Err(fc6.mismatch(&format!("[_, {c} * S * S] for a feature map [{c}, S, S]")));
        }
        Ok(config)
    }
}

/// VGG16 with its weights.
#[derive(Clone, Debug)]
pub struct Vgg16 {
    config: VggConfig,
    convolutions: Vec<Conv2d>,
    dense: Vec<Linear>,
    dtype: DType,
}

impl Vgg16 {
    /// From tensors in torchvision's names.
    ///
    /// # Errors
    /// Where `image` is no multiple of 32, or a tensor is missing or of another shape.
    pub fn new(config: &VggConfig, vb: VarBuilder<'_>) -> Result<Self> {
        Self::build(config, vb.dtype(), |names, shape| Ok(vb.get(shape, &names[0])?))
    }

    /// From one or several safetensors files in timm's or torchvision's names; the widths are read off the tensors.
    ///
    /// Computes in `dtype`, on the CPU always in f32.
    ///
    /// # Errors
    /// Where a file is missing or truncated, or a tensor is missing or does not fit the others.
    pub fn load(files: &[PathBuf], dtype: DType, device: &Device) -> Result<Self> {
        let weights = Weights::open(files)?;
        let dtype = if device.is_cpu() { DType::F32 } else { dtype };
        Self::build(&VggConfig::of(&weights)?, dtype, |names, shape| {
            weights.find(&names)?.load(shape, dtype, device)
        })
    }

    /// `tensor` is called with a parameter's possible names and its shape.
    fn build(
        config: &VggConfig,
        dtype: DType,
        tensor: impl Fn(Vec<String>, &[usize]) -> Result<Tensor>,
    ) -> Result<Self> {
        if config.image == 0 || !config.image.is_multiple_of(32) {
            return Err(Error::Mismatch {
                place: "VGG16".into(),
                what: "image".into(),
                found: config.image.to_string(),
                expected: "a multiple of 32".into(),
            });
        }
        let same = Conv2dConfig { padding: 1, ..Default::default() };
        let mut inputs = 3;
        let mut convolutions = Vec::with_capacity(CONVOLUTIONS.len());
        for (name, outputs) in CONVOLUTIONS.into_iter().zip(config.channels) {
            let weight = tensor(parameter(&[name], "weight"), &[outputs, inputs, 3, 3])?;
            let bias = tensor(parameter(&[name], "bias"), &[outputs])?;
            convolutions.push(Conv2d::new(weight, Some(bias), same));
            inputs = outputs;
        }
        let mut inputs = config.flat();
        let mut dense = Vec::with_capacity(DENSE.len());
        let widths = [config.hidden[0], config.hidden[1], config.classes];
        for (names, outputs) in DENSE.iter().zip(widths) {
            let weight = tensor(parameter(names, "weight"), &[outputs, inputs])?;
            let bias = tensor(parameter(names, "bias"), &[outputs])?;
            dense.push(Linear::new(weight, Some(bias)));
            inputs = outputs;
        }
        Ok(Self { config: config.clone(), convolutions, dense, dtype })
    }

    /// The widths.
    pub fn config(&self) -> &VggConfig {
        &self.config
    }

    /// `[B, 3, S, S]` to fc7 after its ReLU, `[B, F]`.
    ///
    /// # Errors
    /// Where the images are of another shape.
    pub fn fc7(&self, images: &Tensor) -> Result<Tensor> {
        let side = self.config.image;
        let batch = match *images.dims() {
            [batch, 3, height, width] if height == side && width == side => batch,
            _ => {
                return Err(Error::Mismatch {
                    place: "VGG16".into(),
                    what: "the images' shape".into(),
                    found: format!("{:?}", images.dims()),
                    expected: format!("[B, 3, {side}, {side}]"),
                });
            }
        };
        if batch == 0 {
            return Ok(Tensor::zeros((0, self.config.hidden[1]), self.dtype, images.device())?);
        }
        // Bounds the memory for feature maps; candle's convolution on CUDA without cuDNN also overflows from 149 on.
        let chunk = if images.device().is_cpu() { 8 } else { 64 };
        let mut rows = Vec::with_capacity(batch.div_ceil(chunk));
        for start in (0..batch).step_by(chunk) {
            rows.push(self.fc7_chunk(&images.narrow(0, start, chunk.min(batch - start))?)?);
        }
        Ok(Tensor::cat(&rows, 0)?)
    }

    fn fc7_chunk(&self, images: &Tensor) -> candle_core::Result<Tensor> {
        let mut x = images.to_dtype(self.dtype)?;
        for (index, convolution) in self.convolutions.iter().enumerate() {
            x = convolution.forward(&x)?.relu()?;
            if POOLED.contains(&index) {
                x = x.max_pool2d(2)?;
            }
        }
        x = x.flatten_from(1)?;
        for layer in &self.dense[..2] {
            x = layer.forward(&x)?.relu()?;
        }
        Ok(x)
    }

    /// `[B, 3, S, S]` to `[B, classes]`.
    ///
    /// # Errors
    /// Where the images are of another shape.
    pub fn logits(&self, images: &Tensor) -> Result<Tensor> {
        Ok(self.dense[2].forward(&self.fc7(images)?)?)
    }
}

/// `LAYER.weight` or `LAYER.bias` in each naming.
fn parameter(layers: &[&str], kind: &str) -> Vec<String> {
    layers.iter().map(|layer| format!("{layer}.{kind}")).collect()
}
