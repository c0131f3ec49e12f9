//! `extract` from end to end.

use std::ffi::OsString;
use std::path::Path;

use candle_core::{DType, Device};
use clap::Parser;
use extract::{Cli, Report};
use nic_core::{DeviceChoice, Encoder, Location, Preprocess};
use nic_data::Features;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use crate::difference::Difference;
use crate::error::{Error, Result};
use crate::sizes::Sizes;
use crate::{photos, vgg};

/// Images whose features are compared.
const COMPARED: usize = 16;

/// Images a second of all stages together and of each, and how far what was written is from the CPU's.
pub(crate) fn run(sizes: &Sizes, device: DeviceChoice) -> Result<Value> {
    let dir = tempfile::tempdir()?;
    let path = |name: &str| dir.path().join(name);
    std::fs::create_dir(path("images"))?;
    let bytes = photos::write(&path("images"), sizes.photos, sizes.names, sizes.photo)?;
    let count = sizes.photos * sizes.names;
    write_weights(sizes, &path("vgg.safetensors"))?;
    let images: Vec<Value> =
        (1..=count).map(|id| json!({ "id": id, "file_name": photos::name(id) })).collect();
    let captions: Vec<Value> =
        (1..=count).map(|id| json!({ "id": id, "image_id": id, "caption": "waves" })).collect();
    let text = json!({ "images": images, "annotations": captions }).to_string();
    std::fs::write(path("captions_train.json"), text)?;
    std::fs::write(
        path("photos.toml"),
        "name = \"photos\"\nformat = \"coco\"\ncaptions = [\"captions_train.json\"]\nimages = [\"images\"]\n",
    )?;

    // a few images first, so that the driver has compiled the kernels and the files are in memory
    extract(dir.path(), "start", &["--limit", &sizes.large_batch.to_string()], device)?;
    let report = extract(dir.path(), "out", &[], device)?;
    let running = report.running.as_secs_f64();
    let stage = |clock: &extract::Clock| {
        let seconds = clock.busy().as_secs_f64();
        json!({ "seconds": seconds, "images_per_second": clock.images() as f64 / seconds.max(1e-9) })
    };
    let difference = compare(dir.path(), count)?;
    Ok(json!({
        "fc7": difference.json(),
        "images": report.images,
        "failed": report.failed,
        "bytes_per_image": bytes,
        "images_per_second": report.images as f64 / running,
        "seconds": running,
        "read": stage(&report.clocks.read),
        "decode": stage(&report.clocks.decode),
        "encode": stage(&report.clocks.encode),
        "write": stage(&report.clocks.write),
        "summary": report.to_string().lines().last(),
    }))
}

/// The program itself, without its process.
fn extract(dir: &Path, out: &str, more: &[&str], device: DeviceChoice) -> Result<Report> {
    let path = |name: &str| dir.join(name).into_os_string();
    let args = ["extract".into(), "--dataset".into(), path("photos.toml"), "--weights".into()];
    let args = args.into_iter().chain([path("vgg.safetensors"), "--out".into(), path(out)]);
    let args = args.chain(more.iter().map(OsString::from));
    let cli = Cli::try_parse_from(args).map_err(|error| Error::Other(error.to_string()))?;
    let mut args = cli.args;
    args.device = device;
    Ok(extract::run(&args)?)
}

/// Features in `out` of images from all over the run, and the CPU's of the same files.
fn compare(dir: &Path, count: usize) -> Result<Difference> {
    let weights = dir.join("vgg.safetensors").display().to_string();
    let preprocess = Preprocess::default();
    let location = Location::parse(&weights, Path::new(""))?;
    let encoder = Encoder::load(&location, preprocess.clone(), DType::F32, &Device::Cpu)?;
    let features = Features::open(&dir.join("out"))?;
    let (mut crops, mut positions) = (Vec::new(), Vec::new());
    for part in 0..COMPARED {
        let id = 1 + part * (count - 1) / (COMPARED - 1);
        crops.push(preprocess.crop(&std::fs::read(dir.join("images").join(photos::name(id)))?)?);
        let position = features.position(id as i64);
        positions
            .push(position.ok_or_else(|| Error::Other(format!("image {id} has no features")))?);
    }
    let found = features.gather(&positions, &Device::Cpu)?.to_vec2::<f32>()?;
    Difference::compare(&found, &encoder.encode(&crops)?.to_vec2::<f32>()?)
}

/// As f16, to be half as long to hash and to load.
fn write_weights(sizes: &Sizes, path: &std::path::Path) -> Result<()> {
    let mut tensors = Vec::new();
    for (name, tensor) in vgg::weights(&sizes.vgg())? {
        let values = tensor.to_dtype(DType::F16)?.flatten_all()?.to_vec1::<half::f16>()?;
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        tensors.push((name, tensor.dims().to_vec(), bytes));
    }
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F16, shape.clone(), bytes)?)))
        .collect::<std::result::Result<Vec<_>, safetensors::SafeTensorError>>();
    views
        .and_then(|views| safetensors::serialize_to_file(views, None, path))
        .map_err(|error| Error::Other(error.to_string()))
}
