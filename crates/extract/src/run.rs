//! The whole run: what is asked for, what is there already, and the stages for what is missing.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use candle_core::Device;
use nic_core::{Encoder, EncoderSpec, Location};
use nic_data::{Dataset, Record};

use crate::args::{Args, Precision};
use crate::clock::Clocks;
use crate::error::{Error, Result};
use crate::output::Output;
use crate::place::is_url;
use crate::plan::{self, Plan};
use crate::progress::{Progress, say};
use crate::reader::Shard;
use crate::report::Report;
use crate::{decoder, encoder, interrupt, reader, scheduler, writer};

/// Batches that wait between two stages: enough that none starves, few enough that memory stays small.
const WAITING: usize = 3;

/// Makes the shards that are not there yet.
pub fn run(args: &Args) -> Result<Report> {
    let start = Instant::now();
    let share = scheduler::share(args.worker, |name| {
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    })?;
    let worker = share.as_ref().map(|(worker, _)| *worker);
    let dataset = Dataset::open(&args.dataset)?;
    let chosen = choose(&dataset, args)?;
    let dir = directory(&dataset, args)?;
    let weights = Location::parse(&args.weights, Path::new(""))?;
    let encoder = EncoderSpec::of(&weights, args.preprocess())?;
    let (device, taken) = args.device.open()?;
    let precision = if device.is_cpu() { Precision::F32 } else { args.precision };
    let plan = Plan {
        dataset: dataset.name().to_owned(),
        splits: args.split.clone(),
        limit: args.limit.map(Into::into),
        images: chosen.len(),
        records_sha256: plan::sha256(chosen.iter().map(|&position| record(&dataset, position))),
        encoder: match is_url(&dir) {
            true => encoder, // nothing on this disk is relative to that
            false => encoder.relative_to(&dir)?,
        },
        precision,
        dtype: args.dtype,
        shard_size: args.shard_size.into(),
    };
    let output = Output::open(&dir, &plan, worker)?;
    let shards: Vec<Shard> = chosen
        .chunks(args.shard_size.into())
        .enumerate()
        .filter(|(index, _)| worker.is_none_or(|worker| worker.makes(*index)))
        .map(|(index, positions)| Shard { index, positions: positions.to_vec() })
        .collect();
    if let Some((worker, said)) = &share {
        let (own, all) = (shards.len(), plan.shards());
        say(&format!("worker {worker} ({said}) makes {own} of {all} shards"));
    }
    let missing = output.missing(&dataset, &shards)?;
    let clocks = Arc::new(Clocks::default());
    let mut running = Duration::ZERO;
    if !missing.is_empty() {
        if missing.len() < shards.len() {
            say(&format!(
                "{} of {} shards are there already",
                shards.len() - missing.len(),
                shards.len()
            ));
        }
        say(&format!("encoding on {taken} in {precision}"));
        running = extract(args, &device, &weights, &dataset, &missing, &output, &clocks)?;
        if !output.has(&missing)? {
            return Err(match interrupt::requested() {
                true => Error::Interrupted(dir),
                false => Error::Stopped("write"),
            });
        }
    }
    let failed = match worker {
        None => output.finish()?,
        Some(_) => output.failed(&shards)?,
    };
    let images = shards.iter().map(|shard| shard.positions.len()).sum();
    if let Some((id, reason)) = failed.first() {
        let (id, reason) = (*id, reason.clone());
        if args.strict {
            return Err(Error::Unreadable { id, reason });
        }
        if failed.len() == images {
            return Err(Error::NothingRead { out: dir, images, id, reason });
        }
    }
    Ok(Report {
        out: dir,
        worker,
        images,
        failed: failed.len(),
        shards: shards.len(),
        made: missing.len(),
        elapsed: start.elapsed(),
        running,
        clocks,
    })
}

/// Runs the four stages over `shards`, side by side, and says how long that took; returns early, without an error, on
/// Ctrl-C.
fn extract(
    args: &Args,
    device: &Device,
    weights: &Location,
    dataset: &Dataset,
    shards: &[&Shard],
    output: &Output,
    clocks: &Arc<Clocks>,
) -> Result<Duration> {
    let dtype = output.plan().precision.into();
    let network = Encoder::load(weights, args.preprocess(), dtype, device)?;
    if network.spec().weights_sha256 != output.plan().encoder.weights_sha256 {
        return Err(Error::WeightsChanged(weights.to_string()));
    }
    let batch_size = args.batch_size.map_or(if device.is_cpu() { 8 } else { 128 }, Into::into);
    let progress = Progress::new(shards.iter().map(|shard| shard.positions.len()).sum());
    let start = Instant::now();
    thread::scope(|scope| {
        let (to_decoder, bytes) = sync_channel(WAITING);
        let (to_encoder, crops) = sync_channel(WAITING);
        let (to_writer, encoded) = sync_channel(WAITING);
        let preprocess = args.preprocess();
        let read = scope
            .spawn(move || reader::read(dataset, shards, batch_size, &clocks.read, to_decoder));
        let decode = scope.spawn(move || decoder::decode(&preprocess, clocks, bytes, to_encoder));
        let write = scope.spawn(move || writer::write(output, &clocks.write, encoded));
        let encode = encoder::encode(
            &network,
            args.dtype,
            args.strict,
            &clocks.encode,
            &progress,
            crops,
            to_writer,
        );
        // whichever failed made the others return early: only it has an error
        encode
            .and(join(write, "write").and_then(|done| done))
            .and(join(read, "read").and_then(|done| done))
            .and(join(decode, "decode"))
    })?;
    Ok(start.elapsed())
}

fn join<T>(stage: ScopedJoinHandle<'_, T>, name: &'static str) -> Result<T> {
    stage.join().map_err(|_| Error::Stopped(name))
}

/// The positions of the images asked for.
fn choose(dataset: &Dataset, args: &Args) -> Result<Vec<usize>> {
    for split in &args.split {
        dataset.split(*split)?; // an error where it has none
    }
    let wanted = |record: &Record| args.split.is_empty() || args.split.contains(&record.split);
    let records = dataset.records().iter().enumerate();
    let positions = records.filter(|(_, record)| wanted(record)).map(|(position, _)| position);
    Ok(positions.take(args.limit.map_or(usize::MAX, Into::into)).collect())
}

/// `--out`, or `features/` and the dataset's name.
fn directory(dataset: &Dataset, args: &Args) -> Result<PathBuf> {
    let name = Path::new(dataset.name());
    match (&args.out, name.components().next()) {
        (Some(out), _) => Ok(out.clone()),
        (None, Some(Component::Normal(first))) if first == name => {
            Ok(Path::new("features").join(name))
        }
        _ => Err(Error::Unnameable(dataset.name().to_owned())),
    }
}

fn record(dataset: &Dataset, position: usize) -> &Record {
    &dataset.records()[position]
}
