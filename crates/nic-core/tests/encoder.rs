//! The encoder: finding its weights, what it records of them, fc7 of crops.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use nic_core::{Crop, Encoder, EncoderSpec, Location, Preprocess, Result};

#[cfg(feature = "hub")]
mod hub_server;

const CPU: Device = Device::Cpu;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn narrow() -> Preprocess {
    Preprocess { resize: 72, crop: 64, ..Preprocess::default() }
}

fn load(path: impl Into<PathBuf>) -> Result<Encoder> {
    Encoder::load(&Location::Local(path.into()), narrow(), DType::F32, &CPU)
}

fn crops() -> Vec<Crop> {
    ["down.png", "alpha.png", "420.jpg"]
        .map(|name| {
            narrow().crop(&std::fs::read(golden("preprocess").join(name)).unwrap()).unwrap()
        })
        .to_vec()
}

fn rows(encoder: &Encoder) -> Vec<Vec<f32>> {
    encoder.encode(&crops()).unwrap().to_vec2().unwrap()
}

/// The narrow weights in two files with an index, as large repositories have them.
fn sharded(dir: &Path) {
    let tensors = candle_core::safetensors::load(golden("narrow.timm.safetensors"), &CPU).unwrap();
    let (mut shards, mut index) = ([HashMap::new(), HashMap::new()], BTreeMap::new());
    for (name, tensor) in tensors {
        let shard = usize::from(name.starts_with("features.2"));
        index.insert(name.clone(), format!("model-{shard}.safetensors"));
        shards[shard].insert(name, tensor);
    }
    for (at, shard) in shards.iter().enumerate() {
        candle_core::safetensors::save(shard, dir.join(format!("model-{at}.safetensors"))).unwrap();
    }
    let index = serde_json::json!({ "metadata": { "total_size": 1 }, "weight_map": index });
    std::fs::write(dir.join("model.safetensors.index.json"), index.to_string()).unwrap();
}

#[test]
fn it_records_what_it_is() {
    let file = golden("narrow.timm.safetensors");
    let encoder = load(&file).unwrap();
    let spec = encoder.spec();
    assert_eq!((spec.architecture.as_str(), spec.layer.as_str(), spec.dim), ("vgg16", "fc7", 12));
    assert_eq!(spec.weights, file.display().to_string());
    // sha256sum narrow.timm.safetensors
    let hash = "8d780cd392634bb5b61c603d6dadc7d34e67f452836eadc40796cf3cec905ce0";
    assert_eq!(spec.weights_sha256, hash);
    let text = serde_json::to_string(spec).unwrap();
    assert_eq!(&serde_json::from_str::<EncoderSpec>(&text).unwrap(), spec);
    assert_eq!(&EncoderSpec::of(&Location::Local(file), narrow()).unwrap(), spec);
    assert_eq!(encoder.encode(&[]).unwrap().dims(), [0, 12]);
}

#[test]
fn weights_are_found_however_they_are_named() {
    let expected = rows(&load(golden("narrow.timm.safetensors")).unwrap());
    assert!(expected.iter().flatten().any(|value| *value > 0.0));
    let (single, several) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sharded(several.path());
    std::fs::copy(
        golden("narrow.torchvision.safetensors"),
        single.path().join("vgg16-other-name.safetensors"),
    )
    .unwrap();
    let index = several.path().join("model.safetensors.index.json");
    for place in [single.path(), several.path(), &index] {
        assert_eq!(rows(&load(place).unwrap()), expected, "{place:?}");
    }
    // Where several belong together, the hash is of `cat model-0.safetensors model-1.safetensors`.
    assert_eq!(
        load(several.path()).unwrap().spec().weights_sha256,
        load(&index).unwrap().spec().weights_sha256
    );
    std::fs::remove_file(several.path().join("model-1.safetensors")).unwrap();
    let error = load(several.path()).unwrap_err().to_string();
    assert!(error.contains("model-1.safetensors"), "{error}");
    std::fs::write(&index, "{\"weight_map\": 1}").unwrap();
    let error = load(several.path()).unwrap_err().to_string();
    assert!(error.contains("index.json: ") && error.contains("line 1"), "{error}");
    std::fs::write(&index, "{\"weight_map\": {}}").unwrap();
    assert!(load(&index).unwrap_err().to_string().contains("any file in weight_map is missing"));
    let empty = tempfile::tempdir().unwrap();
    let error = load(empty.path()).unwrap_err().to_string();
    assert!(error.contains("a *.safetensors file is missing"), "{error}");
    let error = load(empty.path().join("none")).unwrap_err();
    assert!(error.to_string().contains("none"), "{error}");
    assert_eq!(error.exit_code(), 2);
}

