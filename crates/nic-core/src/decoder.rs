//! The NIC decoder: image embedding, word embeddings, recurrence, softmax (Vinyals et al. 2015).

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

use crate::cross_entropy::cross_entropy;
use crate::dropout::Dropout;
use crate::linear::linear;
use crate::recurrence::Recurrence;
use crate::{Error, PackedCaptions, Result};

/// The recurrence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cell {
    /// LSTM; the image is its first input, at t = -1.
    #[default]
    Lstm,
    /// h = ReLU(Wx x + Wh h + b); the image is added in the first step (Karpathy and Fei-Fei 2015).
    Rnn,
}

impl Cell {
    /// As in configurations; also the first part of its tensors' names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lstm => "lstm",
            Self::Rnn => "rnn",
        }
    }
}

/// The decoder's shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecoderConfig {
    /// The recurrence.
    pub cell: Cell,
    /// D: the length of an image's feature vector.
    pub feature_dim: usize,
    /// E.
    pub embed_dim: usize,
    /// H.
    pub hidden_dim: usize,
    /// V.
    pub vocab_size: usize,
    /// Whether the LSTM has biases; Show and Tell's has none. The RNN always has them.
    #[serde(default = "yes")]
    pub lstm_bias: bool,
    /// Whether the LSTM's output is o tanh(c); Show and Tell's is o c.
    #[serde(default = "yes")]
    pub cell_tanh: bool,
}

fn yes() -> bool {
    true
}

/// What the recurrence remembers, for B sentences.
#[derive(Clone, Debug)]
pub struct DecoderState {
    /// `[B, H]`.
    pub h: Tensor,
    /// `[B, H]`: the LSTM's cell; for the RNN what the next step adds to its input, the image and then zeros.
    pub c: Tensor,
}

impl DecoderState {
    /// The sentences of these rows `[B']`, u32, in that order; a row may be there never or more than once.
    ///
    /// # Errors
    /// A row beyond B (found on the CPU only).
    pub fn select(&self, rows: &Tensor) -> Result<Self> {
        Ok(Self { h: self.h.index_select(rows, 0)?, c: self.c.index_select(rows, 0)? })
    }
}

