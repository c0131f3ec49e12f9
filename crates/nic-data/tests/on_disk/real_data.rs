//! Against real captions, photographs and features, found through `NIC_TEST_DATA`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::{Device, IndexOp};
use nic_data::{Dataset, Features, Split};
use sha2::{Digest, Sha256};

use crate::hex;

/// The folder of real data, or none after saying so.
fn test_data(test: &str) -> Option<PathBuf> {
    let data = std::env::var_os("NIC_TEST_DATA").map(PathBuf::from);
    if data.is_none() {
        let _ = writeln!(std::io::stderr(), "{test}: skipped, as NIC_TEST_DATA is not set");
    }
    data
}

/// As `sha256sum` says it: a caption that is not ours to quote is known by it.
fn sha256(text: &str) -> String {
    hex(&Sha256::digest(text))
}

/// Writes a descriptor and opens it.
fn open(dir: &Path, text: &str) -> Dataset {
    let path = dir.join("dataset.toml");
    std::fs::write(&path, text).unwrap();
    Dataset::open(&path).unwrap()
}

#[test]
fn coco_val2017() {
    let Some(data) = test_data("coco_val2017") else { return };
    let dir = tempfile::tempdir().unwrap();
    let (json, images) = (data.join("coco-mini/annotations"), data.join("coco-mini/images"));
    let start = Instant::now();
    let dataset = open(
        dir.path(),
        &format!(
            "name = 'coco-mini'\nformat = 'coco'\ncaptions = ['{0}/captions_train2017.json', '{0}/captions_val2017.json']\n\
             images = ['{1}/train2017', '{1}/val2017']",
            json.display(),
            images.display()
        ),
    );
    assert!(start.elapsed().as_secs() < 5);
    assert_eq!(dataset.name(), "coco-mini");
    let (train, val) = (dataset.split(Split::Train).unwrap(), dataset.split(Split::Val).unwrap());
    assert_eq!((train.len(), val.len()), (80, 5000));
    let captions =
        |records: &[&nic_data::Record]| records.iter().map(|r| r.captions.len()).sum::<usize>();
    assert_eq!((captions(&train), captions(&val)), (400, 25014));
    // The first annotation of the official file belongs to image 179765.
    let record = val.iter().find(|record| record.id == 179_765).unwrap();
    let hash = "3a5ddd5092be4217e259ea965c9d3d8f3e763361fa939dd1c8d5b0b8481652d9";
    assert_eq!(sha256(&record.captions[0]), hash);

    let all: Vec<_> = (0..dataset.records().len()).collect();
    let images: Vec<_> = dataset.images(&all).unwrap().collect();
    assert_eq!(images.iter().filter(|image| image.is_ok()).count(), 80 + 159);
    for (record, image) in dataset.records().iter().zip(&images) {
        match image {
            Ok(bytes) => assert_eq!(bytes[..2], [0xff, 0xd8], "not a JPEG file: {}", record.id),
            Err(error) => assert!(
                error.to_string().starts_with(&format!("{:012}.jpg: no such file in", record.id)),
                "{error}"
            ),
        }
    }
    let error = dataset.split(Split::Test).unwrap_err().to_string();
    assert!(
        error.ends_with(
            "an image of split test is missing; images there are: train (80), val (5000)"
        ),
        "{error}"
    );
}

#[test]
fn flickr8k() {
    let Some(data) = test_data("flickr8k") else { return };
    let dir = tempfile::tempdir().unwrap();
    let dataset = open(
        dir.path(),
        &format!(
            "name = 'flickr8k'\nformat = 'karpathy'\ncaptions = ['{}']",
            data.join("flickr8k/dataset_flickr8k_trainval.json").display()
        ),
    );
    let (train, val) = (dataset.split(Split::Train).unwrap(), dataset.split(Split::Val).unwrap());
    assert_eq!((train.len(), val.len()), (6000, 1000));
    assert_eq!(train[0].id, 1_000_268_201);
    assert_eq!(train[0].captions.len(), 5);
    let hash = "0a2d9c4039cfccddbbe06f81fa86b121951f1cc34fcf4667fa71d2ee64f7f7b6";
    assert_eq!(sha256(&train[0].captions[1]), hash);
    let error = dataset.images(&[0]).unwrap_err().to_string();
    assert!(error.contains("`images` is missing"), "{error}");

    let features = Features::open(&data.join("flickr8k/flickr8k_mobilenetv2.safetensors")).unwrap();
    assert_eq!((features.len(), features.dim(), features.encoder()), (7000, 1280, None));
    let positions: Vec<_> =
        dataset.records().iter().map(|record| features.position(record.id).unwrap()).collect();
    let batch = features.gather(&positions[..3], &Device::Cpu).unwrap();
    assert_eq!(batch.dims(), [3, 1280]);
    // as the safetensors crate and candle read it
    let whole = candle_core::safetensors::load(
        data.join("flickr8k/flickr8k_mobilenetv2.safetensors"),
        &Device::Cpu,
    )
    .unwrap();
    let ids = whole["image_id"].to_vec1::<i64>().unwrap();
    for (row, position) in positions[..3].iter().enumerate() {
        assert_eq!(ids[*position], dataset.records()[row].id);
        let expected =
            whole["features"].i(*position).unwrap().to_dtype(candle_core::DType::F32).unwrap();
        let expected = expected.to_vec1::<f32>().unwrap();
        assert_eq!(batch.i(row).unwrap().to_vec1::<f32>().unwrap(), expected);
    }
}
