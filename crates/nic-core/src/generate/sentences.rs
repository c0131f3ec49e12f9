//! Sentences under way, and what may come next.

use candle_core::{D, DType, Device, Tensor};
use candle_nn::ops::log_softmax;
use pulp::Arch;
use rayon::prelude::*;

use super::Rules;
use crate::activation::{exp, log_sum_exp};
use crate::decoder::DecoderState;
use crate::{Decoder, Error, Result};

/// Sentences under way, a row each.
pub(super) struct Sentences<'a> {
    members: Vec<Member<'a>>,
    /// Words that are never chosen.
    never: &'static [u32],
}

/// One decoder's view of them.
struct Member<'a> {
    decoder: &'a Decoder,
    state: DecoderState,
}

/// A word that may come next, and its log probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Choice {
    pub(super) word: u32,
    pub(super) log_prob: f32,
}

impl<'a> Sentences<'a> {
    /// One for each image; their next word is START's successor.
    pub(super) fn new(decoders: &'a [Decoder], features: &Tensor, rules: &Rules) -> Result<Self> {
        let sizes: Vec<usize> =
            decoders.iter().map(|decoder| decoder.config().vocab_size).collect();
        if sizes.is_empty() {
            return Err(Error::Usage("an ensemble of no decoders".into()));
        }
        if sizes.iter().any(|size| *size != sizes[0]) {
            return Err(Error::Usage(format!(
                "an ensemble of decoders with vocabularies of {sizes:?} words, expected equal ones"
            )));
        }
        let member = |decoder| Ok(Member { decoder, state: Decoder::start(decoder, features)? });
        Ok(Self {
            members: decoders.iter().map(member).collect::<Result<_>>()?,
            never: rules.never(),
        })
    }

    /// The rows of `parents`, in that order; a row may be there never or more than once.
    pub(super) fn select(&mut self, parents: &[u32]) -> Result<()> {
        for Member { decoder, state } in &mut self.members {
            let parents = Tensor::from_slice(parents, parents.len(), decoder.device())?;
            *state = state.select(&parents)?;
        }
        Ok(())
    }

    /// Appends a word to each row.
    pub(super) fn step(&mut self, words: &[u32]) -> Result<Scores> {
        let mut logits = Vec::with_capacity(self.members.len());
        for Member { decoder, state } in &mut self.members {
            let words = Tensor::from_slice(words, words.len(), decoder.device())?;
            let (row, next) = decoder.step(state, &words)?;
            *state = next;
            logits.push(row.to_dtype(DType::F32)?);
        }
        if logits.iter().all(|logits| logits.device().is_cpu()) {
            Ok(Scores::Cpu(Rows::new(&logits, self.never)?))
        } else {
            Ok(Scores::Device(mean(&logits, self.never)?))
        }
    }
}

/// What the decoders think of every word as each row's next.
pub(super) enum Scores {
    Cpu(Rows),
    /// Log probabilities `[B, V]` where the decoders are: all of them are much to fetch at every step.
    Device(Tensor),
}

impl Scores {
    /// The likeliest words of each row that may be chosen, as many as `wanted` says, the likeliest first; on the CPU of
    /// equals the smaller id first.
    pub(super) fn best(&self, wanted: &[usize]) -> Result<Vec<Vec<Choice>>> {
        match self {
            Self::Cpu(rows) => {
                let arch = Arch::new();
                Ok(wanted
                    .par_iter()
                    .enumerate()
                    .map(|(row, &count)| {
                        arch.dispatch(|| best_words(rows.row(row), count))
                            .into_iter()
                            .map(|word| Choice { word, log_prob: rows.log_prob(row, word) })
                            .collect()
                    })
                    .collect())
            }
            Self::Device(log_probs) => best_on_device(log_probs, wanted),
        }
    }

    /// All of them.
    pub(super) fn into_rows(self) -> Result<Rows> {
        match self {
            Self::Cpu(rows) => Ok(rows),
            Self::Device(log_probs) => {
                let (rows, words) = log_probs.dims2()?;
                let scores = log_probs.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
                if scores.iter().any(|score| score.is_nan()) {
                    return Err(Error::NotFinite);
                }
                Ok(Rows { scores, words, totals: vec![0.0; rows] })
            }
        }
    }
}

/// Scores on the CPU.
pub(super) struct Rows {
    /// Those of words that are never chosen are -inf.
    scores: Vec<f32>,
    words: usize,
    /// For each row, what is to be taken from its scores to make them log probabilities.
    totals: Vec<f32>,
}

