//! Fetching files from the Hugging Face hub into its usual cache.

use std::collections::{BTreeMap, BTreeSet};
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
        let api = self.api().map_err(|error| failed(error.to_string()))?;
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

    /// The names that `wanted` takes of the files in the directory `location` of a repository: from the cache where
    /// their numbers show that all are there, else from the hub.
    ///
    /// # Errors
    /// [`Error::Hub`] where the hub must be asked and cannot be.
    pub fn list(&self, location: &Location, wanted: impl Fn(&str) -> bool) -> Result<Vec<String>> {
        let Location::Hub { dataset, repo, path } = location else { return Ok(Vec::new()) };
        let failed = |reason: String| Error::Hub { url: location.to_string(), reason };
        let kind = if *dataset { RepoType::Dataset } else { RepoType::Model };
        let repo = Repo::new(repo.clone(), kind);
        let cached = Cache::new(self.cache.clone()).repo(repo.clone()).get(path);
        let cached: Vec<_> = cached
            .and_then(|directory| fs::read_dir(directory).ok())
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
            .filter(|name| wanted(name))
            .collect();
        if complete(&cached) {
            return Ok(cached);
        }
        if self.offline {
            let reason = format!(
                "HF_HUB_OFFLINE is set, and {} files in {} are not known to be all",
                cached.len(),
                self.cache.display()
            );
            return Err(failed(reason));
        }
        let info = self.api().and_then(|api| api.repo(repo).info());
        let info = info.map_err(|error| failed(error.to_string()))?;
        let directory = if path.is_empty() { String::new() } else { format!("{path}/") };
        let names = info.siblings.iter().filter_map(|file| file.rfilename.strip_prefix(&directory));
        Ok(names.filter(|name| !name.contains('/') && wanted(name)).map(str::to_owned).collect())
    }

    fn api(&self) -> std::result::Result<Api, ApiError> {
        ApiBuilder::from_cache(Cache::new(self.cache.clone()))
            .with_endpoint(self.endpoint.trim_end_matches('/').into())
            .with_token(self.token.clone())
            .with_progress(std::io::stderr().is_terminal())
            .build()
    }
}

/// Whether `PREFIX-00001-of-00003.parquet` and its like are there from the first to the last; other names do not tell.
fn complete(names: &[String]) -> bool {
    let mut sets = BTreeMap::<(&str, usize), BTreeSet<usize>>::new();
    for name in names {
        let numbers = name.split_once("-of-").and_then(|(before, after)| {
            let (prefix, number) = before.rsplit_once('-')?;
            let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
            Some(((prefix, after[..end].parse().ok()?), number.parse().ok()?))
        });
        match numbers {
            Some((set, number)) => _ = sets.entry(set).or_default().insert(number),
            None => return false,
        }
    }
    !sets.is_empty() && sets.iter().all(|((_, count), numbers)| numbers.len() == *count)
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

#[cfg(test)]
mod tests {
    #[test]
    fn numbered_files_tell_whether_they_are_all() {
        let complete = |names: &[&str]| {
            super::complete(&names.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>())
        };
        assert!(complete(&["train-00000-of-00002.parquet", "train-00001-of-00002-0a1b.parquet"]));
        assert!(complete(&["a-0-of-1.x", "b-0-of-1.x"]));
        assert!(!complete(&["train-00001-of-00002.parquet"]));
        assert!(!complete(&["a-0-of-1.x", "b-1-of-2.x"]));
        assert!(!complete(&["a-0-of-1.x", "b.x"]));
        assert!(!complete(&["-of-.x"]));
        assert!(!complete(&[]));
    }
}
