//! The program as a user runs it, with the demo's encoder and an untrained decoder.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // as in tests themselves

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use candle_core::{DType, Device, Tensor};
use nic_core::{
    BeamSearch, Captioner, Cell, Checkpoint, DecoderConfig, EncoderSpec, Location, Preprocess,
    Tokenizer, Vocab,
};
use nic_data::{ShardHeader, write_shard};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn spec() -> EncoderSpec {
    let weights = repository().join("datasets/shapes/vgg16.safetensors");
    let weights = Location::Local(weights.canonicalize().unwrap());
    EncoderSpec::of(&weights, Preprocess::default()).unwrap()
}

/// A checkpoint whose decoder was never trained.
fn checkpoint(dir: &Path, encoder: Option<EncoderSpec>, feature_dim: usize) {
    checkpoint_of(dir, encoder, feature_dim, ["a", "red", "circle"], 1);
}

fn checkpoint_of(
    dir: &Path,
    encoder: Option<EncoderSpec>,
    feature_dim: usize,
    words: [&str; 3],
    seed: u64,
) {
    let caption: Vec<String> = words.map(String::from).into();
    let vocab = Vocab::build(Tokenizer::Karpathy, [&caption[..]], 1);
    let config = DecoderConfig {
        cell: Cell::Lstm,
        feature_dim,
        embed_dim: 8,
        hidden_dim: 8,
        vocab_size: vocab.len(),
        num_layers: 1,
        lstm_bias: true,
        cell_tanh: true,
        tie_embeddings: false,
    };
    let tensors = config.init(&mut ChaCha8Rng::seed_from_u64(seed)).unwrap();
    Checkpoint { config, encoder, vocab, tensors }.save(dir).unwrap();
}

fn caption(dir: &Path, args: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_caption");
    Command::new(program).current_dir(dir).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The exit status and what stands on stderr.
fn failure(dir: &Path, args: &[&str]) -> (i32, String) {
    let output = caption(dir, args);
    assert_eq!(text(&output.stdout), "");
    (output.status.code().unwrap(), text(&output.stderr))
}

/// Copies the photograph to `dir`.
fn photo(dir: &Path) {
    std::fs::copy(repository().join("datasets/shapes/photo.png"), dir.join("photo.png")).unwrap();
}

#[test]
fn captions_photographs() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    checkpoint(&dir.join("best"), Some(spec()), spec().dim);
    photo(dir);
    let output = caption(dir, &["photo.png", "--checkpoint", "best", "--beam", "4", "--top", "2"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout).lines().count(), 2);

    // One unreadable file among others is named and does not stop them.
    std::fs::write(dir.join("broken.png"), "no image").unwrap();
    let args = ["broken.png", "photo.png", "--checkpoint", "best", "--top", "3", "--json"];
    let output = caption(dir, &args);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("broken.png"), "{}", text(&output.stderr));
    let row: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(row["image"], "photo.png");
    let log_probs: Vec<f64> = row["captions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|caption| caption["log_prob"].as_f64().unwrap())
        .collect();
    assert_eq!(log_probs.len(), 3);
    assert!(log_probs.is_sorted_by(|a, b| a >= b), "{log_probs:?}");
}

#[test]
fn a_file_its_bytes_and_its_features_are_captioned_alike() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    checkpoint(&dir.join("best"), Some(spec()), spec().dim);
    photo(dir);
    let captioner = Captioner::load(dir.join("best")).unwrap();
    let (file, how) = (dir.join("photo.png"), BeamSearch::new(3));
    let captions = captioner.caption_file(&file, &how).unwrap();
    assert_eq!(captions.len(), 3);

    let bytes = std::fs::read(&file).unwrap();
    assert_eq!(captioner.caption_bytes(&bytes, &how).unwrap(), captions);

    let features = captioner.encode(&[captioner.crop_file(&file).unwrap()]).unwrap();
    let mut features: Vec<f32> = features.flatten_all().unwrap().to_vec1().unwrap();
    assert_eq!(captioner.caption_features(&features, &how).unwrap(), captions);
    features.fill(0.0);
    assert_ne!(captioner.caption_features(&features, &how).unwrap(), captions);
}

#[test]
fn names_what_does_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    photo(dir);
    let (status, error) = failure(dir, &["photo.png"]);
    assert_eq!(status, 2);
    assert!(error.contains("runs/coco/best"), "{error}");

    checkpoint(&dir.join("elsewhere"), None, 5);
    let (status, error) = failure(dir, &["photo.png", "--checkpoint", "elsewhere"]);
    assert_eq!(status, 2);
    assert!(error.contains("the encoder is missing"), "{error}");

    let other = EncoderSpec { weights_sha256: "0".repeat(64), ..spec() };
    checkpoint(&dir.join("other"), Some(other), spec().dim);
    let (status, error) = failure(dir, &["photo.png", "--checkpoint", "other"]);
    assert_eq!(status, 2);
    assert!(error.contains("weights_sha256"), "{error}");

    checkpoint(&dir.join("best"), Some(spec()), spec().dim);
    let args = ["photo.png", "--checkpoint", "best", "--weights", "nowhere.safetensors"];
    let (status, error) = failure(dir, &args);
    assert_eq!(status, 2);
    assert!(error.contains("nowhere.safetensors"), "{error}");
}

