//! How many captions are true: the demo's table.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::check::{Fact, FactKind, facts, is_true};
use crate::dataset::{Entry, SCENES, Split, read_scenes};
use crate::scene::Kind;
use crate::{Error, Result};

/// A row of COCO's results format.
#[derive(Deserialize)]
struct Row {
    image_id: u64,
    caption: String,
}

/// A scene of the test split, its caption, and the facts that it states.
#[derive(Debug)]
pub struct Judged {
    /// The scene.
    pub entry: Entry,
    /// The caption.
    pub caption: String,
    /// What it states; none where it is no sentence of this world.
    pub facts: Option<Vec<Fact>>,
}

impl Judged {
    /// Whether it states a fact at least, and nothing that is not so.
    pub fn is_true(&self) -> bool {
        self.facts.as_deref().is_some_and(is_true)
    }
}

/// Judges the captions in `results`, one for each scene of the test split of the dataset in `dir`.
///
/// # Errors
/// Files that cannot be read; captions that are missing, twice there, or of other scenes.
pub fn judge(results: &Path, dir: &Path) -> Result<Vec<Judged>> {
    let bytes = fs::read(results).map_err(|e| Error::file(results, e))?;
    let rows: Vec<Row> = serde_json::from_slice(&bytes).map_err(|e| Error::content(results, e))?;
    let mut captions = BTreeMap::new();
    for row in rows {
        if captions.insert(row.image_id, row.caption).is_some() {
            let reason = format!("image_id {} has two captions, expected one", row.image_id);
            return Err(Error::content(results, reason));
        }
    }
    let mut judged = Vec::new();
    let mut missing = Vec::new();
    for entry in read_scenes(dir)?.into_iter().filter(|e| e.split == Split::Test) {
        match captions.remove(&entry.id) {
            Some(caption) => {
                let facts = facts(&caption, &entry.scene);
                judged.push(Judged { entry, caption, facts });
            }
            None => missing.push(entry.id),
        }
    }
    if let Some(id) = missing.first() {
        let reason = format!("{} test images have no caption (the first: {id})", missing.len());
        return Err(Error::content(results, reason));
    }
    if let Some(id) = captions.keys().next() {
        let scenes = dir.join(SCENES);
        let reason = format!("image_id {id} is not in the test split of {}", scenes.display());
        return Err(Error::content(results, reason));
    }
    if judged.is_empty() {
        return Err(Error::content(&dir.join(SCENES), "the test split has no scene"));
    }
    Ok(judged)
}

/// The table: captions and facts, true of stated, where all pairs of colour and shape were seen in training and where
/// one was not.
pub fn table(judged: &[Judged]) -> String {
    let mut out = format!("{:<24}{:>18}{:>18}\n", "true of stated", "seen pairs", "unseen pairs");
    let mut row = |name: &str, count: &dyn Fn(&Judged) -> (usize, usize)| {
        let cell = |kind| {
            let (mut right, mut stated) = (0, 0);
            for judged in judged.iter().filter(|j| j.entry.kind == kind) {
                let (r, s) = count(judged);
                right += r;
                stated += s;
            }
            match stated {
                0 => "-".into(),
                _ => format!("{right}/{stated}{:>6.1} %", 100.0 * right as f64 / stated as f64),
            }
        };
        // writing to a string cannot fail
        let _ = writeln!(out, "{name:<24}{:>18}{:>18}", cell(Kind::Seen), cell(Kind::Unseen));
    };
    row("captions", &|j| (usize::from(j.is_true()), 1));
    row("  that are sentences", &|j| (usize::from(j.facts.is_some()), 1));
    for (name, kind) in [
        ("colour with shape", FactKind::Pair),
        ("size", FactKind::Size),
        ("relation", FactKind::Relation),
        ("number of shapes", FactKind::Count),
    ] {
        row(name, &|j| {
            let of_kind = || j.facts.iter().flatten().filter(|(k, _)| *k == kind);
            (of_kind().filter(|(_, is_true)| *is_true).count(), of_kind().count())
        });
    }
    out
}
