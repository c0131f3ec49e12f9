//! `caption photo.jpg ...`: photographs in, sentences out.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nic_core::{Caption, Error, Location};
use nic_data::Result;
use rayon::prelude::*;
use serde::Serialize;

use crate::model::{DiverseArgs, Model};

/// Images that go through the encoder together.
const BATCH: usize = 16;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Image files: JPEG, PNG, WebP, GIF or BMP.
    #[arg(required = true)]
    photos: Vec<PathBuf>,
    /// The encoder's weights, where they are not at the place that the checkpoint names: a file, a directory or hf://...
    #[arg(long)]
    weights: Option<String>,
    /// How many sentences an image, the best first; a beam finds as many as it is wide.
    #[arg(long, default_value_t = 1)]
    top: usize,
    /// A JSON object a line and image: {"image", "captions": [{"text", "log_prob"}]}.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: Model,
    #[command(flatten)]
    diverse: DiverseArgs,
}

#[derive(Serialize)]
struct Row<'a> {
    image: &'a Path,
    captions: Vec<Sentence<'a>>,
}

#[derive(Serialize)]
struct Sentence<'a> {
    text: &'a str,
    log_prob: f32,
}

/// Captions every photograph that can be read; the others are named on stderr and make the exit status 2.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let search = args.model.search(args.top, Some(&args.diverse))?;
    let mut captioner = args.model.load()?;
    if let Some(weights) = &args.weights {
        captioner = captioner.with_weights(Location::parse(weights, Path::new(""))?);
    }
    captioner.preprocess()?;
    let mut unreadable = 0;
    for photos in args.photos.chunks(BATCH) {
        let read: Vec<_> = photos.par_iter().map(|photo| captioner.crop_file(photo)).collect();
        let (mut names, mut crops) = (Vec::new(), Vec::new());
        for (photo, crop) in photos.iter().zip(read) {
            match crop {
                Ok(crop) => {
                    names.push(photo);
                    crops.push(crop);
                }
                Err(error) => {
                    eprintln!("error: {error}");
                    unreadable += 1;
                }
            }
        }
        if crops.is_empty() {
            continue;
        }
        let captions = captioner.caption_batch(&captioner.encode(&crops)?, &*search)?;
        for (photo, captions) in names.into_iter().zip(captions) {
            write(args, photo, &captions).map_err(Error::io("standard output"))?;
        }
    }
    Ok(if unreadable == 0 { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

fn write(args: &Args, photo: &Path, captions: &[Caption]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if args.json {
        let captions =
            captions.iter().map(|c| Sentence { text: &c.text, log_prob: c.log_prob }).collect();
        serde_json::to_writer(&mut out, &Row { image: photo, captions })?;
        return writeln!(out);
    }
    if args.photos.len() > 1 {
        writeln!(out, "{}", photo.display())?;
    }
    for caption in captions {
        writeln!(out, "{:7.2}  {}", caption.log_prob, caption.text)?;
    }
    Ok(())
}
