//! Checkpoints on disk: whole, or a clear error.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // as in tests themselves

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use candle_core::{Device, Tensor};
use common::{Golden, golden_config, near};
use nic_core::{Checkpoint, Error, Tokenizer, Vocab};

/// The golden LSTM with a vocabulary of 23 words.
fn checkpoint() -> Checkpoint {
    let config = golden_config("lstm");
    let golden = Golden::read();
    let words: Vec<String> = (0..19).map(|i| format!("w{i:02}")).collect();
    let tensors = config.tensors().into_iter();
    let tensors = tensors
        .map(|(name, _)| (name.clone(), golden.tensor(&format!("lstm/weights/{name}"))))
        .collect();
    let vocab = Vocab::build(Tokenizer::Karpathy, [words.as_slice()], 1);
    Checkpoint { config, encoder: None, vocab, tensors }
}

fn saved() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    checkpoint().save(&dir.path().join("best")).unwrap();
    dir
}

fn error_after(damage: impl FnOnce(&Path)) -> Error {
    let dir = saved();
    let best = dir.path().join("best");
    damage(&best);
    Checkpoint::load(&best, &Device::Cpu).unwrap_err()
}

fn assert_names(error: &Error, parts: &[&str]) {
    let text = error.to_string();
    assert!(parts.iter().all(|part| text.contains(part)), "{text}: expected {parts:?}");
    assert_eq!(error.exit_code(), 2, "{text}");
}

