//! A training step on the device and on the CPU.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use nic_core::{Decoder, PackedCaptions, Training};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use train::config::ModelConfig;

use crate::error::{Error, Result};
use crate::sizes::Sizes;

const FEATURES: usize = 4096;

/// How far the loss and each gradient are from the CPU's, dropout's masks being the same.
pub(crate) fn compare(sizes: &Sizes, device: &Device) -> Result<Value> {
    let (loss, gradients) = step(sizes, device)?;
    let (expected_loss, expected) = step(sizes, &Device::Cpu)?;
    let mut worst = (0.0, "");
    for (name, expected) in &expected {
        let Some(gradient) = gradients.get(name) else {
            return Err(Error::Other(format!("{name} has no gradient on the device")));
        };
        let norm = |tensor: &Tensor| -> Result<f64> {
            Ok(f64::from(tensor.sqr()?.sum_all()?.to_scalar::<f32>()?).sqrt())
        };
        let difference = norm(&(gradient - expected)?)? / norm(expected)?;
        if !difference.is_finite() {
            return Err(Error::Other(format!("{name}: the gradient is {difference} off")));
        }
        if difference > worst.0 {
            worst = (difference, name);
        }
    }
    Ok(json!({
        "loss": loss,
        "expected_loss": expected_loss,
        "relative_loss": ((loss - expected_loss) / expected_loss).abs(),
        "relative_gradient": worst.0,
        "worst_gradient": worst.1,
    }))
}

/// The loss, and the gradients on the CPU.
fn step(sizes: &Sizes, device: &Device) -> Result<(f64, BTreeMap<String, Tensor>)> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let model =
        ModelConfig { embed_dim: sizes.dim, hidden_dim: sizes.dim, ..ModelConfig::default() };
    let config = model.decoder(FEATURES, sizes.words);
    let vars = config
        .init(&mut rng)?
        .into_iter()
        .map(|(name, tensor)| Ok((name, Var::from_tensor(&tensor.to_device(device)?)?)))
        .collect::<Result<BTreeMap<_, _>>>()?;
    let weights = vars.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone()));
    let weights = VarBuilder::from_tensors(weights.collect(), DType::F32, device);
    let decoder = Decoder::new(&config, weights)?;
    let captions: Vec<Vec<u32>> = (0..sizes.captions)
        .map(|_| {
            let length = rng.random_range(3..20);
            (0..length).map(|_| rng.random_range(4..sizes.words as u32)).collect()
        })
        .collect();
    let captions: Vec<&[u32]> = captions.iter().map(Vec::as_slice).collect();
    let captions = PackedCaptions::new(&captions, device)?;
    let features = (0..sizes.captions * FEATURES).map(|_| rng.random::<f32>()).collect();
    let features = Tensor::from_vec(features, (sizes.captions, FEATURES), device)?;
    let training = Training { dropout: model.dropout(), label_smoothing: 0.0, rng: &mut rng };
    let loss = decoder.loss(&features, &captions, Some(training))?;
    let gradients = loss.backward()?;
    let gradients = vars
        .iter()
        .filter_map(|(name, var)| Some((name, gradients.get(var)?)))
        .map(|(name, gradient)| Ok((name.clone(), gradient.to_device(&Device::Cpu)?)))
        .collect::<Result<_>>()?;
    Ok((f64::from(loss.to_scalar::<f32>()?), gradients))
}
