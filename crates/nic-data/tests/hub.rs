//! A Parquet dataset from a hub on this machine. Alone in its program, as it sets its environment.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "../../nic-core/tests/hub_server/mod.rs"]
mod hub_server;

use std::path::Path;

use hub_server::HubServer;
use nic_data::{Dataset, Split};

#[test]
fn a_parquet_dataset_from_the_hub() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let rows = std::fs::read(golden.join("nameless.parquet")).unwrap();
    let half = rows.len() / 2;
    let server = HubServer::start(&[
        ("datasets/o/d/data/train-00000-of-00002.parquet", &rows),
        ("datasets/o/d/data/train-00001-of-00002.parquet", &rows),
        ("datasets/o/d/data/validation-00000-of-00001.parquet", &rows),
        ("datasets/o/d/data/more/validation-00000-of-00001.parquet", &rows),
        ("datasets/o/d/README.md", b"about"),
    ]);
    let dir = tempfile::tempdir().unwrap();
    let set = |name: &str, value: &std::ffi::OsStr| {
        // SAFETY: this is the only test of its program, and the server reads no variable.
        unsafe { std::env::set_var(name, value) }
    };
    set("HF_ENDPOINT", server.endpoint.as_ref());
    set("HF_HOME", dir.path().as_os_str());
    let offline = |value: &str| set("HF_HUB_OFFLINE", value.as_ref());
    let descriptor = dir.path().join("d.toml");
    let open = |captions: &str| {
        let text = format!("name = 'd'\nformat = 'parquet'\ncaptions = ['hf://{captions}']");
        std::fs::write(&descriptor, text).unwrap();
        Dataset::open(&descriptor)
    };
    let all = "datasets/o/d/data/*.parquet";

    // nothing in the cache
    offline("1");
    let error = open(all).unwrap_err().to_string();
    let start = "hf://datasets/o/d/data: HF_HUB_OFFLINE is set, and 0 files in ";
    assert!(error.starts_with(start), "{error}");
    assert!(server.requests().is_empty());

    // The first download breaks off and goes on from there. The second time everything is in the cache.
    offline("");
    server.cut(half);
    for asked in [true, false] {
        let before = server.requests().len();
        let dataset = open(all).unwrap();
        let count = |split| dataset.split(split).unwrap().len();
        assert_eq!((count(Split::Train), count(Split::Val)), (6, 3));
        let image = dataset.images(&[8]).unwrap().next().unwrap().unwrap();
        assert!(image.starts_with(b"\x89PNG"));
        assert_eq!(server.requests().len() > before, asked);
    }
    assert_eq!(server.ranges(), ["bytes=0-", &format!("bytes={half}-"), "bytes=0-", "bytes=0-"]);

    // a cache that lacks one of the files
    let snapshot = dir.path().join("hub/datasets--o--d/snapshots");
    let commit = std::fs::read_dir(snapshot).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(commit.join("data/train-00001-of-00002.parquet")).unwrap();
    offline("1");
    let error = open(all).unwrap_err().to_string();
    assert!(error.contains("and 2 files in "), "{error}");
    offline("");
    assert_eq!(open(all).unwrap().records().len(), 9);

    // what the hub does not have
    let error = open("datasets/o/d/data/test-*.parquet").unwrap_err().to_string();
    assert_eq!(error, "hf://datasets/o/d/data: a file called test-*.parquet is missing");
    let error = open("datasets/o/d/data/test.parquet").unwrap_err().to_string();
    assert!(
        error.starts_with("hf://datasets/o/d/data/test.parquet: the file is missing"),
        "{error}"
    );
    let error = open("datasets/o/gone/data/*.parquet").unwrap_err().to_string();
    assert!(error.starts_with("hf://datasets/o/gone/data: "), "{error}");
    assert!(error.contains("404"), "{error}");
}
