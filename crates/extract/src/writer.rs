//! The last stage: features to shards on the disk.

use std::sync::mpsc::Receiver;

use candle_core::{Device, Tensor};
use nic_data::ShardHeader;

use crate::clock::Clock;
use crate::encoder::Encoded;
use crate::error::Result;
use crate::output::Output;

/// Collects a shard's batches and writes it with its last; what an interruption leaves incomplete is dropped.
pub(crate) fn write(output: &Output, clock: &Clock, encoded: Receiver<Encoded>) -> Result<()> {
    let (mut ids, mut features, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    let plan = output.plan();
    for batch in encoded {
        ids.extend(batch.ids);
        features.extend(batch.features);
        failed.extend(batch.failed);
        if !batch.last {
            continue;
        }
        let header = ShardHeader {
            encoder: plan.encoder.clone(),
            dataset: plan.dataset.clone(),
            failed: std::mem::take(&mut failed),
        };
        clock.time(ids.len(), 1, || -> Result<()> {
            let dtype = plan.dtype.into();
            let rows = if features.is_empty() {
                Tensor::zeros((0, plan.encoder.dim), dtype, &Device::Cpu)
            } else {
                Tensor::cat(&features, 0)
            };
            let rows = rows.map_err(nic_core::Error::from)?;
            output.write_shard(batch.shard, &header, &ids, &rows)
        })?;
        ids.clear();
        features.clear();
    }
    Ok(())
}
