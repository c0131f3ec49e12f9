//! Runs from beginning to end.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use std::fs;

use candle_core::Device;
use caption_metrics::{Cider, Corpus, Metric, References, Results, ptb};
use common::World;
use nic_core::{BeamSearch, Checkpoint, Generate, Greedy, Vocab};

#[test]
fn learns_and_reports() {
    let world = World::new();
    let ran = world.done(&[
        "train.epochs=40",
        "model.dropout=0",
        "model.hidden_dim=32",
        "model.embed_dim=32",
    ]);
    let rows = world.metrics("run");
    assert_eq!(rows.len(), 40);
    // 40 images with two captions each in batches of 16: 5 steps an epoch
    for (epoch, row) in rows.iter().enumerate() {
        let mut keys: Vec<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        let expected = [
            "epoch",
            "learning_rate",
            "seconds",
            "step",
            "tokens_per_second",
            "train_loss",
            "val_loss",
            "val_perplexity",
        ];
        assert_eq!(keys, expected);
        assert_eq!(row["epoch"], epoch + 1);
        assert_eq!(row["step"], 5 * (epoch + 1));
        assert_eq!(row["learning_rate"], 0.02);
        let (loss, perplexity) =
            (row["val_loss"].as_f64().unwrap(), row["val_perplexity"].as_f64().unwrap());
        assert!((loss.exp() / perplexity - 1.0).abs() < 1e-12);
        assert!(row["tokens_per_second"].as_f64().unwrap() > 0.0);
    }
    let losses: Vec<f64> = rows.iter().map(|row| row["val_loss"].as_f64().unwrap()).collect();
    let best = losses.iter().copied().fold(f64::INFINITY, f64::min);
    // which of the two ways to say it comes next cannot be known: 2 ln 2 over the 13 words of both
    assert!(best < 0.13 && best > 0.1 && losses[0] > 1.0, "{losses:?}");
    let epoch = losses.iter().position(|&loss| loss == best).unwrap() + 1;
    assert_eq!(
        ran.out,
        format!("best validation perplexity {:.2} (epoch {epoch}): run/best\n", best.exp())
    );

    let checkpoint = Checkpoint::load(&world.path("run/best"), &Device::Cpu).unwrap();
    let (ids, features) = common::features(9, |id| id > 40);
    let found = Greedy { max_len: 20 }.generate(&checkpoint.decoder().unwrap(), &features).unwrap();
    let right = ids.iter().zip(&found).filter(|(id, found)| {
        let text = checkpoint.vocab.decode(&found[0].words);
        let (colour, thing) = common::shown(**id);
        text == format!("a {colour} {thing}")
            || text == format!("there is a {thing} and it is {colour}")
    });
    assert!(right.count() >= 18, "{:?}", found);
}

#[test]
fn the_vocabulary_is_the_training_splits() {
    let world = World::new();
    world.done(&["train.epochs=1"]);
    let vocab = Vocab::load(&world.path("run/last/vocab.json")).unwrap();
    let mut words: Vec<&str> = (4..vocab.len() as u32).filter_map(|id| vocab.word(id)).collect();
    words.sort_unstable();
    let mut expected = "a and bird black blue cat dog fish green horse is it red there"
        .split(' ')
        .collect::<Vec<_>>();
    assert_eq!(words, expected);
    // images 1 to 3 alone show three colours and things
    world.captions(|id, split| split == "val" || id <= 3);
    world.done(&["train.epochs=1", "output.dir=small"]);
    let vocab = Vocab::load(&world.path("small/last/vocab.json")).unwrap();
    let mut words: Vec<&str> = (4..vocab.len() as u32).filter_map(|id| vocab.word(id)).collect();
    words.sort_unstable();
    expected.retain(|word| !["red", "dog", "fish"].contains(word));
    assert_eq!(words, expected);
}

#[test]
fn the_output_bias_starts_at_the_log_frequencies() {
    let world = World::new();
    let first = |set: &[&str], dir: &str| {
        let dir = format!("output.dir={dir}");
        // so small a step leaves the weights where they began
        let set: Vec<&str> = set
            .iter()
            .copied()
            .chain(["train.epochs=1", "train.learning_rate=1e-12", &dir])
            .collect();
        world.done(&set);
    };
    first(&[], "with");
    first(&["model.init_output_bias=false"], "without");
    let bias = |dir: &str| {
        let checkpoint = Checkpoint::load(&world.path(dir).join("last"), &Device::Cpu).unwrap();
        (
            checkpoint.tensors["output.bias"].to_vec1::<f32>().unwrap(),
            checkpoint.vocab.log_frequencies(),
        )
    };
    let (found, expected) = bias("with");
    assert!(
        found.iter().zip(&expected).all(|(f, e)| (f - e).abs() < 1e-6),
        "{found:?} and {expected:?}"
    );
    let (found, _) = bias("without");
    assert!(found.iter().all(|f| f.abs() <= 12f32.sqrt().recip() + 1e-6), "{found:?}");
}

