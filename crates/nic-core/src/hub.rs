//! Where a file is: on this disk, on the Hugging Face hub, or in an object store.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// A local path, `hf://...`, or an object's URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A file or directory on this disk.
    Local(PathBuf),
    /// `hf://OWNER/NAME[/PATH]` or `hf://datasets/OWNER/NAME[/PATH]`.
    Hub {
        /// Of a dataset repository, not a model's.
        dataset: bool,
        /// `OWNER/NAME`.
        repo: String,
        /// The file inside it; empty where only the repository is named.
        path: String,
    },
    /// `s3://BUCKET/KEY`, `gs://BUCKET/KEY` or `az://CONTAINER/KEY`.
    Object {
        /// `s3://BUCKET` and so on.
        store: String,
        /// The object in it, or the prefix of several; may be empty.
        key: String,
    },
}

/// Object stores.
const STORES: [&str; 3] = ["s3://", "gs://", "az://"];

impl Location {
    /// Reads `text`; a relative path is taken relative to `base`.
    ///
    /// # Errors
    /// [`Error::Usage`] where `text` is empty or a URL of another form than above.
    pub fn parse(text: &str, base: &Path) -> Result<Self> {
        let plain = |part: &&str| !part.is_empty() && **part != *"." && **part != *"..";
        if let Some(rest) = STORES.iter().find_map(|scheme| text.strip_prefix(scheme)) {
            let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
            let key = key.strip_suffix('/').unwrap_or(key);
            return match plain(&bucket) && (key.is_empty() || key.split('/').all(|p| plain(&p))) {
                true => {
                    let store = format!("{}{bucket}", &text[..text.len() - rest.len()]);
                    Ok(Self::Object { store, key: key.to_owned() })
                }
                false => Err(Error::Usage(format!("{text}: expected BUCKET[/KEY] after ://"))),
            };
        }
        let Some(rest) = text.strip_prefix("hf://") else {
            return match text {
                "" => Err(Error::Usage("a path is empty".into())),
                _ if text.contains("://") => {
                    let known = "a path, hf://..., s3://..., gs://... or az://...";
                    Err(Error::Usage(format!("{text}: expected {known}")))
                }
                _ => Ok(Self::Local(base.join(text))),
            };
        };
        let (dataset, rest) = match rest.strip_prefix("datasets/") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let mut parts: Vec<&str> = rest.split('/').collect();
        if parts.last() == Some(&"") {
            parts.pop();
        }
        match parts.as_slice() {
            [owner, name, path @ ..] if parts.iter().all(plain) => {
                Ok(Self::Hub { dataset, repo: format!("{owner}/{name}"), path: path.join("/") })
            }
            _ => Err(Error::Usage(format!(
                "{text}: expected hf://OWNER/NAME[/PATH] or hf://datasets/OWNER/NAME[/PATH]"
            ))),
        }
    }

    /// The file on this disk, fetched through the hub's usual cache where it is not here yet.
    ///
    /// # Errors
    /// Where there is no such file, or the hub cannot be reached or refuses.
    pub fn fetch(&self) -> Result<PathBuf> {
        self.fetch_if_there()?.ok_or_else(|| Error::Missing {
            place: self.to_string(),
            what: "the file".into(),
            hint: match self {
                Self::Local(_) | Self::Object { .. } => String::new(),
                Self::Hub { .. } => " (the hub answers 404: no such repository or file)".into(),
            },
        })
    }

    /// As [`Location::fetch`]; none where there is no such file.
    pub(crate) fn fetch_if_there(&self) -> Result<Option<PathBuf>> {
        match self {
            Self::Local(path) => match path.try_exists() {
                Ok(there) => Ok(there.then(|| path.clone())),
                Err(error) => Err(Error::io(path)(error)),
            },
            #[cfg(feature = "hub")]
            Self::Hub { .. } => crate::fetch::Hub::from_env()?.get(self),
            #[cfg(not(feature = "hub"))]
            Self::Hub { .. } => Err(Error::Hub {
                url: self.to_string(),
                reason: "nic-core was built without its feature `hub`".into(),
            }),
            #[cfg(feature = "object-store")]
            Self::Object { .. } => crate::objects::fetch(self),
            #[cfg(not(feature = "object-store"))]
            Self::Object { .. } => Err(self.no_objects()),
        }
    }

    /// A directory on this disk with the files directly below `self` whose names are `wanted`: an object store's in the
    /// cache, where the store must be asked; any other is `self`.
    ///
    /// # Errors
    /// As [`Location::fetch`].
    pub fn fetch_directory(&self, wanted: impl Fn(&str) -> bool) -> Result<PathBuf> {
        match self {
            #[cfg(feature = "object-store")]
            Self::Object { .. } => crate::objects::fetch_directory(self, wanted),
            _ => {
                drop(wanted);
                self.fetch()
            }
        }
    }

