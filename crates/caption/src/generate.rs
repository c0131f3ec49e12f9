//! `caption generate`: a dataset's split in COCO's results format.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use nic_core::{Captioner, Error};
use nic_data::{Dataset, Features, Result, Split, write_whole};
use serde::Serialize;

use crate::model::Model;

/// Images whose sentences are searched for together.
const BATCH: usize = 256;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The dataset's descriptor.
    #[arg(long)]
    dataset: PathBuf,
    /// train, val or test.
    #[arg(long, default_value = "test")]
    split: Split,
    /// The features that `extract` made of it.
    #[arg(long)]
    features: PathBuf,
    /// Where the results go: [{"image_id", "caption"}, ...].
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    model: Model,
}

#[derive(Serialize)]
struct Row {
    image_id: i64,
    caption: String,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let search = args.model.search(1, None)?;
    if let Some(dir) = args.out.parent() {
        std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
    }
    let dataset = Dataset::open(&args.dataset)?;
    let features = Features::open(&args.features)?;
    let captioner = args.model.load()?;
    check_fit(&captioner, &features, args)?;
    let records = dataset.split(args.split)?;
    let found: Vec<(i64, usize)> =
        records.iter().filter_map(|r| Some((r.id, features.position(r.id)?))).collect();
    if found.is_empty() {
        return Err(Error::Missing {
            place: args.features.display().to_string(),
            what: format!("every image of {}'s {} split", dataset.name(), args.split),
            hint: "; were these features extracted from another dataset?".into(),
        }
        .into());
    }
    let mut rows = Vec::with_capacity(found.len());
    let start = Instant::now();
    for images in found.chunks(BATCH) {
        let positions: Vec<usize> = images.iter().map(|&(_, position)| position).collect();
        let batch = features.gather(&positions, captioner.device())?;
        let captions = match captioner.caption_batch(&batch, &*search) {
            Err(Error::NotFinite) => {
                features.check_finite()?;
                return Err(Error::NotFinite.into()); // the weights are not
            }
            captions => captions?,
        };
        for (&(image_id, _), captions) in images.iter().zip(captions) {
            let caption = captions.into_iter().next().map(|c| c.text).unwrap_or_default();
            rows.push(Row { image_id, caption });
        }
    }
    let rate = rows.len() as f64 / start.elapsed().as_secs_f64();
    write_whole(&args.out, |file| Ok(serde_json::to_writer(file, &rows)?))?;
    eprintln!("{} captions in {} ({rate:.1} captions/s)", rows.len(), args.out.display());
    let missing = records.len() - rows.len();
    if missing > 0 {
        eprintln!("{missing} images of the split have no features and no caption");
    }
    Ok(ExitCode::SUCCESS)
}

/// The features must be made as those were that the decoder learnt from.
fn check_fit(captioner: &Captioner, features: &Features, args: &Args) -> Result<()> {
    let mismatch = |what: &str, found: String, expected: String| {
        Err(Error::Mismatch {
            place: args.features.display().to_string(),
            what: what.into(),
            found,
            expected: format!("{expected} as in {}", args.model.place().display()),
        }
        .into())
    };
    if features.dim() != captioner.feature_dim() {
        return mismatch(
            "the features' width",
            features.dim().to_string(),
            captioner.feature_dim().to_string(),
        );
    }
    if let (Some(found), Some(expected)) = (features.encoder(), captioner.encoder_spec()) {
        let differences = found.differences(expected);
        if !differences.is_empty() {
            let found = format!("another ({})", differences.join("; "));
            return mismatch("the encoder", found, "the same".into());
        }
    }
    Ok(())
}
