//! Optimisers and clipping against `torch.optim` and `torch.nn.utils` (tests/golden/optim.py).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use train::config::{DecayScope, OptimizerKind, TrainConfig};
use train::gradients::{self, Clip};
use train::optimizer::Optimizer;

const NAMES: [&str; 2] = ["bias", "weight"];
const STEPS: usize = 6;
const RATES: [f64; STEPS] = [0.1, 0.1, 0.1, 0.05, 0.05, 0.05];

fn golden() -> HashMap<String, Tensor> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/optim.safetensors");
    candle_core::safetensors::load(path, &Device::Cpu).unwrap()
}

fn cases() -> Vec<(&'static str, TrainConfig)> {
    let with = |optimizer, weight_decay| TrainConfig {
        optimizer,
        weight_decay,
        decay: DecayScope::All,
        ..TrainConfig::default()
    };
    let spared = |config| TrainConfig { decay: DecayScope::Matrices, ..config };
    vec![
        ("adam", TrainConfig { betas: [0.8, 0.95], eps: 1e-6, ..with(OptimizerKind::Adam, 0.0) }),
        ("adam-decay", with(OptimizerKind::Adam, 0.1)),
        ("adamw", with(OptimizerKind::AdamW, 0.1)),
        ("adam-spared", spared(with(OptimizerKind::Adam, 0.1))),
        ("adamw-spared", spared(with(OptimizerKind::AdamW, 0.1))),
        ("sgd-spared", spared(with(OptimizerKind::Sgd, 0.1))),
        ("sgd", with(OptimizerKind::Sgd, 0.1)),
        ("sgd-momentum", TrainConfig { momentum: 0.9, ..with(OptimizerKind::Sgd, 0.1) }),
    ]
}

fn start(golden: &HashMap<String, Tensor>) -> BTreeMap<String, Var> {
    let var = |name: &str| Var::from_tensor(&golden[name]).unwrap();
    NAMES.iter().map(|name| ((*name).to_owned(), var(name))).collect()
}

/// The gradient of sum(var * g) is g.
fn gradients(
    golden: &HashMap<String, Tensor>,
    vars: &BTreeMap<String, Var>,
    step: usize,
) -> GradStore {
    let parts = vars.iter().map(|(name, var)| {
        let g = &golden[&format!("gradient.{step}.{name}")];
        (var.as_tensor() * g).unwrap().sum_all().unwrap()
    });
    parts.reduce(|a, b| (a + b).unwrap()).unwrap().backward().unwrap()
}

fn close(found: &Tensor, expected: &Tensor, what: &str) {
    let values = |t: &Tensor| {
        t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap()
    };
    for (found, expected) in values(found).iter().zip(values(expected)) {
        assert!(
            (found - expected).abs() <= 1e-6 * expected.abs().max(1.0),
            "{what}: {found} and {expected}"
        );
    }
}

#[test]
fn each_optimiser_equals_torchs_with_each_clip() {
    let golden = golden();
    for (case, config) in cases() {
        for (suffix, clip_norm, clip_value) in [
            ("", f64::INFINITY, f64::INFINITY),
            ("-norm", 3.0, f64::INFINITY),
            ("-value", f64::INFINITY, 0.1),
        ] {
            let vars = start(&golden);
            let mut optimizer = Optimizer::new(&config, &vars).unwrap();
            for (step, rate) in RATES.into_iter().enumerate() {
                let gradients = gradients(&golden, &vars, step);
                let norm =
                    gradients::norm(optimizer.vars().filter_map(|var| gradients.get(var))).unwrap();
                if suffix == "-norm" {
                    let expected = golden[&format!("norm.{step}")].to_vec1::<f32>().unwrap()[0];
                    assert!(
                        (norm - f64::from(expected)).abs() < 1e-6 * norm,
                        "{norm} and {expected}"
                    );
                }
                optimizer.step(&gradients, rate, Clip::new(norm, clip_norm, clip_value)).unwrap();
            }
            for name in NAMES {
                let key = format!("{case}{suffix}.{name}");
                close(&vars[name], &golden[&key], &key);
            }
        }
    }
}

#[test]
fn a_restored_optimiser_goes_on_to_the_same_bits() {
    let golden = golden();
    let bits = |vars: &BTreeMap<String, Var>| -> Vec<u32> {
        let values = |var: &Var| var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        vars.values().flat_map(values).map(f32::to_bits).collect()
    };
    for (case, config) in cases() {
        let vars = start(&golden);
        let mut optimizer = Optimizer::new(&config, &vars).unwrap();
        for step in 0..3 {
            optimizer.step(&gradients(&golden, &vars, step), 0.1, Clip::NONE).unwrap();
        }
        let copies: BTreeMap<String, Var> = vars
            .iter()
            .map(|(name, var)| {
                (name.clone(), Var::from_tensor(&var.as_tensor().copy().unwrap()).unwrap())
            })
            .collect();
        let saved = optimizer
            .state()
            .into_iter()
            .map(|(name, tensor)| (name, tensor.copy().unwrap()))
            .collect();
        let mut restored = Optimizer::new(&config, &copies).unwrap();
        restored.restore(saved, 3, Path::new("optimizer.safetensors")).unwrap();
        for step in 3..STEPS {
            optimizer.step(&gradients(&golden, &vars, step), 0.05, Clip::NONE).unwrap();
            restored.step(&gradients(&golden, &copies, step), 0.05, Clip::NONE).unwrap();
        }
        assert_eq!(bits(&vars), bits(&copies), "{case}");
    }
}

#[test]
fn a_state_that_does_not_fit_names_the_tensor() {
    let golden = golden();
    let vars = start(&golden);
    let mut optimizer = Optimizer::new(&TrainConfig::default(), &vars).unwrap();
    let mut state: HashMap<String, Tensor> = optimizer.state().into_iter().collect();
    state.insert("exp_avg.weight".into(), Tensor::zeros((5, 4), DType::F32, &Device::Cpu).unwrap());
    let error = optimizer.restore(state.clone(), 1, Path::new("o.safetensors")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "o.safetensors: exp_avg.weight is F32 [5, 4], expected F32 [4, 5]"
    );
    assert_eq!(error.exit_code(), 2);
    state.remove("exp_avg.weight");
    let error = optimizer.restore(state, 1, Path::new("o.safetensors")).unwrap_err();
    assert_eq!(error.to_string(), "o.safetensors: exp_avg.weight is missing");
}