#[test]
fn one_seed_gives_the_same_bytes_and_another_others() {
    let world = World::new();
    world.done(&["output.dir=a"]);
    world.done(&["output.dir=b"]);
    world.same("a", "b");
    world.done(&["output.dir=c", "train.seed=2"]);
    let weights = |run: &str| fs::read(world.path(run).join("last/model.safetensors")).unwrap();
    assert!(weights("a") != weights("c"));
}

/// The order in which threads meet must not show.
#[test]
fn the_number_of_threads_does_not_matter() {
    let world = World::new();
    for (run, threads) in [("output.dir=one", "1"), ("output.dir=three", "3")] {
        let status =
            world.command(&[run]).env("RAYON_NUM_THREADS", threads).output().unwrap().status;
        assert!(status.success());
    }
    world.same("one", "three");
}

#[test]
fn paths_are_relative_to_the_file_that_states_them() {
    let world = World::new();
    fs::create_dir(world.path("configs")).unwrap();
    fs::write(
        world.path("configs/nested.toml"),
        "data.dataset = \"../tiny.toml\"\ndata.features = \"nowhere\"\noutput.dir = \"../runs/x\"\n",
    )
    .unwrap();
    // `--set` is relative to the working directory
    let mut command = world.command(&[
        "data.features=features.safetensors",
        "train.epochs=1",
        "data.min_count=1",
    ]);
    command.args(["--set", "model.hidden_dim=8", "--set", "model.embed_dim=8"]);
    let args: Vec<_> = command.get_args().skip(1).map(ToOwned::to_owned).collect();
    let mut nested = std::process::Command::new(env!("CARGO_BIN_EXE_train"));
    let output =
        nested.current_dir(world.path("")).arg("configs/nested.toml").args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(world.path("runs/x/best/model.safetensors").is_file());
}

