//! A server on loopback that answers as the Hugging Face hub does: a file's address redirects to a store that serves
//! ranges, and a repository's address with the list of its files. Other crates' tests include this file by its path.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    pub range: Option<String>,
    pub authorization: Option<String>,
}

/// Runs until the test's process ends.
pub struct HubServer {
    /// For `HF_ENDPOINT`.
    pub endpoint: String,
    state: Arc<State>,
}

struct State {
    endpoint: String,
    /// By `OWNER/NAME/PATH` or `datasets/OWNER/NAME/PATH`.
    files: HashMap<String, Vec<u8>>,
    /// Without this token the answer is 401.
    token: Option<String>,
    requests: Mutex<Vec<Request>>,
    /// How many bytes the next bodies have before the connection breaks.
    cuts: Mutex<Vec<usize>>,
}

impl HubServer {
    /// Serves `files`, each by `OWNER/NAME/PATH` or `datasets/OWNER/NAME/PATH`.
    pub fn start(files: &[(&str, &[u8])]) -> Self {
        Self::gated(files, None)
    }

    /// As [`HubServer::start`], to those who send `token`.
    pub fn gated(files: &[(&str, &[u8])], token: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State {
            endpoint: endpoint.clone(),
            files: files.iter().map(|(name, data)| ((*name).into(), data.to_vec())).collect(),
            token: token.map(Into::into),
            requests: Mutex::default(),
            cuts: Mutex::default(),
        });
        let served = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&served);
                // A client that goes away mid-answer is its own affair.
                std::thread::spawn(move || state.answer(&stream).ok());
            }
        });
        Self { endpoint, state }
    }

    /// Breaks the connection after `length` bytes of the next body, once for each call.
    pub fn cut(&self, length: usize) {
        self.state.cuts.lock().unwrap().push(length);
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.state.requests.lock().unwrap().clone()
    }

    /// The ranges asked of the store, without the first byte alone that tells the size.
    pub fn ranges(&self) -> Vec<String> {
        let bodies =
            self.requests().into_iter().filter(|request| request.path.starts_with("/store/"));
        bodies.filter_map(|request| request.range).filter(|range| range != "bytes=0-0").collect()
    }
}

impl State {
    fn answer(&self, mut stream: &TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream).lines();
        let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
        let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut headers = HashMap::new();
        for line in lines {
            let line = line?;
            match line.split_once(": ") {
                Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.to_owned()),
                None => break,
            };
        }
        let header = |name: &str| headers.get(name).cloned();
        let (range, authorization) = (header("range"), header("authorization"));
        let request = Request { path: path.clone(), range: range.clone(), authorization };
        self.requests.lock().unwrap().push(request.clone());

        let stored = path.strip_prefix("/store/");
        let allowed = match &self.token {
            Some(token) => request.authorization == Some(format!("Bearer {token}")),
            None => true,
        };
        if let Some(body) = self.list(&path).filter(|_| allowed) {
            let length = body.len();
            return write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
                 Connection: close\r\n\r\n{body}"
            );
        }
        let name = path.trim_start_matches('/').replacen("/resolve/main/", "/", 1);
        let Some(data) = self.files.get(stored.unwrap_or(&name)) else {
            return write!(stream, "HTTP/1.1 404 Not Found\r\n{END}");
        };
        if !allowed {
            return write!(stream, "HTTP/1.1 401 Unauthorized\r\n{END}");
        }
        if stored.is_none() {
            let mut hash = DefaultHasher::new();
            data.hash(&mut hash);
            return write!(
                stream,
                "HTTP/1.1 302 Found\r\nLocation: {}/store/{name}\r\nX-Linked-Etag: \"{:016x}\"\r\n\
                 X-Repo-Commit: 0123456789abcdef0123456789abcdef01234567\r\n{END}",
                self.endpoint,
                hash.finish()
            );
        }

        let range = range.unwrap_or_else(|| "bytes=0-".into());
        let (start, end) = range.trim_start_matches("bytes=").split_once('-').unwrap();
        let start: usize = start.parse().unwrap();
        let end = end.parse().map_or(data.len(), |last: usize| last + 1).min(data.len());
        if start >= end {
            return write!(stream, "HTTP/1.1 416 Range Not Satisfiable\r\n{END}");
        }
        write!(
            stream,
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{}/{}\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            end - 1,
            data.len(),
            end - start
        )?;
        let mut body = &data[start..end];
        if body.len() > 1
            && let Some(length) = self.cuts.lock().unwrap().pop()
        {
            body = &body[..length];
        }
        stream.write_all(body)
    }

    /// What the hub says of a repository that has files: their names.
    fn list(&self, path: &str) -> Option<String> {
        let repo = path.strip_prefix("/api/")?.strip_suffix("/revision/main")?;
        let below = format!("{}/", repo.trim_start_matches("models/"));
        let names = self.files.keys().filter_map(|name| name.strip_prefix(&below));
        let files: Vec<_> = names.map(|name| format!("{{\"rfilename\": \"{name}\"}}")).collect();
        let body = format!("{{\"sha\": \"0123\", \"siblings\": [{}]}}", files.join(", "));
        (!files.is_empty()).then_some(body)
    }
}

/// The end of an answer without a body.
const END: &str = "Content-Length: 0\r\nConnection: close\r\n\r\n";
