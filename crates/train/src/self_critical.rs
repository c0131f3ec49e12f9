//! Self-critical sequence training (Rennie et al. 2017): the decoder writes captions, CIDEr-D rewards them.

use std::ops::Range;

use candle_core::{Device, Tensor};
use caption_metrics::{CiderScorer, Sentence};
use nic_core::{Decoder, Generate, Greedy, PackedCaptions, Rules, Sample, Vocab};
use nic_data::Features;
use rayon::prelude::*;

use crate::Result;
use crate::config::{Baseline, Config};
use crate::corpus::Examples;

/// In the place of `<unk>` in a reference: no caption holds it, so that writing `<unk>` is never rewarded.
const UNREWARDED: u32 = u32::MAX;

/// The images of the training split, and what a caption of each is worth.
///
/// The reward is CIDEr-D over word ids. END is a word of it, in references and captions, or else a caption would do
/// well to break off (`a dog in a`); one of `data.max_len` words, which may have been cut there, has none. Document
/// frequencies are the training split's.
#[derive(Debug)]
pub struct SelfCritical {
    /// The row of each image's features.
    rows: Vec<usize>,
    scorer: CiderScorer,
    samples: usize,
    baseline: Baseline,
    max_len: usize,
}

/// Captions drawn from a decoder.
#[derive(Debug)]
pub struct Drawn {
    /// Word ids without END.
    pub captions: Vec<Vec<u32>>,
    /// The row of the features of each one's image.
    pub rows: Vec<usize>,
    /// The CIDEr-D of each.
    pub rewards: Vec<f64>,
    /// How much each is better than its baseline.
    pub advantages: Vec<f64>,
    max_len: usize,
}

impl SelfCritical {
    /// Prepares the references.
    pub fn new(train: &Examples, config: &Config) -> Self {
        let max_len = config.data.max_len;
        let reference = |words: &[u32]| {
            let known =
                words.iter().map(|&word| if word == Vocab::UNK { UNREWARDED } else { word });
            Sentence::from(known.chain(end(words, max_len)).collect::<Vec<_>>())
        };
        let images = train.images();
        let (rows, references): (Vec<usize>, Vec<Vec<Sentence>>) =
            images.map(|(row, captions)| (row, captions.map(reference).collect())).unzip();
        Self {
            rows,
            scorer: CiderScorer::new(references.iter().map(Vec::as_slice)),
            samples: config.train.samples,
            baseline: config.train.baseline,
            max_len,
        }
    }

    /// How many images.
    pub fn images(&self) -> usize {
        self.rows.len()
    }

    /// The reward for a caption (without END) of an image.
    ///
    /// # Panics
    /// Where there is no such image.
    pub fn reward(&self, image: usize, caption: &[u32]) -> f64 {
        let words: Vec<u32> = caption.iter().copied().chain(end(caption, self.max_len)).collect();
        self.scorer.cider_d(image, &words)
    }

    /// Draws `train.samples` captions of each of these images from the decoder's own distribution, without dropout. The
    /// same seed gives the same captions.
    ///
    /// The baseline is what the image's likeliest caption earns (greedy decoding), or the mean of what its other
    /// samples earn (Luo 2020): neither depends on the caption, so that the gradient's expectation stays.
    ///
    /// # Errors
    /// Features of another width than the decoder's; logits that are not finite.
    pub fn draw(
        &self,
        decoder: &Decoder,
        features: &Features,
        images: &[usize],
        seed: u64,
        device: &Device,
    ) -> Result<Drawn> {
        let rows: Vec<usize> = images.iter().map(|&image| self.rows[image]).collect();
        let vectors = features.gather(&rows, device)?;
        // `<unk>` may be drawn, for the decoder gives it a share; `<pad>` and `<start>`, never a target, have none
        let rules = Rules::default().max_len(self.max_len).allow_unk();
        let captions: Vec<Vec<Vec<u32>>> =
            words(Sample::new(self.samples).rules(rules.clone()).seed(seed), decoder, &vectors)?;
        let rewards = self.rewards(images, &captions);
        let baselines: Vec<Vec<f64>> = match self.baseline {
            Baseline::Greedy => {
                let greedy = words(Greedy::new(rules), decoder, &vectors)?;
                let earned = self.rewards(images, &greedy).concat();
                earned.into_iter().map(|reward| vec![reward; self.samples]).collect()
            }
            Baseline::Mean => rewards.iter().map(|rewards| means_of_others(rewards)).collect(),
        };
        let rewards = rewards.concat();
        Ok(Drawn {
            rows: captions.iter().zip(rows).flat_map(|(of, row)| vec![row; of.len()]).collect(),
            captions: captions.concat(),
            advantages: rewards.iter().zip(baselines.concat()).map(|(r, b)| r - b).collect(),
            rewards,
            max_len: self.max_len,
        })
    }

    fn rewards(&self, images: &[usize], captions: &[Vec<Vec<u32>>]) -> Vec<Vec<f64>> {
        let all = images.par_iter().zip(captions);
        all.map(|(&image, captions)| captions.iter().map(|c| self.reward(image, c)).collect())
            .collect()
    }
}

impl Drawn {
    /// How many words were drawn, END included.
    pub fn words(&self) -> u64 {
        let words = |caption: &Vec<u32>| (caption.len() + 1).min(self.max_len) as u64;
        self.captions.iter().map(words).sum()
    }

    /// The part that the captions of these numbers have in the loss: minus the mean over all words drawn of the
    /// advantage of the word's caption times the word's log probability (REINFORCE, Williams 1992).
    ///
    /// Without dropout: the words were drawn without it, and the gradient is to be that of the distribution which they
    /// come from.
    ///
    /// # Errors
    /// As [`Decoder::weighted_loss`].
    pub fn loss(
        &self,
        decoder: &Decoder,
        features: &Features,
        numbers: Range<usize>,
        device: &Device,
    ) -> Result<Tensor> {
        let captions: Vec<&[u32]> =
            self.captions[numbers.clone()].iter().map(Vec::as_slice).collect();
        let vectors = features.gather(&self.rows[numbers.clone()], device)?;
        let packed = PackedCaptions::new(&captions, device)?;
        let advantages = &self.advantages[numbers];
        let words = self.words() as f64;
        // the END of a caption that was cut was not drawn
        let share = |(caption, place)| match place < self.max_len {
            true => (advantages[caption] / words) as f32,
            false => 0.0,
        };
        let shares: Vec<f32> = packed.words().map(share).collect();
        Ok(decoder.weighted_loss(&vectors, &packed, &shares)?)
    }
}

/// END, or nothing after as many words as there may be: they may have been cut there.
fn end(words: &[u32], max_len: usize) -> Option<u32> {
    (words.len() < max_len).then_some(Vocab::END)
}

fn words(way: impl Generate, decoder: &Decoder, features: &Tensor) -> Result<Vec<Vec<Vec<u32>>>> {
    let sentences = way.generate(decoder, features)?;
    Ok(sentences.into_iter().map(|of| of.into_iter().map(|s| s.words).collect()).collect())
}

fn means_of_others(values: &[f64]) -> Vec<f64> {
    let sum: f64 = values.iter().sum();
    values.iter().map(|value| (sum - value) / (values.len() - 1) as f64).collect()
}
