//! The second stage: encoded bytes to crops, on all cores, while the device is busy with earlier batches.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use nic_core::{Crop, Preprocess};
use rayon::prelude::*;

use crate::batch::Batch;
use crate::clock::Clocks;

/// Hands on a promise for every batch at once, in order, so that several are decoded side by side and the slowest
/// image of one does not hold up the next; `promises` bounds how many.
pub(crate) fn decode(
    preprocess: &Preprocess,
    clocks: &Arc<Clocks>,
    batches: Receiver<Batch<Vec<u8>>>,
    promises: SyncSender<Receiver<Batch<Crop>>>,
) {
    for batch in batches {
        let (sender, promise) = sync_channel(1);
        if promises.send(promise).is_err() {
            return; // a later stage has failed and will say why
        }
        let (preprocess, clocks) = (preprocess.clone(), Arc::clone(clocks));
        rayon::spawn(move || {
            let Batch { shard, last, images } = batch;
            let images = images
                .into_par_iter()
                .map(|(id, bytes)| {
                    let work = || bytes.and_then(|bytes| guarded(|| preprocess.crop(&bytes)));
                    (id, clocks.decode.time(1, rayon::current_num_threads(), work))
                })
                .collect();
            let _ = sender.send(Batch { shard, last, images });
        });
    }
}

/// A file that makes a decoder panic is a file that cannot be read: it must not end a run of hours.
fn guarded(crop: impl FnOnce() -> nic_core::Result<Crop>) -> Result<Crop, String> {
    catch_unwind(AssertUnwindSafe(crop))
        .unwrap_or_else(|_| Err(nic_core::Error::Image("its decoder panicked".to_owned())))
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_reason() {
        let reason = guarded(|| panic!("on purpose")).unwrap_err();
        assert_eq!(reason, "cannot read the image: its decoder panicked");
    }
}
