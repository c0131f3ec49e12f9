//! A training step on the device and on the CPU: loss and gradients, then what Adam makes of the gradients.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use nic_core::{Decoder, PackedCaptions, Training};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use train::config::{ModelConfig, TrainConfig};
use train::gradients::{self, Clip};
use train::optimizer::Optimizer;

use crate::error::{Error, Result};
use crate::sizes::Sizes;

/// fc7's width.
pub(crate) const FEATURES: usize = 4096;

/// How far the loss, each gradient (dropout's masks being the same) and, from the CPU's gradients, each weight's update
/// are from the CPU's.
pub(crate) fn compare(sizes: &Sizes, device: &Device) -> Result<Value> {
    let (loss, gradients) = step(sizes, device)?;
    let (expected_loss, expected) = step(sizes, &Device::Cpu)?;
    let (gradient, worst_gradient) = worst(&gradients, &expected)?;
    let (norm, updates) = update(&expected, device)?;
    let (expected_norm, expected_updates) = update(&expected, &Device::Cpu)?;
    let (update, worst_update) = worst(&updates, &expected_updates)?;
    Ok(json!({
        "loss": loss,
        "expected_loss": expected_loss,
        "relative_loss": ((loss - expected_loss) / expected_loss).abs(),
        "relative_gradient": gradient,
        "worst_gradient": worst_gradient,
        "relative_norm": ((norm - expected_norm) / expected_norm).abs(),
        "relative_update": update,
        "worst_update": worst_update,
    }))
}

/// The largest relative difference (Euclidean) of two tensors of one name, and which it is.
fn worst<'a>(
    found: &BTreeMap<String, Tensor>,
    expected: &'a BTreeMap<String, Tensor>,
) -> Result<(f64, &'a str)> {
    let mut worst = (0.0, "");
    for (name, expected) in expected {
        let Some(found) = found.get(name) else {
            return Err(Error::Other(format!("{name} is missing on the device")));
        };
        let norm = |tensor: &Tensor| -> Result<f64> {
            Ok(f64::from(tensor.sqr()?.sum_all()?.to_scalar::<f32>()?).sqrt())
        };
        let difference = norm(&(found - expected)?)? / norm(expected)?;
        if !difference.is_finite() {
            return Err(Error::Other(format!("{name} is {difference} off")));
        }
        if difference > worst.0 {
            worst = (difference, name);
        }
    }
    Ok(worst)
}

/// The gradients' norm, and what a step of Adam with clipping adds to weights of zero, on the CPU.
fn update(
    gradients: &BTreeMap<String, Tensor>,
    device: &Device,
) -> Result<(f64, BTreeMap<String, Tensor>)> {
    let zeros = |(name, gradient): (&String, &Tensor)| {
        Ok((name.clone(), Var::zeros(gradient.shape(), DType::F32, device)?))
    };
    let vars = gradients.iter().map(zeros).collect::<Result<BTreeMap<_, _>>>()?;
    // the gradient of the sum of w g is g
    let mut loss = Tensor::zeros((), DType::F32, device)?;
    for (name, var) in &vars {
        loss = (loss + (var.as_tensor() * gradients[name].to_device(device)?)?.sum_all()?)?;
    }
    let gradients = loss.backward()?;
    let config = TrainConfig::default();
    let mut optimizer = Optimizer::new(&config, &vars)?;
    let norm = gradients::norm(optimizer.vars().filter_map(|var| gradients.get(var)))?;
    optimizer.step(&gradients, config.learning_rate, Clip::new(norm, norm / 2.0, f64::INFINITY))?;
    let updates = vars.iter().map(|(name, var)| Ok((name.clone(), var.to_device(&Device::Cpu)?)));
    Ok((norm, updates.collect::<Result<_>>()?))
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
