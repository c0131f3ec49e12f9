//! Beam search on the device and on the CPU.

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use nic_core::{BeamSearch, Decoder, Generate};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use train::config::ModelConfig;

use crate::error::{Error, Result};
use crate::sizes::Sizes;
use crate::step::FEATURES;

const WIDTH: usize = 3;

/// Captions a second, and how far the best sentences' log probabilities are from the CPU's.
pub(crate) fn run(sizes: &Sizes, device: &Device) -> Result<Value> {
    let (found, rate) = scores(sizes, device)?;
    let (expected, _) = scores(sizes, &Device::Cpu)?;
    let mut worst = 0.0f64;
    for (found, expected) in found.iter().zip(&expected) {
        let difference = f64::from((found - expected) / expected).abs();
        if !difference.is_finite() {
            return Err(Error::Other(format!("a sentence's log probability is {found}")));
        }
        worst = worst.max(difference);
    }
    Ok(json!({ "captions_per_second": rate, "relative_log_prob": worst }))
}

/// The log probability of each image's best sentence, and how many images a second.
fn scores(sizes: &Sizes, device: &Device) -> Result<(Vec<f32>, f64)> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let model =
        ModelConfig { embed_dim: sizes.dim, hidden_dim: sizes.dim, ..ModelConfig::default() };
    let config = model.decoder(FEATURES, sizes.words);
    let mut weights = config.init(&mut rng)?;
    // a decoder with opinions: one that has just begun finds nearly all words alike
    for tensor in weights.values_mut() {
        *tensor = (&*tensor * 4.0)?.to_device(device)?;
    }
    let weights = VarBuilder::from_tensors(weights.into_iter().collect(), DType::F32, device);
    let decoder = Decoder::new(&config, weights)?;
    let features = (0..sizes.captions * FEATURES).map(|_| rng.random::<f32>()).collect();
    let features = Tensor::from_vec(features, (sizes.captions, FEATURES), device)?;
    let search = BeamSearch::new(WIDTH).best(1);
    let _ = search.ensemble(std::slice::from_ref(&decoder), &features.narrow(0, 0, 1)?)?; // warm
    let start = Instant::now();
    let sentences = search.ensemble(&[decoder], &features)?;
    let rate = sizes.captions as f64 / start.elapsed().as_secs_f64();
    let scores: Option<Vec<f32>> =
        sentences.iter().map(|best| best.first().map(|best| best.log_prob)).collect();
    Ok((scores.ok_or_else(|| Error::Other("an image without a sentence".into()))?, rate))
}
