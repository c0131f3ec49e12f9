//! Fetching files from the Hugging Face hub into its usual cache.

use std::fs;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::{Cache, Repo, RepoType};

use crate::{Error, Location, Result};

/// How often a download is taken up again before it is given up.
const ATTEMPTS: u32 = 5;

/// A hub and the cache of its files, laid out as the `huggingface_hub` library does.
#[derive(Clone, Debug)]
pub struct Hub {
    /// `https://huggingface.co`, or a mirror.
    pub endpoint: String,
    /// The directory of the cache, `~/.cache/huggingface/hub`.
    pub cache: PathBuf,
    /// For repositories that are gated or private.
    pub token: Option<String>,
    /// Use only what is in the cache.
    pub offline: bool,
}

impl Hub {
    /// As `HF_ENDPOINT`, `HF_HOME`, `HF_TOKEN` (or the file `token` in `HF_HOME`) and `HF_HUB_OFFLINE` say.
    ///
    /// # Errors
    /// [`Error::Usage`] where there is neither `HF_HOME` nor a home directory.
    pub fn from_env() -> Result<Self> {
        let var = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let home = match var("HF_HOME") {
            Some(home) => PathBuf::from(home),
            None => match std::env::home_dir() {
                Some(home) => home.join(".cache").join("huggingface"),
                None => return Err(Error::Usage("no home directory: set HF_HOME".into())),
            },
        };
        let cache = home.join("hub");
        let offline = var("HF_HUB_OFFLINE").unwrap_or_default().to_ascii_uppercase();
        Ok(Self {
            endpoint: var("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into()),
            token: var("HF_TOKEN").or_else(|| Cache::new(cache.clone()).token()),
            cache,
            offline: ["1", "ON", "YES", "TRUE"].contains(&offline.as_str()),
        })
    }

    /// The file of `location` on this disk: from the cache, else downloaded, an interrupted download taken up where it
    /// ended. None where the hub says that there is no such file (404).
    ///
    /// # Errors
    /// [`Error::Hub`] where the hub cannot be reached or refuses, or offline where the cache has no such file.
    pub fn get(&self, location: &Location) -> Result<Option<PathBuf>> {
        let Location::Hub { dataset, repo, path } = location else {
            return location.fetch_if_there();
        };
        let failed = |reason: String| Error::Hub { url: location.to_string(), reason };
        if path.is_empty() {
            return Err(failed("names a repository, expected a file in it".into()));
        }
        let kind = if *dataset { RepoType::Dataset } else { RepoType::Model };
        let repo = Repo::new(repo.clone(), kind);
        let cache = Cache::new(self.cache.clone());
        if let Some(file) = cache.repo(repo.clone()).get(path) {
            return Ok(Some(file));
        }
        if self.offline {
            let reason = format!("not in {} and HF_HUB_OFFLINE is set", self.cache.display());
            return Err(failed(reason));
        }
        let api = ApiBuilder::from_cache(cache.clone())
            .with_endpoint(self.endpoint.trim_end_matches('/').into())
            .with_token(self.token.clone())
            .with_progress(std::io::stderr().is_terminal())
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let url = api.repo(repo.clone()).url(path);

        let mut attempt = 0;
        loop {
            attempt += 1;
            let error = match download(&api, &cache, &repo, path) {
                Ok(file) => return Ok(Some(file)),
                Err(error) => error,
            };
            match status(&error) {
                Some(404) => return Ok(None),
                Some(code @ (401 | 403)) => {
                    let hint = match self.token {
                        None => "no such repository, or it needs a token: set HF_TOKEN",
                        Some(_) => "no such repository, or this token may not read it",
                    };
                    return Err(failed(format!("{url} answers {code}: {hint}")));
                }
                _ if attempt < ATTEMPTS => sleep(Duration::from_millis(100 << attempt)),
                _ => return Err(failed(format!("{url}: {error} ({ATTEMPTS} attempts)"))),
            }
        }
    }
}

/// One attempt. hf-hub's own retries are not used: after a first failure they ask for the file from its beginning and
/// append that to what is there.
fn download(
    api: &Api,
    cache: &Cache,
    repo: &Repo,
    path: &str,
) -> std::result::Result<PathBuf, ApiError> {
    let remote = api.repo(repo.clone());
    let metadata = api.metadata(&remote.url(path))?;
    let size = metadata.size() as u64;
    let blob = cache.repo(repo.clone()).blob_path(metadata.etag());
    let part = blob.with_extension("part");
    // There is nothing to ask for after the end, so a part of full length could never become a file.
    if fs::metadata(&part).is_ok_and(|part| part.len() >= size) {
        fs::remove_file(&part)?;
    }
    let file = remote.download(path)?;
    let length = fs::metadata(&file)?.len();
    if length != size {
        fs::remove_file(&file)?;
        fs::remove_file(&blob)?;
        let reason = format!("{length} bytes arrived, expected {size}");
        return Err(std::io::Error::other(reason).into());
    }
    Ok(file)
}

/// The HTTP status that the hub answered with, where that was the failure.
fn status(error: &ApiError) -> Option<u16> {
    match error {
        ApiError::RequestError(error) => match **error {
            ureq::Error::StatusCode(code) => Some(code),
            _ => None,
        },
        _ => None,
    }
}
