//! The same images from directories, archives and Parquet rows give the same shards.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

mod common;
use common::{Fixture, test_data};

/// Image ids and files, per split.
type Images = Vec<(i64, PathBuf)>;

/// Runs over `train` and `val` from directories, zipped and as Parquet; the shards must not differ.
fn from_everywhere(fixture: &Fixture, train: &Images, val: &Images) {
    let splits = [("train", train), ("val", val)];
    let mut captions = Vec::new();
    let mut rows = Vec::new();
    for (split, images) in splits {
        let name = format!("captions_{split}2017.json");
        let file = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        fixture.captions(&name, images.iter().map(|(id, path)| (*id, file(path))));
        captions.push(name);
        fixture.zip(&format!("{split}2017"), images);
        rows.push(format!("{split}-00000-of-00001.parquet"));
        fixture.parquet(rows.last().unwrap(), images);
    }
    let directory = |images: &Images| images[0].1.parent().unwrap().display().to_string();
    let head = "name = \"everywhere\"\n";
    let coco = format!("{head}format = \"coco\"\ncaptions = {captions:?}\n");
    let descriptors = [
        ("files", format!("{coco}images = [{:?}, {:?}]\n", directory(train), directory(val))),
        ("zip", format!("{coco}images = [\"train2017.zip\", \"val2017.zip\"]\n")),
        (
            "parquet",
            format!(
                "{head}format = \"parquet\"\ncaptions = {rows:?}\n\
                 [columns]\nid = \"cocoid\"\nimage = \"image\"\ncaptions = \"caption\"\n"
            ),
        ),
    ];
    let mut made: Vec<BTreeMap<String, Vec<u8>>> = Vec::new();
    for (out, descriptor) in descriptors {
        fs::write(fixture.path("data.toml"), descriptor).unwrap();
        fixture.ok(out, &["--shard-size", "50"]);
        made.push(fixture.files(out));
        assert_eq!(fixture.failed(out), [] as [serde_json::Value; 0]);
        assert_eq!(fixture.features(out).len(), train.len() + val.len());
    }
    assert!(made[1] == made[0], "zip");
    assert!(made[2] == made[0], "parquet");
}

#[test]
fn generated_images() {
    let fixture = Fixture::new(5, 3);
    let mut images: Images = fs::read_dir(fixture.path("images"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().parse().unwrap(), path))
        .collect();
    images.sort();
    let val = images.split_off(5);
    from_everywhere(&fixture, &images, &val);
}

#[test]
fn photographs() {
    let Some(data) = test_data("photographs") else { return };
    let data = data.join("coco-mini");
    let fixture = Fixture::new(0, 0);
    let [train, val] = ["train2017", "val2017"].map(|split| -> Images {
        let text = fs::read(data.join(format!("annotations/captions_{split}.json"))).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let listed = json["images"].as_array().unwrap().iter();
        let files = listed.map(|image| {
            let name = image["file_name"].as_str().unwrap();
            (image["id"].as_i64().unwrap(), data.join("images").join(split).join(name))
        });
        files.filter(|(_, path)| path.exists()).collect()
    });
    assert_eq!((train.len(), val.len()), (80, 159));
    from_everywhere(&fixture, &train, &val);
}

#[test]
fn odd_images_are_read_or_named() {
    let Some(data) = test_data("odd_images_are_read_or_named") else { return };
    for (kind, count, most) in [("valid", 61, 10), ("corrupt", 108, 108)] {
        let fixture = Fixture::new(0, 0);
        let directory = data.join("odd-images").join(kind);
        let mut files: Vec<PathBuf> =
            fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert_eq!(files.len(), count);
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        fixture.captions(
            "captions_val2017.json",
            files.iter().zip(1..).map(|(path, id)| (id, name(path))),
        );
        let directory = directory.to_str().unwrap();
        fixture.descriptor("data.toml", kind, &["captions_val2017.json".to_owned()], directory);
        let output = fixture.run("out", &[]);
        let log = common::stderr(&output);
        assert!(output.status.success(), "{log}");
        assert!(!log.contains("panicked"), "{log}");

        let (read, failed) = (fixture.features("out"), fixture.failed("out"));
        assert_eq!(read.len() + failed.len(), count);
        assert!(failed.len() <= most, "{failed:#?}");
        for line in failed {
            let (id, reason) =
                (line["image_id"].as_u64().unwrap(), line["reason"].as_str().unwrap());
            assert!(!reason.is_empty());
            eprintln!("{}: {reason}", name(&files[id as usize - 1]));
        }
    }
}