#[test]
fn generates_results_for_a_split() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let image = |id: i64, split: &str| {
        serde_json::json!({
            "filename": format!("{id}.png"), "imgid": id, "split": split,
            "sentences": [{ "raw": "a red circle" }],
        })
    };
    let images = [image(1, "train"), image(3, "test"), image(2, "test"), image(4, "test")];
    let dataset = serde_json::json!({ "dataset": "tiny", "images": images });
    std::fs::write(dir.join("captions.json"), dataset.to_string()).unwrap();
    let toml = "name = \"tiny\"\nformat = \"karpathy\"\ncaptions = [\"captions.json\"]\n";
    std::fs::write(dir.join("tiny.toml"), toml).unwrap();

    let encoder = EncoderSpec { dim: 5, ..spec() };
    checkpoint(&dir.join("best"), Some(encoder.clone()), 5);
    let shard = |name: &str, encoder: EncoderSpec| {
        let features = Tensor::ones((2, encoder.dim), DType::F32, &Device::Cpu).unwrap();
        let header = ShardHeader { encoder, dataset: "tiny".into(), failed: Vec::new() };
        write_shard(&dir.join(name), &header, &[2, 3], &features, DType::F16).unwrap();
    };
    let generate = |features: &str| {
        let args =
            ["generate", "--dataset", "tiny.toml", "--split", "test", "--features", features];
        caption(dir, &[&args[..], &["--checkpoint", "best", "--out", "out/results.json"]].concat())
    };

    shard("fits.safetensors", encoder.clone());
    let output = generate("fits.safetensors");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("1 images of the split have no features"));
    let results = std::fs::read(dir.join("out/results.json")).unwrap();
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&results).unwrap();
    let ids: Vec<_> = rows.iter().map(|row| row["image_id"].as_i64().unwrap()).collect();
    assert_eq!(ids, [3, 2], "the dataset's order");
    assert!(rows.iter().all(|row| row["caption"].is_string()));

    shard("wide.safetensors", EncoderSpec { dim: 6, ..encoder.clone() });
    let output = generate("wide.safetensors");
    assert_eq!(output.status.code(), Some(2));
    let error = text(&output.stderr);
    assert!(error.contains("width is 6, expected 5"), "{error}");

    shard("other.safetensors", EncoderSpec { layer: "fc6".into(), ..encoder });
    let output = generate("other.safetensors");
    assert_eq!(output.status.code(), Some(2));
    let error = text(&output.stderr);
    assert!(error.contains("layer is fc6"), "{error}");

    let mut rows = [[1.0f32; 5]; 2];
    rows[1][4] = f32::NAN;
    let tensors = HashMap::from([
        ("features", Tensor::new(&rows, &Device::Cpu).unwrap()),
        ("image_id", Tensor::new(&[3i64, 2], &Device::Cpu).unwrap()),
    ]);
    candle_core::safetensors::save(&tensors, dir.join("spoilt.safetensors")).unwrap();
    let output = generate("spoilt.safetensors");
    assert_eq!(output.status.code(), Some(2));
    let error = text(&output.stderr);
    assert!(error.contains("spoilt.safetensors: feature 4 of image 2 is NaN"), "{error}");
}

