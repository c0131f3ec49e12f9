//! METEOR of COCO's 5,000 validation images, each with the next one's caption: `cargo bench --bench meteor`, with
//! `NIC_METEOR_DATA` and `NIC_TEST_DATA` set.

#![allow(clippy::unwrap_used, missing_docs)]

use std::path::PathBuf;

use caption_metrics::{Corpus, Meteor, Metric, References, Results, ptb};
use criterion::{Criterion, criterion_group, criterion_main};

fn benchmarks(criterion: &mut Criterion) {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let (Some(dir), Some(data)) = (variable("NIC_METEOR_DATA"), variable("NIC_TEST_DATA")) else {
        eprintln!("skipped, as NIC_METEOR_DATA or NIC_TEST_DATA is not set");
        return;
    };
    let path = data.join("coco-mini/annotations/captions_val2017.json");
    let references = References::read(&path).unwrap();
    let images = references.images();
    let others = images.iter().cycle().skip(1);
    let results = images.iter().zip(others).map(|((id, _), (_, next))| (*id, next[0].clone()));
    let results = Results::new("results", results.collect());
    let corpus = Corpus::new(&references, &results, ptb::tokenize_part).unwrap();
    let meteor = Meteor::load(&dir).unwrap();

    let mut group = criterion.benchmark_group("meteor");
    group.sample_size(10);
    group.bench_function("load", |bencher| bencher.iter(|| Meteor::load(&dir).unwrap()));
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        group.bench_function(format!("5000 captions on {threads} threads"), |bencher| {
            bencher.iter(|| pool.install(|| meteor.score(&corpus)));
        });
    }
    group.finish();
}

criterion_group!(benches, benchmarks);
criterion_main!(benches);
