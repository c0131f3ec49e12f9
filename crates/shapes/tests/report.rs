//! `shapes report` as it is called.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // as in tests themselves

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../datasets/shapes");

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn report(results: &Path, picture: &Path) -> std::io::Result<Output> {
    Command::new(env!("CARGO_BIN_EXE_shapes"))
        .args(["report", "--dataset", DIR, "--results"])
        .arg(results)
        .arg("--picture")
        .arg(picture)
        .output()
}

/// A true caption for every scene of the test split.
fn captions() -> Result<Vec<Value>, Box<dyn std::error::Error>> {
    let file: Value =
        serde_json::from_slice(&fs::read(Path::new(DIR).join("dataset_shapes.json"))?)?;
    let images = file["images"].as_array().ok_or("no images")?;
    let row = |i: &Value| json!({"image_id": i["imgid"], "caption": i["sentences"][0]["raw"]});
    Ok(images.iter().filter(|i| i["split"] == "test").map(row).collect())
}

#[test]
fn true_and_false_captions_are_counted_and_shown() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (results, picture) =
        (dir.path().join("results.json"), dir.path().join("runs/captions.png"));
    let mut rows = captions()?;
    rows[0]["caption"] = "one shape: a photograph".into();
    rows[1]["caption"] = "three shapes: a red circle, a red circle and a red circle".into();
    fs::write(&results, serde_json::to_vec(&rows)?)?;

    let output = report(&results, &picture)?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let table = String::from_utf8(output.stdout)?;
    let cells: Vec<Vec<&str>> = table.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(cells[1], ["captions", "178/180", "98.9", "%", "120/120", "100.0", "%"]);
    assert_eq!(cells[2][6..], ["120/120", "100.0", "%"]);

    let shown = image::open(&picture)?.to_rgb8();
    let count = |rgb| shown.pixels().filter(|p| p.0 == rgb).count();
    // ten green marks of some 150 pixels, two red ones and red text
    assert!(count([22, 138, 62]) > 1000, "{}", count([22, 138, 62]));
    assert!(count([200, 38, 38]) > 500, "{}", count([200, 38, 38]));
    Ok(())
}

#[test]
fn captions_that_do_not_fit_the_dataset_are_refused() -> Outcome {
    let dir = tempfile::tempdir()?;
    let results = dir.path().join("results.json");
    let rows = captions()?;
    let other = [rows.as_slice(), &[json!({"image_id": 0, "caption": "a red circle"})]].concat();
    let twice = [rows.as_slice(), &rows[..1]].concat();
    for (text, expected) in [
        ("[".into(), "EOF while parsing a list at line 1 column 1"),
        (serde_json::to_string(&rows[1..])?, "1 test images have no caption (the first: 3150)"),
        (serde_json::to_string(&other)?, "image_id 0 is not in the test split"),
        (serde_json::to_string(&twice)?, "image_id 3150 has two captions, expected one"),
    ] {
        fs::write(&results, text)?;
        let output = report(&results, &dir.path().join("captions.png"))?;
        let message = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains("results.json") && message.contains(expected), "{message}");
    }
    fs::remove_file(&results)?;
    assert_eq!(report(&results, &dir.path().join("captions.png"))?.status.code(), Some(2));
    Ok(())
}