#[test]
fn searches_as_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    checkpoint(&dir.join("best"), Some(spec()), spec().dim);
    photo(dir);
    let sentences = |args: &[&str]| {
        let output = caption(dir, &[&["photo.png", "--checkpoint", "best"], args].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let lines = text(&output.stdout);
        let words = |line: &str| line.split_whitespace().skip(1).map(String::from).collect();
        lines.lines().map(words).collect::<Vec<Vec<String>>>()
    };
    let plain = sentences(&["--top", "3"]);
    assert_eq!(plain.len(), 3);
    for option in [["--length-norm", "mean"], ["--length-norm", "wu:2"], ["--beam", "9"]] {
        let found = sentences(&[&["--top", "3"], &option[..]].concat());
        assert!(found.len() == 3 && found != plain, "{option:?}: {found:?}");
    }
    let long = sentences(&["--top", "3", "--min-len", "4", "--max-len", "6"]);
    assert!(long.iter().all(|words| (4..=6).contains(&words.len())), "{long:?}");
    let varied = sentences(&["--top", "3", "--min-len", "3", "--no-repeat", "1"]);
    assert!(varied.iter().all(|words| words.len() == 3 && words[0] != words[1]), "{varied:?}");
    let pairs = ["--top", "16", "--beam", "16", "--min-len", "2", "--max-len", "2"];
    assert_eq!(sentences(&pairs).len(), 3 * 3);
    assert_eq!(sentences(&[&pairs[..], &["--allow-unk"]].concat()).len(), 4 * 4);

    let beam = ["--top", "4", "--beam", "4", "--min-len", "1"];
    let diverse = sentences(&[&beam[..], &["--groups", "4", "--diversity", "99"]].concat());
    assert_ne!(diverse, sentences(&beam));
    assert_ne!(diverse[0][0], diverse[1][0]);

    let draw = |args: &[&str]| sentences(&[&["--sample", "--top", "8"], args].concat());
    assert_eq!(draw(&[]).len(), 8);
    assert_eq!(draw(&[]), draw(&["--seed", "0"]));
    assert_ne!(draw(&[]), draw(&["--seed", "1"]));
    let alike = |sentences: Vec<Vec<String>>| sentences.iter().all(|words| *words == sentences[0]);
    assert!(!alike(draw(&[])));
    assert!(alike(draw(&["--top-k", "1"])));
    assert!(alike(draw(&["--top-p", "0.01"])));
    assert!(alike(draw(&["--temperature", "0.0001"])));
}

#[test]
fn refuses_what_makes_no_sense() {
    let dir = tempfile::tempdir().unwrap();
    let cases: [(&[&str], &str); 19] = [
        (&["--beam", "0"], "width is 0"),
        (&["--top", "0"], "sentences is 0"),
        (&["--top", "4"], "expected at most 3"),
        (&["--max-len", "0"], "max_len is 0"),
        (&["--min-len", "21"], "min_len is 21"),
        (&["--no-repeat", "0"], "no_repeat is 0"),
        (&["--length-norm", "longest"], "none, mean or wu:ALPHA"),
        (&["--length-norm", "wu:-1"], "alpha is -1"),
        (&["--groups", "3"], "--top"),
        (&["--groups", "1", "--top", "2"], "1 is not in 2.."),
        (&["--groups", "2", "--top", "2"], "multiple of 2"),
        (&["--diversity", "0.3", "--top", "2"], "--groups"),
        (&["--sample", "--beam", "3"], "--beam"),
        (&["--sample", "--length-norm", "mean"], "--length-norm"),
        (&["--sample", "--groups", "3", "--top", "3"], "--groups"),
        (&["--sample", "--temperature", "0"], "--beam 1"),
        (&["--temperature", "0.5"], "--sample"),
        (&["--top-k", "5", "--top-p", "0.5"], "--sample"),
        (&["--seed", "5"], "--sample"),
    ];
    for (args, expected) in cases {
        let (status, error) = failure(dir.path(), &[&["photo.png"], args].concat());
        assert_eq!(status, 2, "{args:?}");
        assert!(error.contains(expected), "{args:?}: {error}");
    }
}

#[test]
fn ensembles_speak_with_one_voice() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    photo(dir);
    let words = ["a", "red", "circle"];
    let make = |name: &str, encoder, dim, words, seed| {
        checkpoint_of(&dir.join(name), encoder, dim, words, seed);
    };
    make("one", Some(spec()), spec().dim, words, 1);
    make("two", Some(spec()), spec().dim, words, 2);
    let ensemble = |members: &[&str]| {
        let flags = members.iter().flat_map(|member| ["--checkpoint", member]);
        let args: Vec<&str> = ["photo.png", "--top", "3"].into_iter().chain(flags).collect();
        caption(dir, &args)
    };
    let sentences = |members: &[&str]| {
        let output = ensemble(members);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    assert_eq!(sentences(&["one", "one"]), sentences(&["one"]));
    assert_ne!(sentences(&["one", "two"]), sentences(&["one"]));
    assert_ne!(sentences(&["one", "two"]), sentences(&["two"]));

    make("words", Some(spec()), spec().dim, ["a", "blue", "circle"], 1);
    make("fewer", Some(spec()), spec().dim, ["a", "a", "circle"], 1);
    make("wide", None, 5, words, 1);
    make("unknown", None, spec().dim, words, 1);
    make("fc6", Some(EncoderSpec { layer: "fc6".into(), ..spec() }), spec().dim, words, 1);
    let cases = [
        ("words", "is \"blue\", expected \"circle\""),
        ("fewer", "the vocabulary is 6 words, expected 7 words"),
        ("wide", "the features' width is 5"),
        ("unknown", "the encoder is not recorded"),
        ("fc6", "layer is fc6"),
    ];
    for (member, expected) in cases {
        let output = ensemble(&["one", member]);
        assert_eq!(output.status.code(), Some(2));
        let error = text(&output.stderr);
        assert!(error.contains(member) && error.contains(expected), "{member}: {error}");
    }
}
