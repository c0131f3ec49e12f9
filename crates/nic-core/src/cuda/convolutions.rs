//! VGG16's convolutions and poolings on cuDNN.

use candle_core::{DType, Result, Tensor};

use super::cudnn::{ConvBiasRelu, MaxPool};

/// Tensor cores take channels by eights.
const ALIGNED: usize = 8;

/// The convolutions, their weights `[O, 3, 3, I]`.
#[derive(Clone, Debug)]
pub(crate) struct Convolutions {
    layers: Vec<(Tensor, Tensor)>,
    dtype: DType,
}

impl Convolutions {
    /// Whether it is for a network with convolutions of these widths.
    pub(crate) fn suits(channels: &[usize]) -> bool {
        channels.iter().all(|channels| channels.is_multiple_of(ALIGNED))
    }

    /// From weights `[O, I, 3, 3]` and biases `[O]`. The first layer's inputs are filled up with zeros.
    pub(crate) fn new(layers: Vec<(Tensor, Tensor)>, dtype: DType) -> Result<Self> {
        let arrange = |(weight, bias): (Tensor, Tensor)| {
            let weight = filled(&weight.to_dtype(dtype)?.permute((0, 2, 3, 1))?)?;
            Ok((weight, bias.to_dtype(dtype)?))
        };
        Ok(Self { layers: layers.into_iter().map(arrange).collect::<Result<_>>()?, dtype })
    }

    /// Images `[B, 3, S, S]` to the last feature maps `[B, C, S/32, S/32]`; a pooling follows the layers of `pooled`.
    pub(crate) fn forward(&self, images: &Tensor, pooled: &[usize]) -> Result<Tensor> {
        let mut x = filled(&images.permute((0, 2, 3, 1))?.to_dtype(self.dtype)?)?;
        for (index, (weight, bias)) in self.layers.iter().enumerate() {
            x = x.apply_op3_no_bwd(weight, bias, &ConvBiasRelu)?;
            if pooled.contains(&index) {
                x = x.apply_op1_no_bwd(&MaxPool)?;
            }
        }
        x.permute((0, 3, 1, 2))
    }
}

/// Zeros after the last axis up to a multiple of eight; contiguous.
fn filled(x: &Tensor) -> Result<Tensor> {
    let channels = x.dim(3)?;
    x.pad_with_zeros(3, 0, channels.next_multiple_of(ALIGNED) - channels)?.contiguous()
}
