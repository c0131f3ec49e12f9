//! The model and the search, as the command line has them.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::RangedU64ValueParser;
use nic_core::{BeamSearch, Captioner, DeviceChoice, Error, Generate, LengthNorm, Rules, Sample};
use nic_data::Result;

/// Which model, and how sentences are searched for.
#[derive(Debug, Args)]
pub(crate) struct Model {
    /// A checkpoint: a directory, or hf://OWNER/NAME. Given more than once, an ensemble: the mean of the checkpoints'
    /// probabilities, which takes as many times as long.
    #[arg(long, default_value = "runs/coco/best")]
    checkpoint: Vec<PathBuf>,
    /// auto, cpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    #[command(flatten)]
    rules: RulesArgs,
    #[command(flatten)]
    beam: BeamArgs,
    #[command(flatten)]
    sample: SampleArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "What a sentence may be")]
struct RulesArgs {
    /// At most so many words. People's captions seldom have more than 20, and the tail costs time.
    #[arg(long, default_value_t = 20)]
    max_len: usize,
    /// At least so many words. 0: the decoder has learnt itself where a sentence ends.
    #[arg(long, default_value_t = 0)]
    min_len: usize,
    /// No sequence of N words twice in a sentence; 3 is usual. Off: a well trained decoder seldom repeats itself, and
    /// "a man in a red shirt and a woman in a red dress" is no mistake.
    #[arg(long, value_name = "N")]
    no_repeat: Option<usize>,
    /// Let <unk>, the word for all rare ones, be chosen; the text leaves it out. Off: a sentence with a hole says less
    /// than the next best one.
    #[arg(long)]
    allow_unk: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Beam search")]
struct BeamArgs {
    /// How many unfinished sentences to keep at each step; 1 is greedy. 3: wider beams find likelier sentences that
    /// people like no better, at their cost.
    #[arg(long, value_name = "WIDTH", default_value_t = 3)]
    beam: usize,
    /// How sentences of different lengths compare: by their log probability (none), the mean per word (mean), or divided
    /// by ((5 + words) / 6)^ALPHA (wu:ALPHA). none, as in Show and Tell: on a narrow beam it changes little.
    #[arg(long, value_name = "NORM", default_value = "none")]
    length_norm: LengthNorm,
}

/// For more than one sentence.
#[derive(Debug, Args)]
#[command(next_help_heading = "Beam search")]
pub(crate) struct DiverseArgs {
    /// Diverse beam search: cut the beam into N groups that avoid each other's words. Off: the likeliest sentences are
    /// much alike, but likelier.
    #[arg(long, value_name = "N", conflicts_with = "sample")]
    #[arg(value_parser = RangedU64ValueParser::<usize>::new().range(2..))]
    groups: Option<usize>,
    /// By how much a word's log probability falls for each sentence of another group that has it in the same place. 0.5:
    /// from the middle of the range that its inventors found good on many tasks, 0.2 to 0.8.
    #[arg(long, value_name = "LAMBDA", default_value_t = 0.5, requires = "groups")]
    diversity: f32,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling")]
struct SampleArgs {
    /// Draw words at random instead of searching: sentences are more varied, and more often wrong.
    #[arg(long, conflicts_with_all = ["beam", "length_norm"])]
    sample: bool,
    /// Divides the logits: below 1 likely words become likelier. 1 draws from what the decoder has learnt.
    #[arg(long, default_value_t = 1.0, requires = "sample")]
    temperature: f64,
    /// Only the K likeliest words. Off: any K is too many where one word fits and too few where many do.
    #[arg(long, value_name = "K", requires = "sample")]
    top_k: Option<usize>,
    /// Only the likeliest words that together reach the probability P. Off: 0.9 is usual where sentences must be sound.
    #[arg(long, value_name = "P", requires = "sample")]
    top_p: Option<f64>,
    /// The same seed draws the same sentences for an image, whichever images are beside it.
    #[arg(long, default_value_t = 0, requires = "sample")]
    seed: u64,
}

impl Model {
    pub(crate) fn load(&self) -> Result<Captioner> {
        let (device, taken) = self.device.open()?;
        eprintln!("captioning on {taken}");
        Ok(Captioner::ensemble_on(&self.checkpoint, &device)?)
    }

    /// The first checkpoint.
    pub(crate) fn place(&self) -> &Path {
        self.checkpoint.first().map_or(Path::new(""), PathBuf::as_path)
    }

    /// Generates `best` sentences an image; settings that make no sense are errors.
    pub(crate) fn search(
        &self,
        best: usize,
        diverse: Option<&DiverseArgs>,
    ) -> Result<Box<dyn Generate>> {
        let RulesArgs { max_len, min_len, no_repeat, allow_unk: unk } = self.rules;
        let rules = Rules { max_len, min_len, no_repeat, unk };
        let usage = |message: &str| Err(Error::Usage(message.into()).into());
        let search: Box<dyn Generate> = if self.sample.sample {
            let SampleArgs { temperature, top_k, top_p, seed, .. } = self.sample;
            if temperature == 0.0 {
                return usage("--temperature 0 draws nothing; for the likeliest words: --beam 1");
            }
            Box::new(Sample { count: best, temperature, top_k, top_p, seed, rules })
        } else {
            let beam = BeamSearch { best, ..BeamSearch::new(self.beam.beam) };
            let mut beam = beam.length_norm(self.beam.length_norm).rules(rules);
            if let Some(DiverseArgs { groups: Some(groups), diversity }) = diverse {
                if best == 1 {
                    return usage("--groups makes sentences differ; ask for several with --top");
                }
                beam = beam.groups(*groups, *diversity);
            }
            Box::new(beam)
        };
        search.check()?;
        Ok(search)
    }
}
