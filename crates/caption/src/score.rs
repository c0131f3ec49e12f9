//! `caption score`: results scored by what people wrote.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use caption_metrics::{
    Bleu, Cider, Corpus, Diversity, DocumentFrequency, Meteor, Metric, References, Results, RougeL,
    Score, Sentence, ptb,
};
use clap::ValueEnum;
use nic_core::Error;
use nic_data::{Dataset, Split, write_whole};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::error::Result;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What people wrote: a dataset's descriptor (.toml), COCO's captions_*.json, or one of Karpathy's dataset_*.json.
    #[arg(long)]
    references: PathBuf,
    /// What to score: [{"image_id", "caption"}, ...].
    #[arg(long)]
    results: PathBuf,
    /// Which images of a dataset, or of one of Karpathy's files, were captioned [default: test].
    #[arg(long)]
    split: Option<Split>,
    /// Only these; without the option all, METEOR where its data are.
    #[arg(long, value_enum, value_delimiter = ',')]
    metrics: Vec<Choice>,
    /// METEOR's jar and data/paraphrase-en.gz, as in site-packages/pycocoevalcap/meteor.
    #[arg(long, value_name = "DIR")]
    meteor_data: Option<PathBuf>,
    /// Captions that CIDEr counts document frequencies in, instead of the references; of a dataset, or of one of
    /// Karpathy's files, those of the training split.
    #[arg(long, value_name = "FILE")]
    frequencies: Option<PathBuf>,
    /// The captions of the training set, for the share of results that stand in it; as for --frequencies.
    #[arg(long, value_name = "FILE")]
    training: Option<PathBuf>,
    /// One JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// Where a line an image goes: {"image_id", "caption", "bleu_1", ...}.
    #[arg(long, value_name = "FILE")]
    per_image: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Choice {
    /// BLEU-1 to BLEU-4
    Bleu,
    /// ROUGE-L
    RougeL,
    /// CIDEr-D, which coco-caption prints as CIDEr, and plain CIDEr
    Cider,
    /// METEOR 1.5
    Meteor,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let meteor = meteor(args)?;
    let references = read(&args.references, args.split, Split::Test)?;
    let results = Results::read(&args.results)?;
    let mut corpus = Corpus::new(&references, &results, ptb::tokenize_part)?;
    let frequencies = match &args.frequencies {
        Some(path) => {
            let images = others(&mut corpus, path)?;
            Some(DocumentFrequency::of(images.iter().map(Vec::as_slice)))
        }
        None => None,
    };
    let training = match &args.training {
        Some(path) => Some(others(&mut corpus, path)?.concat()),
        None => None,
    };
    let wanted = |choice| args.metrics.is_empty() || args.metrics.contains(&choice);
    let mut scores = Vec::new();
    if wanted(Choice::Bleu) {
        scores.extend(Bleu.score(&corpus));
    }
    if wanted(Choice::RougeL) {
        scores.extend(RougeL.score(&corpus));
    }
    if wanted(Choice::Cider) {
        scores.extend(Cider { frequencies }.score(&corpus));
    }
    if let Some(meteor) = meteor {
        scores.extend(meteor.score(&corpus));
    }
    if let Some(path) = &args.per_image {
        write_images(path, &results, &corpus, &scores)?;
    }
    let candidates = corpus.images().iter().map(|image| &image.candidate);
    let report = Report {
        images: corpus.images().len(),
        captions: corpus.images().iter().map(|image| image.references.len()).sum(),
        diversity: Diversity::of(candidates, training.as_deref()),
        scores: &scores,
    };
    report.print(args.json).map_err(Error::io("standard output"))?;
    Ok(ExitCode::SUCCESS)
}

