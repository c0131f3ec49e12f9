//! Damaged files end in errors, never in a panic.

use std::path::Path;

use nic_data::{Dataset, Features, Index, read_toml};

use crate::{Files, golden};

/// splitmix64 (Steele, Lea and Flood 2014): enough randomness to choose where to do damage.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end as u64) as usize
    }
}

/// Calls `read` with the file at `path` cut off anywhere, changed in a few bytes, or random.
fn damage(path: &Path, whole: &[u8], rounds: usize, read: impl Fn()) {
    let mut random = Random(whole.len() as u64);
    for round in 0..rounds {
        let mut bytes = whole.to_vec();
        match round % 3 {
            0 => bytes.truncate(random.below(whole.len())),
            1 => {
                for _ in 0..=random.below(8) {
                    bytes[random.below(whole.len())] = random.below(256) as u8;
                }
            }
            _ => {
                let length = random.below(300);
                bytes = (0..length).map(|_| random.below(256) as u8).collect();
            }
        }
        std::fs::write(path, bytes).unwrap();
        read();
    }
}

/// Opens a dataset and reads what images it has.
fn read_all(descriptor: &Path) {
    let Ok(dataset) = Dataset::open(descriptor) else { return };
    let all: Vec<_> = (0..dataset.records().len()).collect();
    if let Ok(images) = dataset.images(&all) {
        for image in images {
            let _ = image.map_err(|error| error.to_string());
        }
    }
}

#[test]
fn captions() {
    let json = br#"{"images": [{"id": 1, "file_name": "1.jpg", "filename": "1.jpg", "cocoid": 1, "split": "val",
        "sentences": [{"raw": "x"}]}], "annotations": [{"image_id": 1, "caption": "x"}]}"#;
    for format in ["coco", "karpathy"] {
        let files = Files::new(&[("images/1.jpg", "")]);
        let text = format!(
            "name = 'x'\nformat = '{format}'\ncaptions = ['val.json']\nimages = ['images']"
        );
        std::fs::write(files.path("d.toml"), text).unwrap();
        damage(&files.path("val.json"), json, 600, || read_all(&files.path("d.toml")));
    }
    let text = "name = 'x'\nformat = 'flickr8k'\ncaptions = ['t.txt']\nsplits.val = ['v.txt']\n";
    let files = Files::new(&[("v.txt", "1_a.jpg"), ("d.toml", text)]);
    damage(&files.path("t.txt"), b"1_a.jpg#0\tx\n2.jpg.1#1\ty\n", 600, || {
        read_all(&files.path("d.toml"))
    });
}

#[test]
fn toml() {
    let files = Files::new(&[]);
    let path = files.path("d.toml");
    let text = b"name = 'x'\nformat = 'parquet'\nsplits.val = ['v']\n[columns]\nid = 'a'\n";
    damage(&path, text, 600, || {
        read_all(&path);
        let set = ["a.b.c=3".to_owned(), "a=[1".to_owned()];
        let _ = read_toml::<serde_json::Value>(&path, &set);
    });
}

#[test]
fn archives() {
    let json = r#"{"images": [{"id": 1, "file_name": "1.jpg"}, {"id": 2, "file_name": "2.jpg"}, {"id": 3, "file_name": "3.jpg"}]}"#;
    let text = "name = 'x'\nformat = 'coco'\ncaptions = ['val.json']\nimages = ['a.zip']";
    let files = Files::new(&[("val.json", json), ("d.toml", text)]);
    for archive in ["stored.zip", "deflated.zip", "zip64.zip"] {
        let whole = std::fs::read(golden().join(archive)).unwrap();
        damage(&files.path("a.zip"), &whole, 300, || read_all(&files.path("d.toml")));
    }
}

#[test]
fn parquet() {
    let text = "name = 'x'\nformat = 'parquet'\nsplits.val = ['a.parquet']";
    let files = Files::new(&[("d.toml", text)]);
    for file in
        ["coco-snappy", "coco-gzip", "coco-lz4", "coco-pages", "coco-index", "flickr8k", "nameless"]
    {
        let whole = std::fs::read(golden().join(format!("{file}.parquet"))).unwrap();
        damage(&files.path("a.parquet"), &whole, 300, || read_all(&files.path("d.toml")));
    }
}

#[test]
fn shards() {
    let files = Files::new(&[]);
    let (path, index) = (files.path("a.safetensors"), files.path(Index::FILE));
    let json = br#"{"__metadata__":{"a":"b"},"features":{"dtype":"F16","shape":[1,4],"data_offsets":[8,16]},"image_id":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}      "#;
    let whole = [&(json.len() as u64).to_le_bytes(), &json[..], &[7; 16]].concat();
    let open = || {
        let Ok(features) = Features::open(files.0.path()) else { return };
        let all: Vec<_> = (0..features.len()).collect();
        features.gather(&all, &candle_core::Device::Cpu).unwrap();
    };
    damage(&path, &whole, 600, open);
    damage(
        &index,
        br#"{"format": 1, "dim": 4, "dtype": "f16", "rows": 1, "shards": []}"#,
        3000,
        open,
    );
}
