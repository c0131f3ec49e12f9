//! A training step's parts at the size that everyone trains: batches of 128 captions as long as Flickr8k's, E = H = 512,
//! with its vocabulary and with COCO's. Throughput is in words: `cargo bench --package train`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::hint::black_box;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nic_core::{Decoder, PackedCaptions, Training};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use train::config::{ModelConfig, TrainConfig};
use train::gradients::{self, Clip};
use train::optimizer::Optimizer;

const BATCH: usize = 128;
const FEATURES: usize = 4096;

/// How many of Flickr8k's 100 captions have 1, 2, 3 ... words, those of more than 20 cut there.
const LENGTHS: [usize; 20] = [0, 0, 1, 1, 3, 6, 8, 10, 12, 12, 11, 9, 7, 6, 4, 3, 2, 2, 1, 2];

fn batch(words: usize, rng: &mut ChaCha8Rng) -> (Tensor, PackedCaptions) {
    let lengths: Vec<usize> =
        (1..).zip(LENGTHS).flat_map(|(length, count)| vec![length; count]).collect();
    let captions: Vec<Vec<u32>> = (0..BATCH)
        .map(|_| {
            let length = lengths[rng.random_range(0..lengths.len())];
            (0..length).map(|_| rng.random_range(4..words as u32)).collect()
        })
        .collect();
    let captions: Vec<&[u32]> = captions.iter().map(Vec::as_slice).collect();
    let features = (0..BATCH * FEATURES).map(|_| rng.random::<f32>()).collect();
    (
        Tensor::from_vec(features, (BATCH, FEATURES), &Device::Cpu).unwrap(),
        PackedCaptions::new(&captions, &Device::Cpu).unwrap(),
    )
}

fn step(c: &mut Criterion) {
    for words in [2_541, 10_000] {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let config = ModelConfig::default().decoder(FEATURES, words);
        let vars: BTreeMap<String, Var> = config
            .init(rng)
            .unwrap()
            .into_iter()
            .map(|(name, tensor)| (name, Var::from_tensor(&tensor).unwrap()))
            .collect();
        let weights = vars.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone()));
        let weights = VarBuilder::from_tensors(weights.collect(), DType::F32, &Device::Cpu);
        let decoder = Decoder::new(&config, weights).unwrap();
        let frozen = decoder.detach();
        let mut optimizer = Optimizer::new(&TrainConfig::default(), &vars).unwrap();
        let (features, captions) = batch(words, rng);
        let loss = |rng: &mut ChaCha8Rng| {
            let dropout = ModelConfig::default().dropout();
            let training = Training { dropout, label_smoothing: 0.0, rng };
            decoder.loss(&features, &captions, Some(training)).unwrap()
        };

        let mut group = c.benchmark_group(format!("V={words}"));
        group.throughput(Throughput::Elements(captions.tokens() as u64)).sample_size(10);
        group.bench_function("evaluation", |b| {
            b.iter(|| black_box(frozen.loss(&features, &captions, None).unwrap()));
        });
        group.bench_function("loss and gradients", |b| {
            b.iter(|| black_box(loss(rng).backward().unwrap()));
        });
        let gradients = loss(rng).backward().unwrap();
        let norm = || gradients::norm(vars.values().filter_map(|var| gradients.get(var))).unwrap();
        group.bench_function("norm", |b| b.iter(|| black_box(norm())));
        group.bench_function("adam", |b| {
            b.iter(|| optimizer.step(&gradients, 1e-6, Clip::new(1.0, 5.0, 1.0)).unwrap());
        });
        group.bench_function("step", |b| {
            b.iter(|| {
                let gradients = loss(rng).backward().unwrap();
                let norm =
                    gradients::norm(vars.values().filter_map(|var| gradients.get(var))).unwrap();
                let clip = Clip::new(norm, 5.0, f64::INFINITY);
                optimizer.step(&gradients, 1e-6, clip).unwrap();
            });
        });
        group.finish();
    }
}

criterion_group!(benches, step);
criterion_main!(benches);
