//! The third stage: crops to features, on the device.

use std::sync::mpsc::{Receiver, SyncSender};

use candle_core::Tensor;
use nic_core::{Crop, Download, Encoder};

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

/// A batch that the device may still be busy with.
struct Launched {
    shard: usize,
    last: bool,
    ids: Vec<i64>,
    /// `[ids, D]`, f32, from the device.
    features: Option<Download>,
    failed: Vec<(i64, String)>,
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
    let mut limit = Limit::default();
    let mut launch = |batch: Batch<Crop>| -> Result<Launched> {
        let Batch { shard, last, images } = batch;
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
            false => Some(clock.time(crops.len(), 1, || {
                let features = limit.encode(
                    &crops,
                    |crops| encoder.encode(crops),
                    |line| progress.warn(line),
                )?;
                Download::begin(features).map_err(Error::from)
            })?),
        };
        Ok(Launched { shard, last, ids, features, failed })
    };
    // whether the writer took it; where it did not it has failed and will say why
    let finish = |batch: Launched| -> Result<bool> {
        let Launched { shard, last, ids, features, failed } = batch;
        let count = ids.len() + failed.len();
        let features = match features {
            None => None,
            Some(features) => Some(clock.time(0, 1, || stored(features, &ids, dtype))?),
        };
        let sent = encoded.send(Encoded { shard, last, ids, features, failed }).is_ok();
        progress.advance(count);
        Ok(sent)
    };
    let mut before = None;
    for promise in promises {
        if interrupt::requested() {
            break;
        }
        let batch = promise.recv().map_err(|_| Error::Stopped("decode"));
        let launched = batch.and_then(&mut launch);
        // A device has this batch to work on while the features of the one before are stored.
        if let Some(batch) = before.take()
            && !finish(batch)?
        {
            return Ok(());
        }
        before = Some(launched?);
    }
    // after Ctrl-C too: it may be what a shard lacks
    before.map_or(Ok(()), |batch| finish(batch).map(drop))
}

/// How many images go to the device at once, where that is fewer than a batch.
#[derive(Debug, Default)]
struct Limit(Option<usize>);

impl Limit {
    /// `[B, D]`. The first batch that the device has no memory for is halved, and so are those that follow; a half that
    /// is still too large is an error.
    fn encode(
        &mut self,
        crops: &[Crop],
        encode: impl Fn(&[Crop]) -> nic_core::Result<Tensor>,
        warn: impl FnOnce(&str),
    ) -> Result<Tensor> {
        let in_parts = |size: usize| {
            let parts = crops.chunks(size).map(&encode).collect::<nic_core::Result<Vec<_>>>()?;
            Ok(Tensor::cat(&parts, 0)?)
        };
        let batch = crops.len();
        let first = match self.0 {
            None => encode(crops),
            Some(size) => in_parts(size),
        };
        let (size, done) = match (self.0, first) {
            (None, Err(nic_core::Error::DeviceMemory(reason))) if batch > 1 => {
                let half = batch.div_ceil(2);
                self.0 = Some(half);
                warn(&format!(
                    "no memory on the device for {batch} images at once, going on with {half} ({reason})"
                ));
                (half, in_parts(half))
            }
            (limit, done) => (limit.unwrap_or(batch).min(batch), done),
        };
        done.map_err(|error| match error {
            nic_core::Error::DeviceMemory(reason) => Error::DeviceMemory { images: size, reason },
            error => error.into(),
        })
    }
}

/// `[B, D]` on the CPU; an error where the stored type has no number for a feature.
fn stored(features: Download, ids: &[i64], dtype: Dtype) -> Result<Tensor> {
    let features = features.wait()?;
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use candle_core::Device;

    use super::*;

    /// A device with memory for `most` images; every image's feature is its first byte.
    fn device(most: usize) -> impl Fn(&[Crop]) -> nic_core::Result<Tensor> {
        move |crops| {
            if crops.len() > most {
                let error = candle_core::Error::msg("CUDA_ERROR_OUT_OF_MEMORY");
                return Err(nic_core::Error::from(error));
            }
            let values = crops.iter().map(|crop| f32::from(crop.0[0])).collect();
            Ok(Tensor::from_vec(values, (crops.len(), 1), &Device::Cpu)?)
        }
    }

    fn crops(count: u8) -> Vec<Crop> {
        (0..count).map(|value| Crop(vec![value])).collect()
    }

    #[test]
    fn a_batch_too_large_is_halved_once_and_for_all() {
        let (mut limit, lines) = (Limit::default(), RefCell::new(Vec::new()));
        let warn = |line: &str| lines.borrow_mut().push(line.to_owned());
        for count in [7, 7, 3] {
            let features = limit.encode(&crops(count), device(4), warn).unwrap();
            let expected: Vec<_> = (0..count).map(|value| vec![f32::from(value)]).collect();
            assert_eq!(features.to_vec2::<f32>().unwrap(), expected);
        }
        let lines = lines.into_inner();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("7 images") && lines[0].contains("with 4"), "{lines:?}");
    }

    #[test]
    fn a_half_too_large_is_an_error_that_says_what_to_do() {
        for (count, most, tried) in [(7, 3, "4 images"), (1, 0, "1 image")] {
            let error = Limit::default().encode(&crops(count), device(most), |_| {}).unwrap_err();
            assert_eq!(error.exit_code(), 1);
            let text = error.to_string();
            assert!(text.contains(tried) && text.contains("--batch-size"), "{text}");
        }
    }
}
