//! Every part of the check on the CPU, where it has to find no difference, and what it says without a card.

#![allow(clippy::unwrap_used)] // as in tests themselves

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gpu-check")).args(arguments).output().unwrap()
}

fn measure(arguments: &[&str]) -> Value {
    let output = run(&[arguments, &["--device", "cpu", "--quick"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

#[test]
fn without_the_card_it_says_so_in_one_line() {
    let output = run(&["device", "--device", "cuda:1000"]);
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("gpu-check: device cuda:1000: "), "{text}");
    assert_eq!((text.lines().count(), output.stdout.len()), (1, 0), "{text}");
}

#[test]
fn the_cpu_is_as_the_cpu() {
    let fc7 = measure(&["fc7"]);
    assert_eq!(fc7["f32"]["relative_l2"], 0.0);
    // weights of fewer bits: what the bounds on a card have to leave room for
    for (dtype, most) in [("f16", 2e-3), ("bf16", 1e-2)] {
        let difference = fc7[dtype]["relative_l2"].as_f64().unwrap();
        assert!(difference > 0.0 && difference < most, "{dtype}: {difference}");
        assert!(fc7[dtype]["cosine"].as_f64().unwrap() > 0.9999);
    }
    let step = measure(&["step"]);
    for what in ["loss", "gradient", "norm", "update"] {
        assert_eq!(step[format!("relative_{what}")], 0.0, "{what}");
    }
    assert!(step["losses"].as_array().unwrap().iter().all(|loss| loss.as_f64().unwrap() > 1.0));
    let beam = measure(&["beam"]);
    assert_eq!(beam["relative_log_prob"], 0.0);
    assert!(beam["captions_per_second"].as_f64().unwrap() > 0.0);
}

#[test]
fn rates_are_taken() {
    assert!(measure(&["device"])["device"].as_str().unwrap().starts_with("the CPU, "));
    let vgg = measure(&["vgg"]);
    for dtype in ["f32", "f16", "bf16"] {
        assert!(vgg[dtype]["3"].as_f64().unwrap() > 0.0, "{vgg}");
    }
    let extract = measure(&["extract"]);
    // 24 under two names each
    assert_eq!((&extract["images"], &extract["failed"]), (&48.into(), &0.into()));
    // f16 rounds by as much; of another image it would be about 1
    assert!(extract["fc7"]["relative_l2"].as_f64().unwrap() < 1e-3, "{extract}");
    for stage in ["read", "decode", "encode", "write"] {
        assert!(extract[stage]["images_per_second"].as_f64().unwrap() > 0.0, "{extract}");
    }
    let dir = tempfile::tempdir().unwrap();
    world(dir.path());
    let train = measure(&["train", dir.path().join("run.toml").to_str().unwrap()]);
    assert_eq!(train["steps"], 4);
    assert!(train["words_per_second"].as_f64().unwrap() > 0.0, "{train}");
}

/// Eight captions of two words, two batches an epoch.
fn world(dir: &Path) {
    let images: Vec<String> = (1..=9)
        .map(|id| {
            let split = if id < 9 { "train" } else { "val" };
            format!(
                r#"{{"filename": "{id}.jpg", "split": "{split}", "sentences": [{{"raw": "a b", "tokens": ["a", "b"]}}]}}"#
            )
        })
        .collect();
    let json = format!(r#"{{"images": [{}], "dataset": "w"}}"#, images.join(","));
    fs::write(dir.join("data.json"), json).unwrap();
    let toml = "name = \"w\"\nformat = \"karpathy\"\ncaptions = [\"data.json\"]\n";
    fs::write(dir.join("data.toml"), toml).unwrap();
    let ids: Vec<u8> = (1..=9i64).flat_map(i64::to_le_bytes).collect();
    let features: Vec<u8> = (0..9 * 4).flat_map(|value| (value as f32).to_le_bytes()).collect();
    let tensors = BTreeMap::from([
        ("features", TensorView::new(Dtype::F32, vec![9, 4], &features).unwrap()),
        ("image_id", TensorView::new(Dtype::I64, vec![9], &ids).unwrap()),
    ]);
    safetensors::serialize_to_file(tensors, None, &dir.join("features.safetensors")).unwrap();
    fs::write(
        dir.join("run.toml"),
        "data = { dataset = \"data.toml\", features = \"features.safetensors\", min_count = 1 }\n\
         model = { embed_dim = 4, hidden_dim = 4 }\n\
         train = { batch_size = 4, epochs = 2 }\n\
         output = { dir = \"run\" }\n",
    )
    .unwrap();
}