    /// What to say of an object where there is no store to ask.
    #[cfg(not(feature = "object-store"))]
    fn no_objects(&self) -> Error {
        let reason = "this program was built without its feature `object-store`".into();
        Error::Objects { url: self.to_string(), reason }
    }

    /// The files that a `*` in the last part of the path stands for, sorted by name; `self` where there is none.
    ///
    /// # Errors
    /// Where no file fits, or the hub cannot be asked and the cache does not show that it has them all.
    pub fn matching(&self) -> Result<Vec<Self>> {
        let text = self.to_string();
        let Some((parent, pattern)) = text.rsplit_once('/').filter(|(_, name)| name.contains('*'))
        else {
            return Ok(vec![self.clone()]);
        };
        let (directory, names) = match self {
            Self::Local(path) => {
                let directory = path.parent().unwrap_or(Path::new(""));
                let entries = std::fs::read_dir(directory).map_err(Error::io(directory))?;
                let names =
                    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
                let names =
                    names.collect::<std::io::Result<Vec<_>>>().map_err(Error::io(directory))?;
                (Self::Local(directory.to_owned()), names)
            }
            Self::Hub { dataset, repo, path } => {
                let path = path.rsplit_once('/').map_or("", |(parent, _)| parent).to_owned();
                let directory = Self::Hub { dataset: *dataset, repo: repo.clone(), path };
                let names = directory.names_on_hub(pattern)?;
                (directory, names)
            }
            Self::Object { store, key } => {
                let key = key.rsplit_once('/').map_or("", |(parent, _)| parent).to_owned();
                let directory = Self::Object { store: store.clone(), key };
                let names = directory.names_of_objects()?;
                (directory, names)
            }
        };
        let mut names: Vec<_> = names.into_iter().filter(|name| fits(name, pattern)).collect();
        names.sort();
        if names.is_empty() {
            let what = format!("a file called {pattern}");
            return Err(Error::Missing { place: parent.to_owned(), what, hint: String::new() });
        }
        Ok(names.iter().map(|name| directory.join(name)).collect())
    }

    #[cfg(feature = "hub")]
    fn names_on_hub(&self, pattern: &str) -> Result<Vec<String>> {
        crate::fetch::Hub::from_env()?.list(self, |name| fits(name, pattern))
    }

    #[cfg(not(feature = "hub"))]
    fn names_on_hub(&self, _pattern: &str) -> Result<Vec<String>> {
        self.fetch().map(|_| Vec::new())
    }

    #[cfg(feature = "object-store")]
    fn names_of_objects(&self) -> Result<Vec<String>> {
        crate::Objects::open(&self.to_string())?.names()
    }

    #[cfg(not(feature = "object-store"))]
    fn names_of_objects(&self) -> Result<Vec<String>> {
        Err(self.no_objects())
    }

    /// `self` with `name` below it: a file of a directory or repository.
    pub fn join(&self, name: &str) -> Self {
        match self {
            Self::Local(path) => Self::Local(path.join(name)),
            Self::Hub { dataset, repo, path } => {
                let slash = if path.is_empty() { "" } else { "/" };
                let path = format!("{path}{slash}{name}");
                Self::Hub { dataset: *dataset, repo: repo.clone(), path }
            }
            Self::Object { store, key } => {
                let slash = if key.is_empty() { "" } else { "/" };
                Self::Object { store: store.clone(), key: format!("{key}{slash}{name}") }
            }
        }
    }

    /// `name` beside `self`.
    pub(crate) fn sibling(&self, name: &str) -> Self {
        match self {
            Self::Local(path) => Self::Local(path.with_file_name(name)),
            Self::Hub { dataset, repo, path } => {
                let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent).into();
                Self::Hub { dataset: *dataset, repo: repo.clone(), path: parent }.join(name)
            }
            Self::Object { store, key } => {
                let parent = key.rsplit_once('/').map_or("", |(parent, _)| parent).into();
                Self::Object { store: store.clone(), key: parent }.join(name)
            }
        }
    }
}