fn replace(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

fn save_tensors(best: &Path, change: impl FnOnce(&mut BTreeMap<String, Tensor>)) {
    let mut tensors = checkpoint().tensors;
    change(&mut tensors);
    let tensors = tensors.into_iter().collect();
    candle_core::safetensors::save(&tensors, best.join("model.safetensors")).unwrap();
}

/// What was written before there were several layers and tied embeddings.
#[test]
fn a_checkpoint_without_the_newer_keys_is_loaded() {
    let dir = saved();
    let best = dir.path().join("best");
    replace(
        &best.join("config.json"),
        "    \"num_layers\": 1,\n    \"tie_embeddings\": false,\n",
        "",
    );
    assert_eq!(Checkpoint::load(&best, &Device::Cpu).unwrap().config, checkpoint().config);
}

#[test]
fn what_was_saved_is_loaded() {
    let dir = saved();
    let best = dir.path().join("best");
    let (loaded, original) = (Checkpoint::load(&best, &Device::Cpu).unwrap(), checkpoint());
    assert_eq!((&loaded.config, &loaded.vocab), (&original.config, &original.vocab));
    assert!(loaded.encoder.is_none());
    for (name, tensor) in &original.tensors {
        near(&loaded.tensors[name], tensor, 0.0, name);
    }
    let (features, captions) = Golden::read().batch(0);
    let loss = loaded
        .decoder()
        .unwrap()
        .loss(&features, &captions, None)
        .unwrap()
        .to_scalar::<f32>()
        .unwrap();
    let expected = Golden::read().losses("lstm", "sgd")[0];
    assert!((f64::from(loss) / expected - 1.0).abs() < 1e-4);
}

#[test]
fn the_same_checkpoint_gives_the_same_bytes() {
    let (one, two) = (saved(), saved());
    for file in ["config.json", "vocab.json", "model.safetensors"] {
        let read = |dir: &tempfile::TempDir| fs::read(dir.path().join("best").join(file)).unwrap();
        assert_eq!(read(&one), read(&two), "{file}");
    }
}

#[test]
fn missing_files_are_named() {
    for file in ["config.json", "vocab.json", "model.safetensors"] {
        let error = error_after(|best| fs::remove_file(best.join(file)).unwrap());
        assert_names(&error, &["best", file, "missing"]);
    }
    let error = error_after(|best| fs::remove_dir_all(best).unwrap());
    assert_names(&error, &["best", "directory is missing"]);
}

#[test]
fn damaged_weights_are_named() {
    for keep in [0, 4, 100, 3000] {
        let error = error_after(|best| {
            let path = best.join("model.safetensors");
            let bytes = fs::read(&path).unwrap();
            fs::write(path, &bytes[..keep]).unwrap();
        });
        assert_names(&error, &["model.safetensors", "not a whole safetensors file"]);
    }
    // a header that claims to be huge
    let error = error_after(|best| fs::write(best.join("model.safetensors"), [0xff; 64]).unwrap());
    assert_names(&error, &["model.safetensors", "not a whole safetensors file"]);
}

#[test]
fn strange_tensors_are_named() {
    let error = error_after(|best| {
        save_tensors(best, |tensors| {
            tensors.remove("lstm.weight_hh_l0").unwrap();
        });
    });
    assert_names(&error, &["model.safetensors", "tensor lstm.weight_hh_l0 is missing"]);

    let error = error_after(|best| {
        save_tensors(best, |tensors| {
            let extra = tensors["output.bias"].clone();
            tensors.insert("att.bias".into(), extra);
        });
    });
    assert_names(&error, &["model.safetensors", "tensor att.bias is unknown", "output.bias"]);

    let error = error_after(|best| {
        save_tensors(best, |tensors| {
            let narrow = tensors["image.weight"].narrow(1, 0, 11).unwrap().contiguous().unwrap();
            tensors.insert("image.weight".into(), narrow);
        });
    });
    assert_names(&error, &["model.safetensors", "image.weight", "[8, 11]", "[8, 12]"]);

    let error = error_after(|best| {
        save_tensors(best, |tensors| {
            let whole = tensors["output.bias"].to_dtype(candle_core::DType::I64).unwrap();
            tensors.insert("output.bias".into(), whole);
        });
    });
    assert_names(&error, &["model.safetensors", "output.bias", "I64"]);
}

#[test]
fn parts_that_do_not_fit_are_named() {
    let error = error_after(|best| {
        let words = ["a".to_owned()];
        Vocab::build(Tokenizer::Karpathy, [words.as_slice()], 1)
            .save(&best.join("vocab.json"))
            .unwrap();
    });
    assert_names(&error, &["vocab.json", "number of words is 5", "23"]);

    let change = |from: &'static str, to: &'static str| {
        error_after(|best| replace(&best.join("config.json"), from, to))
    };
    assert_names(
        &change("\"embed_dim\": 8", "\"embed_dim\": 9"),
        &["model.safetensors", "[23, 8]", "[23, 9]"],
    );
    assert_names(
        &change("\"embed_dim\": 8", "\"embed_dim\": 0"),
        &["config.json", "embed_dim is 0"],
    );
    assert_names(
        &change("\"embed_dim\"", "\"embed_dims\""),
        &["config.json", "embed_dims", "embed_dim"],
    );
    assert_names(
        &change("\"format\": 1", "\"format\": 2"),
        &["config.json", "format is 2", "expected 1"],
    );
    assert_names(&change("\"lstm\"", "\"gru\""), &["config.json", "gru", "lstm"]);
    assert_names(&change("{", "["), &["config.json"]);
}

#[test]
fn a_misfit_is_not_written() {
    let dir = saved();
    let best = dir.path().join("best");
    let mut other = checkpoint();
    other.tensors.remove("output.bias");
    assert_names(&other.save(&best).unwrap_err(), &["output.bias", "missing"]);
    assert!(Checkpoint::load(&best, &Device::Cpu).is_ok());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn other_files_come_and_go_with_the_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let last = dir.path().join("runs/last");
    for step in ["1", "2"] {
        checkpoint()
            .save_with(&last, |new| {
                assert!(!new.join("training").exists());
                let training = new.join("training");
                fs::create_dir(&training)
                    .and_then(|()| fs::write(training.join("step"), step))
                    .unwrap();
                Ok::<_, Error>(())
            })
            .unwrap();
        assert_eq!(fs::read_to_string(last.join("training/step")).unwrap(), step);
    }
    let error =
        checkpoint().save_with(&last, |_| Err(Error::Usage("disk full".into()))).unwrap_err();
    assert_eq!(error.to_string(), "disk full");
    assert_eq!(fs::read_to_string(last.join("training/step")).unwrap(), "2");
    assert_eq!(fs::read_dir(dir.path().join("runs")).unwrap().count(), 1);
}

/// The states in which a kill can leave the directory, in the order in which a save passes through them.
#[test]
fn a_kill_at_any_moment_leaves_a_whole_checkpoint() {
    let half = |dir: &Path| {
        fs::create_dir(dir.join(".best.new")).unwrap();
        fs::write(dir.join(".best.new/config.json"), "{").unwrap();
    };
    let moved = |dir: &Path| {
        fs::rename(dir.join("best"), dir.join(".best.old")).unwrap();
        checkpoint().save(&dir.join("next")).unwrap();
        fs::rename(dir.join("next"), dir.join(".best.new")).unwrap();
    };
    let renamed = |dir: &Path| {
        moved(dir);
        fs::rename(dir.join(".best.new"), dir.join("best")).unwrap();
    };
    let half_removed = |dir: &Path| {
        renamed(dir);
        fs::remove_file(dir.join(".best.old/vocab.json")).unwrap();
    };
    for interrupt in [&half as &dyn Fn(&Path), &moved, &renamed, &half_removed] {
        let dir = saved();
        interrupt(dir.path());
        let best = dir.path().join("best");
        Checkpoint::load(&best, &Device::Cpu).unwrap();
        Checkpoint::recover(&best).unwrap();
        let left: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["best"]);
        Checkpoint::load(&best, &Device::Cpu).unwrap();

        let dir = saved();
        interrupt(dir.path());
        checkpoint().save(&dir.path().join("best")).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
