//! Scheduled sampling, by what must hold of it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use common::golden_config;
use nic_core::{Decoder, PackedCaptions, Vocab};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// A decoder with two layers, logits and captions of which are far from even.
fn decoder(sharpness: f64) -> Decoder {
    let config = golden_config("lstm-2");
    let weights: HashMap<String, Tensor> = config
        .init(&mut ChaCha8Rng::seed_from_u64(5))
        .unwrap()
        .into_iter()
        .map(|(name, tensor)| {
            let scale = if name.starts_with("output.") { sharpness } else { 4.0 };
            (name, (tensor * scale).unwrap())
        })
        .collect();
    Decoder::new(&config, VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu)).unwrap()
}

fn batch(captions: usize) -> (Tensor, Vec<Vec<u32>>, PackedCaptions) {
    let words: Vec<Vec<u32>> = (0..captions as u32)
        .map(|i| (0..i * 5 % 9).map(|t| 3 + (i * 31 + t * 17) % 20).collect())
        .collect();
    let slices: Vec<&[u32]> = words.iter().map(Vec::as_slice).collect();
    let features = Tensor::arange(0f32, captions as f32 * 12.0, &Device::Cpu).unwrap();
    let features = features.sin().unwrap().reshape((captions, 12)).unwrap();
    let packed = PackedCaptions::new(&slices, &Device::Cpu).unwrap();
    (features, words, packed)
}

fn inputs(captions: &PackedCaptions) -> Vec<u32> {
    captions.inputs.to_vec1().unwrap()
}

fn sampled(decoder: &Decoder, probability: f64, threads: usize) -> PackedCaptions {
    let (features, _, captions) = batch(40);
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        decoder.scheduled_sampling(&features, &captions, probability, &mut rng).unwrap()
    })
}

#[test]
fn only_inputs_change_and_only_as_often_as_asked() {
    let decoder = decoder(1.0);
    let (_, _, truth) = batch(40);
    assert_eq!(inputs(&sampled(&decoder, 0.0, 1)), inputs(&truth));
    for probability in [0.25, 1.0] {
        let found = sampled(&decoder, probability, 1);
        assert_eq!(found.steps, truth.steps);
        assert_eq!(
            found.targets.to_vec1::<u32>().unwrap(),
            truth.targets.to_vec1::<u32>().unwrap()
        );
        let (found, truth) = (inputs(&found), inputs(&truth));
        assert!(found[..40].iter().all(|&word| word == Vocab::START));
        let changed = (40..truth.len()).filter(|&at| found[at] != truth[at]).count() as f64;
        let share = changed / (truth.len() - 40) as f64;
        // 159 words, of which an even draw leaves 1 in 23 as it was; four deviations
        let expected = probability * 22.0 / 23.0;
        assert!((share - expected).abs() < 0.14, "{probability}: {share}");
        assert_eq!(inputs(&sampled(&decoder, probability, 3)), found);
    }
}

/// A decoder that is sure draws its likeliest word, which greedy steps give too: after its own words, not the truth.
#[test]
fn what_is_drawn_follows_what_was_drawn() {
    let decoder = decoder(1e6);
    let (features, words, captions) = batch(40);
    let found = inputs(&sampled(&decoder, 1.0, 2));
    for (row, &caption) in captions.order.iter().enumerate() {
        let feature = features.narrow(0, caption, 1).unwrap();
        let mut state = decoder.start(&feature).unwrap();
        let (mut word, mut start) = (Vocab::START, 0);
        for running in &captions.steps[..words[caption].len()] {
            let input = Tensor::from_vec(vec![word], 1, &Device::Cpu).unwrap();
            let (logits, next) = decoder.step(&state, &input).unwrap();
            word = logits.argmax(1).unwrap().to_vec1::<u32>().unwrap()[0];
            state = next;
            start += running;
            assert_eq!(found[start + row], word, "caption {caption}");
        }
    }
}
