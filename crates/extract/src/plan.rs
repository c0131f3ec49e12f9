//! What a run is to make, kept as `extract.json` so that a later run can tell whether it may continue.

use std::path::Path;

use nic_core::{EncoderSpec, Error as CoreError};
use nic_data::{Record, Split};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::Result;
use crate::{Dtype, Precision};

/// Everything that decides the shards' bytes, but for the images themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    /// The dataset's name.
    pub(crate) dataset: String,
    /// The splits asked for; empty for all.
    pub(crate) splits: Vec<Split>,
    /// Only so many images.
    pub(crate) limit: Option<usize>,
    /// How many images that makes.
    pub(crate) images: usize,
    /// SHA-256 over their ids and splits, in order.
    pub(crate) records_sha256: String,
    /// What makes the features.
    pub(crate) encoder: EncoderSpec,
    /// What it computes in; not in the plans of before there was a choice.
    #[serde(default)]
    pub(crate) precision: Precision,
    /// How they are stored.
    pub(crate) dtype: Dtype,
    /// Images a shard.
    pub(crate) shard_size: usize,
}

impl Plan {
    /// From the text of `extract.json`.
    pub(crate) fn parse(text: &[u8], path: &Path) -> Result<Self> {
        Ok(serde_json::from_slice(text).map_err(CoreError::json(path))?)
    }

    /// The text of `extract.json`.
    pub(crate) fn to_json(&self, path: &Path) -> Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self).map_err(CoreError::json(path))?;
        text.push(b'\n');
        Ok(text)
    }

    /// How many shards.
    pub(crate) fn shards(&self) -> usize {
        self.images.div_ceil(self.shard_size)
    }

    /// How many images shard number `index` holds or excuses.
    pub(crate) fn images_of(&self, index: usize) -> usize {
        self.images.saturating_sub(index * self.shard_size).min(self.shard_size)
    }

    /// What differs in `wanted`, a line each; empty where its shards would be the same.
    pub(crate) fn differences(&self, wanted: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut compare = |what: &str, found: String, wanted: String| {
            if found != wanted {
                lines.push(format!("{what}: {found} there, {wanted} now"));
            }
        };
        compare("dataset", self.dataset.clone(), wanted.dataset.clone());
        compare("precision", self.precision.to_string(), wanted.precision.to_string());
        compare("dtype", self.dtype.to_string(), wanted.dtype.to_string());
        compare("shard size", self.shard_size.to_string(), wanted.shard_size.to_string());
        if self.records_sha256 != wanted.records_sha256 {
            compare("splits", names(&self.splits), names(&wanted.splits));
            compare("limit", number(self.limit), number(wanted.limit));
            let list = |plan: &Self| {
                let sha256: String = plan.records_sha256.chars().take(12).collect();
                format!("{} (SHA-256 of ids and splits {sha256})", plan.images)
            };
            compare("images", list(self), list(wanted));
        }
        lines.extend(self.encoder.differences(&wanted.encoder));
        lines
    }
}

fn names(splits: &[Split]) -> String {
    match splits {
        [] => "all".to_owned(),
        splits => splits.iter().map(Split::to_string).collect::<Vec<_>>().join(","),
    }
}

fn number(limit: Option<usize>) -> String {
    limit.map_or("none".to_owned(), |limit| limit.to_string())
}

/// SHA-256 over ids and splits, in hexadecimal.
pub(crate) fn sha256<'a>(records: impl Iterator<Item = &'a Record>) -> String {
    let mut hash = Sha256::new();
    for record in records {
        hash.update(format!("{} {}\n", record.id, record.split));
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
