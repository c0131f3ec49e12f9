//! What holds for every way to generate.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // as in tests themselves

mod common;

use candle_core::{DType, Device, Tensor};
use common::golden_config;
use common::toy::{decoder, features, image, with_config};
use nic_core::{BeamSearch, DecoderConfig, Generate, Greedy, LengthNorm, Rules, Sample};

fn rules() -> Rules {
    Rules::default().max_len(10)
}

/// One of each.
fn ways() -> Vec<Box<dyn Generate>> {
    let ruled = BeamSearch::new(4).rules(rules().min_len(2).no_repeat(2));
    vec![
        Box::new(Greedy::new(rules())),
        Box::new(BeamSearch::new(4).rules(rules())),
        Box::new(ruled.clone().length_norm(LengthNorm::Mean)),
        Box::new(ruled.groups(2, 0.5)),
        Box::new(Sample::new(3).rules(rules())),
        Box::new(Sample::new(3).top_k(20).top_p(0.9).temperature(1.5).rules(rules())),
    ]
}

/// To the bit, for decoders of all sizes that the matrix product treats differently.
#[test]
fn a_batch_gives_what_its_members_give() {
    const IMAGES: usize = 33;
    let features = features(IMAGES);
    let of_size = |variant: &str, embed_dim, hidden_dim, words: usize| {
        let config = golden_config(variant);
        with_config(&DecoderConfig { embed_dim, hidden_dim, vocab_size: 4 + words, ..config }, 5)
    };
    let sizes = [(8, 10, 40), (64, 64, 300), (40, 520, 40)];
    for variant in ["lstm", "rnn"] {
        let decoders = sizes.map(|(embed, hidden, words)| of_size(variant, embed, hidden, words));
        for (decoder, size) in decoders.iter().zip(sizes) {
            for (number, how) in ways().iter().enumerate() {
                let batch = how.generate(decoder, &features).unwrap();
                assert_eq!(batch.len(), IMAGES);
                let alone = |row| how.generate(decoder, &image(&features, row)).unwrap();
                for row in [0, 1, 7, 32] {
                    assert_eq!(alone(row), [batch[row].clone()], "{variant} {size:?} {number}");
                }
                let some = features.narrow(0, 5, 3).unwrap();
                assert_eq!(how.generate(decoder, &some).unwrap(), batch[5..8]);
            }
        }
    }
}

/// Log probabilities of generated sentences are those of teacher forcing.
#[test]
fn sentences_score_what_the_loss_says() {
    let decoder = decoder("lstm", 40, 5);
    let features = features(6);
    let mut compared = 0;
    for how in ways() {
        for (row, sentences) in how.generate(&decoder, &features).unwrap().iter().enumerate() {
            for sentence in sentences.iter().filter(|sentence| sentence.words.len() < 10) {
                let captions =
                    nic_core::PackedCaptions::new(&[&sentence.words], &Device::Cpu).unwrap();
                let loss = decoder.loss(&image(&features, row), &captions, None).unwrap();
                let total = -loss.to_scalar::<f32>().unwrap() * captions.tokens() as f32;
                assert!((total - sentence.log_prob).abs() < 1e-4, "{total} {sentence:?}");
                compared += 1;
            }
        }
    }
    assert!(compared > 20, "{compared} sentences");
}

#[test]
fn no_images_give_no_sentences() {
    let none = Tensor::zeros((0, 12), DType::F32, &Device::Cpu).unwrap();
    for variant in ["lstm", "rnn"] {
        for how in ways() {
            assert!(how.generate(&decoder(variant, 3, 5), &none).unwrap().is_empty());
        }
    }
}
