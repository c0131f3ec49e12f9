//! The first stage: encoded bytes, in the order of the shards.

use std::sync::mpsc::SyncSender;

use nic_data::Dataset;

use crate::batch::Batch;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::interrupt;

/// The images of one shard, as positions among the dataset's records.
#[derive(Clone, Debug)]
pub(crate) struct Shard {
    pub(crate) index: usize,
    pub(crate) positions: Vec<usize>,
}

/// Reads `shards` in batches; a batch never spans two shards, so a shard's bytes do not depend on its neighbours.
pub(crate) fn read(
    dataset: &Dataset,
    shards: &[&Shard],
    batch_size: usize,
    clock: &Clock,
    batches: SyncSender<Batch<Vec<u8>>>,
) -> Result<()> {
    let positions: Vec<usize> = shards.iter().flat_map(|shard| &shard.positions).copied().collect();
    let mut contents = dataset.images(&positions)?;
    for shard in shards {
        let mut chunks = shard.positions.chunks(batch_size).peekable();
        while let Some(chunk) = chunks.next() {
            let mut images = Vec::with_capacity(chunk.len());
            for &position in chunk {
                if interrupt::requested() {
                    return Ok(());
                }
                let content = clock.time(1, 1, || contents.next()).ok_or(Error::Stopped("read"))?;
                let content = content.map_err(|error| error.to_string());
                images.push((dataset.records()[position].id, content));
            }
            let batch = Batch { shard: shard.index, last: chunks.peek().is_none(), images };
            if batches.send(batch).is_err() {
                return Ok(()); // a later stage has failed and will say why
            }
        }
    }
    Ok(())
}
