//! Objects of S3, Google Cloud Storage and Azure, behind calls that block.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::future::Future;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use object_store::path::Path as Key;
use object_store::{
    Error as StoreError, GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload,
};
use tokio::runtime::{Builder, Runtime};
use url::Url;

use crate::file::beside;
use crate::{Error, Location, Result};

/// What is asked for at once of an object that goes to a file.
const CHUNK: u64 = 32 << 20;

/// The objects below a prefix: `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` or `az://CONTAINER/PREFIX`.
///
/// An object is there whole or not at all, and what was written is what the next call sees.
#[derive(Clone, Debug)]
pub struct Objects {
    url: String,
    store: Arc<dyn ObjectStore>,
    prefix: Key,
}

impl Objects {
    /// Takes credentials, region and endpoint from the variables that begin with `AWS_`, `GOOGLE_` and `AZURE_`
    /// (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT`, `AWS_ALLOW_HTTP` ...) or from the machine's role; asks for nothing yet.
    ///
    /// # Errors
    /// [`Error::Usage`] where `url` is none of these, [`Error::Objects`] where a variable cannot be used.
    pub fn open(url: &str) -> Result<Self> {
        let Location::Object { store, key } = Location::parse(url, Path::new(""))? else {
            return Err(Error::Usage(format!("{url}: expected s3://..., gs://... or az://...")));
        };
        let failed = |reason: String| Error::Objects { url: url.to_owned(), reason };
        // of the key nothing is taken for a query, a fragment or an escape
        let prefix = Key::parse(&key).map_err(|error| failed(error.to_string()))?;
        let parsed = Url::parse(&store).map_err(|error| failed(error.to_string()))?;
        // only these: the store would take a variable called TOKEN or REGION for its own as well
        let ours = |name: &str| ["AWS_", "GOOGLE_", "AZURE_"].iter().any(|p| name.starts_with(p));
        let options = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| ours(name));
        let (store, _) = object_store::parse_url_opts(&parsed, options)
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self { url: url.trim_end_matches('/').to_owned(), store: store.into(), prefix })
    }

    /// `name` below the prefix, as a URL.
    pub fn url(&self, name: &str) -> String {
        format!("{}/{name}", self.url)
    }

    /// The content of an object; none where there is no such object.
    ///
    /// # Errors
    /// [`Error::Objects`] where the store cannot be reached or refuses, here and below.
    pub fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let key = self.key(name)?;
        let content = wait(async { self.store.get(&key).await?.bytes().await })?;
        Ok(self.there(name, content)?.map(Into::into))
    }

    /// Writes an object to the file `to`, which is complete only when this returns true; false where there is no such
    /// object.
    ///
    /// # Errors
    /// Also where the object changes meanwhile, or `to` cannot be written.
    pub fn fetch(&self, name: &str, to: &Path) -> Result<bool> {
        let Some(found) = self.head(name)? else { return Ok(false) };
        self.download(name, &found, to).map(|()| true)
    }

    /// Puts `content` in the place of what is there.
    pub fn put(&self, name: &str, content: Vec<u8>) -> Result<()> {
        let key = self.key(name)?;
        let put = wait(self.store.put(&key, PutPayload::from(content)))?;
        put.map(drop).map_err(|error| self.failed(name, &error))
    }

    /// Puts `content` unless there is an object of that name; of several who try at once, one does.
    pub fn create(&self, name: &str, content: Vec<u8>) -> Result<()> {
        let key = self.key(name)?;
        match wait(self.store.put_opts(&key, PutPayload::from(content), PutMode::Create.into()))? {
            Ok(_) | Err(StoreError::AlreadyExists { .. }) => Ok(()),
            Err(error) => Err(self.failed(name, &error)),
        }
    }

    /// Removes an object that may not be there.
    pub fn remove(&self, name: &str) -> Result<()> {
        let key = self.key(name)?;
        self.there(name, wait(self.store.delete(&key))?).map(drop)
    }

    /// The names directly below the prefix, sorted.
    pub fn names(&self) -> Result<Vec<String>> {
        let listed = wait(self.store.list_with_delimiter(Some(&self.prefix)))?;
        let objects = listed.map_err(|error| self.failed("", &error))?.objects;
        let names = objects.iter().filter_map(|object| object.location.filename());
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        names.sort();
        Ok(names)
    }

    /// Whether anything lies below the prefix, at any depth.
    pub fn any(&self) -> Result<bool> {
        let listed = wait(self.store.list_with_delimiter(Some(&self.prefix)))?;
        let listed = listed.map_err(|error| self.failed("", &error))?;
        Ok(!listed.objects.is_empty() || !listed.common_prefixes.is_empty())
    }

    fn head(&self, name: &str) -> Result<Option<ObjectMeta>> {
        let key = self.key(name)?;
        self.there(name, wait(self.store.head(&key))?)
    }

    fn download(&self, name: &str, found: &ObjectMeta, to: &Path) -> Result<()> {
        let mut file = File::create(to).map_err(Error::io(to))?;
        let mut start = 0;
        while start < found.size {
            let end = found.size.min(start + CHUNK);
            let options = GetOptions {
                range: Some((start..end).into()),
                if_match: found.e_tag.clone(),
                ..GetOptions::default()
            };
            let part =
                wait(async { self.store.get_opts(&found.location, options).await?.bytes().await })?;
            let part = part.map_err(|error| self.failed(name, &error))?;
            if part.len() as u64 != end - start {
                let reason = format!("{} bytes of {}, expected {}", part.len(), name, end - start);
                return Err(Error::Objects { url: self.url(name), reason });
            }
            file.write_all(&part).map_err(Error::io(to))?;
            start = end;
        }
        file.sync_all().map_err(Error::io(to))
    }

    /// As it stands: a name that was listed is found again.
    fn key(&self, name: &str) -> Result<Key> {
        let parts = self.prefix.as_ref().split('/').chain(name.split('/'));
        let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
        Key::parse(parts.join("/"))
            .map_err(|error| Error::Usage(format!("{}: {error}", self.url(name)))) // `..`, say
    }

    fn there<T>(
        &self,
        name: &str,
        answer: std::result::Result<T, StoreError>,
    ) -> Result<Option<T>> {
        match answer {
            Ok(found) => Ok(Some(found)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(name, &error)),
        }
    }

    fn failed(&self, name: &str, error: &StoreError) -> Error {
        let mut reason = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(error) = source {
            let text = error.to_string(); // some repeat what is below them, some do not
            if !reason.contains(&text) {
                reason = format!("{reason}: {text}");
            }
            source = error.source();
        }
        Error::Objects { url: self.url(name).trim_end_matches('/').to_owned(), reason }
    }
}

