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
                let content = match content {
                    Err(nic_data::Error::Core(error)) if !says_of_the_image(&error) => {
                        return Err(error.into());
                    }
                    content => content.map_err(|error| error.to_string()),
                };
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

/// Whether an error is the image's own and another try would meet it again; else the disk, the network or a store is at
/// fault, and the run ends rather than write down the image as one that cannot be read.
fn says_of_the_image(error: &nic_core::Error) -> bool {
    use std::io::ErrorKind::{IsADirectory, NotADirectory, NotFound, PermissionDenied};
    match error {
        nic_core::Error::Io { source, .. } => {
            matches!(source.kind(), NotFound | PermissionDenied | IsADirectory | NotADirectory)
        }
        error => error.exit_code() == 2,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn only_what_lasts_is_the_images_own() {
        let io = |kind| nic_core::Error::io("a.jpg")(io::Error::from(kind));
        assert!(says_of_the_image(&io(io::ErrorKind::NotFound)));
        assert!(says_of_the_image(&nic_core::Error::Image("cut off".into())));
        assert!(!says_of_the_image(&io(io::ErrorKind::StaleNetworkFileHandle)));
        assert!(!says_of_the_image(&nic_core::Error::io("a.jpg")(io::Error::from_raw_os_error(5))));
        let (url, reason) = ("s3://bucket/a.jpg".to_owned(), "403 Forbidden".to_owned());
        assert!(!says_of_the_image(&nic_core::Error::Hub { url, reason }));
    }
}