impl Rows {
    fn new(logits: &[Tensor], never: &[u32]) -> Result<Self> {
        let words = logits[0].dim(1)?;
        let mut members: Vec<Vec<f32>> = logits
            .iter()
            .map(|logits| Ok(logits.flatten_all()?.to_vec1::<f32>()?))
            .collect::<Result<_>>()?;
        let arch = Arch::new();
        let totals = |scores: &[f32]| -> Result<Vec<f32>> {
            let rows = scores.par_chunks(words);
            let totals: Vec<f32> = rows.map(|row| arch.dispatch(|| log_sum_exp(row))).collect();
            if totals.iter().any(|total| !total.is_finite()) {
                return Err(Error::NotFinite);
            }
            Ok(totals)
        };
        let (mut scores, totals) = if members.len() == 1 {
            let scores = members.swap_remove(0);
            let totals = totals(&scores)?;
            (scores, totals)
        } else {
            for scores in &mut members {
                let totals = totals(scores)?;
                for (row, total) in scores.chunks_mut(words).zip(totals) {
                    row.iter_mut().for_each(|score| *score -= total);
                }
            }
            let rows = members[0].len() / words;
            let mut mean = vec![0.0; members[0].len()];
            mean.par_chunks_mut(words).enumerate().for_each(|(row, mean)| {
                let members: Vec<&[f32]> =
                    members.iter().map(|scores| &scores[row * words..(row + 1) * words]).collect();
                arch.dispatch(|| log_mean_exp(&members, mean));
            });
            (mean, vec![0.0; rows])
        };
        for row in scores.chunks_mut(words) {
            never.iter().for_each(|&word| row[word as usize] = f32::NEG_INFINITY);
        }
        Ok(Self { scores, words, totals })
    }

    /// A row's scores, whose differences are those of log probabilities.
    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.scores[row * self.words..(row + 1) * self.words]
    }

    pub(super) fn log_prob(&self, row: usize, word: u32) -> f32 {
        // rounding may put a certain word's above 0, and the search counts on log probabilities that only fall
        (self.row(row)[word as usize] - self.totals[row]).min(0.0)
    }
}

/// ln of the mean of e^x over the members; equal members give themselves, to the bit.
#[inline(always)]
fn log_mean_exp(members: &[&[f32]], mean: &mut [f32]) {
    let share = 1.0 / members.len() as f32;
    for (word, mean) in mean.iter_mut().enumerate() {
        let largest = members.iter().fold(f32::NEG_INFINITY, |most, scores| most.max(scores[word]));
        let sum: f32 = members.iter().map(|scores| exp(scores[word] - largest)).sum();
        *mean = largest + (sum * share).ln();
    }
}

/// The `count` likeliest words that may be chosen, the likeliest first, of equals the smaller id first.
#[inline(always)]
fn best_words(scores: &[f32], count: usize) -> Vec<u32> {
    // few words are better than the best so far: whole blocks are passed over
    const BLOCK: usize = 32;
    if count == 0 {
        return Vec::new();
    }
    let mut best: Vec<u32> = Vec::new();
    let mut least = f32::NEG_INFINITY;
    for (block, first) in scores.chunks(BLOCK).zip((0u32..).step_by(BLOCK)) {
        if !block.iter().fold(false, |any, &score| any | (score > least)) {
            continue;
        }
        for (word, &score) in (first..).zip(block) {
            if score > least {
                let place = best.partition_point(|&better| scores[better as usize] >= score);
                best.insert(place, word);
                best.truncate(count);
                if best.len() == count {
                    least = scores[best[count - 1] as usize];
                }
            }
        }
    }
    best
}

/// ln of the mean of the members' probabilities, -inf for words that are never chosen, on the first one's device.
fn mean(logits: &[Tensor], never: &[u32]) -> Result<Tensor> {
    let device = logits[0].device();
    let mut log_probs = Vec::with_capacity(logits.len());
    for logits in logits {
        log_probs.push(log_softmax(&logits.to_device(device)?, D::Minus1)?);
    }
    let log_probs = match log_probs.as_slice() {
        [one] => one.clone(),
        all => (Tensor::stack(all, 0)?.log_sum_exp(0)? - (all.len() as f64).ln())?,
    };
    let mut mask = vec![0f32; log_probs.dim(1)?];
    never.iter().for_each(|&word| mask[word as usize] = f32::NEG_INFINITY);
    let mask = Tensor::from_vec(mask, (1, log_probs.dim(1)?), device)?;
    Ok(log_probs.broadcast_add(&mask)?)
}

