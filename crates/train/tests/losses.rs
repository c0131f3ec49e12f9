//! The first 50 losses of a decoder under each optimiser, against PyTorch (nic-core's tests/golden/decoder.py).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Var};
use candle_nn::VarBuilder;
use nic_core::{Cell, Decoder, DecoderConfig, PackedCaptions};
use serde_json::Value;
use train::config::{DecayScope, OptimizerKind, TrainConfig};
use train::gradients::{self, Clip};
use train::optimizer::Optimizer;

#[test]
fn first_fifty_losses_equal_pytorch_under_each_optimiser() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../nic-core/tests/golden");
    let tensors =
        candle_core::safetensors::load(dir.join("decoder.safetensors"), &Device::Cpu).unwrap();
    let golden: Value =
        serde_json::from_slice(&std::fs::read(dir.join("decoder.json")).unwrap()).unwrap();
    let captions: Vec<Vec<Vec<u32>>> = serde_json::from_value(golden["captions"].clone()).unwrap();
    let shape = DecoderConfig {
        cell: Cell::Lstm,
        feature_dim: 12,
        embed_dim: 8,
        hidden_dim: 10,
        vocab_size: 23,
        num_layers: 1,
        tie_embeddings: false,
        lstm_bias: true,
        cell_tanh: true,
    };

    let config = |optimizer, learning_rate, momentum, weight_decay| TrainConfig {
        optimizer,
        learning_rate,
        momentum,
        weight_decay,
        decay: DecayScope::All,
        ..TrainConfig::default()
    };
    let unclipped = f64::INFINITY;
    let cases = [
        ("sgd", config(OptimizerKind::Sgd, 0.5, 0.0, 0.0), unclipped),
        ("momentum", config(OptimizerKind::Sgd, 0.1, 0.9, 0.001), unclipped),
        ("adam", config(OptimizerKind::Adam, 0.01, 0.0, 0.0), unclipped),
        ("adamw", config(OptimizerKind::AdamW, 0.01, 0.0, 0.1), unclipped),
        ("adam-clipped", config(OptimizerKind::Adam, 0.01, 0.0, 0.0), 0.25),
    ];
    for (case, config, clip_norm) in cases {
        let vars: BTreeMap<String, Var> = shape
            .tensors()
            .into_iter()
            .map(|(name, _)| {
                let var = Var::from_tensor(&tensors[&format!("lstm/weights/{name}")]).unwrap();
                (name, var)
            })
            .collect();
        let weights =
            vars.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect();
        let decoder =
            Decoder::new(&shape, VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu))
                .unwrap();
        let mut optimizer = Optimizer::new(&config, &vars).unwrap();

        let expected: Vec<f64> =
            serde_json::from_value(golden["losses"]["lstm"][case].clone()).unwrap();
        assert_eq!(expected.len(), 50, "{case}");
        for (step, expected) in expected.into_iter().enumerate() {
            let at = step % captions.len();
            let words: Vec<&[u32]> = captions[at].iter().map(Vec::as_slice).collect();
            let batch = PackedCaptions::new(&words, &Device::Cpu).unwrap();
            let loss = decoder.loss(&tensors[&format!("features.{at}")], &batch, None).unwrap();
            let found = f64::from(loss.to_scalar::<f32>().unwrap());
            assert!(
                (found / expected - 1.0).abs() < 1e-4,
                "{case} step {step}: {found}, PyTorch {expected}"
            );
            let gradients = loss.backward().unwrap();
            let norm =
                gradients::norm(optimizer.vars().filter_map(|var| gradients.get(var))).unwrap();
            optimizer
                .step(&gradients, config.learning_rate, Clip::new(norm, clip_norm, f64::INFINITY))
                .unwrap();
        }
    }
}