#[test]
fn images_without_features_are_left_out_and_counted() {
    let world = World::new();
    world.features("features.safetensors", 9, |id| ![5, 6, 50].contains(&id));
    let ran = world.done(&["train.epochs=1"]);
    assert!(
        ran.err.contains("2 of 40 train images have no features and are left out: 5, 6\n"),
        "{}",
        ran.err
    );
    assert!(
        ran.err.contains("1 of 20 val images have no features and are left out: 50\n"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("76 captions to learn from, 38 to choose by"), "{}", ran.err);
}

#[test]
fn the_baseline_and_show_and_tells_cell_train_too() {
    let world = World::new();
    for (dir, set) in [
        ("rnn", ["model.cell=rnn", "train.optimizer=adamw"]),
        ("plain", ["model.lstm_bias=false", "model.cell_tanh=false"]),
    ] {
        world.done(&[set[0], set[1], "train.epochs=10", &format!("output.dir={dir}")]);
        let losses: Vec<f64> =
            world.metrics(dir).iter().map(|row| row["val_loss"].as_f64().unwrap()).collect();
        assert!(losses[9] < 0.7 * losses[0], "{dir}: {losses:?}");
    }
}

/// The gradient of a step is that of all its captions, however many parts they are taken in.
#[test]
fn parts_of_a_step_add_up_to_the_whole() {
    let world = World::new();
    let train = |dir: &str, parts: &str| {
        let set = [&format!("output.dir={dir}"), "model.dropout=0", "train.optimizer=sgd", parts];
        world.done(&[set[0], set[1], set[2], set[3], "train.learning_rate=0.5"]);
        let checkpoint =
            Checkpoint::load(&world.path(&format!("{dir}/last")), &Device::Cpu).unwrap();
        let values =
            |tensor: &candle_core::Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let losses: Vec<f64> =
            world.metrics(dir).iter().map(|row| row["train_loss"].as_f64().unwrap()).collect();
        (checkpoint.tensors.values().flat_map(values).collect::<Vec<_>>(), losses)
    };
    let (whole, losses) = train("whole", "train.accumulate=1");
    // 16 captions: as 4 times 4, and as 6, 6 and 4
    for (dir, parts) in [("even", "train.accumulate=4"), ("uneven", "train.accumulate=3")] {
        let (found, found_losses) = train(dir, parts);
        assert!(found != whole, "{dir}: not taken in parts");
        let largest = found.iter().zip(&whole).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(largest < 1e-4, "{dir}: {largest}");
        for (found, expected) in found_losses.iter().zip(&losses) {
            assert!((found / expected - 1.0).abs() < 1e-5, "{dir}: {found} and {expected}");
        }
    }
}

#[test]
fn patience_ends_a_run_that_gets_no_better() {
    let world = World::new();
    // far too large a step: after some epochs the loss only grows
    let set = ["train.learning_rate=0.5", "train.epochs=60", "eval.patience=3"];
    let ran = world.done(&set);
    let rows = world.metrics("run");
    let losses: Vec<f64> = rows.iter().map(|row| row["val_loss"].as_f64().unwrap()).collect();
    let least = losses.iter().copied().fold(f64::INFINITY, f64::min);
    let best = losses.iter().position(|&loss| loss == least).unwrap();
    assert_eq!(rows.len(), best + 1 + 3, "{losses:?}");
    assert!(ran.err.contains("no better epoch in 3: the run ends"), "{}", ran.err);
    let again = world.done(&set);
    assert!(again.err.contains("a higher eval.patience continues it"), "{}", again.err);
    // more patience goes on where it stopped
    world.done(&[set[0], set[1], "eval.patience=4"]);
    assert!(world.metrics("run").len() > rows.len());
}

/// What has no number of its own to compare learns all the same, and takes up where it was left.
#[test]
fn every_option_trains_and_resumes() {
    let world = World::new();
    let set = [
        "model.num_layers=2",
        "model.tie_embeddings=true",
        "model.variational_dropout=true",
        "model.dropout_output=0.2",
        "train.label_smoothing=0.05",
        "train.scheduled_sampling=0.3",
        "train.sampling_epochs=6",
        "train.accumulate=2",
        "train.weight_decay=0.001",
    ];
    let run = |more: &[&str]| world.done(&[&set, more].concat());
    run(&["train.epochs=12", "output.dir=whole"]);
    run(&["train.epochs=5"]);
    run(&["train.epochs=12"]);
    world.same("whole", "run");
    let losses: Vec<f64> =
        world.metrics("run").iter().map(|row| row["val_loss"].as_f64().unwrap()).collect();
    assert!(losses[11] < 0.6 * losses[0], "{losses:?}");
    let checkpoint = Checkpoint::load(&world.path("run/best"), &Device::Cpu).unwrap();
    assert!(checkpoint.tensors.contains_key("lstm.weight_hh_l1"));
    assert!(!checkpoint.tensors.contains_key("output.weight"));
    for (key, value) in [
        ("model.dropout_output", "0.3"),
        ("train.scheduled_sampling", "0.2"),
        ("train.accumulate", "1"),
    ] {
        let error = world.refused(&[&set[..], &[&format!("{key}={value}")]].concat());
        assert!(error.contains(&format!("  {key}: was ")), "{error}");
    }
}

/// The score of the best epoch is that of the captions which its checkpoint writes, and no other epoch's is higher.
#[test]
fn cider_d_can_choose_the_best_epoch() {
    let world = World::new();
    let ran = world.done(&[
        "eval.metric=cider_d",
        "eval.beam=2",
        "train.epochs=24",
        "model.dropout=0",
        "model.hidden_dim=32",
        "model.embed_dim=32",
    ]);
    let scores: Vec<f64> =
        world.metrics("run").iter().map(|row| row["val_cider_d"].as_f64().unwrap()).collect();
    let best = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    assert!(best > 3.0 && scores[0] < best, "{scores:?}");
    let epoch = scores.iter().position(|&score| score == best).unwrap() + 1;
    assert_eq!(ran.out, format!("best validation CIDEr-D {best:.4} (epoch {epoch}): run/best\n"));

    let checkpoint = Checkpoint::load(&world.path("run/best"), &Device::Cpu).unwrap();
    let (ids, features) = common::features(9, |id| id > 40);
    let found = BeamSearch::new(2).generate(&checkpoint.decoder().unwrap(), &features).unwrap();
    let texts = found.iter().map(|found| checkpoint.vocab.decode(&found[0].words));
    let results = Results::new("results", ids.iter().copied().zip(texts).collect());
    let references = ids.iter().map(|&id| {
        let (colour, thing) = common::shown(id);
        (
            id,
            vec![
                format!("A {colour} {thing}."),
                format!("There is a {thing}, and it is {colour}!"),
            ],
        )
    });
    let references = References::new("references", references.collect());
    let corpus = Corpus::new(&references, &results, ptb::tokenize_part).unwrap();
    assert_eq!(Cider::default().score(&corpus)[0].corpus, best);
}
