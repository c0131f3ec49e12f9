//! A batch of captions without padding.

use candle_core::{Device, Tensor};

use crate::{Error, Result, Vocab};

/// Captions sorted by length, longest first, and laid out step by step: at step t the first `steps[t]` captions
/// still run. What PyTorch calls a packed sequence.
#[derive(Clone, Debug)]
pub struct PackedCaptions {
    /// Row r of the batch is the caller's caption `order[r]`.
    pub order: Vec<usize>,
    /// How many captions run at each step; falls, never rises.
    pub steps: Vec<usize>,
    /// START and words: `[N]`, u32.
    pub inputs: Tensor,
    /// Words and END: `[N]`, u32.
    pub targets: Tensor,
    /// The largest id, to be checked against the vocabulary's size without asking the device.
    pub(crate) largest: u32,
}

impl PackedCaptions {
    /// Packs captions' word ids (without START and END). Captions of equal length keep their order; an empty
    /// caption is END alone.
    ///
    /// # Errors
    /// No caption at all.
    pub fn new(captions: &[&[u32]], device: &Device) -> Result<Self> {
        let mut order: Vec<usize> = (0..captions.len()).collect();
        order.sort_by_key(|&row| std::cmp::Reverse(captions[row].len()));
        let Some(longest) = order.first().map(|&row| captions[row].len()) else {
            return Err(Error::Usage("a batch needs at least one caption".into()));
        };

        let mut steps = Vec::with_capacity(longest + 1);
        let mut inputs = Vec::new();
        let mut targets = Vec::new();
        for step in 0..=longest {
            let running = order.partition_point(|&row| captions[row].len() >= step);
            for &row in &order[..running] {
                inputs.push(if step == 0 { Vocab::START } else { captions[row][step - 1] });
                targets.push(captions[row].get(step).copied().unwrap_or(Vocab::END));
            }
            steps.push(running);
        }
        let largest = inputs.iter().chain(&targets).copied().max().unwrap_or_default();
        let tokens = inputs.len();
        Ok(Self {
            order,
            steps,
            inputs: Tensor::from_vec(inputs, tokens, device)?,
            targets: Tensor::from_vec(targets, tokens, device)?,
            largest,
        })
    }

    /// The caller's rows `[B, ...]` in the order of the batch.
    pub(crate) fn sort(&self, rows: &Tensor) -> Result<Tensor> {
        let order: Vec<u32> = self.order.iter().map(|&row| row as u32).collect();
        let order = Tensor::from_vec(order, self.order.len(), rows.device())?;
        Ok(rows.index_select(&order, 0)?)
    }

    /// For each of the N targets the caller's caption and the word's place in it, counted from 0.
    pub fn words(&self) -> impl Iterator<Item = (usize, usize)> {
        let steps = self.steps.iter().enumerate();
        steps.flat_map(|(step, &running)| {
            self.order[..running].iter().map(move |&caption| (caption, step))
        })
    }

    /// N: the words of all captions, END included.
    pub fn tokens(&self) -> usize {
        self.steps.iter().sum()
    }
}
