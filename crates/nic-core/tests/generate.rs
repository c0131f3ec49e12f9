//! Greedy, beam and sampled generation against exhaustive enumeration.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // as in tests themselves

mod common;

use std::collections::HashMap;

use candle_core::{D, DType, Device, Tensor};
use candle_nn::VarBuilder;
use common::golden_config;
use nic_core::{
    BeamSearch, Cell, Decoder, DecoderConfig, Generate, Greedy, Hypothesis, Sample, Vocab,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

const IMAGES: usize = 6;

/// A decoder of `words` words beside the special ones that has clear opinions.
fn decoder(cell: Cell, words: usize) -> Decoder {
    let config = DecoderConfig { cell, vocab_size: 4 + words, ..golden_config("lstm") };
    let weights = config.init(&mut ChaCha8Rng::seed_from_u64(5)).unwrap();
    let tensors =
        weights.into_iter().map(|(name, tensor)| (name, (tensor * 4.0).unwrap())).collect();
    Decoder::new(&config, VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu)).unwrap()
}

fn features(images: usize) -> Tensor {
    let values = Tensor::arange(0f32, (images * 12) as f32, &Device::Cpu).unwrap();
    values.sin().unwrap().reshape((images, 12)).unwrap()
}

fn image(features: &Tensor, row: usize) -> Tensor {
    features.narrow(0, row, 1).unwrap()
}

/// Every sentence of up to `max_len` words with its log probability, the best first, one step at a time.
fn enumerate(decoder: &Decoder, features: &Tensor, max_len: usize) -> Vec<Hypothesis> {
    let mut open = vec![(Vec::new(), 0.0, decoder.start(features).unwrap())];
    let mut all = Vec::new();
    while let Some((words, log_prob, state)) = open.pop() {
        if words.len() == max_len {
            all.push(Hypothesis { words, log_prob });
            continue;
        }
        let last = words.last().copied().unwrap_or(Vocab::START);
        let (logits, next) =
            decoder.step(&state, &Tensor::new(&[last], &Device::Cpu).unwrap()).unwrap();
        let log_probs =
            candle_nn::ops::log_softmax(&logits, D::Minus1).unwrap().squeeze(0).unwrap();
        for (word, &p) in (0..).zip(&log_probs.to_vec1::<f32>().unwrap()) {
            match word {
                Vocab::PAD | Vocab::START | Vocab::UNK => {}
                Vocab::END => all.push(Hypothesis { words: words.clone(), log_prob: log_prob + p }),
                word => {
                    open.push(([words.as_slice(), &[word]].concat(), log_prob + p, next.clone()))
                }
            }
        }
    }
    all.sort_by(|a, b| b.log_prob.total_cmp(&a.log_prob));
    all
}

fn assert_same(found: &[Hypothesis], expected: &[Hypothesis]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found.log_prob - expected.log_prob).abs() < 1e-4,
            "{found:?}, expected {expected:?}"
        );
        assert_eq!(found.words, expected.words);
    }
}

#[test]
fn a_wide_beam_equals_brute_force() {
    for cell in [Cell::Lstm, Cell::Rnn] {
        let decoder = decoder(cell, 3);
        let features = features(IMAGES);
        // 1 + 3 + 9 + 27 sentences end before the fifth word, 81 are cut after the fourth
        let found = BeamSearch { width: 121, max_len: 4 }.generate(&decoder, &features).unwrap();
        for (row, found) in found.iter().enumerate() {
            let expected = enumerate(&decoder, &image(&features, row), 4);
            assert_eq!(expected.len(), 121);
            assert_same(found, &expected);
        }
    }
}