/// [`Scores::best`] by tensor operations: the largest again and again, so that only these are fetched.
fn best_on_device(log_probs: &Tensor, wanted: &[usize]) -> Result<Vec<Vec<Choice>>> {
    let (rows, words) = log_probs.dims2()?;
    let most = wanted.iter().copied().max().unwrap_or(0).min(words);
    let mut best = vec![Vec::with_capacity(most); rows];
    if rows == 0 || most == 0 {
        return Ok(best);
    }
    let gone = Tensor::full(f32::NEG_INFINITY, (rows, 1), log_probs.device())?;
    let mut left = log_probs.contiguous()?;
    let (mut places, mut values) = (Vec::with_capacity(most), Vec::with_capacity(most));
    for _ in 0..most {
        let place = left.argmax_keepdim(1)?;
        values.push(left.gather(&place, 1)?);
        left = left.scatter(&place, &gone, 1)?;
        places.push(place);
    }
    let places = Tensor::cat(&places, 1)?.to_vec2::<u32>()?;
    let values = Tensor::cat(&values, 1)?.to_vec2::<f32>()?;
    for (row, best) in best.iter_mut().enumerate() {
        for (&word, &log_prob) in places[row].iter().zip(&values[row]).take(wanted[row]) {
            if log_prob.is_nan() {
                return Err(Error::NotFinite);
            }
            if log_prob > f32::NEG_INFINITY {
                best.push(Choice { word, log_prob: log_prob.min(0.0) });
            }
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits(shift: f32) -> Tensor {
        let values = Tensor::arange(0f32, 3.0 * 50.0, &Device::Cpu).unwrap();
        ((values + f64::from(shift)).unwrap().sin().unwrap() * 5.0)
            .unwrap()
            .reshape((3, 50))
            .unwrap()
    }

    /// The tensor operations, which run on CUDA, against the loops.
    #[test]
    fn devices_agree() {
        let never = Rules::default().never();
        for members in [vec![logits(0.0)], vec![logits(0.0), logits(1.0), logits(2.5)]] {
            let cpu = Scores::Cpu(Rows::new(&members, never).unwrap());
            let device = Scores::Device(mean(&members, never).unwrap());
            for wanted in [[1, 1, 1], [3, 0, 5], [50, 49, 1000]] {
                let (cpu, device) = (cpu.best(&wanted).unwrap(), device.best(&wanted).unwrap());
                for (row, (cpu, device)) in cpu.iter().zip(&device).enumerate() {
                    assert_eq!(cpu.len(), wanted[row].min(47));
                    assert_eq!(cpu.len(), device.len());
                    for (cpu, device) in cpu.iter().zip(device) {
                        assert_eq!(cpu.word, device.word);
                        assert!((cpu.log_prob - device.log_prob).abs() < 1e-5);
                    }
                }
            }
            let rows = device.into_rows().unwrap();
            let Scores::Cpu(cpu) = cpu else { unreachable!() };
            for row in 0..3 {
                for word in 0..50 {
                    let (a, b) = (cpu.log_prob(row, word), rows.log_prob(row, word));
                    assert!(a == b || (a - b).abs() < 1e-5, "{a} {b}");
                }
            }
        }
    }

    #[test]
    fn the_best_are_those_of_a_sort() {
        // with ties, rising, falling and mixed
        let rows: [fn(usize) -> f32; 4] = [
            |i| (i * 7919 % 13) as f32,
            |i| i as f32,
            |i| -(i as f32),
            |i| ((i * 7919 % 1009) as f32).sin(),
        ];
        for row in rows {
            let scores: Vec<f32> = (0..333).map(row).collect();
            let mut sorted: Vec<u32> = (0..333).collect();
            sorted.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]));
            for count in [1, 2, 3, 10, 333] {
                assert_eq!(best_words(&scores, count), sorted[..count]);
            }
            assert_eq!(best_words(&scores, 1000), sorted);
        }
    }

    #[test]
    fn a_mean_of_equals_is_each_of_them() {
        let one = Rows::new(&[logits(0.3)], &[]).unwrap();
        let twice = Rows::new(&[logits(0.3), logits(0.3)], &[]).unwrap();
        for word in 0..50 {
            assert_eq!(one.log_prob(1, word), twice.log_prob(1, word));
        }
    }

    #[test]
    fn a_mean_is_that_of_the_probabilities() {
        let members = [logits(0.0), logits(1.0)];
        let alone = members.clone().map(|logits| Rows::new(&[logits], &[]).unwrap());
        let both = Rows::new(&members, &[]).unwrap();
        for word in 0..50 {
            let p = |rows: &Rows| f64::from(rows.log_prob(2, word)).exp();
            assert!((p(&both) - (p(&alone[0]) + p(&alone[1])) / 2.0).abs() < 1e-6);
        }
    }
}
