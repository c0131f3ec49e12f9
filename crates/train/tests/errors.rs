//! What a user can get wrong, with the exit status and the words that say so.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use std::collections::HashMap;
use std::fs;

use candle_core::{Device, Tensor};
use common::{World, features};
use nic_core::{EncoderSpec, Preprocess};
use nic_data::{ShardHeader, write_shard};

#[test]
fn settings_that_make_no_sense_name_the_key() {
    let world = World::new();
    for (set, expected) in [
        ("train.epocs=3", "unknown key `epocs`; did you mean `epochs`?"),
        ("trian.epochs=3", "unknown key `trian`; did you mean `train`?"),
        ("train.optimizer=adma", "unknown value `adma`; did you mean `adam`?"),
        ("model.dropout=1.5", "model.dropout is 1.5, expected at least 0 and below 1"),
        ("model.dropout=nan", "model.dropout is NaN, expected at least 0 and below 1"),
        ("model.dropout_layers=1", "model.dropout_layers is 1, expected at least 0 and below 1"),
        ("model.num_layers=0", "model.num_layers is 0, expected 1 to 64"),
        (
            "model.tie_embeddings=true",
            "model.tie_embeddings is true, embed_dim 12 and hidden_dim 20, expected equal dimensions",
        ),
        ("train.accumulate=17", "train.accumulate is 17, expected 1 to train.batch_size"),
        ("train.label_smoothing=1", "train.label_smoothing is 1, expected at least 0 and below 1"),
        ("train.scheduled_sampling=1.1", "train.scheduled_sampling is 1.1, expected 0 to 1"),
        ("train.sampling_epochs=-1", "train.sampling_epochs is -1, expected a number, at least 0"),
        ("train.decay=most", "unknown value `most`"),
        ("train.objective=self", "unknown value `self`"),
        ("train.baseline=median", "unknown value `median`"),
        ("train.samples=0", "train.samples is 0, expected 1 to 1000"),
        ("train.objective=self_critical", "train.init is not set, expected a checkpoint"),
        ("eval.metric=cider", "unknown value `cider`; did you mean `cider_d`?"),
        ("eval.beam=0", "eval.beam is 0, expected 1 to 1000"),
        ("eval.patience=0", "eval.patience is 0, expected at least 1"),
        ("model.hidden_dim=0", "model.hidden_dim is 0, expected 1 to 65536"),
        ("model.embed_dim=99999999999", "model.embed_dim is 99999999999, expected 1 to 65536"),
        ("train.batch_size=0", "train.batch_size is 0, expected 1 to 65536"),
        ("train.epochs=0", "train.epochs is 0, expected at least 1"),
        ("train.epochs=-1", "--set train.epochs=-1: invalid value: integer `-1`"),
        ("train.learning_rate=nan", "train.learning_rate is NaN, expected a number above 0"),
        ("train.learning_rate=0", "train.learning_rate is 0, expected a number above 0"),
        ("train.learning_rate=inf", "train.learning_rate is inf, expected a number above 0"),
        ("train.decay_factor=0", "train.decay_factor is 0, expected above 0 and at most 1"),
        ("train.decay_epochs=0", "train.decay_epochs is 0, expected a number above 0"),
        ("train.clip_norm=0", "train.clip_norm is 0, expected above 0 (inf: no clipping)"),
        ("train.clip_value=-1", "train.clip_value is -1, expected above 0 (inf: no clipping)"),
        ("train.momentum=1", "train.momentum is 1, expected at least 0 and below 1"),
        (
            "train.betas=[0.9, 1.0]",
            "train.betas is 1, expected two numbers, at least 0 and below 1",
        ),
        ("train.betas=[0.9]", "--set train.betas=[0.9]: invalid length 1"),
        ("train.eps=0", "train.eps is 0, expected a number above 0"),
        ("train.weight_decay=-0.1", "train.weight_decay is -0.1, expected a number, at least 0"),
        ("data.min_count=0", "data.min_count is 0, expected at least 1"),
        ("data.max_len=0", "data.max_len is 0, expected 1 to 1000"),
        ("data.features=", "data.features is empty, expected a path"),
        ("train.init=", "train.init is empty, expected a path"),
        (
            "data.dataset=s3://b/d.toml",
            "data.dataset is s3://b/d.toml, expected a path on this machine",
        ),
        ("train.init=s3://b/best", "train.init is s3://b/best, expected a path on this machine"),
        ("output.dir=s3://b/run", "output.dir is s3://b/run, expected a path on this machine"),
        ("data.tokenizer=ptb2", "unknown value `ptb2`"),
        ("eval.split=train", "eval.split is train, expected val or test"),
        ("output.save_steps=0", "output.save_steps is 0, expected at least 1"),
    ] {
        // the tied embeddings need other dimensions than those of the file
        let error = world.refused(&["model.hidden_dim=20", set]);
        assert!(error.contains("run.toml: ") && error.contains(expected), "{set}: {error}");
    }
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let world = World::new();
    for (set, expected) in [
        ("data.dataset=none.toml", "none.toml: "),
        ("data.features=none", "none: "),
        ("data.features=tiny.json", "tiny.json: "),
        ("eval.split=test", "tiny.toml: an image of split test is missing"),
        ("data.min_count=1000", "expected some that are seen data.min_count = 1000 times"),
    ] {
        let error = world.refused(&[set]);
        assert!(error.contains(expected), "{set}: {error}");
    }
    world.config("[data]\ndataset = \"tiny.toml\"\n[output]\ndir = \"run\"\n");
    assert!(world.refused(&[]).contains("missing field `features`"));
    world.config("[data\n");
    assert!(world.refused(&[]).contains("run.toml: not TOML: line 1"));
    let world = World::new();
    fs::write(world.path("tiny.json"), "{\"images\": [\n{\"filename\": 7}]}").unwrap();
    let error = world.refused(&[]);
    assert!(error.contains("tiny.json: ") && error.contains("line 2"), "{error}");
    let world = World::new();
    fs::write(world.path("file"), "").unwrap();
    let ran = world.run(&["output.dir=file"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("error: file: "), "{}", ran.err);
}

#[test]
fn a_split_without_captions_is_refused() {
    let world = World::new();
    world.captions(|_, split| split != "val");
    let error = world.refused(&[]);
    assert!(error.contains("tiny.toml: an image of split val is missing"), "{error}");
    world.captions(|_, split| split == "val");
    let error = world.refused(&[]);
    assert!(error.contains("tiny.toml: an image of split train is missing"), "{error}");
    assert!(!world.path("run").exists());
}

#[test]
fn features_for_less_than_half_of_the_images_are_refused() {
    let world = World::new();
    world.features("features.safetensors", 9, |id| id > 21);
    let error = world.refused(&[]);
    let expected = "features.safetensors: the number of train images of tiny with features is 19 of 40 \
                    (none for image 1, 2, 3, ...), expected at least half";
    assert!(error.contains(expected), "{error}");
}

/// In the training split and in the one that is evaluated.
#[test]
fn a_feature_that_is_no_number_is_named() {
    let world = World::new();
    for (id, value) in [(7, f32::INFINITY), (45, f32::NAN)] {
        let (ids, tensor) = features(9, |_| true);
        let mut rows = tensor.to_vec2::<f32>().unwrap();
        rows[id as usize - 1][4] = value;
        let ids = Tensor::from_vec(ids.clone(), ids.len(), &Device::Cpu).unwrap();
        let rows = Tensor::new(rows, &Device::Cpu).unwrap();
        let tensors = HashMap::from([("features", rows), ("image_id", ids)]);
        candle_core::safetensors::save(&tensors, world.path("spoilt.safetensors")).unwrap();
        let error =
            world.refused(&["data.features=spoilt.safetensors", &format!("output.dir=run{id}")]);
        let expected = format!(
            "spoilt.safetensors: feature 4 of image {id} is {value}, expected a finite number"
        );
        assert!(error.contains(&expected), "{error}");
    }
}

#[test]
fn a_run_with_other_settings_is_not_continued() {
    let world = World::new();
    world.done(&["train.epochs=1"]);
    let before = world.bytes("run");
    let error = world.refused(&["train.learning_rate=0.5", "model.hidden_dim=16", "train.seed=9"]);
    for line in [
        "run: holds a run that differs from this one:",
        "  model.hidden_dim: was 12, is now 16\n",
        "  train.learning_rate: was 0.02, is now 0.5\n",
        "  train.seed: was 1, is now 9\n",
        "set output.dir to another directory, or delete this one to start afresh",
    ] {
        assert!(error.contains(line), "{error}");
    }
    world.captions(|id, _| id != 7);
    let error = world.refused(&[]);
    assert!(error.contains("  captions: were "), "{error}");
    assert!(world.bytes("run") == before);
}

#[test]
fn a_cosine_cannot_be_made_longer() {
    let world = World::new();
    world.done(&["train.schedule=cosine", "train.epochs=1"]);
    let error = world.refused(&["train.schedule=cosine", "train.epochs=2"]);
    assert!(error.contains("  train.epochs: was 1, is now 2\n"), "{error}");
}

#[test]
fn features_of_another_width_are_not_mixed_in() {
    let world = World::new();
    world.done(&["train.epochs=1"]);
    world.features("features.safetensors", 11, |_| true);
    let error = world.refused(&["train.epochs=2"]);
    assert!(error.contains("  features' width: was 9, is now 11\n"), "{error}");
}

#[test]
fn features_of_another_encoder_are_not_mixed_in() {
    let world = World::new();
    let (ids, features) = common::features(9, |_| true);
    let write = |sha256: char| {
        let encoder = EncoderSpec {
            architecture: "vgg16".into(),
            layer: "fc7".into(),
            dim: 9,
            weights: "weights/vgg16.safetensors".into(),
            weights_sha256: sha256.to_string().repeat(64),
            preprocess: Preprocess::default(),
        };
        let header = ShardHeader { encoder, dataset: "tiny".into(), failed: Vec::new() };
        fs::create_dir_all(world.path("shards")).unwrap();
        write_shard(
            &world.path("shards/0.safetensors"),
            &header,
            &ids,
            &features,
            candle_core::DType::F16,
        )
        .unwrap();
    };
    write('a');
    let shards = "data.features=shards";
    world.done(&["train.epochs=1", shards]);
    // the weights' place is told from where the checkpoint is
    let config = fs::read_to_string(world.path("run/best/config.json")).unwrap();
    assert!(config.contains("../../shards/weights/vgg16.safetensors"), "{config}");

    write('b');
    let error = world.refused(&["train.epochs=2", shards]);
    assert!(error.contains("aaaa") && error.contains("bbbb"), "{error}");
    // features that do not say what made them are not the same either
    let error = world.refused(&["train.epochs=2"]);
    assert!(error.contains("features' encoder: was vgg16 fc7, is now not stated"), "{error}");
}

#[test]
fn a_damaged_checkpoint_is_named() {
    let world = World::new();
    world.done(&["train.epochs=1"]);
    for (file, len) in [
        ("run/last/training/optimizer.safetensors", 100),
        ("run/last/training/state.toml", 30),
        ("run/last/model.safetensors", 100),
        ("run/last/vocab.json", 10),
    ] {
        let whole = fs::read(world.path(file)).unwrap();
        fs::write(world.path(file), &whole[..len]).unwrap();
        let error = world.refused(&["train.epochs=2"]);
        assert!(error.contains(file), "{file}: {error}");
        fs::remove_file(world.path(file)).unwrap();
        let error = world.refused(&["train.epochs=2"]);
        assert!(error.contains(file), "{file}: {error}");
        fs::write(world.path(file), whole).unwrap();
    }
    world.done(&["train.epochs=2"]);
}

#[test]
fn a_loss_that_is_no_number_ends_the_run_and_keeps_the_last_good_weights() {
    let world = World::new();
    let set = [
        "train.optimizer=sgd",
        "train.learning_rate=1e30",
        "train.clip_norm=inf",
        "output.save_steps=1",
    ];
    let ran = world.run(&set);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(
        ran.err.contains(" is NaN at step ") || ran.err.contains(" is inf at step "),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("(the last good checkpoint is run/last)"), "{}", ran.err);
    assert!(ran.err.contains("try a lower train.learning_rate"), "{}", ran.err);
    assert_eq!(world.step(), 1);
    // the rewards of what such weights draw are numbers all the same
    world.done(&["train.epochs=1", "output.dir=start"]);
    let more = [
        "train.objective=self_critical",
        "train.learning_rate=1e60",
        "eval.metric=cider_d",
        "train.init=start/best",
        "model.dropout=0",
        "output.dir=rewarded",
    ];
    let ran = world.run(&[&set[..], &more].concat());
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.contains(" at step ") && ran.err.contains("rewarded/last)"), "{}", ran.err);
}