/// METEOR, where it is wanted and its data are there; says so where only the data are missing.
fn meteor(args: &Args) -> Result<Option<Meteor>> {
    let named = args.metrics.contains(&Choice::Meteor);
    if !named && !args.metrics.is_empty() {
        return Ok(None);
    }
    let missing = match args.meteor_data.as_ref().map(Meteor::load) {
        Some(Err(caption_metrics::Error::Io { path, source }))
            if source.kind() == ErrorKind::NotFound =>
        {
            format!("{} is missing", path.display())
        }
        Some(meteor) => return Ok(Some(meteor?)),
        None => "--meteor-data does not say where its data are".into(),
    };
    let hint = "pip's pycocoevalcap has them in its directory meteor";
    if named {
        return Err(Error::Usage(format!("METEOR needs its data: {missing} ({hint})")).into());
    }
    eprintln!("METEOR is left out: {missing} ({hint})");
    Ok(None)
}

/// Captions of another corpus: all of COCO's files, the training split of others.
fn others(corpus: &mut Corpus, path: &Path) -> Result<Vec<Vec<Sentence>>> {
    Ok(corpus.intern(&read(path, None, Split::Train)?, ptb::tokenize_part))
}

/// Captions of the split asked for, or of `usual` where the file has splits.
fn read(path: &Path, split: Option<Split>, usual: Split) -> Result<References> {
    if path.extension().is_some_and(|extension| extension == "toml") {
        let dataset = Dataset::open(path)?;
        let records = dataset.split(split.unwrap_or(usual))?;
        let images = records.iter().map(|record| (record.id, record.captions.clone()));
        return Ok(References::new(path.display().to_string(), images.collect()));
    }
    let references = References::read(path)?;
    match (split, references.has_splits()) {
        (None, false) => Ok(references),
        (split, _) => Ok(references.split(&split.unwrap_or(usual).to_string())?),
    }
}

/// Writes a line an image, in the references' order.
fn write_images(path: &Path, results: &Results, corpus: &Corpus, scores: &[Score]) -> Result<()> {
    let captions: HashMap<i64, &str> =
        results.captions().iter().map(|(id, caption)| (*id, caption.as_str())).collect();
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
    }
    write_whole(path, |file| {
        for (at, image) in corpus.images().iter().enumerate() {
            let caption = captions.get(&image.id).copied().unwrap_or_default();
            let row = Row { id: image.id, caption, at, scores };
            serde_json::to_writer(&mut *file, &row)?;
            writeln!(file)?;
        }
        Ok(())
    })?;
    Ok(())
}

/// The scores of one image.
struct Row<'a> {
    id: i64,
    caption: &'a str,
    at: usize,
    scores: &'a [Score],
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("image_id", &self.id)?;
        map.serialize_entry("caption", self.caption)?;
        for score in self.scores {
            map.serialize_entry(score.name, &score.images[self.at])?;
        }
        map.end()
    }
}

/// The scores of all images.
struct Report<'a> {
    scores: &'a [Score],
    images: usize,
    captions: usize,
    diversity: Diversity,
}

impl Report<'_> {
    fn print(&self, json: bool) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if json {
            serde_json::to_writer(&mut out, self)?;
            return writeln!(out);
        }
        for score in self.scores {
            writeln!(out, "{:<12} {:8.4}", score.name, score.corpus)?;
        }
        writeln!(out, "\n{:<12} {:8}", "images", self.images)?;
        writeln!(out, "{:<12} {:8}", "captions", self.captions)?;
        let diversity = &self.diversity;
        writeln!(out, "\n{:<12} {:8} words", "vocabulary", diversity.vocabulary)?;
        if let Some(share) = diversity.in_training {
            writeln!(out, "{:<12} {share:8.4} of the results", "in_training")?;
        }
        writeln!(out, "{:<12} {:8.4} a word", "distinct_1", diversity.distinct_1)?;
        writeln!(out, "{:<12} {:8.4} a word", "distinct_2", diversity.distinct_2)?;
        writeln!(out, "{:<12} {:8.4} words", "mean_length", diversity.mean_length)
    }
}

impl Serialize for Report<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for score in self.scores {
            map.serialize_entry(score.name, &score.corpus)?;
        }
        map.serialize_entry("images", &self.images)?;
        map.serialize_entry("captions", &self.captions)?;
        map.serialize_entry("diversity", &self.diversity)?;
        map.end()
    }
}
