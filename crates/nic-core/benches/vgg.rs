//! VGG16 on the CPU: its convolutions by shape, the network for one image and for sixteen, and an image file's way to it.
//!
//! `cargo bench --workspace --bench vgg -- network/16`; photographs are read from `$NIC_TEST_DATA`, where it is set.

#![allow(clippy::unwrap_used, clippy::expect_used)] // as in tests
#![allow(missing_docs, reason = "criterion's macros")]

use std::ops::Range;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use nic_core::{Preprocess, Result, Vgg16, VggConfig};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

// The layers are no part of nic-core's interface, so the benchmark compiles them itself.
#[allow(dead_code, unused_imports, reason = "it needs a part of it")]
#[path = "../src/cpu/mod.rs"]
mod cpu;

use cpu::Isa;
use cpu::conv::Conv;
use cpu::lines::Line;

fn numbers(count: usize, bound: f32) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    (0..count).map(|_| random.random_range(-bound..bound)).collect()
}

/// Side, channels in and out, and whether a pooling follows, of the different shapes; one image each.
fn convolution(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("convolution");
    for (side, inputs, outputs, pool) in [
        (224, 64, 64, true),
        (112, 64, 128, false),
        (112, 128, 128, true),
        (56, 128, 256, false),
        (56, 256, 256, false),
        (56, 256, 256, true),
        (28, 256, 512, false),
        (28, 512, 512, false),
        (28, 512, 512, true),
        (14, 512, 512, false),
        (14, 512, 512, true),
    ] {
        // as many images as the network takes at once
        let images = (224 * 224 * 64 / (side * side * outputs)).clamp(1, 16);
        let weights = |k: Range<usize>| Ok(numbers(k.len() * inputs * 9, 0.1));
        let lines = inputs.div_ceil(16);
        let conv = Conv::new(Isa::detect(), lines, &vec![0.1; outputs], weights).unwrap();
        let values = numbers(16, 1.0);
        let line = Line(std::array::from_fn(|i| values[i]));
        let pixels = images * side * side;
        let x = vec![line; pixels * conv.lines_in()];
        let mut y = vec![Line::ZERO; pixels / if pool { 4 } else { 1 } * conv.lines_out()];
        // what the definition takes: 9 multiplications and additions
        group.throughput(Throughput::Elements((pixels * inputs * outputs * 18) as u64));
        let pooled = if pool { " pooled" } else { "" };
        let name = format!("{images} x {side} x {side}, {inputs} to {outputs}{pooled}");
        group.bench_function(name, |bencher| {
            bencher.iter(|| conv.run(&x, &mut y, side, pool));
        });
    }
    group.finish();
}

/// The paper's widths, random weights.
fn vgg16() -> Vgg16 {
    let config = VggConfig::default();
    let mut tensors = std::collections::HashMap::new();
    let mut add = |name: &str, shape: &[usize]| {
        let inputs: usize = shape[1..].iter().product();
        let weights = numbers(shape.iter().product(), (6.0 / inputs as f32).sqrt());
        let weights = Tensor::from_vec(weights, shape, &Device::Cpu).unwrap();
        let bias = Tensor::from_vec(numbers(shape[0], 0.05), shape[0], &Device::Cpu).unwrap();
        tensors.insert(format!("{name}.weight"), weights);
        tensors.insert(format!("{name}.bias"), bias);
    };
    let mut inputs = 3;
    let places = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28];
    for (place, outputs) in places.into_iter().zip(config.channels) {
        add(&format!("features.{place}"), &[outputs, inputs, 3, 3]);
        inputs = outputs;
    }
    add("classifier.0", &[4096, 512 * 7 * 7]);
    add("classifier.3", &[4096, 4096]);
    add("classifier.6", &[1000, 4096]);
    Vgg16::new(&config, VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu)).unwrap()
}

fn network(criterion: &mut Criterion) {
    let vgg = vgg16();
    let mut group = criterion.benchmark_group("network");
    for batch in [1, 16] {
        let images = numbers(batch * 3 * 224 * 224, 2.0);
        let images = Tensor::from_vec(images, (batch, 3, 224, 224), &Device::Cpu).unwrap();
        group.throughput(Throughput::Elements(batch as u64)).sample_size(10);
        group.bench_function(BenchmarkId::from_parameter(batch), |bencher| {
            bencher.iter(|| vgg.fc7(&images).unwrap());
        });
    }
    group.finish();
}

/// Decoding, resizing and cropping a JPEG of COCO's usual size, and real ones; then a batch as VGG16 reads it.
fn preprocess(criterion: &mut Criterion) {
    let preprocess = Preprocess::default();
    let mut group = criterion.benchmark_group("preprocess");
    group.throughput(Throughput::Elements(1));
    let waves = image::RgbImage::from_fn(640, 480, |x, y| {
        let wave = |u: u32, v: u32| ((x * u + y * v) as f32 / 40.0).sin() * 60.0 + 128.0;
        let grain = (x * 31 + y * 17) % 23;
        image::Rgb([wave(1, 2), wave(3, 1), wave(2, 5)].map(|value| value as u8 + grain as u8))
    });
    let mut made = Vec::new();
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut made, 90);
    waves.write_with_encoder(encoder).unwrap();
    group.bench_function("640 x 480", |bencher| {
        bencher.iter(|| preprocess.crop(&made).unwrap());
    });
    if let Some(data) = std::env::var_os("NIC_TEST_DATA") {
        let dir = Path::new(&data).join("coco-mini/images/val2017");
        let mut paths: Vec<_> =
            dir.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        let photos: Vec<_> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
        group.throughput(Throughput::Elements(photos.len() as u64)).sample_size(10);
        group.bench_function("photographs", |bencher| {
            bencher.iter(|| {
                for photo in &photos {
                    preprocess.crop(photo).unwrap();
                }
            });
        });
    }
    let crops = vec![preprocess.crop(&made).unwrap(); 16];
    group.throughput(Throughput::Elements(16));
    group.bench_function("tensor of 16", |bencher| {
        bencher.iter(|| preprocess.tensor(&crops, &Device::Cpu).unwrap());
    });
    group.finish();
}

criterion_group!(benches, convolution, network, preprocess);
criterion_main!(benches);
