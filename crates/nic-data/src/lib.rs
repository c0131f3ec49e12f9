//! Caption datasets and feature shards on disk.

mod coco;
mod config;
mod dataset;
mod descriptor;
mod error;
mod features;
mod file;
mod flickr8k;
mod folder;
mod images;
mod index;
mod karpathy;
mod rows;
mod shard;
mod table;

pub use config::read_toml;
pub use dataset::{Dataset, Record, Split};
pub use error::{Error, Result};
pub use features::Features;
pub use file::write_whole;
pub use images::Images;
pub use index::{Index, IndexedShard};
pub use shard::{ShardHeader, read_shard_header, verify_shard, write_shard};
