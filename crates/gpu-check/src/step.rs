//! A training step on the device and on the CPU: loss and gradients, then what an optimiser makes of the gradients.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use nic_core::{Decoder, PackedCaptions, Training};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use train::config::{ModelConfig, OptimizerKind, TrainConfig};
use train::gradients::{self, Clip};
use train::optimizer::Optimizer;

use crate::error::{Error, Result};
use crate::sizes::Sizes;

/// fc7's width.
pub(crate) const FEATURES: usize = 4096;

/// A decoder and how it is trained.
struct Variant {
    model: ModelConfig,
    train: TrainConfig,
    /// Times the loss, as a part of a batch has it.
    share: f64,
}

/// What is there without a setting, and most of what else there is.
fn variants(dim: usize) -> [Variant; 2] {
    let model = ModelConfig { embed_dim: dim, hidden_dim: dim, ..ModelConfig::default() };
    let other = ModelConfig {
        num_layers: 2,
        tie_embeddings: true,
        variational_dropout: true,
        cell_tanh: false,
        ..model.clone()
    };
    let sgd = TrainConfig {
        optimizer: OptimizerKind::Sgd,
        learning_rate: 0.1,
        momentum: 0.9,
        weight_decay: 0.01,
        label_smoothing: 0.1,
        ..TrainConfig::default()
    };
    [
        Variant { model, train: TrainConfig::default(), share: 1.0 },
        Variant { model: other, train: sgd, share: 0.5 },
    ]
}

/// How far the loss, each gradient (dropout's masks being the same) and, from the CPU's gradients, their norm and the
/// weights after two steps are from the CPU's: the worst of the variants.
pub(crate) fn compare(sizes: &Sizes, device: &Device) -> Result<Value> {
    let mut loss_of_each = Vec::new();
    let (mut losses, mut norms) = ((0.0, String::new()), (0.0, String::new()));
    let (mut gradients, mut weights) = (losses.clone(), norms.clone());
    for variant in variants(sizes.dim) {
        let optimizer = format!("{:?}", variant.train.optimizer);
        let (loss, found) = step(&variant, sizes, device)?;
        let (expected_loss, expected) = step(&variant, sizes, &Device::Cpu)?;
        keep_worst(&mut losses, relative(loss, expected_loss), &optimizer)?;
        loss_of_each.push(loss);
        compare_tensors(&mut gradients, &found, &expected, &optimizer)?;
        let (norm, found) = update(&variant, &expected, device)?;
        let (expected_norm, expected) = update(&variant, &expected, &Device::Cpu)?;
        keep_worst(&mut norms, relative(norm, expected_norm), &optimizer)?;
        compare_tensors(&mut weights, &found, &expected, &optimizer)?;
    }
    Ok(json!({
        "losses": loss_of_each,
        "relative_loss": losses.0,
        "relative_gradient": gradients.0,
        "worst_gradient": gradients.1,
        "relative_norm": norms.0,
        "relative_update": weights.0,
        "worst_update": weights.1,
    }))
}

fn relative(found: f64, expected: f64) -> f64 {
    ((found - expected) / expected).abs()
}

/// Keeps the larger difference and its name.
fn keep_worst(so_far: &mut (f64, String), difference: f64, name: &str) -> Result<()> {
    if !difference.is_finite() {
        return Err(Error::Other(format!("{name} is {difference} off")));
    }
    if difference > so_far.0 {
        *so_far = (difference, name.to_owned());
    }
    Ok(())
}

/// The relative difference (Euclidean) of each two tensors of one name.
fn compare_tensors(
    so_far: &mut (f64, String),
    found: &BTreeMap<String, Tensor>,
    expected: &BTreeMap<String, Tensor>,
    variant: &str,
) -> Result<()> {
    let norm = |tensor: &Tensor| -> Result<f64> {
        Ok(f64::from(tensor.sqr()?.sum_all()?.to_scalar::<f32>()?).sqrt())
    };
    for (name, expected) in expected {
        let Some(found) = found.get(name) else {
            return Err(Error::Other(format!("{name} is missing on the device")));
        };
        let difference = norm(&(found - expected)?)? / norm(expected)?;
        keep_worst(so_far, difference, &format!("{name}, {variant}"))?;
    }
    Ok(())
}

/// The gradients' norm, and what two steps with clipping make of weights that begin as half the gradients, on the CPU.
fn update(
    variant: &Variant,
    gradients: &BTreeMap<String, Tensor>,
    device: &Device,
) -> Result<(f64, BTreeMap<String, Tensor>)> {
    let weights = |(name, gradient): (&String, &Tensor)| {
        Ok((name.clone(), Var::from_tensor(&(gradient * 0.5)?.to_device(device)?)?))
    };
    let vars = gradients.iter().map(weights).collect::<Result<BTreeMap<_, _>>>()?;
    // the gradient of the sum of w g is g
    let mut loss = Tensor::zeros((), DType::F32, device)?;
    for (name, var) in &vars {
        loss = (loss + (var.as_tensor() * gradients[name].to_device(device)?)?.sum_all()?)?;
    }
    let gradients = loss.backward()?;
    let mut optimizer = Optimizer::new(&variant.train, &vars)?;
    let norm = gradients::norm(optimizer.vars().filter_map(|var| gradients.get(var)))?;
    for _ in 0..2 {
        let clip = Clip::new(norm, norm / 2.0, norm / 1000.0);
        optimizer.step(&gradients, variant.train.learning_rate, clip)?;
    }
    let weights = vars.iter().map(|(name, var)| Ok((name.clone(), var.to_device(&Device::Cpu)?)));
    Ok((norm, weights.collect::<Result<_>>()?))
}

/// The loss, and the gradients on the CPU.
fn step(
    variant: &Variant,
    sizes: &Sizes,
    device: &Device,
) -> Result<(f64, BTreeMap<String, Tensor>)> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let config = variant.model.decoder(FEATURES, sizes.words);
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
    let training = Training {
        dropout: variant.model.dropout(),
        label_smoothing: variant.train.label_smoothing,
        rng: &mut rng,
    };
    let loss = (decoder.loss(&features, &captions, Some(training))? * variant.share)?;
    let gradients = loss.backward()?;
    let gradients = vars
        .iter()
        .filter_map(|(name, var)| Some((name, gradients.get(var)?)))
        .map(|(name, gradient)| Ok((name.clone(), gradient.to_device(&Device::Cpu)?)))
        .collect::<Result<_>>()?;
    Ok((f64::from(loss.to_scalar::<f32>()?), gradients))
}
