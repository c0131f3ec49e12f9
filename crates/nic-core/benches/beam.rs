//! Captions a second, of a decoder of the usual size whose weights nobody trained: every sentence has 12 words, as
//! many as people's captions have, so that no change of the search's rules hides in the time.

#![allow(clippy::unwrap_used, clippy::expect_used)] // as in tests
#![allow(missing_docs, reason = "criterion's macros")]

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nic_core::{BeamSearch, Cell, Decoder, DecoderConfig, Generate, Rules, Sample};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

fn decoder(vocab_size: usize) -> Decoder {
    let config = DecoderConfig {
        cell: Cell::Lstm,
        feature_dim: 4096,
        embed_dim: 512,
        hidden_dim: 512,
        vocab_size,
        num_layers: 1,
        lstm_bias: true,
        cell_tanh: true,
        tie_embeddings: false,
    };
    let tensors = config.init(&mut ChaCha8Rng::seed_from_u64(1)).unwrap().into_iter().collect();
    Decoder::new(&config, VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu)).unwrap()
}

fn benchmark(criterion: &mut Criterion) {
    let rules = Rules::default().min_len(12).max_len(12);
    let ways: [(&str, Box<dyn Generate>); 3] = [
        ("greedy", Box::new(BeamSearch::new(1).rules(rules.clone()))),
        ("beam 3", Box::new(BeamSearch::new(3).best(1).rules(rules.clone()))),
        ("sample", Box::new(Sample::new(1).rules(rules))),
    ];
    for words in [2540, 10_000] {
        let decoder = decoder(words);
        for images in [1, 256] {
            let values = Tensor::arange(0f32, (images * 4096) as f32, &Device::Cpu).unwrap();
            let features = values.sin().unwrap().reshape((images, 4096)).unwrap();
            let mut group = criterion.benchmark_group(format!("{words} words, {images} images"));
            group.throughput(Throughput::Elements(images as u64)).sample_size(10);
            for (name, how) in &ways {
                group.bench_function(*name, |bencher| {
                    bencher.iter(|| how.generate(&decoder, &features).unwrap());
                });
            }
            group.finish();
        }
    }
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