#[test]
fn a_run_that_has_lost_its_last_checkpoint_is_not_overwritten() {
    let world = World::new();
    world.done(&["train.epochs=1"]);
    fs::remove_dir_all(world.path("run/last")).unwrap();
    let before = world.bytes("run");
    let error = world.refused(&["train.epochs=1"]);
    assert!(error.contains("run: holds best of a run but not last"), "{error}");
    assert!(world.bytes("run") == before);
    fs::remove_dir_all(world.path("run/best")).unwrap();
    let error = world.refused(&["train.epochs=1"]);
    assert!(error.contains("run: holds metrics.jsonl of a run but not last"), "{error}");
}

#[test]
fn a_run_does_not_go_on_with_other_captions() {
    let world = World::new();
    let json = fs::read_to_string(world.path("tiny.json")).unwrap();
    world.done(&["train.epochs=1"]);
    world.done(&["train.epochs=1", "data.min_count=18", "output.dir=rare"]);
    // as many words, but others
    fs::write(world.path("tiny.json"), json.replace("dog", "doe")).unwrap();
    let error = world.refused(&["train.epochs=2"]);
    assert!(error.contains("  vocabulary: words["), "{error}");
    assert!(error.contains("was \"dog\", is now \"doe\""), "{error}");
    // a word too rare to have an id is one that captions are scored by
    let error = world.refused(&["train.epochs=2", "data.min_count=18", "output.dir=rare"]);
    assert!(error.contains("  captions: were ") && !error.contains("vocabulary"), "{error}");
}

