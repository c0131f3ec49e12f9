//! Caption datasets and feature shards on disk.

mod config;
mod dataset;
mod error;
mod features;

pub use config::read_toml;
pub use dataset::{Dataset, Images, Record, Split};
pub use error::{Error, Result};
pub use features::{Features, ShardHeader, write_shard};
