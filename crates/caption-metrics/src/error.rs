//! What can go wrong.

use std::path::PathBuf;

/// The result of everything in this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A JSON file does not hold what it should.
    #[error("{path}: {source}")]
    Json {
        /// The file.
        path: PathBuf,
        /// The reason, with line and column.
        source: serde_json::Error,
    },
    /// A file or list of captions that cannot be used.
    #[error("{place}: {reason}")]
    Data {
        /// The file, with the entry where there is one.
        place: String,
        /// What was found, and what was expected.
        reason: String,
    },
    /// Results and references are not of the same images.
    #[error("{results} does not fit {references}: {}", reasons(unknown, missing, duplicate))]
    Pairing {
        /// Where the results are from.
        results: String,
        /// Where the references are from.
        references: String,
        /// Images with a result and no reference.
        unknown: Vec<i64>,
        /// Images with references and no result.
        missing: Vec<i64>,
        /// Images with more than one result.
        duplicate: Vec<i64>,
    },
}

impl Error {
    /// [`Error::Io`] for `path`; for `map_err`.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    /// [`Error::Json`] for `path`; for `map_err`.
    pub(crate) fn json(path: impl Into<PathBuf>) -> impl FnOnce(serde_json::Error) -> Self {
        let path = path.into();
        move |source| Self::Json { path, source }
    }

    /// [`Error::Data`].
    pub(crate) fn data(place: impl ToString, reason: impl ToString) -> Self {
        Self::Data { place: place.to_string(), reason: reason.to_string() }
    }
}

/// What is wrong with a pairing, the worst first: `2 images have no reference (7, 9)`.
fn reasons(unknown: &[i64], missing: &[i64], duplicate: &[i64]) -> String {
    [
        (unknown, "result of no known image", "results of no known image"),
        (missing, "image has no result", "images have no result"),
        (duplicate, "image has more than one result", "images have more than one result"),
    ]
    .into_iter()
    .filter(|(ids, ..)| !ids.is_empty())
    .map(|(ids, one, many)| {
        format!("{} {} ({})", ids.len(), if ids.len() == 1 { one } else { many }, first(ids))
    })
    .collect::<Vec<_>>()
    .join("; ")
}

/// The first five, and an ellipsis where there are more.
pub(crate) fn first(ids: &[i64]) -> String {
    let shown: Vec<_> = ids.iter().take(5).map(i64::to_string).collect();
    shown.join(", ") + if ids.len() > shown.len() { ", ..." } else { "" }
}