/// Whether `name` is `pattern` with something, or nothing, for each `*`.
fn fits(name: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => name == pattern,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            let ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
            ends.into_iter().any(|at| fits(&name[at..], rest))
        }),
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
            Self::Hub { dataset, repo, path } => {
                let kind = if *dataset { "datasets/" } else { "" };
                let slash = if path.is_empty() { "" } else { "/" };
                write!(f, "hf://{kind}{repo}{slash}{path}")
            }
            Self::Object { store, key } => {
                let slash = if key.is_empty() { "" } else { "/" };
                write!(f, "{store}{slash}{key}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(dataset: bool, repo: &str, path: &str) -> Location {
        Location::Hub { dataset, repo: repo.into(), path: path.into() }
    }

    fn object(store: &str, key: &str) -> Location {
        Location::Object { store: store.into(), key: key.into() }
    }

    #[test]
    fn locations_are_read_and_written() {
        let base = Path::new("/base");
        for (text, expected) in [
            ("hf://timm/vgg16.tv_in1k", hub(false, "timm/vgg16.tv_in1k", "")),
            ("hf://a/b/c/d.json", hub(false, "a/b", "c/d.json")),
            ("hf://datasets/a/b", hub(true, "a/b", "")),
            ("hf://datasets/a/b/data/x.parquet", hub(true, "a/b", "data/x.parquet")),
            ("s3://bucket/a/b.zip", object("s3://bucket", "a/b.zip")),
            ("gs://bucket", object("gs://bucket", "")),
            ("az://container/x", object("az://container", "x")),
            ("/etc/x", Location::Local("/etc/x".into())),
        ] {
            let location = Location::parse(text, base).unwrap();
            assert_eq!(location, expected);
            assert_eq!(location.to_string(), text);
        }
        assert_eq!(Location::parse("s3://a/b/", base).unwrap(), object("s3://a", "b"));
        assert_eq!(Location::parse("hf://a/b/", base).unwrap(), hub(false, "a/b", ""));
        let below = Location::parse("../w/x", base).unwrap();
        assert_eq!(below, Location::Local("/base/../w/x".into()));
    }

    #[test]
    fn what_is_no_location_is_named() {
        let hub = ["", "hf://", "hf://gpt2", "hf://datasets/a", "hf://a//b", "hf://a/b/../c"];
        let store = ["s3://", "s3:///a", "gs://a//b", "az://a/../b", "s3://..", "ftp://a/b"];
        let wrong = hub.into_iter().chain(store);
        for text in wrong {
            let error = Location::parse(text, Path::new(".")).unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
    }

    #[test]
    fn files_below_and_beside() {
        assert_eq!(hub(true, "a/b", "").join("x"), hub(true, "a/b", "x"));
        assert_eq!(hub(true, "a/b", "x").join("y/z"), hub(true, "a/b", "x/y/z"));
        assert_eq!(hub(false, "a/b", "x/i.json").sibling("y"), hub(false, "a/b", "x/y"));
        assert_eq!(hub(false, "a/b", "i.json").sibling("y"), hub(false, "a/b", "y"));
        assert_eq!(object("s3://b", "").join("x"), object("s3://b", "x"));
        assert_eq!(object("s3://b", "x").join("y"), object("s3://b", "x/y"));
        assert_eq!(object("s3://b", "x/i.json").sibling("y"), object("s3://b", "x/y"));
        assert_eq!(Location::Local("d".into()).join("f"), Location::Local("d/f".into()));
        assert_eq!(Location::Local("d/i".into()).sibling("f"), Location::Local("d/f".into()));
    }

    #[test]
    fn a_star_stands_for_anything() {
        for (name, pattern, expected) in [
            ("train-0-of-2.parquet", "train-*.parquet", true),
            ("train-.parquet", "train-*.parquet", true),
            ("train.parquet", "train-*.parquet", false),
            ("aéb", "a*b", true),
            ("abcb", "*b*b", true),
            ("ab", "*b*b", false),
            ("a", "a", true),
            ("", "**", true),
        ] {
            assert_eq!(fits(name, pattern), expected, "{name} {pattern}");
        }
    }

    #[test]
    fn a_pattern_names_the_files_of_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b-1.x", "b-0.x", "a.x"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let found = |name: &str| Location::Local(dir.path().join(name)).matching();
        let local = |name: &str| Location::Local(dir.path().join(name));
        assert_eq!(found("b-*.x").unwrap(), [local("b-0.x"), local("b-1.x")]);
        assert_eq!(found("a.x").unwrap(), [local("a.x")]);
        let error = found("c-*.x").unwrap_err().to_string();
        assert_eq!(error, format!("{}: a file called c-*.x is missing", dir.path().display()));
        let error = found("gone/*.x").unwrap_err().to_string();
        assert!(error.contains("gone: No such file"), "{error}");
        let error = local("gone").fetch().unwrap_err().to_string();
        assert!(error.contains("gone"), "{error}");
    }
}
