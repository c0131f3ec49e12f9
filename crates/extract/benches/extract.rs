//! The whole program: image files to shards, with VGG16 at its full width, on the CPU, its start included.
//!
//! `cargo bench --workspace --bench extract`; photographs are read from `$NIC_TEST_DATA`, where it is set.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // as in tests
#![allow(missing_docs, reason = "criterion's macros")]

use clap::Parser;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use extract::{Cli, run};

#[path = "../tests/common/mod.rs"]
mod common;
use common::{Fixture, photographs};

const IMAGES: usize = 64;

fn benchmark(criterion: &mut Criterion) {
    let fixture = Fixture::empty();
    fixture.full_weights("vgg.safetensors");
    fixture.repeat(&photographs(), IMAGES);
    let path = |name: &str| fixture.path(name).display().to_string();
    let mut group = criterion.benchmark_group("extract");
    group.throughput(Throughput::Elements(IMAGES as u64)).sample_size(10);
    for batch in [1, 16] {
        let arguments = [
            "extract".into(),
            format!("--dataset={}", path("data.toml")),
            format!("--weights={}", path("vgg.safetensors")),
            format!("--out={}", path("out")),
            format!("--batch-size={batch}"),
            "--device=cpu".into(),
        ];
        let args = Cli::parse_from(&arguments).args;
        group.bench_function(format!("batches of {batch}"), |bencher| {
            bencher.iter(|| {
                let _ = std::fs::remove_dir_all(path("out"));
                run(&args).unwrap()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
