//! VGG16 (Simonyan and Zisserman 2015), for batches, with fc7.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{Conv2d, Conv2dConfig, Linear, VarBuilder};
use serde::{Deserialize, Serialize};

use crate::cpu::{Isa, Layer, Network};
use crate::weights::Weights;
use crate::{Error, Result};

/// torchvision's names of the convolutions; timm's are the same.
static CONVOLUTIONS: [&str; 13] = [
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
static DENSE: [[&str; 2]; 3] = [
    ["classifier.0", "pre_logits.fc1"],
    ["classifier.3", "pre_logits.fc2"],
    ["classifier.6", "head.fc"],
];

/// The convolutions that a 2 x 2 max pooling follows.
const POOLED: [usize; 5] = [1, 3, 6, 9, 12];

/// Images that a device takes at once at most.
const CHUNK: usize = 512;

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

    /// Values of the largest feature map.
    fn largest_map(&self) -> usize {
        let map = |(index, &channels): (usize, &usize)| {
            let pools = POOLED.iter().filter(|&&pooled| pooled < index).count();
            channels * (self.image >> pools).pow(2)
        };
        self.channels.iter().enumerate().map(map).max().unwrap_or(1)
    }

    /// Layer `index` of 16: its names and its weight's shape.
    fn layer(&self, index: usize) -> (&'static [&'static str], Vec<usize>) {
        match index {
            0 => (&CONVOLUTIONS[..1], vec![self.channels[0], 3, 3, 3]),
            1..13 => {
                let shape = vec![self.channels[index], self.channels[index - 1], 3, 3];
                (&CONVOLUTIONS[index..=index], shape)
            }
            13 => (&DENSE[0], vec![self.hidden[0], self.flat()]),
            14 => (&DENSE[1], vec![self.hidden[1], self.hidden[0]]),
            _ => (&DENSE[2], vec![self.classes, self.hidden[1]]),
        }
    }

    /// Reads the widths off the tensors' shapes.
    pub(crate) fn of(weights: &Weights) -> Result<Self> {
        let rows = |names: &[&str]| -> Result<usize> {
            let found = weights.find(&parameter(names, "weight"))?;
            match found.shape().first() {
                Some(&rows) if rows > 0 => Ok(rows),
                _ => Err(found.mismatch("at least one row")),
            }
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

/// VGG16 with its weights, frozen: no gradient flows through it.
#[derive(Clone, Debug)]
pub struct Vgg16 {
    config: VggConfig,
    layers: Layers,
}

/// On the CPU a network of our own, elsewhere tensor operations.
#[derive(Clone, Debug)]
enum Layers {
    Cpu(Arc<Network>),
    Device { convolutions: Convolutions, dense: Vec<Linear>, dtype: DType },
}

/// On a device candle's convolutions, on CUDA cuDNN's where they are built in and take the widths.
#[derive(Clone, Debug)]
enum Convolutions {
    Candle(Vec<Conv2d>),
    #[cfg(feature = "cudnn")]
    Cudnn(crate::cuda::Convolutions),
}

impl Vgg16 {
    /// From tensors in torchvision's names.
    ///
    /// # Errors
    /// Where `image` is no multiple of 32, or a tensor is missing or of another shape.
    pub fn new(config: &VggConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let tensor = |names: Vec<String>, shape: &[usize]| Ok(vb.get(shape, &names[0])?);
        let layer = |index| {
            let (names, shape) = config.layer(index);
            let weight = tensor(parameter(names, "weight"), &shape)?;
            let bias = tensor(parameter(names, "bias"), &shape[..1])?;
            let values = |tensor: Tensor| tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1();
            let rows =
                move |rows: Range<usize>| Ok(values(weight.narrow(0, rows.start, rows.len())?)?);
            Ok(Layer { rows: Box::new(rows), bias: values(bias)? })
        };
        Self::build(config, vb.dtype(), vb.device(), layer, tensor)
    }

    /// From one or several safetensors files in timm's or torchvision's names; the widths are read off the tensors.
    ///
    /// Computes in `dtype`, on the CPU always in f32.
    ///
    /// # Errors
    /// Where a file is missing or truncated, or a tensor is missing or does not fit the others.
    pub fn load(files: &[PathBuf], dtype: DType, device: &Device) -> Result<Self> {
        let weights = Weights::open(files)?;
        let config = VggConfig::of(&weights)?;
        let layer = |index| {
            let (names, shape) = config.layer(index);
            let weight = weights.find(&parameter(names, "weight"))?;
            weight.check(&shape)?;
            let bias = weights.find(&parameter(names, "bias"))?;
            bias.check(&shape[..1])?;
            Ok(Layer {
                rows: Box::new(move |rows| weight.rows(rows)),
                bias: bias.rows(0..shape[0])?,
            })
        };
        Self::build(&config, dtype, device, layer, |names, shape| {
            weights.find(&names)?.load(shape, dtype, device)
        })
    }

    /// On the CPU from `layer`, elsewhere from `tensor`, which is called with a parameter's possible names and its shape.
    fn build<'a>(
        config: &VggConfig,
        dtype: DType,
        device: &Device,
        layer: impl Fn(usize) -> Result<Layer<'a>>,
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
        if let Some(empty) = (0..16).find(|&index| config.layer(index).1[0] == 0) {
            return Err(Error::Mismatch {
                place: "VGG16".into(),
                what: format!("the width of layer {} of 16", empty + 1),
                found: "0".into(),
                expected: "at least 1".into(),
            });
        }
        let layers = if device.is_cpu() {
            Layers::Cpu(Arc::new(Network::new(Isa::detect(), config, layer)?))
        } else {
            let layer = |index: usize| {
                let (names, shape) = config.layer(index);
                let weight = tensor(parameter(names, "weight"), &shape)?;
                Ok((weight, tensor(parameter(names, "bias"), &shape[..1])?))
            };
            let dense = |index| layer(index).map(|(weight, bias)| Linear::new(weight, Some(bias)));
            let convolutions = (0..13).map(layer).collect::<Result<_>>()?;
            Layers::Device {
                convolutions: Convolutions::new(convolutions, device, dtype)?,
                dense: (13..16).map(dense).collect::<Result<_>>()?,
                dtype,
            }
        };
        Ok(Self { config: config.clone(), layers })
    }

    /// The widths.
    pub fn config(&self) -> &VggConfig {
        &self.config
    }

    /// `[B, 3, S, S]` to fc7 after its ReLU, `[B, F]`.
    ///
    /// On the CPU an image's vector is the same to the bit whatever the batch it is in and the number of threads.
    ///
    /// # Errors
    /// Where the images are of another shape.
    pub fn fc7(&self, images: &Tensor) -> Result<Tensor> {
        self.run(images, self.config.hidden[1], Network::fc7, hidden)
    }

    /// `[B, 3, S, S]` to `[B, classes]`.
    ///
    /// # Errors
    /// Where the images are of another shape.
    pub fn logits(&self, images: &Tensor) -> Result<Tensor> {
        self.run(images, self.config.classes, Network::logits, |x, dense| {
            dense[2].forward(&hidden(x, dense)?)
        })
    }

    /// All layers up to an output of `width`: on the CPU by `packed`, elsewhere the convolutions and then `head`.
    fn run(
        &self,
        images: &Tensor,
        width: usize,
        packed: impl Fn(&Network, &[f32]) -> Vec<f32>,
        head: impl Fn(Tensor, &[Linear]) -> candle_core::Result<Tensor>,
    ) -> Result<Tensor> {
        let batch = self.batch(images)?;
        let device = images.device();
        match &self.layers {
            Layers::Cpu(network) => {
                let values = images.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
                let rows = if batch == 0 { Vec::new() } else { packed(network, &values) };
                Ok(Tensor::from_vec(rows, (batch, width), device)?)
            }
            Layers::Device { dtype, .. } if batch == 0 => {
                Ok(Tensor::zeros((0, width), *dtype, device)?)
            }
            Layers::Device { convolutions, dense, dtype } => {
                let chunk = convolutions.chunk(&self.config);
                let mut rows = Vec::with_capacity(batch.div_ceil(chunk));
                for start in (0..batch).step_by(chunk) {
                    let chunk = images.narrow(0, start, chunk.min(batch - start))?;
                    let maps = convolutions.forward(&chunk, *dtype)?;
                    rows.push(head(maps.flatten_from(1)?, dense)?);
                }
                Ok(Tensor::cat(&rows, 0)?)
            }
        }
    }

    /// B of images `[B, 3, S, S]`.
    fn batch(&self, images: &Tensor) -> Result<usize> {
        let side = self.config.image;
        match *images.dims() {
            [batch, 3, height, width] if height == side && width == side => Ok(batch),
            _ => Err(Error::Mismatch {
                place: "VGG16".into(),
                what: "the images' shape".into(),
                found: format!("{:?}", images.dims()),
                expected: format!("[B, 3, {side}, {side}]"),
            }),
        }
    }
}

impl Convolutions {
    /// From weights and biases.
    fn new(layers: Vec<(Tensor, Tensor)>, device: &Device, dtype: DType) -> Result<Self> {
        #[cfg(feature = "cudnn")]
        if device.is_cuda() {
            return Ok(Self::Cudnn(crate::cuda::Convolutions::new(layers, dtype)?));
        }
        let _ = (device, dtype);
        let same = Conv2dConfig { padding: 1, ..Default::default() };
        let convolution = |(weight, bias)| Conv2d::new(weight, Some(bias), same);
        Ok(Self::Candle(layers.into_iter().map(convolution).collect()))
    }

    /// How many images at once: no tensor may reach 2^31 values. candle's convolution without cuDNN has one of nine times
    /// its input; the paper's reach that at 75 images, and its feature maps at 669.
    fn chunk(&self, config: &VggConfig) -> usize {
        let copies = match self {
            Self::Candle(_) => 9,
            #[cfg(feature = "cudnn")]
            Self::Cudnn(_) => 1,
        };
        (i32::MAX as usize / (copies * config.largest_map())).clamp(1, CHUNK)
    }

    /// The last feature maps `[B, C, S/32, S/32]`.
    fn forward(&self, images: &Tensor, dtype: DType) -> candle_core::Result<Tensor> {
        let convolutions = match self {
            Self::Candle(convolutions) => convolutions,
            #[cfg(feature = "cudnn")]
            Self::Cudnn(convolutions) => return convolutions.forward(images, &POOLED),
        };
        let mut x = images.to_dtype(dtype)?;
        for (index, convolution) in convolutions.iter().enumerate() {
            x = convolution.forward(&x)?.relu()?;
            if POOLED.contains(&index) {
                x = x.max_pool2d(2)?;
            }
        }
        Ok(x)
    }
}

/// fc7 after its ReLU.
fn hidden(x: Tensor, dense: &[Linear]) -> candle_core::Result<Tensor> {
    dense[1].forward(&dense[0].forward(&x)?.relu()?)?.relu()
}

/// `LAYER.weight` or `LAYER.bias` in each naming.
fn parameter(layers: &[&str], kind: &str) -> Vec<String> {
    layers.iter().map(|layer| format!("{layer}.{kind}")).collect()
}
