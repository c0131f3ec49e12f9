//! The loss with a share for each word, against PyTorch's formula in candle's own operations.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use std::collections::BTreeMap;

use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use candle_nn::ops::log_softmax;
use common::golden_config;
use nic_core::{Decoder, PackedCaptions, Vocab};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

struct World {
    vars: BTreeMap<String, Var>,
    decoder: Decoder,
    features: Tensor,
    captions: Vec<Vec<u32>>,
    packed: PackedCaptions,
}

/// 90 captions of 0 to 8 words: more rows than have their logits at once.
fn world() -> World {
    let config = golden_config("lstm-2");
    let tensors = config.init(&mut ChaCha8Rng::seed_from_u64(5)).unwrap();
    let vars: BTreeMap<String, Var> = tensors
        .into_iter()
        .map(|(name, tensor)| (name, Var::from_tensor(&(tensor * 3.0).unwrap()).unwrap()))
        .collect();
    let weights = vars.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect();
    let weights = VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu);
    let captions: Vec<Vec<u32>> =
        (0..90).map(|i| (0..i * 5 % 9).map(|t| 3 + (i * 31 + t * 17) % 20).collect()).collect();
    let slices: Vec<&[u32]> = captions.iter().map(Vec::as_slice).collect();
    let features = Tensor::arange(0f32, 90.0 * 12.0, &Device::Cpu).unwrap().sin().unwrap();
    World {
        decoder: Decoder::new(&config, weights).unwrap(),
        vars,
        features: features.reshape((90, 12)).unwrap(),
        packed: PackedCaptions::new(&slices, &Device::Cpu).unwrap(),
        captions,
    }
}

fn same(world: &World, found: &Tensor, expected: &Tensor) {
    let scalar = |tensor: &Tensor| tensor.to_scalar::<f32>().unwrap();
    let (value, wanted) = (scalar(found), scalar(expected));
    assert!((value - wanted).abs() < 1e-5 * wanted.abs().max(1.0), "{value}, expected {wanted}");
    let (found, expected) = (found.backward().unwrap(), expected.backward().unwrap());
    for (name, var) in &world.vars {
        let (found, expected) = (found.get(var).unwrap(), expected.get(var).unwrap());
        let norm = |tensor: &Tensor| scalar(&tensor.sqr().unwrap().sum_all().unwrap()).sqrt();
        let difference = norm(&(found - expected).unwrap());
        assert!(norm(expected) > 0.0, "{name}");
        assert!(difference < 1e-5 * norm(expected), "{name}: {difference} of {}", norm(expected));
    }
}

#[test]
fn words_say_where_each_target_comes_from() {
    let World { captions, packed, .. } = world();
    let targets = packed.targets.to_vec1::<u32>().unwrap();
    assert_eq!(packed.words().count(), targets.len());
    for ((caption, place), target) in packed.words().zip(targets) {
        assert_eq!(captions[caption].get(place).copied().unwrap_or(Vocab::END), target);
    }
}

/// `(F.cross_entropy(logits, targets, reduction="none") * shares).sum()`
#[test]
fn value_and_gradients_are_those_of_pytorchs_formula() {
    let world = world();
    let shares: Vec<f32> =
        world.packed.words().map(|(caption, place)| ((caption * 7 + place) as f32).sin()).collect();
    let found = world.decoder.weighted_loss(&world.features, &world.packed, &shares).unwrap();
    let logits = world.decoder.logits(&world.features, &world.packed, None).unwrap();
    let targets = world.packed.targets.unsqueeze(1).unwrap();
    let losses = log_softmax(&logits, D::Minus1).unwrap().gather(&targets, 1).unwrap();
    let losses = losses.squeeze(1).unwrap().neg().unwrap();
    let shares = Tensor::from_slice(&shares, shares.len(), &Device::Cpu).unwrap();
    same(&world, &found, &(losses * shares).unwrap().sum_all().unwrap());
}

#[test]
fn equal_shares_give_the_mean() {
    let world = world();
    let words = world.packed.tokens();
    assert!(words > 256);
    let shares = vec![1.0 / words as f32; words];
    let found = world.decoder.weighted_loss(&world.features, &world.packed, &shares).unwrap();
    same(&world, &found, &world.decoder.loss(&world.features, &world.packed, None).unwrap());
}

#[test]
fn a_share_for_each_word_is_expected() {
    let world = world();
    let error = world.decoder.weighted_loss(&world.features, &world.packed, &[1.0; 90]);
    let expected = format!("90 shares for {} words", world.packed.tokens());
    assert!(error.unwrap_err().to_string().contains(&expected));
}