/// The decoder with its weights.
#[derive(Clone, Debug)]
pub struct Decoder {
    config: DecoderConfig,
    image: Layer,
    embedding: Tensor,
    recurrence: Recurrence,
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

impl DecoderConfig {
    /// Name and shape of every tensor, in order. The names are those of a PyTorch module with the members
    ///
    /// ```python
    /// image     = nn.Linear(D, E)        # D, H for the RNN
    /// embedding = nn.Embedding(V, E)
    /// lstm      = nn.LSTM(E, H)          # or rnn = nn.RNN(E, H, nonlinearity="relu")
    /// output    = nn.Linear(H, V)
    /// ```
    ///
    /// so that a checkpoint is a `state_dict` there. An LSTM's rows are its gates i, f, g, o.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (cell, rows, image) = match self.cell {
            Cell::Lstm => ("lstm", 4 * self.hidden_dim, self.embed_dim),
            Cell::Rnn => ("rnn", self.hidden_dim, self.hidden_dim),
        };
        let mut tensors = vec![
            ("image.weight".to_owned(), vec![image, self.feature_dim]),
            ("image.bias".to_owned(), vec![image]),
            ("embedding.weight".to_owned(), vec![self.vocab_size, self.embed_dim]),
            (format!("{cell}.weight_ih_l0"), vec![rows, self.embed_dim]),
            (format!("{cell}.weight_hh_l0"), vec![rows, self.hidden_dim]),
        ];
        if self.has_bias() {
            tensors.push((format!("{cell}.bias_ih_l0"), vec![rows]));
            tensors.push((format!("{cell}.bias_hh_l0"), vec![rows]));
        }
        tensors.push(("output.weight".to_owned(), vec![self.vocab_size, self.hidden_dim]));
        tensors.push(("output.bias".to_owned(), vec![self.vocab_size]));
        tensors
    }

    pub(crate) fn has_bias(&self) -> bool {
        self.cell == Cell::Rnn || self.lstm_bias
    }

    /// Dimensions that make sense: none is zero, none so large that a tensor's size overflows, and the special
    /// words have their place.
    pub(crate) fn check(&self) -> Result<()> {
        const LARGEST: usize = 1 << 24;
        let dims = [
            ("feature_dim", self.feature_dim, 1),
            ("embed_dim", self.embed_dim, 1),
            ("hidden_dim", self.hidden_dim, 1),
            ("vocab_size", self.vocab_size, 4),
        ];
        for (key, dim, least) in dims {
            if !(least..=LARGEST).contains(&dim) {
                return Err(Error::Usage(format!("{key} is {dim}, expected {least} to {LARGEST}")));
            }
        }
        Ok(())
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
        Ok(Self {
            config: config.clone(),
            image: Layer::new(config.feature_dim, image, "image", &vb)?,
            embedding: vb.get((config.vocab_size, config.embed_dim), "embedding.weight")?,
            recurrence: Recurrence::new(config, &vb)?,
            output: Layer::new(config.hidden_dim, config.vocab_size, "output", &vb)?,
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
            recurrence: self.recurrence.detach(),
            output: self.output.detach(),
        }
    }

    /// Teacher forcing: features `[B, D]` (in the caller's order) and packed captions to logits `[N, V]`.
    ///
    /// # Errors
    /// Features of another width or number than expected, word ids outside the vocabulary, a dropout rate outside
    /// [0, 1).
    pub fn logits(
        &self,
        features: &Tensor,
        captions: &PackedCaptions,
        dropout: Option<Dropout<'_>>,
    ) -> Result<Tensor> {
        self.output.forward(&self.hidden(features, captions, dropout)?)
    }

    /// The mean negative log likelihood per word, END included: a scalar. Errors as [`Decoder::logits`].
    pub fn loss(
        &self,
        features: &Tensor,
        captions: &PackedCaptions,
        dropout: Option<Dropout<'_>>,
    ) -> Result<Tensor> {
        let hidden = self.hidden(features, captions, dropout)?;
        Ok(cross_entropy(&hidden, &self.output.weight, &self.output.bias, &captions.targets)?)
    }

    /// The recurrence's output for every word: `[N, H]`.
    fn hidden(
        &self,
        features: &Tensor,
        captions: &PackedCaptions,
        mut dropout: Option<Dropout<'_>>,
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
        let mut drop = |x: Tensor| match &mut dropout {
            Some(dropout) => dropout.apply(&x),
            None => Ok(x),
        };
        let order: Vec<u32> = captions.order.iter().map(|&row| row as u32).collect();
        let features =
            features.index_select(&Tensor::from_vec(order, batch, features.device())?, 0)?;
        let image = self.image.forward(&features)?;
        let words = self.embedding.index_select(&captions.inputs, 0)?;
        let hidden = match self.config.cell {
            Cell::Lstm => {
                let x = drop(Tensor::cat(&[image, words], 0)?)?;
                let steps = [&[batch], captions.steps.as_slice()].concat();
                let hidden = self.recurrence.sequence(&x, &steps, None)?;
                hidden.narrow(0, batch, captions.tokens())?
            }
            Cell::Rnn => {
                let (image, words) = (drop(image)?, drop(words)?);
                self.recurrence.sequence(&words, &captions.steps, Some(&image))?
            }
        };
        drop(hidden)
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
        match self.config.cell {
            Cell::Lstm => {
                let (h, c) = self.recurrence.step(&image, None, None)?;
                Ok(DecoderState { h, c })
            }
            Cell::Rnn => Ok(DecoderState { h: image.zeros_like()?, c: image }),
        }
    }

    /// One step: words `[B]` u32 to logits `[B, V]` and the next state. Not differentiable.
    ///
    /// # Errors
    /// A word outside the vocabulary (found on the CPU only); a state of another B.
    pub fn step(&self, state: &DecoderState, words: &Tensor) -> Result<(Tensor, DecoderState)> {
        if words.dims() != [state.h.dim(0)?] {
            return Err(Error::Usage(format!(
                "words {:?} for {} sentences",
                words.dims(),
                state.h.dim(0)?
            )));
        }
        let x = self.embedding.detach().index_select(&words.to_dtype(DType::U32)?, 0)?;
        let (h, c) = match self.config.cell {
            Cell::Lstm => self.recurrence.step(&x, Some((&state.h, &state.c)), None)?,
            Cell::Rnn => self.recurrence.step(
                &x,
                Some((&state.h, &state.c.zeros_like()?)),
                Some(&state.c),
            )?,
        };
        let logits = self.output.detach().forward(&h)?;
        Ok((logits, DecoderState { h, c }))
    }
}
