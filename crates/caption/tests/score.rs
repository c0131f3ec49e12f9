//! `caption score` as a user runs it.

#![allow(clippy::unwrap_used)] // as in tests themselves

use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

/// Two images in COCO's form, three captions.
fn write_coco(dir: &Path) {
    let coco = json!({
        "images": [{ "id": 7, "file_name": "7.jpg" }, { "id": 3, "file_name": "3.jpg" }],
        "annotations": [
            { "image_id": 3, "id": 1, "caption": "A small dog runs on the beach." },
            { "image_id": 7, "id": 2, "caption": "Two cats sleep." },
            { "image_id": 3, "id": 3, "caption": "The dog's wet, and it runs on sand" },
        ],
    });
    std::fs::write(dir.join("captions.json"), coco.to_string()).unwrap();
}

fn write_results(dir: &Path, captions: &[(i64, &str)]) {
    let rows: Vec<_> = captions
        .iter()
        .map(|(id, caption)| json!({ "image_id": id, "caption": caption }))
        .collect();
    std::fs::write(dir.join("results.json"), json!(rows).to_string()).unwrap();
}

/// Runs it in `dir` with these options after the two files'.
fn score(dir: &Path, options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_caption"))
        .current_dir(dir)
        .args(["score", "--references", "captions.json", "--results", "results.json"])
        .args(options)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A dataset's descriptor stands for its captions, in whatever format they are.
#[test]
fn a_dataset_gives_the_scores_of_its_captions() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write_coco(dir);
    write_results(dir, &[(3, "A dog runs on the wet beach!"), (7, "two cats")]);
    let dataset = r#"
        name = "d"
        format = "coco"
        splits.val = ["captions.json"]
    "#;
    std::fs::write(dir.join("d.toml"), dataset).unwrap();
    let run = |references, split| {
        Command::new(env!("CARGO_BIN_EXE_caption"))
            .current_dir(dir)
            .args(["score", "--json", "--results", "results.json", "--references", references])
            .args(split)
            .output()
            .unwrap()
    };
    let by_dataset = run("d.toml", &["--split", "val"][..]);
    assert_eq!(text(&by_dataset.stdout), text(&run("captions.json", &[]).stdout));
    assert!(by_dataset.status.success());
    let without = run("d.toml", &[]);
    assert_eq!(without.status.code(), Some(2));
    assert!(text(&without.stderr).contains("test"), "{}", text(&without.stderr));
}

/// The JSON object on stdout.
fn object(dir: &Path, options: &[&str]) -> Value {
    let output = score(dir, &[options, &["--json"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What stands on stderr when it refuses the input.
fn refused(dir: &Path, options: &[&str]) -> String {
    let output = score(dir, options);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "");
    text(&output.stderr)
}

fn close(value: &Value, expected: f64) {
    let found = value.as_f64().unwrap();
    assert!((found - expected).abs() < 1e-9, "{found}, expected {expected}");
}

/// The expected scores, here and for METEOR, are pycocoevalcap's of these captions, tokenised by its jar.
#[test]
fn prints_scores_as_json_and_by_image() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write_coco(dir);
    write_results(dir, &[(3, "A dog runs on the wet beach!"), (7, "two cats")]);
    let found = object(dir, &["--per-image", "out/images.jsonl"]);
    let names: Vec<_> = found.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "bleu_1",
        "bleu_2",
        "bleu_3",
        "bleu_4",
        "captions",
        "cider",
        "cider_d",
        "diversity",
        "images",
        "rouge_l",
    ];
    assert_eq!(names, expected);
    close(&found["bleu_1"], 0.894_839_316_615_517);
    close(&found["bleu_4"], 0.437_507_543_244_854_14);
    close(&found["rouge_l"], 0.814_647_377_938_517_2);
    close(&found["cider_d"], 3.590_472_348_037_482_5);
    close(&found["cider"], 3.642_892_460_635_952_3);
    assert_eq!((&found["images"], &found["captions"]), (&json!(2), &json!(3)));
    let diversity = json!({
        "vocabulary": 9, "in_training": null, "distinct_1": 1.0, "distinct_2": 7.0 / 9.0,
        "mean_length": 4.5,
    });
    assert_eq!(found["diversity"], diversity);

    let lines = std::fs::read_to_string(dir.join("out/images.jsonl")).unwrap();
    let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let heads: Vec<_> = rows.iter().map(|row| (&row["image_id"], &row["caption"])).collect();
    let expected =
        [(json!(7), json!("two cats")), (json!(3), json!("A dog runs on the wet beach!"))];
    assert_eq!(
        heads,
        expected.each_ref().map(|(id, caption)| (id, caption)),
        "in the references' order"
    );
    let mean = rows.iter().map(|row| row["cider_d"].as_f64().unwrap()).sum::<f64>() / 2.0;
    close(&found["cider_d"], mean);
    assert!(rows[0]["bleu_1"].is_number() && rows[0]["meteor"].is_null());
}

#[test]
fn prints_a_table_and_says_that_meteor_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write_coco(dir);
    write_results(dir, &[(3, "a dog runs"), (7, "two cats sleep")]);
    let output = score(dir, &[]);
    assert!(output.status.success());
    let error = text(&output.stderr);
    assert!(error.contains("METEOR is left out: --meteor-data does not say"), "{error}");
    let table = text(&output.stdout);
    for row in ["bleu_1 ", "rouge_l ", "cider_d ", "images              2", "captions            3"]
    {
        assert!(table.lines().any(|line| line.starts_with(row)), "{row} in\n{table}");
    }
    assert!(!table.contains("meteor") && !table.contains("in_training"), "{table}");

    // Asked for by name, it is an error.
    let error = refused(dir, &["--metrics", "meteor"]);
    assert!(error.contains("METEOR needs its data"), "{error}");
    let error = refused(dir, &["--metrics", "meteor", "--meteor-data", "nowhere"]);
    assert!(error.contains("nowhere/meteor-1.5.jar is missing"), "{error}");
    let output = score(dir, &["--meteor-data", "nowhere"]);
    assert!(output.status.success());
    let error = text(&output.stderr);
    assert!(error.contains("METEOR is left out: nowhere/meteor-1.5.jar is missing"), "{error}");

    // Where nobody asks for it, nothing is said.
    let output = score(dir, &["--metrics", "rouge_l,cider"]);
    assert_eq!(text(&output.stderr), "");
    let table = text(&output.stdout);
    assert!(table.starts_with("rouge_l ") && !table.contains("bleu"), "{table}");
}

