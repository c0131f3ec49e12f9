//! Fresh weights.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::{DecoderConfig, Result};

impl DecoderConfig {
    /// Fresh weights by name, f32 on the CPU, drawn tensor by tensor in the order of [`DecoderConfig::tensors`] as
    /// PyTorch initialises them: `nn.Linear` and `nn.LSTM` uniform in ±1/√(inputs) and ±1/√H; the embedding
    /// uniform in ±0.08.
    ///
    /// # Errors
    /// A dimension that makes no sense.
    pub fn init(&self, rng: &mut ChaCha8Rng) -> Result<BTreeMap<String, Tensor>> {
        self.check()?;
        let mut tensors = BTreeMap::new();
        for (name, shape) in self.tensors() {
            let bound = match name.split_once('.').map_or("", |(layer, _)| layer) {
                "image" => 1.0 / (self.feature_dim as f32).sqrt(),
                "embedding" => 0.08,
                _ => 1.0 / (self.hidden_dim as f32).sqrt(),
            };
            let len = shape.iter().product();
            let values: Vec<f32> =
                (0..len).map(|_| (2.0 * rng.random::<f32>() - 1.0) * bound).collect();
            tensors.insert(name, Tensor::from_vec(values, shape, &Device::Cpu)?);
        }
        Ok(tensors)
    }
}
