//! A Parquet dataset from a hub on this machine, which breaks off once. Alone in its program, as it sets its environment.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // as in tests themselves

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use nic_data::{Dataset, Split};

/// What the hub has under `data/`: name and content.
type Files = Vec<(&'static str, Vec<u8>)>;

/// Answers as huggingface.co does: the list of files, and files by ranges. Returns the endpoint and the log of
/// requests; a file's first download ends after half of its bytes.
fn serve(files: Files) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let log = Arc::new(Mutex::new(Vec::new()));
    let requests = Arc::clone(&log);
    std::thread::spawn(move || {
        let mut broken_off = false;
        for stream in listener.incoming() {
            answer(&files, stream.unwrap(), &requests, &mut broken_off);
        }
    });
    (endpoint, log)
}

fn answer(files: &Files, mut stream: TcpStream, log: &Mutex<Vec<String>>, broken_off: &mut bool) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let request = lines.next().unwrap_or_default();
    let range = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| Some(line.to_lowercase().strip_prefix("range: bytes=")?.to_owned()))
        .last()
        .unwrap_or_default();
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    log.lock().unwrap().push(format!("{path} {range}"));
    let (head, body) = if path == "/api/datasets/o/d/revision/main" {
        let names: Vec<_> =
            files.iter().map(|(name, _)| format!("{{\"rfilename\": \"data/{name}\"}}")).collect();
        let body = format!("{{\"sha\": \"c0ffee\", \"siblings\": [{}]}}", names.join(", "));
        ("200 OK\r\nContent-Type: application/json".to_owned(), body.into_bytes())
    } else {
        let name = path.strip_prefix("/datasets/o/d/resolve/main/data/").unwrap_or_default();
        match files.iter().find(|(file, _)| *file == name) {
            None => ("404 Not Found".to_owned(), Vec::new()),
            Some((_, content)) => {
                let (start, end) = range.split_once('-').unwrap_or_default();
                let start: usize = start.parse().unwrap_or(0);
                let end = end.parse().map_or(content.len(), |end: usize| end + 1);
                let head = format!(
                    "206 Partial Content\r\nETag: \"{name}\"\r\nX-Repo-Commit: c0ffee\r\n\
                     Content-Range: bytes {start}-{}/{}",
                    end - 1,
                    content.len()
                );
                (head, content[start..end].to_vec())
            }
        }
    };
    let whole = path.ends_with(".parquet") && range.ends_with('-') && !*broken_off;
    let sent = if whole { &body[..body.len() / 2] } else { &body[..] };
    *broken_off |= whole;
    let length = body.len();
    write!(stream, "HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")
        .unwrap();
    stream.write_all(sent).unwrap();
}

#[test]
fn a_parquet_dataset_from_the_hub() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let read = |name: &str| std::fs::read(golden.join(name)).unwrap();
    let content = read("nameless.parquet");
    let half = content.len() / 2;
    let (endpoint, log) = serve(vec![
        ("val-00000-of-00001.parquet", content.clone()),
        ("train-00000-of-00001.parquet", content),
        ("README.md", Vec::new()),
    ]);
    let dir = tempfile::tempdir().unwrap();
    let set = |name: &str, value: &std::ffi::OsStr| {
        // SAFETY: this is the only test of its program; the thread of the server reads no variable.
        unsafe { std::env::set_var(name, value) }
    };
    set("HF_ENDPOINT", endpoint.as_ref());
    set("HF_HOME", dir.path().as_os_str());
    set("HF_HUB_OFFLINE", "".as_ref());
    let descriptor = dir.path().join("d.toml");
    let write = |captions: &str| {
        let text = format!("name = 'd'\nformat = 'parquet'\ncaptions = [{captions}]");
        std::fs::write(&descriptor, text).unwrap();
    };

    // offline, and nothing in the cache
    write("'hf://datasets/o/d/data/train-*.parquet', 'hf://datasets/o/d/data/val-*.parquet'");
    set("HF_HUB_OFFLINE", "1".as_ref());
    let error = Dataset::open(&descriptor).unwrap_err().to_string();
    assert!(
        error.starts_with("hf://datasets/o/d/data: HF_HUB_OFFLINE is set, and 0 files in "),
        "{error}"
    );
    set("HF_HUB_OFFLINE", "".as_ref());
    assert!(log.lock().unwrap().is_empty());

    // the first download breaks off in the middle and goes on from there; then offline from the cache
    for offline in ["", "1"] {
        set("HF_HUB_OFFLINE", offline.as_ref());
        let dataset = Dataset::open(&descriptor).unwrap();
        let (train, val) =
            (dataset.split(Split::Train).unwrap(), dataset.split(Split::Val).unwrap());
        assert_eq!((train.len(), val.len()), (3, 3));
        let image = dataset.images(&[0]).unwrap().next().unwrap().unwrap();
        assert!(image.starts_with(b"\x89PNG"));
    }
    let requests = log.lock().unwrap().clone();
    let train = "/datasets/o/d/resolve/main/data/train-00000-of-00001.parquet";
    let downloads: Vec<_> = requests
        .iter()
        .filter_map(|request| request.strip_prefix(train)?.strip_suffix('-'))
        .collect();
    assert_eq!(downloads, [" bytes=0", &format!(" bytes={half}")].map(|s| s.replace("bytes=", "")));
    let count = requests.len();

    // what the hub does not have
    set("HF_HUB_OFFLINE", "".as_ref());
    write("'hf://datasets/o/d/data/test-*.parquet'");
    let error = Dataset::open(&descriptor).unwrap_err().to_string();
    assert_eq!(error, "hf://datasets/o/d/data: a file called test-*.parquet is missing");
    write("'hf://datasets/o/d/data/test.parquet'");
    let error = Dataset::open(&descriptor).unwrap_err().to_string();
    assert!(
        error.starts_with("hf://datasets/o/d/data/test.parquet: the file is missing"),
        "{error}"
    );
    assert!(log.lock().unwrap().len() > count);
}
