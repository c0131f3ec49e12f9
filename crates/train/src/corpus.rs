//! The captions of a run as word ids, each with the row of its image's features.

use candle_core::{Device, Tensor};
use nic_core::{PackedCaptions, Vocab};
use nic_data::{Dataset, Features, Record, Split};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::config::DataConfig;
use crate::evaluation::Evaluation;
use crate::{Result, hash};

/// The words, the captions to learn from and those to choose by.
#[derive(Debug)]
pub struct Corpus {
    /// From the training split alone.
    pub vocab: Vocab,
    /// To learn from.
    pub train: Examples,
    /// To choose by.
    pub eval: Examples,
    /// The images of `eval` with their captions as written.
    pub eval_images: Evaluation,
    /// SHA-256 over the image ids and captions of both, those of `eval` also as written, in hexadecimal.
    pub sha256: String,
}

/// Captions, one after the other, each with a row of the features.
#[derive(Debug, Default)]
pub struct Examples {
    rows: Vec<usize>,
    words: Vec<u32>,
    ends: Vec<usize>,
}

/// A split's images that have features.
struct Found<'a> {
    records: Vec<(&'a Record, usize)>,
    missing: Vec<i64>,
}

impl Corpus {
    /// Reads the dataset and ties its captions to `features`; `log` is told what was found and what was left out.
    ///
    /// # Errors
    /// A split without captions, or with features for less than half of its images; no word that is seen often enough.
    pub fn load(
        data: &DataConfig,
        eval: Split,
        features: &Features,
        log: &dyn Fn(&str),
    ) -> Result<Self> {
        let dataset = Dataset::open(&data.dataset)?;
        let train = find(&dataset, Split::Train, features, data, log)?;
        let chosen = find(&dataset, eval, features, data, log)?;

        let train_words = tokenize(&train, data);
        let vocab = Vocab::build(
            data.tokenizer,
            train_words.iter().map(|(_, w)| w.as_slice()),
            data.min_count,
        );
        if (0..vocab.len() as u32)
            .all(|id| [Vocab::PAD, Vocab::START, Vocab::END, Vocab::UNK].contains(&id))
        {
            return Err(nic_core::Error::Mismatch {
                place: data.dataset.display().to_string(),
                what: "the number of words that the training split's captions use often enough"
                    .into(),
                found: "0".into(),
                expected: format!("some that are seen data.min_count = {} times", data.min_count),
            }
            .into());
        }

        let mut digest = Sha256::new();
        let train = Examples::new(&train, &train_words, &vocab, data.max_len, &mut digest);
        let eval =
            Examples::new(&chosen, &tokenize(&chosen, data), &vocab, data.max_len, &mut digest);
        // those that are scored against are scored against whole
        for caption in chosen.records.iter().flat_map(|(record, _)| &record.captions) {
            digest.update((caption.len() as u64).to_le_bytes());
            digest.update(caption);
        }
        for (name, examples) in [("training", &train), ("evaluation", &eval)] {
            if examples.len() == 0 {
                return Err(nic_core::Error::Mismatch {
                    place: data.dataset.display().to_string(),
                    what: format!("the number of captions of the {name} split"),
                    found: "0".into(),
                    expected: "at least 1".into(),
                }
                .into());
            }
        }
        log(&format!(
            "{}: {} words; {} captions to learn from, {} to choose by",
            dataset.name(),
            vocab.len(),
            train.len(),
            eval.len()
        ));
        let sha256 = hash::hex(digest);
        let images = chosen.records.iter();
        let images = images.map(|(record, row)| (record.id, *row, record.captions.clone()));
        let eval_images = Evaluation::new(data.dataset.display().to_string(), images.collect());
        Ok(Self { vocab, train, eval, eval_images, sha256 })
    }
}

