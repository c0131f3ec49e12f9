//! 5,000 captions against 25,000 references, made up: `cargo bench --bench scores`.

#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;

use caption_metrics::{Bleu, Cider, CiderScorer, Corpus, Metric, References, Results, RougeL, ptb};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const IMAGES: usize = 5_000;
const REFERENCES: usize = 5;

/// A linear congruential generator with the multiplier of Knuth's MMIX.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % bound
    }

    /// Eight to thirteen words of 5,000; few follow any one of them often, so that n-grams come again.
    fn caption(&mut self) -> String {
        let mut word = 0;
        let length = 8 + self.below(6);
        let words = (0..length).map(|_| {
            let most = 1 << self.below(8);
            let successor = self.below(most);
            word = (word * 31 + successor) % 5_000;
            format!("w{word}")
        });
        words.collect::<Vec<_>>().join(" ") + "."
    }
}

fn captions() -> (References, Results) {
    let mut numbers = Numbers(1);
    let images = (0..IMAGES as i64)
        .map(|id| (id, (0..REFERENCES).map(|_| numbers.caption()).collect()))
        .collect();
    let results = (0..IMAGES as i64).map(|id| (id, numbers.caption())).collect();
    (References::new("references", images), Results::new("results", results))
}

fn benchmarks(criterion: &mut Criterion) {
    let (references, results) = captions();
    let tokenized = || Corpus::new(&references, &results, ptb::tokenize_part).unwrap();
    let corpus = tokenized();

    let mut group = criterion.benchmark_group("5000 captions, 25000 references");
    group.sample_size(20);
    group.bench_function("tokenise", |bencher| bencher.iter(tokenized));
    group.bench_function("bleu", |bencher| bencher.iter(|| Bleu.score(&corpus)));
    group.bench_function("rouge_l", |bencher| bencher.iter(|| RougeL.score(&corpus)));
    group.bench_function("cider", |bencher| bencher.iter(|| Cider::default().score(&corpus)));
    for threads in [1, 2, 4, 8, 16] {
        if threads > 1 && std::thread::available_parallelism().is_ok_and(|n| n.get() < threads) {
            continue;
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        group.bench_function(format!("all on {threads} threads"), |bencher| {
            bencher.iter(|| {
                pool.install(|| {
                    let corpus = tokenized();
                    let metrics: [&dyn Metric; 3] = [&Bleu, &RougeL, &Cider::default()];
                    metrics.map(|metric| metric.score(&corpus))
                })
            });
        });
    }
    group.finish();

    let scorer = CiderScorer::new(corpus.images().iter().map(|image| &image.references[..]));
    let mut group = criterion.benchmark_group("a training loop");
    group.throughput(Throughput::Elements(IMAGES as u64));
    group.bench_function("cider_d of 5000 captions as ids, one thread", |bencher| {
        bencher.iter(|| {
            for (at, image) in corpus.images().iter().enumerate() {
                black_box(scorer.cider_d(at, image.candidate.words()));
            }
        });
    });
    group.finish();
}

criterion_group!(benches, benchmarks);
criterion_main!(benches);
