//! The NIC decoder: image embedding, word embeddings, recurrence, softmax (Vinyals et al. 2015).

mod config;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use rand_chacha::ChaCha8Rng;

use crate::cross_entropy::CrossEntropy;
use crate::dropout::{Dropout, dropout};
use crate::embedding::embed;
use crate::linear::linear;
use crate::recurrence::Recurrence;
use crate::{Error, PackedCaptions, Result};

pub use config::{Cell, DecoderConfig};

/// What the recurrences remember, for B sentences.
#[derive(Clone, Debug)]
pub struct DecoderState {
    /// From the lowest layer to the highest.
    layers: Vec<LayerState>,
}

/// What one layer remembers.
#[derive(Clone, Debug)]
struct LayerState {
    /// `[B, H]`.
    h: Tensor,
    /// `[B, H]`: the LSTM's cell; for the RNN what the next step adds to its input, the image and then zeros.
    c: Tensor,
}

impl DecoderState {
    /// The sentences of these rows `[B']`, u32, in that order; a row may be there never or more than once.
    ///
    /// # Errors
    /// A row beyond B (found on the CPU only).
    pub fn select(&self, rows: &Tensor) -> Result<Self> {
        let select = |LayerState { h, c }: &LayerState| {
            Ok(LayerState { h: h.index_select(rows, 0)?, c: c.index_select(rows, 0)? })
        };
        Ok(Self { layers: self.layers.iter().map(select).collect::<Result<_>>()? })
    }

    /// B.
    pub fn sentences(&self) -> usize {
        self.layers.first().map_or(0, |layer| layer.h.dims()[0])
    }
}

/// What training does to the decoder that evaluation does not.
#[derive(Debug)]
pub struct Training<'a> {
    /// Values set to zero.
    pub dropout: Dropout,
    /// The share of the target's probability that goes to all words alike, in [0, 1): `F.cross_entropy`'s
    /// `label_smoothing`.
    pub label_smoothing: f32,
    /// Where the dropout masks come from.
    pub rng: &'a mut ChaCha8Rng,
}

/// The decoder with its weights.
#[derive(Clone, Debug)]
pub struct Decoder {
    config: DecoderConfig,
    image: Layer,
    embedding: Tensor,
    /// From the lowest layer to the highest.
    recurrences: Vec<Recurrence>,
    output: Layer,
}

/// Weight and bias of an `nn.Linear`.
#[derive(Clone, Debug)]
struct Layer {
    weight: Tensor,
    bias: Tensor,
}

impl Layer {
    fn new(inputs: usize, outputs: usize, name: &str, vb: &VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            weight: vb.get((outputs, inputs), &format!("{name}.weight"))?,
            bias: vb.get(outputs, &format!("{name}.bias"))?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(linear(x, &self.weight, &self.bias)?)
    }

    fn detach(&self) -> Self {
        Self { weight: self.weight.detach(), bias: self.bias.detach() }
    }
}

impl Decoder {
    /// From tensors in the names of [`DecoderConfig::tensors`].
    ///
    /// # Errors
    /// A dimension that makes no sense; a tensor that is missing or of another shape.
    pub fn new(config: &DecoderConfig, vb: VarBuilder<'_>) -> Result<Self> {
        config.check()?;
        let image = match config.cell {
            Cell::Lstm => config.embed_dim,
            Cell::Rnn => config.hidden_dim,
        };
        let embedding = vb.get((config.vocab_size, config.embed_dim), "embedding.weight")?;
        let output = if config.tie_embeddings {
            Layer { weight: embedding.clone(), bias: vb.get(config.vocab_size, "output.bias")? }
        } else {
            Layer::new(config.hidden_dim, config.vocab_size, "output", &vb)?
        };
        Ok(Self {
            config: config.clone(),
            image: Layer::new(config.feature_dim, image, "image", &vb)?,
            embedding,
            recurrences: (0..config.num_layers)
                .map(|layer| Recurrence::new(config, layer, &vb))
                .collect::<candle_core::Result<_>>()?,
            output,
        })
    }