impl Examples {
    fn new(
        found: &Found<'_>,
        captions: &[(usize, Vec<String>)],
        vocab: &Vocab,
        max_len: usize,
        digest: &mut Sha256,
    ) -> Self {
        let mut examples = Self::default();
        for (position, words) in captions {
            let (record, row) = found.records[*position];
            let ids = vocab.encode(&words[..words.len().min(max_len)]);
            digest.update(record.id.to_le_bytes());
            digest.update((ids.len() as u64).to_le_bytes());
            for id in &ids {
                digest.update(id.to_le_bytes());
            }
            examples.words.extend(ids);
            examples.rows.push(row);
            examples.ends.push(examples.words.len());
        }
        digest.update(u64::MAX.to_le_bytes());
        examples
    }

    /// How many captions.
    #[expect(clippy::len_without_is_empty, reason = "a corpus with an empty split is refused")]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The captions of these numbers with their images' features `[B, D]`.
    pub fn batch(
        &self,
        numbers: &[usize],
        features: &Features,
        device: &Device,
    ) -> Result<(Tensor, PackedCaptions)> {
        let captions: Vec<&[u32]> = numbers.iter().map(|&n| self.caption(n)).collect();
        let rows: Vec<usize> = numbers.iter().map(|&n| self.rows[n]).collect();
        Ok((features.gather(&rows, device)?, PackedCaptions::new(&captions, device)?))
    }

    /// How many words the captions of these numbers have, END included.
    pub fn tokens(&self, numbers: &[usize]) -> u64 {
        numbers.iter().map(|&number| self.caption(number).len() as u64 + 1).sum()
    }

    /// The images: the row of each one's features, and its captions' word ids, without END.
    pub fn images(&self) -> impl Iterator<Item = (usize, impl Iterator<Item = &[u32]>)> {
        // an image's captions stand one after the other
        let mut start = 0;
        self.rows.chunk_by(|a, b| a == b).map(move |rows| {
            let numbers = start..start + rows.len();
            start = numbers.end;
            (rows[0], numbers.map(|number| self.caption(number)))
        })
    }

    fn caption(&self, number: usize) -> &[u32] {
        let start = if number == 0 { 0 } else { self.ends[number - 1] };
        &self.words[start..self.ends[number]]
    }
}

fn find<'a>(
    dataset: &'a Dataset,
    split: Split,
    features: &Features,
    data: &DataConfig,
    log: &dyn Fn(&str),
) -> Result<Found<'a>> {
    let records = dataset.split(split)?;
    let total = records.len();
    let mut found = Found { records: Vec::with_capacity(total), missing: Vec::new() };
    for record in records {
        match features.position(record.id) {
            Some(row) => found.records.push((record, row)),
            None => found.missing.push(record.id),
        }
    }
    if !found.missing.is_empty() {
        let first: Vec<String> = found.missing.iter().take(3).map(i64::to_string).collect();
        let more = if found.missing.len() > first.len() { ", ..." } else { "" };
        let list = format!("{}{more}", first.join(", "));
        if found.missing.len() * 2 > total {
            return Err(nic_core::Error::Mismatch {
                place: data.features.display().to_string(),
                what: format!("the number of {} images of {} with features", split, dataset.name()),
                found: format!("{} of {total} (none for image {list})", found.records.len()),
                expected: "at least half".into(),
            }
            .into());
        }
        log(&format!(
            "{} of {total} {} images have no features and are left out: {list}",
            found.missing.len(),
            split
        ));
    }
    Ok(found)
}

/// The words of each caption, with the position of its image; captions without a word are left out.
fn tokenize(found: &Found<'_>, data: &DataConfig) -> Vec<(usize, Vec<String>)> {
    found
        .records
        .par_iter()
        .enumerate()
        .flat_map_iter(|(position, (record, _))| {
            record.captions.iter().map(move |caption| (position, data.tokenizer.tokenize(caption)))
        })
        .filter(|(_, words)| !words.is_empty())
        .collect()
}
