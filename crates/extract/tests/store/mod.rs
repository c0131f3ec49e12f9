//! An S3 server that is not ours.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// moto's server, with a bucket, or the one that NIC_TEST_S3 names: an empty place in a bucket, `s3://BUCKET/PREFIX`,
/// whose server the AWS_ variables name. Both need boto3 for the tests' own view of it.
pub struct Store {
    server: Option<Child>,
    url: String,
    variables: Vec<(String, String)>,
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }
}

impl Store {
    /// None, and a word on stderr, where there is neither.
    pub fn start(test: &str) -> Option<Self> {
        if let Ok(url) = std::env::var("NIC_TEST_S3") {
            let url = format!("{}/{test}", url.trim_end_matches('/'));
            return Some(Self { server: None, url, variables: Vec::new() });
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Command::new("moto_server")
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(server) = server else {
            let _ = writeln!(
                std::io::stderr(),
                "{test}: skipped, as there is no moto_server (pip install 'moto[server]') and NIC_TEST_S3 is not set"
            );
            return None;
        };
        let endpoint = format!("http://127.0.0.1:{port}");
        let variables = [
            ("AWS_ENDPOINT", &*endpoint),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "testing"),
            ("AWS_SECRET_ACCESS_KEY", "testing"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let store = Self { server: Some(server), url: "s3://nic".to_owned(), variables };
        let start = Instant::now();
        let mut stream = loop {
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(stream) => break stream,
                Err(error) => assert!(start.elapsed() < Duration::from_secs(90), "moto: {error}"),
            }
            sleep(Duration::from_millis(50));
        };
        let request = "PUT /nic HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        Some(store)
    }

    pub fn url(&self, name: &str) -> String {
        format!("{}/{name}", self.url)
    }

    /// `command`, told of the server.
    pub fn told<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.envs(self.variables.iter().map(|(name, value)| (name, value)))
    }

    /// By boto3.
    pub fn client(&self, verb: &str, name: &str, path: Option<&Path>) -> String {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/store/s3.py");
        let mut python = Command::new("python3");
        let output =
            self.told(python.args([script, verb, &self.url(name)]).args(path)).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}
