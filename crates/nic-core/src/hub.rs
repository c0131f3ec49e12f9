//! Where a file is: on this disk, or on the Hugging Face hub.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// A local path or `hf://...`.
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
}

impl Location {
    /// Reads `text`; a relative path is taken relative to `base`.
    ///
    /// # Errors
    /// [`Error::Usage`] where `text` is empty or a URL of another form than above.
    pub fn parse(text: &str, base: &Path) -> Result<Self> {
        let Some(rest) = text.strip_prefix("hf://") else {
            return match text {
                "" => Err(Error::Usage("a path is empty".into())),
                _ if text.contains("://") => {
                    Err(Error::Usage(format!("{text}: expected a path or hf://...")))
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
        let plain = |part: &&str| !part.is_empty() && **part != *"." && **part != *"..";
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
                Self::Local(_) => String::new(),
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
        }
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
        }
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
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(dataset: bool, repo: &str, path: &str) -> Location {
        Location::Hub { dataset, repo: repo.into(), path: path.into() }
    }

    #[test]
    fn locations_are_read_and_written() {
        let base = Path::new("/base");
        for (text, expected) in [
            ("hf://timm/vgg16.tv_in1k", hub(false, "timm/vgg16.tv_in1k", "")),
            ("hf://a/b/c/d.json", hub(false, "a/b", "c/d.json")),
            ("hf://datasets/a/b", hub(true, "a/b", "")),
            ("hf://datasets/a/b/data/x.parquet", hub(true, "a/b", "data/x.parquet")),
            ("/etc/x", Location::Local("/etc/x".into())),
        ] {
            let location = Location::parse(text, base).unwrap();
            assert_eq!(location, expected);
            assert_eq!(location.to_string(), text);
        }
        assert_eq!(Location::parse("hf://a/b/", base).unwrap(), hub(false, "a/b", ""));
        let below = Location::parse("../w/x", base).unwrap();
        assert_eq!(below, Location::Local("/base/../w/x".into()));
    }

    #[test]
    fn what_is_no_location_is_named() {
        let wrong =
            ["", "hf://", "hf://gpt2", "hf://datasets/a", "hf://a//b", "hf://a/b/../c", "s3://a/b"];
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
        assert_eq!(Location::Local("d".into()).join("f"), Location::Local("d/f".into()));
        assert_eq!(Location::Local("d/i".into()).sibling("f"), Location::Local("d/f".into()));
    }
}