#[test]
fn two_processes_do_not_train_in_one_directory() {
    let world = World::new();
    let mut child = world.start(&["train.epochs=100000"]);
    while world.step() == 0 {
        assert!(child.try_wait().unwrap().is_none());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let error = world.refused(&["train.epochs=100000"]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(error.contains("run: another process trains there"), "{error}");
}

#[test]
fn bad_usage_is_status_2() {
    let world = World::new();
    let mut command = world.command(&[]);
    let output = command.args(["--device", "abacus"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("abacus") || error.contains("--device"), "{error}");
}

#[test]
fn a_directory_for_a_file_is_status_2() {
    let world = World::new();
    let ran = world.run(&["data.dataset=."]);
    assert_eq!(ran.code, Some(2), "{}", ran.err);
    assert!(ran.err.contains("Is a directory"), "{}", ran.err);
}

#[test]
fn a_decoder_larger_than_memory_is_refused() {
    let world = World::new();
    let ran = world.run(&["model.hidden_dim=65536", "model.num_layers=64"]);
    assert_eq!(ran.code, Some(2), "{}", ran.err);
    assert!(
        ran.err.contains("hidden_dim 65536 and num_layers 64 make a decoder of"),
        "{}",
        ran.err
    );
}

#[test]
fn a_whole_table_can_be_set() {
    let world = World::new();
    let output = "output={dir = \"elsewhere\", save_steps = 1}";
    assert_eq!(world.run(&[output, "train.epochs=1"]).code, Some(0));
    assert!(world.path("elsewhere/last").exists());
}

#[test]
fn self_critical_training_refuses_what_it_would_not_do() {
    let world = World::new();
    for (set, expected) in [
        ("train.samples=1", "train.samples is 1, expected at least 2, for baseline = \"mean\""),
        ("eval.metric=loss", "eval.metric is loss, expected cider_d"),
        ("model.dropout=0.5", "model.dropout is 0.5, expected 0 with objective"),
        ("model.dropout_output=0.5", "model.dropout_output is 0.5, expected 0 with objective"),
        ("train.label_smoothing=0.1", "train.label_smoothing is 0.1, expected 0 with objective"),
        ("train.scheduled_sampling=0.1", "train.scheduled_sampling is 0.1, expected 0 with"),
    ] {
        let error = world.refused(&[
            "train.objective=self_critical",
            "train.init=none",
            "eval.metric=cider_d",
            "model.dropout=0",
            set,
        ]);
        assert!(error.contains("run.toml: ") && error.contains(expected), "{set}: {error}");
    }
}

#[test]
fn a_start_that_does_not_fit_is_refused() {
    let world = World::new();
    world.done(&["train.epochs=1", "output.dir=start"]);
    world.done(&["train.epochs=1", "data.tokenizer=ptb", "output.dir=ptb"]);
    let init = "train.init=start/best";
    for (set, expected) in [
        (vec!["train.init=none"], "none: the checkpoint's directory is missing"),
        (
            vec!["train.init=ptb/best"],
            "ptb/best/vocab.json: tokenizer is ptb, expected karpathy, as the training split of data.dataset has it",
        ),
        (vec![init, "data.min_count=18"], "start/best/vocab.json: the number of words is "),
        (
            vec![init, "model.hidden_dim=16"],
            "start/best/config.json: decoder.hidden_dim is 12, expected 16, as [model] and data.features have it",
        ),
        (
            vec![init, "model.cell=rnn"],
            "start/best/config.json: decoder.cell is \"lstm\", expected \"rnn\"",
        ),
    ] {
        let error = world.refused(&set);
        assert!(error.contains(expected), "{set:?}: {error}");
        assert!(!world.path("run/last").exists());
    }
    // as many words, but others
    world.done(&[init, "train.epochs=1"]);
    let json = fs::read_to_string(world.path("tiny.json")).unwrap();
    fs::write(world.path("tiny.json"), json.replace("dog", "doe")).unwrap();
    let error = world.refused(&[init, "output.dir=other"]);
    let expected = "start/best/vocab.json: words[";
    assert!(error.contains(expected) && error.contains("is \"dog\", expected \"doe\""), "{error}");
    fs::write(world.path("tiny.json"), json).unwrap();
    // a run goes on from the start that it had
    world.done(&["train.epochs=2", "output.dir=start"]);
    let error = world.refused(&[init, "train.epochs=2"]);
    assert!(error.contains("  train.init: was ") && error.contains("SHA-256"), "{error}");
    let error = world.refused(&["train.epochs=2"]);
    assert!(error.contains("  train.init: was ") && error.contains("is now not set"), "{error}");
}
