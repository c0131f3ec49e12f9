//! VGG16's convolutions and poolings on cuDNN.

use candle_core::{DType, Result, Tensor};

use super::cudnn::{ConvBiasRelu, MaxPool};

/// Tensor cores take channels by eights.
const ALIGNED: usize = 8;

/// The convolutions, their weights `[O, 3, 3, I]` with zeros up to the next multiple of eight in O and I.
#[derive(Clone, Debug)]
pub(crate) struct Convolutions {
    layers: Vec<(Tensor, Tensor)>,
    /// The last layer's own.
    channels: usize,
    dtype: DType,
}

impl Convolutions {
    /// From weights `[O, I, 3, 3]` and biases `[O]`.
    pub(crate) fn new(layers: Vec<(Tensor, Tensor)>, dtype: DType) -> Result<Self> {
        let channels = layers.last().map_or(Ok(0), |(_, bias)| bias.dim(0))?;
        let arrange = |(weight, bias): (Tensor, Tensor)| {
            let weight = weight.to_dtype(dtype)?.permute((0, 2, 3, 1))?;
            Ok((filled(&filled(&weight, 3)?, 0)?, filled(&bias.to_dtype(dtype)?, 0)?))
        };
        let layers = layers.into_iter().map(arrange).collect::<Result<_>>()?;
        Ok(Self { layers, channels, dtype })
    }

    /// Images `[B, 3, S, S]` to the last feature maps `[B, C, S/32, S/32]`; a pooling follows the layers of `pooled`.
    pub(crate) fn forward(&self, images: &Tensor, pooled: &[usize]) -> Result<Tensor> {
        let mut x = filled(&images.permute((0, 2, 3, 1))?.to_dtype(self.dtype)?, 3)?;
        for (index, (weight, bias)) in self.layers.iter().enumerate() {
            x = x.apply_op3_no_bwd(weight, bias, &ConvBiasRelu)?;
            if pooled.contains(&index) {
                x = x.apply_op1_no_bwd(&MaxPool)?;
            }
        }
        x.narrow(3, 0, self.channels)?.permute((0, 3, 1, 2))
    }
}

/// Zeros after an axis up to a multiple of eight; contiguous.
fn filled(x: &Tensor, axis: usize) -> Result<Tensor> {
    let channels = x.dim(axis)?;
    x.pad_with_zeros(axis, 0, channels.next_multiple_of(ALIGNED) - channels)?.contiguous()
}
