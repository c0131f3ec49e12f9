//! `hf://` against a server on loopback.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]
#![cfg(feature = "hub")]

mod hub_server;

use std::path::Path;
use std::process::Command;

use hub_server::HubServer;
use nic_core::{Hub, Location};
use tempfile::TempDir;

fn hub(endpoint: &str, cache: &TempDir) -> Hub {
    Hub { endpoint: endpoint.into(), cache: cache.path().join("hub"), token: None, offline: false }
}

fn location(text: &str) -> Location {
    Location::parse(text, Path::new(".")).unwrap()
}

/// Bytes of no regular pattern, so that a piece twice or missing shows.
fn data(length: u32) -> Vec<u8> {
    (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[test]
fn a_file_is_fetched_once() {
    let (model, rows) = (data(70_000), data(900));
    let server = HubServer::start(&[
        ("me/vgg/model.safetensors", &model),
        ("datasets/me/coco/data/train.parquet", &rows),
    ]);
    let cache = TempDir::new().unwrap();
    // A slash at the end of the endpoint is no part of the address.
    let hub = hub(&format!("{}/", server.endpoint), &cache);
    for (text, expected) in [
        ("hf://me/vgg/model.safetensors", &model),
        ("hf://datasets/me/coco/data/train.parquet", &rows),
    ] {
        let first = hub.get(&location(text)).unwrap().unwrap();
        assert_eq!(&std::fs::read(&first).unwrap(), expected);
        let asked = server.requests().len();
        assert_eq!(hub.get(&location(text)).unwrap(), Some(first));
        assert_eq!(server.requests().len(), asked, "the second time it is in the cache");
    }
    let paths: Vec<String> = server.requests().into_iter().map(|request| request.path).collect();
    assert!(paths.contains(&"/me/vgg/resolve/main/model.safetensors".into()), "{paths:?}");
    assert!(paths.contains(&"/datasets/me/coco/resolve/main/data/train.parquet".into()));
}

#[test]
fn an_interrupted_download_goes_on_where_it_ended() {
    let model = data(300_000);
    let server = HubServer::start(&[("me/vgg/model.safetensors", &model)]);
    server.cut(100_000);
    let cache = TempDir::new().unwrap();
    let file = hub(&server.endpoint, &cache).get(&location("hf://me/vgg/model.safetensors"));
    assert_eq!(std::fs::read(file.unwrap().unwrap()).unwrap(), model);
    assert_eq!(server.ranges(), ["bytes=0-", "bytes=100000-"]);
}

#[test]
fn a_part_left_by_a_killed_process_is_taken_up() {
    let model = data(5_000);
    let server = HubServer::start(&[("me/vgg/model.safetensors", &model)]);
    let text = location("hf://me/vgg/model.safetensors");
    for (kept, expected) in [(3_000, "bytes=3000-"), (5_000, "bytes=0-"), (6_000, "bytes=0-")] {
        let cache = TempDir::new().unwrap();
        let hub = hub(&server.endpoint, &cache);
        let whole = hub.get(&text).unwrap().unwrap();
        let blob = whole.canonicalize().unwrap();
        std::fs::remove_file(&whole).unwrap();
        let mut part = std::fs::read(&blob).unwrap();
        part.resize(kept, 0);
        std::fs::write(blob.with_extension("part"), part).unwrap();
        std::fs::remove_file(&blob).unwrap();

        let again = hub.get(&text).unwrap().unwrap();
        assert_eq!(std::fs::read(again).unwrap(), model);
        assert_eq!(server.ranges().last().unwrap(), expected);
    }
}

#[test]
fn what_is_not_there_is_none() {
    let server = HubServer::start(&[("me/vgg/model.safetensors", b"x")]);
    let cache = TempDir::new().unwrap();
    let hub = hub(&server.endpoint, &cache);
    assert_eq!(hub.get(&location("hf://me/vgg/other.safetensors")).unwrap(), None);
    let error = hub.get(&location("hf://me/vgg")).unwrap_err().to_string();
    assert!(error.contains("hf://me/vgg: names a repository"), "{error}");
}

#[test]
fn a_gated_file_needs_the_token() {
    let server = HubServer::gated(&[("me/secret/model.safetensors", b"secret")], Some("hf_right"));
    let cache = TempDir::new().unwrap();
    let mut hub = hub(&server.endpoint, &cache);
    let text = location("hf://me/secret/model.safetensors");
    let error = hub.get(&text).unwrap_err().to_string();
    assert!(error.contains("answers 401") && error.contains("HF_TOKEN"), "{error}");
    assert!(error.starts_with("hf://me/secret/model.safetensors: http://127.0.0.1"), "{error}");
    hub.token = Some("hf_wrong".into());
    let error = hub.get(&text).unwrap_err().to_string();
    assert!(error.contains("this token may not read it"), "{error}");
    hub.token = Some("hf_right".into());
    assert_eq!(std::fs::read(hub.get(&text).unwrap().unwrap()).unwrap(), b"secret");
}

#[test]
fn offline_only_the_cache_is_used() {
    let server = HubServer::start(&[("me/vgg/a", b"aa"), ("me/vgg/b", b"bb")]);
    let cache = TempDir::new().unwrap();
    let mut hub = hub(&server.endpoint, &cache);
    let first = hub.get(&location("hf://me/vgg/a")).unwrap();
    let asked = server.requests().len();
    hub.offline = true;
    assert_eq!(hub.get(&location("hf://me/vgg/a")).unwrap(), first);
    let error = hub.get(&location("hf://me/vgg/b")).unwrap_err().to_string();
    assert!(error.contains("hf://me/vgg/b: not in") && error.contains("HF_HUB_OFFLINE"), "{error}");
    assert_eq!(server.requests().len(), asked);
}

#[test]
fn a_hub_that_does_not_answer_is_named() {
    let cache = TempDir::new().unwrap();
    let error = hub("http://127.0.0.1:9", &cache).get(&location("hf://me/vgg/a")).unwrap_err();
    assert_eq!(error.exit_code(), 1);
    let error = error.to_string();
    assert!(error.contains("http://127.0.0.1:9/me/vgg/resolve/main/a"), "{error}");
    assert!(error.contains("5 attempts"), "{error}");
}

/// Runs itself as another process, since the environment belongs to the whole process.
#[test]
fn the_environment_says_which_hub_and_cache() {
    if std::env::var_os("NIC_TEST_CHILD").is_some() {
        let found = location("hf://me/vgg/model.safetensors").fetch();
        return eprintln!("{}", found.map_or_else(|e| e.to_string(), |p| p.display().to_string()));
    }
    let server = HubServer::gated(&[("me/vgg/model.safetensors", b"weights")], Some("hf_right"));
    let home = TempDir::new().unwrap();
    let child = |variables: &[(&str, &str)]| {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_environment_says_which_hub_and_cache", "--nocapture"])
            .env("NIC_TEST_CHILD", "1")
            .env("HF_ENDPOINT", &server.endpoint)
            .env("HF_HOME", home.path())
            .env_remove("HF_TOKEN")
            .env_remove("HF_HUB_OFFLINE")
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let says = child(&[("HF_HUB_OFFLINE", "1")]);
    assert!(says.contains("HF_HUB_OFFLINE is set"), "{says}");
    let says = child(&[]);
    assert!(says.contains("answers 401"), "{says}");
    std::fs::write(home.path().join("token"), "hf_right\n").unwrap();
    let says = child(&[("HF_TOKEN", "hf_wrong")]);
    assert!(says.contains("answers 401"), "HF_TOKEN comes before the file: {says}");
    let says = child(&[]);
    let cached = home.path().join("hub").join("models--me--vgg").join("snapshots");
    assert!(says.contains(&cached.display().to_string()), "{says}");
    assert_eq!(child(&[("HF_HUB_OFFLINE", "1")]), says);
}