/// The search stops early without missing what it would have found: a narrower beam's pool is what the plain
/// definition gives, written down here without batches, states or early stopping.
#[test]
fn a_narrow_beam_follows_its_definition() {
    let decoder = decoder(Cell::Lstm, 8);
    let features = features(IMAGES);
    for width in [1, 2, 3, 5] {
        let found = BeamSearch { width, max_len: 5 }.generate(&decoder, &features).unwrap();
        for (row, found) in found.iter().enumerate() {
            let image = image(&features, row);
            let next = |words: &[u32]| {
                let mut state = decoder.start(&image).unwrap();
                let mut logits = None;
                for &word in [&[Vocab::START], words].concat().iter() {
                    let (l, s) =
                        decoder.step(&state, &Tensor::new(&[word], &Device::Cpu).unwrap()).unwrap();
                    (logits, state) = (Some(l), s);
                }
                let logits = logits.unwrap();
                candle_nn::ops::log_softmax(&logits, 1)
                    .unwrap()
                    .squeeze(0)
                    .unwrap()
                    .to_vec1::<f32>()
                    .unwrap()
            };
            let mut live = vec![(Vec::new(), 0.0)];
            let mut pool = Vec::new();
            for _ in 0..5 {
                let mut longer = Vec::new();
                for (words, log_prob) in &live {
                    for (word, p) in (0u32..).zip(next(words)) {
                        if ![Vocab::PAD, Vocab::START, Vocab::UNK].contains(&word) {
                            longer.push(([words.as_slice(), &[word]].concat(), log_prob + p));
                        }
                    }
                }
                longer.sort_by(|a, b| b.1.total_cmp(&a.1));
                longer.truncate(width);
                let ended;
                (ended, live) =
                    longer.into_iter().partition(|(words, _)| words.last() == Some(&Vocab::END));
                pool.extend(ended.into_iter().map(|(mut words, log_prob): (Vec<u32>, f32)| {
                    words.pop();
                    Hypothesis { words, log_prob }
                }));
            }
            pool.extend(live.into_iter().map(|(words, log_prob)| Hypothesis { words, log_prob }));
            pool.sort_by(|a, b| b.log_prob.total_cmp(&a.log_prob));
            pool.truncate(width);
            assert_same(found, &pool);
        }
    }
}

#[test]
fn a_beam_of_one_is_greedy() {
    for cell in [Cell::Lstm, Cell::Rnn] {
        let decoder = decoder(cell, 40);
        let features = features(20);
        for max_len in [1, 3, 12] {
            let greedy = Greedy { max_len }.generate(&decoder, &features).unwrap();
            let beam = BeamSearch { width: 1, max_len }.generate(&decoder, &features).unwrap();
            assert_eq!(greedy, beam);
        }
    }
}

#[test]
fn a_batch_gives_what_its_members_give() {
    fn check(decoder: &Decoder, how: &impl Generate) {
        let features = features(IMAGES);
        let batch = how.generate(decoder, &features).unwrap();
        assert_eq!(batch.len(), IMAGES);
        for (row, expected) in batch.iter().enumerate() {
            let alone = how.generate(decoder, &image(&features, row)).unwrap();
            assert_eq!(alone.len(), 1);
            assert_same(&alone[0], expected);
        }
    }
    for cell in [Cell::Lstm, Cell::Rnn] {
        let decoder = decoder(cell, 40);
        check(&decoder, &Greedy { max_len: 10 });
        check(&decoder, &BeamSearch { width: 4, max_len: 10 });
    }
}

/// Log probabilities of generated sentences are those of teacher forcing.
#[test]
fn sentences_score_what_the_loss_says() {
    let decoder = decoder(Cell::Lstm, 40);
    let features = features(IMAGES);
    let sentences = BeamSearch { width: 3, max_len: 10 }.generate(&decoder, &features).unwrap();
    for (row, image_sentences) in sentences.iter().enumerate() {
        for sentence in image_sentences.iter().filter(|sentence| sentence.words.len() < 10) {
            let captions = nic_core::PackedCaptions::new(&[&sentence.words], &Device::Cpu).unwrap();
            let loss = decoder.loss(&image(&features, row), &captions, None).unwrap();
            let total = -loss.to_scalar::<f32>().unwrap() * captions.tokens() as f32;
            assert!((total - sentence.log_prob).abs() < 1e-4, "{total} {sentence:?}");
        }
    }
}

fn sample(count: usize) -> Sample {
    Sample { count, temperature: 1.0, top_k: None, top_p: None, seed: 1, max_len: 8 }
}

#[test]
fn samples_follow_their_seed() {
    let decoder = decoder(Cell::Lstm, 40);
    let features = features(IMAGES);
    let draw = |seed| Sample { seed, ..sample(5) }.generate(&decoder, &features).unwrap();
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    for image in draw(1) {
        assert_eq!(image.len(), 5);
        assert!(image.is_sorted_by(|a, b| a.log_prob >= b.log_prob));
        assert!(image.iter().any(|sentence| sentence != &image[0]), "five equal samples");
        let special = [Vocab::PAD, Vocab::START, Vocab::END, Vocab::UNK];
        assert!(image.iter().flat_map(|s| &s.words).all(|word| !special.contains(word)));
    }
}

#[test]
fn cold_samples_and_single_choices_are_greedy() {
    let decoder = decoder(Cell::Lstm, 40);
    let features = features(IMAGES);
    let greedy = Greedy { max_len: 8 }.generate(&decoder, &features).unwrap();
    let cold = [
        Sample { temperature: 0.0, ..sample(1) },
        Sample { temperature: 1e-3, ..sample(1) },
        Sample { top_k: Some(1), ..sample(1) },
        Sample { top_p: Some(1e-6), ..sample(1) },
        Sample { top_k: Some(7), top_p: Some(1e-6), ..sample(1) },
    ];
    for how in cold {
        assert_eq!(how.generate(&decoder, &features).unwrap(), greedy, "{how:?}");
    }
}

