//! The third stage: crops to features, on the device.

use std::sync::mpsc::{Receiver, SyncSender};

use candle_core::{Device, Tensor};
use nic_core::{Crop, Encoder};

use crate::Dtype;
use crate::batch::Batch;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::progress::Progress;

/// The features of a batch, ready to be stored.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) shard: usize,
    /// Whether this is the shard's last batch.
    pub(crate) last: bool,
    pub(crate) ids: Vec<i64>,
    /// `[ids, D]` in the stored type, on the CPU; none where there is no image.
    pub(crate) features: Option<Tensor>,
    /// Image id and reason.
    pub(crate) failed: Vec<(i64, String)>,
}

/// Encodes batches as their promises are kept, until Ctrl-C.
pub(crate) fn encode(
    encoder: &Encoder,
    dtype: Dtype,
    strict: bool,
    clock: &Clock,
    progress: &Progress,
    promises: Receiver<Receiver<Batch<Crop>>>,
    encoded: SyncSender<Encoded>,
) -> Result<()> {
    for promise in promises {
        if interrupt::requested() {
            return Ok(());
        }
        let Batch { shard, last, images } = promise.recv().map_err(|_| Error::Stopped("decode"))?;
        let count = images.len();
        let (mut ids, mut crops, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        for (id, content) in images {
            match content {
                Ok(crop) => {
                    ids.push(id);
                    crops.push(crop);
                }
                Err(reason) if strict => return Err(Error::Unreadable { id, reason }),
                Err(reason) => {
                    progress.failed(id, &reason);
                    failed.push((id, reason));
                }
            }
        }
        let features = match crops.is_empty() {
            true => None,
            false => Some(clock.time(crops.len(), 1, || features(encoder, &ids, &crops, dtype))?),
        };
        if encoded.send(Encoded { shard, last, ids, features, failed }).is_err() {
            return Ok(()); // the writer has failed and will say why
        }
        progress.advance(count);
    }
    Ok(())
}

/// `[B, D]` on the CPU; an error where the stored type has no number for a feature.
fn features(encoder: &Encoder, ids: &[i64], crops: &[Crop], dtype: Dtype) -> Result<Tensor> {
    let features = encoder.encode(crops)?.to_device(&Device::Cpu).map_err(nic_core::Error::from)?;
    let rows = features.to_vec2::<f32>().map_err(nic_core::Error::from)?;
    for (&id, row) in ids.iter().zip(rows) {
        if let Some((index, &value)) =
            row.iter().enumerate().find(|(_, value)| !dtype.holds(**value))
        {
            return Err(Error::Overflow { id, index, value, dtype });
        }
    }
    Ok(features.to_dtype(dtype.into()).map_err(nic_core::Error::from)?)
}