#[test]
fn scores_meteor_where_its_data_are() {
    let Some(data) = std::env::var_os("NIC_METEOR_DATA").and_then(|data| data.into_string().ok())
    else {
        let test = "scores_meteor_where_its_data_are";
        let _ = writeln!(io::stderr(), "{test}: skipped, as NIC_METEOR_DATA is not set");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write_coco(dir);
    write_results(dir, &[(3, "A dog runs on the wet beach!"), (7, "two cats")]);
    let found = object(dir, &["--metrics", "meteor", "--meteor-data", &data]);
    close(&found["meteor"], 0.354_650_329_111_703_4);
    assert!(object(dir, &["--meteor-data", &data])["meteor"].is_number());
}

#[test]
fn takes_frequencies_and_training_captions_from_other_files() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write_coco(dir);
    write_results(dir, &[(3, "a dog runs"), (7, "two cats")]);
    let own = object(dir, &["--metrics", "cider"]);
    let same = object(dir, &["--metrics", "cider", "--frequencies", "captions.json"]);
    assert_eq!(own, same);

    let image = |id: i64, split: &str, caption: &str| {
        json!({
            "filename": format!("{id}.jpg"), "cocoid": id, "split": split,
            "sentences": [{ "raw": caption }],
        })
    };
    // The validation image counts for nothing; `two cats` is as good as known everywhere.
    let karpathy = json!({ "images": [
        image(1, "train", "Two cats."), image(2, "restval", "two cats play"),
        image(4, "val", "a dog runs"), image(3, "test", "a dog runs"), image(7, "test", "a cat"),
    ] });
    std::fs::write(dir.join("karpathy.json"), karpathy.to_string()).unwrap();
    let options =
        ["--metrics", "cider", "--frequencies", "karpathy.json", "--training", "karpathy.json"];
    let found = object(dir, &[&options[..], &["--per-image", "images.jsonl"]].concat());
    close(&found["diversity"]["in_training"], 0.5);
    let lines = std::fs::read_to_string(dir.join("images.jsonl")).unwrap();
    let cats: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    // in both training images, its words weigh nothing
    close(&cats["cider"], 0.0);
    assert!(found["cider"].as_f64().unwrap() > 0.0);

    // As references, the same file has its test split scored, or the split that is named.
    std::fs::rename(dir.join("karpathy.json"), dir.join("captions.json")).unwrap();
    assert_eq!(object(dir, &[])["images"], 2);
    write_results(dir, &[(4, "a dog runs")]);
    close(&object(dir, &["--split", "val"])["rouge_l"], 1.0);
    let error = refused(dir, &[]);
    assert!(error.contains("1 result of no known image (4)"), "{error}");
}

#[test]
fn names_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write_results(dir, &[(3, "a dog"), (3, "a cat"), (8, "a")]);
    assert!(refused(dir, &[]).contains("captions.json: No such file"));
    write_coco(dir);
    let error = refused(dir, &["--per-image", "images.jsonl"]);
    let expected = "error: results.json does not fit captions.json: 1 result of no known image (8); \
                    1 image has no result (7); 1 image has more than one result (3)\n";
    assert!(error.ends_with(expected), "{error}");
    assert!(!dir.join("images.jsonl").exists());
    let error = refused(dir, &["--split", "test"]);
    assert!(error.contains("captions.json: has no splits"), "{error}");
    let error = refused(dir, &["--metrics", "bleu,spice"]);
    assert!(error.contains("spice") && error.contains("rouge_l"), "{error}");
    std::fs::write(dir.join("results.json"), "{}").unwrap();
    let error = refused(dir, &[]);
    assert!(error.contains("results.json: invalid type: map, expected a sequence"), "{error}");
}