#[cfg(feature = "hub")]
#[test]
fn a_repository_means_its_model_or_what_its_index_names() {
    // Runs itself as another process, since the environment belongs to the whole process.
    if std::env::var_os("NIC_TEST_CHILD").is_some() {
        for text in ["hf://me/whole", "hf://me/sharded"] {
            let place = Location::parse(text, Path::new(".")).unwrap();
            let encoder = Encoder::load(&place, narrow(), DType::F32, &CPU).unwrap();
            assert_eq!(encoder.spec().weights, text);
            assert_eq!(rows(&encoder), rows(&load(golden("narrow.timm.safetensors")).unwrap()));
        }
        let none = Location::parse("hf://me/none", Path::new(".")).unwrap();
        let error = Encoder::load(&none, narrow(), DType::F32, &CPU).unwrap_err().to_string();
        assert!(error.contains("hf://me/none/") && error.contains("404"), "{error}");
        return;
    }
    let (dir, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sharded(dir.path());
    let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    let server = hub_server::HubServer::start(&[
        ("me/whole/model.safetensors", &std::fs::read(golden("narrow.timm.safetensors")).unwrap()),
        ("me/sharded/model.safetensors.index.json", &read("model.safetensors.index.json")),
        ("me/sharded/model-0.safetensors", &read("model-0.safetensors")),
        ("me/sharded/model-1.safetensors", &read("model-1.safetensors")),
    ]);
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_repository_means_its_model_or_what_its_index_names"])
        .env("NIC_TEST_CHILD", "1")
        .env("HF_ENDPOINT", &server.endpoint)
        .env("HF_HOME", home.path())
        .env_remove("HF_HUB_OFFLINE")
        .output()
        .unwrap();
    let says = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && says.contains("1 passed"), "{says}");
}

#[test]
fn a_crop_of_another_size_is_refused() {
    let place = Location::Local(golden("narrow.timm.safetensors"));
    let error = Encoder::load(&place, Preprocess::default(), DType::F32, &CPU).unwrap_err();
    assert!(
        error.to_string().contains("crop is 224, expected 64, which the weights of"),
        "{error}"
    );
}

#[test]
fn differences_name_what_differs() {
    let spec = load(golden("narrow.timm.safetensors")).unwrap().spec().clone();
    let moved = EncoderSpec { weights: "elsewhere".into(), ..spec.clone() };
    assert_eq!(spec.differences(&moved), Vec::<String>::new());
    let mut other = EncoderSpec { dim: 4096, weights_sha256: "00".into(), ..spec.clone() };
    other.preprocess.resize = 256;
    other.preprocess.exif_orientation = true;
    let lines = spec.differences(&other);
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert_eq!(lines[0], "dim is 12, the other's is 4096");
    assert_eq!(lines[2], "preprocess.resize is 72, the other's is 256");
}

#[test]
fn a_relative_path_to_the_weights_moves_with_its_record() {
    let top = tempfile::tempdir().unwrap();
    let top = top.path().canonicalize().unwrap();
    std::fs::create_dir_all(top.join("features/coco")).unwrap();
    std::fs::create_dir_all(top.join("runs")).unwrap();
    let spec = load(golden("narrow.timm.safetensors")).unwrap().spec().clone();
    let at = |weights: &str| EncoderSpec { weights: weights.into(), ..spec.clone() };

    let loaded = at(top.join("weights/vgg.safetensors").to_str().unwrap());
    let stored = loaded.relative_to(&top.join("features/coco")).unwrap();
    assert_eq!(stored.weights, "../../weights/vgg.safetensors");
    // The directory need not be there yet.
    let run = stored.relocated(&top.join("features/coco"), &top.join("runs/new/best")).unwrap();
    assert_eq!(run.weights, "../../../weights/vgg.safetensors");
    let beside = run.relocated(&top.join("runs/new/best"), &top.join("weights")).unwrap();
    assert_eq!(beside.weights, "vgg.safetensors");

    for kept in ["hf://timm/vgg16.tv_in1k", "/opt/vgg.safetensors"] {
        let spec = at(kept);
        assert_eq!(spec.relocated(&top.join("runs"), &top.join("weights")).unwrap(), spec);
    }
    // features that a whole tree was put into a bucket with
    let bucket = at("../../weights/vgg.safetensors");
    let found = bucket.relocated(Path::new("s3://b/features/coco"), &top.join("runs")).unwrap();
    assert_eq!(found.weights, "s3://b/weights/vgg.safetensors");
    assert_eq!(at("gs://a/b").relocated(Path::new("s3://b/c"), &top).unwrap().weights, "gs://a/b");
    assert_eq!(at("hf://a/b").relative_to(&top).unwrap().weights, "hf://a/b");
}

#[cfg(unix)]
#[test]
fn a_link_on_the_way_is_followed() {
    let top = tempfile::tempdir().unwrap();
    let top = top.path().canonicalize().unwrap();
    std::fs::create_dir_all(top.join("disk/deep/runs")).unwrap();
    std::os::unix::fs::symlink(top.join("disk/deep/runs"), top.join("runs")).unwrap();
    let weights = golden("narrow.timm.safetensors");
    std::fs::copy(&weights, top.join("vgg.safetensors")).unwrap();
    let spec = load(top.join("vgg.safetensors")).unwrap().spec().relative_to(&top).unwrap();
    assert_eq!(spec.weights, "vgg.safetensors");
    let moved = spec.relocated(&top, &top.join("runs/first")).unwrap();
    std::fs::create_dir(top.join("runs/first")).unwrap();
    let found = Location::parse(&moved.weights, &top.join("runs/first")).unwrap();
    assert_eq!(std::fs::read(found.fetch().unwrap()).unwrap(), std::fs::read(weights).unwrap());
    assert!(load(found.fetch().unwrap()).is_ok(), "{}", moved.weights);
}

#[test]
fn the_crops_order_is_the_rows_order() {
    let encoder = load(golden("narrow.timm.safetensors")).unwrap();
    let crops = crops();
    let together = encoder.encode(&crops).unwrap();
    for (at, crop) in crops.iter().enumerate() {
        let alone: Tensor = encoder.encode(std::slice::from_ref(crop)).unwrap();
        let row = together.narrow(0, at, 1).unwrap();
        let error = (row - alone).unwrap().abs().unwrap().max_all().unwrap();
        assert!(error.to_scalar::<f32>().unwrap() < 1e-5);
    }
}