    /// The shape.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        self.embedding.device()
    }

    /// The same weights (shared, not copied) without a graph for gradients: for evaluation.
    pub fn detach(&self) -> Self {
        Self {
            config: self.config.clone(),
            image: self.image.detach(),
            embedding: self.embedding.detach(),
            recurrences: self.recurrences.iter().map(Recurrence::detach).collect(),
            output: self.output.detach(),
        }
    }

    /// Teacher forcing: features `[B, D]` (in the caller's order) and packed captions to logits `[N, V]`.
    ///
    /// # Errors
    /// Features of another width or number than expected, word ids outside the vocabulary, a share to drop or to
    /// smooth outside [0, 1).
    pub fn logits(
        &self,
        features: &Tensor,
        captions: &PackedCaptions,
        training: Option<Training<'_>>,
    ) -> Result<Tensor> {
        self.output.forward(&self.hidden(features, captions, training)?)
    }

    /// The mean negative log likelihood per word, END included: a scalar. Errors as [`Decoder::logits`].
    pub fn loss(
        &self,
        features: &Tensor,
        captions: &PackedCaptions,
        training: Option<Training<'_>>,
    ) -> Result<Tensor> {
        let smoothing = training.as_ref().map_or(0.0, |training| training.label_smoothing);
        if !(0.0..1.0).contains(&smoothing) {
            return Err(Error::Usage(format!(
                "label smoothing is {smoothing}, expected at least 0 and below 1"
            )));
        }
        let hidden = self.hidden(features, captions, training)?;
        let Layer { weight, bias } = &self.output;
        let targets = &captions.targets;
        Ok(CrossEntropy { weight, bias, targets, smoothing, shares: None }.loss(&hidden)?)
    }

    /// The sum of all words' negative log likelihoods, each times its share `[N]` (in the order of
    /// [`PackedCaptions::words`]): a scalar. With a caption's advantage as the shares of its words its gradient is
    /// REINFORCE's (Williams 1992).
    ///
    /// # Errors
    /// As [`Decoder::logits`]; another number of shares than words.
    pub fn weighted_loss(
        &self,
        features: &Tensor,
        captions: &PackedCaptions,
        shares: &[f32],
    ) -> Result<Tensor> {
        if shares.len() != captions.tokens() {
            let (found, words) = (shares.len(), captions.tokens());
            return Err(Error::Usage(format!("{found} shares for {words} words")));
        }
        let hidden = self.hidden(features, captions, None)?;
        let Layer { weight, bias } = &self.output;
        let (targets, shares) = (&captions.targets, Some(shares));
        Ok(CrossEntropy { weight, bias, targets, smoothing: 0.0, shares }.loss(&hidden)?)
    }

    /// The highest recurrence's output for every word: `[N, H]`.
    fn hidden(
        &self,
        features: &Tensor,
        captions: &PackedCaptions,
        mut training: Option<Training<'_>>,
    ) -> Result<Tensor> {
        if captions.largest as usize >= self.config.vocab_size {
            return Err(Error::Usage(format!(
                "a caption holds word {}, the vocabulary has {} words",
                captions.largest, self.config.vocab_size
            )));
        }
        let batch = captions.order.len();
        let features = self.check_features(features)?;
        if features.dim(0)? != batch {
            return Err(Error::Usage(format!(
                "{} feature vectors for {batch} captions",
                features.dim(0)?
            )));
        }
        let rates = training.as_ref().map_or(Dropout::NONE, |training| training.dropout);
        let mut drop = |x: Tensor, rate: f32, steps: &[usize]| match &mut training {
            Some(training) => dropout(&x, rate, rates.variational.then_some(steps), training.rng),
            None => Ok(x),
        };
        let image = self.image.forward(&captions.sort(&features)?)?;
        let (mut x, steps, first) = match self.config.cell {
            Cell::Lstm => {
                let steps = [&[batch], captions.steps.as_slice()].concat();
                (embed(&image, &self.embedding, &captions.inputs)?, steps, None)
            }
            Cell::Rnn => {
                let image = drop(image, rates.input, &[batch])?;
                let words = self.embedding.index_select(&captions.inputs, 0)?;
                (words, captions.steps.clone(), Some(image))
            }
        };
        // nothing is asked of the LSTM's output for the image
        let unasked = x.dim(0)? - captions.tokens();
        for (layer, recurrence) in self.recurrences.iter().enumerate() {
            let (rate, first) =
                if layer == 0 { (rates.input, first.as_ref()) } else { (rates.layers, None) };
            let skip = if layer + 1 == self.recurrences.len() { unasked } else { 0 };
            x = recurrence.sequence(&drop(x, rate, &steps)?, &steps, first, skip)?;
        }
        drop(x, rates.output, &captions.steps)
    }

    /// The features in the weights' type, where they fit.
    fn check_features(&self, features: &Tensor) -> Result<Tensor> {
        match features.dims() {
            [_, width] if *width == self.config.feature_dim => {
                Ok(features.to_device(self.device())?.to_dtype(self.embedding.dtype())?)
            }
            dims => Err(Error::Mismatch {
                place: "features".into(),
                what: "shape".into(),
                found: format!("{dims:?}"),
                expected: format!(
                    "[images, {}]: the decoder's feature_dim",
                    self.config.feature_dim
                ),
            }),
        }
    }

    /// The state after the image: features `[B, D]`.
    ///
    /// # Errors
    /// Features of another width than the decoder's.
    pub fn start(&self, features: &Tensor) -> Result<DecoderState> {
        let image = self.image.detach().forward(&self.check_features(features)?.detach())?;
        let mut layers: Vec<LayerState> = Vec::with_capacity(self.recurrences.len());
        for recurrence in &self.recurrences {
            layers.push(match self.config.cell {
                Cell::Lstm => {
                    let x = layers.last().map_or(&image, |below| &below.h);
                    let (h, c) = recurrence.step(x, None, None)?;
                    LayerState { h, c }
                }
                Cell::Rnn => {
                    let rest = Tensor::zeros(
                        (image.dim(0)?, self.config.hidden_dim),
                        image.dtype(),
                        image.device(),
                    )?;
                    let c = if layers.is_empty() { image.clone() } else { rest.clone() };
                    LayerState { h: rest, c }
                }
            });
        }
        Ok(DecoderState { layers })
    }

    /// One step: words `[B]` u32 to logits `[B, V]` and the next state. Not differentiable.
    ///
    /// # Errors
    /// A word outside the vocabulary (found on the CPU only); a state of another B.
    pub fn step(&self, state: &DecoderState, words: &Tensor) -> Result<(Tensor, DecoderState)> {
        if words.dims() != [state.sentences()] {
            return Err(Error::Usage(format!(
                "words {:?} for {} sentences",
                words.dims(),
                state.sentences()
            )));
        }
        let mut x = self.embedding.detach().index_select(&words.to_dtype(DType::U32)?, 0)?;
        let mut layers = Vec::with_capacity(state.layers.len());
        for (recurrence, LayerState { h, c }) in self.recurrences.iter().zip(&state.layers) {
            let (h, c) = match self.config.cell {
                Cell::Lstm => recurrence.step(&x, Some((h, c)), None)?,
                Cell::Rnn => recurrence.step(&x, Some((h, &c.zeros_like()?)), Some(c))?,
            };
            x = h.clone();
            layers.push(LayerState { h, c });
        }
        Ok((self.output.detach().forward(&x)?, DecoderState { layers }))
    }
}
