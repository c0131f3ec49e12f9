//! The golden file and comparisons.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

pub mod toy;

use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use nic_core::{Cell, Decoder, DecoderConfig, PackedCaptions};
use serde::Deserialize;

/// What `golden/decoder.py` wrote.
pub struct Golden {
    tensors: HashMap<String, Tensor>,
    file: GoldenFile,
}

#[derive(Deserialize)]
struct GoldenFile {
    captions: Vec<Vec<Vec<u32>>>,
    losses: HashMap<String, HashMap<String, Vec<f64>>>,
}

/// The shape of a golden decoder.
pub fn golden_config(variant: &str) -> DecoderConfig {
    DecoderConfig {
        cell: if variant.starts_with("rnn") { Cell::Rnn } else { Cell::Lstm },
        feature_dim: 12,
        embed_dim: if variant == "lstm-tied" { 10 } else { 8 },
        hidden_dim: 10,
        vocab_size: 23,
        num_layers: if variant.ends_with("-2") { 2 } else { 1 },
        tie_embeddings: variant == "lstm-tied",
        lstm_bias: !matches!(variant, "lstm-plain" | "lstm-no-bias"),
        cell_tanh: !matches!(variant, "lstm-plain" | "lstm-no-tanh"),
    }
}

impl Golden {
    pub fn read() -> Self {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let tensors =
            candle_core::safetensors::load(dir.join("decoder.safetensors"), &Device::Cpu).unwrap();
        let file =
            serde_json::from_slice(&std::fs::read(dir.join("decoder.json")).unwrap()).unwrap();
        Self { tensors, file }
    }

    pub fn tensor(&self, name: &str) -> Tensor {
        self.tensors[name].clone()
    }

    pub fn losses(&self, variant: &str, optimizer: &str) -> Vec<f64> {
        self.file.losses[variant][optimizer].clone()
    }

    pub fn batches(&self) -> usize {
        self.file.captions.len()
    }

    pub fn batch(&self, at: usize) -> (Tensor, PackedCaptions) {
        let captions: Vec<&[u32]> = self.file.captions[at].iter().map(Vec::as_slice).collect();
        (
            self.tensor(&format!("features.{at}")),
            PackedCaptions::new(&captions, &Device::Cpu).unwrap(),
        )
    }

    pub fn caption(&self, batch: usize, row: usize) -> Vec<u32> {
        self.file.captions[batch][row].clone()
    }

    pub fn decoder(&self, variant: &str) -> Decoder {
        let config = golden_config(variant);
        let tensors = config
            .tensors()
            .into_iter()
            .map(|(name, _)| (name.clone(), self.tensor(&format!("{variant}/weights/{name}"))))
            .collect();
        Decoder::new(&config, VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu)).unwrap()
    }
}

/// The error's norm is at most `tolerance` times the expected tensor's.
pub fn near(found: &Tensor, expected: &Tensor, tolerance: f64, what: &str) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let norm = |t: &Tensor| t.sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap().sqrt();
    let (found, expected) =
        (found.to_dtype(DType::F64).unwrap(), expected.to_dtype(DType::F64).unwrap());
    let error = norm(&(&found - &expected).unwrap()) / norm(&expected).max(1e-12);
    assert!(error <= tolerance, "{what}: relative error {error:e}");
}

/// An image of Karpathy's dataset file.
#[derive(Deserialize)]
pub struct Image {
    pub sentences: Vec<Sentence>,
}

#[derive(Deserialize)]
pub struct Sentence {
    pub raw: String,
    pub tokens: Vec<String>,
}

/// Flickr8k's captions; none, and a word on it, where `NIC_TEST_DATA` does not say where real data is.
pub fn karpathy(test: &str) -> Option<Vec<Image>> {
    #[derive(Deserialize)]
    struct File {
        images: Vec<Image>,
    }
    let Some(data) = std::env::var_os("NIC_TEST_DATA") else {
        let _ = writeln!(std::io::stderr(), "{test}: skipped, as NIC_TEST_DATA is not set");
        return None;
    };
    let path = Path::new(&data).join("flickr8k/dataset_flickr8k_trainval.json");
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Some(serde_json::from_slice::<File>(&text).unwrap().images)
}