/// First words' frequencies against the softmax over the words that may be drawn: chi-squared.
#[test]
fn samples_follow_the_softmax() {
    const DRAWS: usize = 20_000;
    let decoder = decoder(Cell::Lstm, 6);
    let features = features(1);
    for temperature in [1.0, 2.5] {
        let how = Sample { temperature, max_len: 1, ..sample(DRAWS) };
        let mut counts: HashMap<u32, f64> = HashMap::new();
        for sentence in &how.generate(&decoder, &features).unwrap()[0] {
            *counts.entry(sentence.words.first().copied().unwrap_or(Vocab::END)).or_default() +=
                1.0;
        }
        let state = decoder.start(&features).unwrap();
        let (logits, _) =
            decoder.step(&state, &Tensor::new(&[Vocab::START], &Device::Cpu).unwrap()).unwrap();
        let logits = logits.squeeze(0).unwrap().to_vec1::<f32>().unwrap();
        let weight = |word: u32| (f64::from(logits[word as usize]) / temperature).exp();
        let allowed = [2, 4, 5, 6, 7, 8, 9];
        let total: f64 = allowed.iter().map(|&word| weight(word)).sum();
        let chi_squared: f64 = allowed
            .iter()
            .map(|&word| {
                let expected = DRAWS as f64 * weight(word) / total;
                assert!(expected > 5.0, "too rare for this test");
                (counts.get(&word).copied().unwrap_or(0.0) - expected).powi(2) / expected
            })
            .sum();
        // 6 degrees of freedom: above 22.5 once in a thousand times
        assert!(chi_squared < 22.5, "chi-squared {chi_squared} at temperature {temperature}");
    }
}

#[test]
fn senseless_settings_are_errors() {
    fn message(how: &impl Generate) -> String {
        how.generate(&decoder(Cell::Lstm, 3), &features(2)).unwrap_err().to_string()
    }
    assert!(message(&Greedy { max_len: 0 }).contains("max_len is 0"));
    assert!(message(&BeamSearch { width: 0, max_len: 3 }).contains("width is 0"));
    assert!(message(&BeamSearch { width: 1, max_len: 0 }).contains("max_len is 0"));
    assert!(message(&sample(0)).contains("sentences is 0"));
    assert!(message(&Sample { temperature: -1.0, ..sample(1) }).contains("temperature is -1"));
    assert!(message(&Sample { temperature: f64::NAN, ..sample(1) }).contains("temperature is NaN"));
    assert!(message(&Sample { top_k: Some(0), ..sample(1) }).contains("top-k is 0"));
    assert!(message(&Sample { top_p: Some(0.0), ..sample(1) }).contains("top-p is 0"));

    let narrow = Tensor::zeros((2, 11), DType::F32, &Device::Cpu).unwrap();
    let error =
        BeamSearch::new(3).generate(&decoder(Cell::Lstm, 3), &narrow).unwrap_err().to_string();
    assert!(error.contains("[2, 11]") && error.contains("12"), "{error}");
    let nan = Tensor::full(f32::NAN, (2, 12), &Device::Cpu).unwrap();
    let error = BeamSearch::new(3).generate(&decoder(Cell::Lstm, 3), &nan).unwrap_err().to_string();
    assert!(error.contains("not finite"), "{error}");
}

#[test]
fn no_images_give_no_sentences() {
    let none = Tensor::zeros((0, 12), DType::F32, &Device::Cpu).unwrap();
    for cell in [Cell::Lstm, Cell::Rnn] {
        let decoder = decoder(cell, 3);
        assert!(Greedy { max_len: 3 }.generate(&decoder, &none).unwrap().is_empty());
        assert!(BeamSearch::new(3).generate(&decoder, &none).unwrap().is_empty());
        assert!(sample(2).generate(&decoder, &none).unwrap().is_empty());
    }
}

/// A beam wider than there are words, and than there are sentences.
#[test]
fn a_beam_wider_than_the_vocabulary_gives_what_there_is() {
    let sentences = BeamSearch { width: 50, max_len: 2 }
        .generate(&decoder(Cell::Lstm, 1), &features(1))
        .unwrap();
    // "", "w", "w w" cut
    assert_eq!(sentences[0].len(), 3);
    let sentences = BeamSearch { width: 2, max_len: 2 }
        .generate(&decoder(Cell::Lstm, 0), &features(1))
        .unwrap();
    assert!(sentences[0].len() == 1 && sentences[0][0].words.is_empty());
}