/// The file of an object in the cache, fetched unless what is there is the same version; none where there is no such
/// object.
pub(crate) fn fetch(location: &Location) -> Result<Option<PathBuf>> {
    let Location::Object { store, key } = location else { return location.fetch_if_there() };
    let objects = Objects::open(store)?;
    let Some(found) = objects.head(key)? else { return Ok(None) };
    let path = cache(store, key)?;
    let version = match &found.e_tag {
        Some(tag) => tag.clone(),
        None => format!("{} {}", found.size, found.last_modified),
    };
    // last written and first removed: where it is right, so is the file
    let stamp = beside(&path, ".version");
    if path.is_file() && fs::read(&stamp).is_ok_and(|there| there == version.as_bytes()) {
        return Ok(Some(path));
    }
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(Error::io(dir))?;
    }
    remove(&stamp)?;
    let part = beside(&path, &format!(".{}.part", std::process::id()));
    let fetched = objects.download(key, &found, &part);
    if let Err(error) = fetched {
        let _ = fs::remove_file(&part); // the first error is the one to report
        return Err(error);
    }
    fs::rename(&part, &path).map_err(Error::io(&path))?;
    fs::write(&stamp, version).map_err(Error::io(&stamp))?;
    Ok(Some(path))
}

/// A directory in the cache with those objects directly below `location` whose names are `wanted`, and no other such.
pub(crate) fn fetch_directory(
    location: &Location,
    wanted: impl Fn(&str) -> bool,
) -> Result<PathBuf> {
    let Location::Object { store, key } = location else { return location.fetch() };
    let names: BTreeSet<String> =
        Objects::open(&location.to_string())?.names()?.into_iter().filter(|n| wanted(n)).collect();
    let dir = cache(store, key)?;
    fs::create_dir_all(&dir).map_err(Error::io(&dir))?;
    for entry in fs::read_dir(&dir).map_err(Error::io(&dir))? {
        let path = entry.map_err(Error::io(&dir))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if wanted(&name) && !names.contains(&*name) {
            remove(&path)?; // gone from the store
        }
    }
    for name in &names {
        location.join(name).fetch()?;
    }
    Ok(dir)
}

/// `$XDG_CACHE_HOME/nic/s3/BUCKET/KEY`, by default below `~/.cache`.
fn cache(store: &str, key: &str) -> Result<PathBuf> {
    let home = match std::env::var_os("XDG_CACHE_HOME").filter(|home| !home.is_empty()) {
        Some(home) => PathBuf::from(home),
        None => match std::env::home_dir() {
            Some(home) => home.join(".cache"),
            None => return Err(Error::Usage("no home directory: set XDG_CACHE_HOME".into())),
        },
    };
    Ok(home.join("nic").join(store.replace("://", "/")).join(key))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(path)(error)),
        _ => Ok(()),
    }
}

/// Blocks on `work`; from any thread that is not itself the runtime's.
fn wait<T>(work: impl Future<Output = T>) -> Result<T> {
    static RUNTIME: OnceLock<std::io::Result<Runtime>> = OnceLock::new();
    let runtime = RUNTIME
        .get_or_init(|| Builder::new_multi_thread().worker_threads(2).enable_all().build())
        .as_ref();
    match runtime {
        Ok(runtime) => Ok(runtime.block_on(work)),
        Err(error) => Err(Error::Usage(format!("no threads for the object store: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_taken_as_they_stand() {
        let prefix = "données/a~b#2 100%20?x";
        let objects = Objects {
            url: format!("s3://bucket/{prefix}"),
            store: Arc::new(object_store::memory::InMemory::new()),
            prefix: Key::parse(prefix).unwrap(),
        };
        for name in ["é a~b.jpg", "c#d.jpg", "100%.jpg", "e%20f?.jpg", "plain.jpg"] {
            objects.put(name, name.as_bytes().to_vec()).unwrap();
            assert_eq!(objects.get(name).unwrap().as_deref(), Some(name.as_bytes()));
        }
        let names = objects.names().unwrap();
        assert_eq!(names.len(), 5);
        for name in names {
            assert_eq!(objects.get(&name).unwrap().as_deref(), Some(name.as_bytes()));
        }
    }

    #[test]
    fn a_number_sign_does_not_cut_a_prefix() {
        let objects = Objects::open("s3://bucket/run#2?x").unwrap();
        assert_eq!(objects.prefix.as_ref(), "run#2?x");
        assert_eq!(objects.key("/a//b.jpg").unwrap().as_ref(), "run#2?x/a/b.jpg");
        // one such name is no reason to give up the others
        let error = objects.get("../a.jpg").unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().starts_with("s3://bucket/run#2?x/../a.jpg: "), "{error}");
    }
}
