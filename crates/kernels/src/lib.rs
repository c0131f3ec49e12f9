//! CUDA kernels for the LSTM decoder and its training, where candle has none or only slow ones: for each kernel of
//! `kernels.cu` a struct of its arguments, and (with the feature `cuda`) `launch`, which runs it.
//!
//! Addresses are the card's, of contiguous arrays of f32 where nothing else is said; 0 where an array is left out.
//! Without the feature there is nothing here but the structs, which let tests run the kernels on a CPU.

#[cfg(feature = "cuda")]
mod card;

#[cfg(feature = "cuda")]
pub use card::{address, empty, launch};

/// Threads of every block.
pub const THREADS: u32 = 256;

/// The arguments of a kernel.
pub trait Kernel: Copy {
    /// Its name in `kernels.cu`.
    const NAME: &str;

    /// How many blocks of [`THREADS`] it takes.
    fn blocks(&self) -> u64;
}

/// A step of an LSTM, after the products: c' = f c + i g, h' = o tanh(c').
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct LstmForward {
    /// `[rows, 4 hidden]`: W_ih x + W_hh h, which become i, f, g, o.
    pub gates: u64,
    /// `[4 hidden]`.
    pub bias: u64,
    /// `[rows or more, hidden]`; 0 for zeros.
    pub c_before: u64,
    /// `[rows, hidden]`, written.
    pub c: u64,
    /// `[rows, hidden]`, written.
    pub h: u64,
    /// Sequences that run.
    pub rows: u32,
    /// H.
    pub hidden: u32,
    /// 0 for h' = o c'.
    pub tanh: u32,
}

/// The way back through [`LstmForward`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct LstmBackward {
    /// `[rows, 4 hidden]`: i, f, g, o.
    pub gates: u64,
    /// `[rows, hidden]`.
    pub c: u64,
    /// `[rows or more, hidden]`; 0 for zeros.
    pub c_before: u64,
    /// The gradient of h `[rows, hidden]`.
    pub dh: u64,
    /// The gradient of c `[rows, hidden]`, which becomes that of `c_before`.
    pub dc: u64,
    /// That of what the gates were computed from `[rows, 4 hidden]`, written.
    pub dgates: u64,
    /// Sequences that run.
    pub rows: u32,
    /// The first so many of which run at the next step too: only theirs is the gradient in `dc`.
    pub going: u32,
    /// H.
    pub hidden: u32,
    /// 0 for h' = o c'.
    pub tanh: u32,
}

/// Softmax and cross entropy, with their gradient in the place of the logits: `F.cross_entropy(..., label_smoothing)`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropy {
    /// `[rows, words]`, without the bias; become their gradients if `backward`.
    pub logits: u64,
    /// `[words]`.
    pub bias: u64,
    /// u32 `[rows]`.
    pub targets: u64,
    /// What each row's loss counts `[rows]`; 0 for `share`.
    pub shares: u64,
    /// Times the shares `[rows]`, written.
    pub losses: u64,
    /// N.
    pub rows: u32,
    /// V.
    pub words: u32,
    /// 0 for the losses alone.
    pub backward: u32,
    /// What every row's loss counts.
    pub share: f32,
    /// The share of the target's probability that goes to all words alike.
    pub smoothing: f32,
}

/// The gradient of `nn.Embedding`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct EmbeddingBackward {
    /// Of the rows looked up `[rows, width]`.
    pub gradient: u64,
    /// Which they are, u32 `[rows]`.
    pub words: u64,
    /// Of the embedding `[V, width]`: the rows of `words` are written, the others left.
    pub sums: u64,
    /// N.
    pub rows: u32,
    /// E.
    pub width: u32,
}

/// Dropout: x times a mask of zeros and `keep`, which ChaCha with eight rounds gives, a word for each value. The first
/// step has a mask; those after it have its first rows.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    /// `[N, width]`: the rows of the first step, then those of the second...
    pub x: u64,
    /// Written.
    pub y: u64,
    /// How many rows each step has, u32 `[count]`; never rises. 0 where there is but one.
    pub steps: u64,
    /// How many steps.
    pub count: u32,
    /// The values of a row.
    pub width: u32,
    /// The generator's `get_word_pos()`.
    pub place: u64,
    /// Its `get_stream()`.
    pub stream: u64,
    /// Its `get_seed()`, as little-endian words.
    pub key: [u32; 8],
    /// Words below it make a zero.
    pub threshold: u32,
    /// What the others make.
    pub keep: f32,
    /// How many the first step has.
    pub rows: u32,
}

/// Sums of squares, one for each block.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SquareSum {
    /// `[length]`.
    pub values: u64,
    /// f64 `[SquareSum::SUMS]`, written.
    pub sums: u64,
    /// How many values.
    pub length: u64,
}

impl SquareSum {
    /// How many sums there are, whatever the length.
    pub const SUMS: usize = 64;
}

/// What an optimiser makes of a weight's gradient before it uses it: times `scale`, then into [-limit, limit].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Gradient {
    /// `[length]`.
    pub values: u64,
    /// How many values.
    pub length: u64,
    /// For `torch.nn.utils.clip_grad_norm_`.
    pub scale: f32,
    /// For `torch.nn.utils.clip_grad_value_`.
    pub limit: f32,
}

/// A step of `torch.optim.Adam` or `AdamW`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Adam {
    /// The weight's.
    pub gradient: Gradient,
    /// Of the gradient's length, changed.
    pub weight: u64,
    /// `exp_avg`, of the same length, changed.
    pub mean: u64,
    /// `exp_avg_sq`, of the same length, changed.
    pub square: u64,
    /// Times the weight, added to the gradient: Adam's decay.
    pub decay: f32,
    /// What is left of the weight: AdamW's decay.
    pub keep: f32,
    /// 1 - beta1.
    pub one_beta1: f32,
    /// beta2.
    pub beta2: f32,
    /// 1 - beta2.
    pub one_beta2: f32,
    /// sqrt(1 - beta2^t).
    pub root: f32,
    /// Keeps the quotient finite.
    pub eps: f32,
    /// lr / (1 - beta1^t).
    pub step_size: f32,
}

/// A step of `torch.optim.SGD`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Sgd {
    /// The weight's.
    pub gradient: Gradient,
    /// Of the gradient's length, changed.
    pub weight: u64,
    /// `momentum_buffer`, of the same length, changed; 0 without momentum.
    pub momentum: u64,
    /// Times the weight, added to the gradient.
    pub decay: f32,
    /// The momentum: what is left of its buffer.
    pub keep: f32,
    /// The learning rate.
    pub rate: f32,
}

/// Blocks for a thread each.
fn blocks(threads: u64) -> u64 {
    threads.div_ceil(u64::from(THREADS))
}

impl Kernel for LstmForward {
    const NAME: &str = "lstm_forward";

    fn blocks(&self) -> u64 {
        blocks(u64::from(self.rows) * u64::from(self.hidden))
    }
}

impl Kernel for LstmBackward {
    const NAME: &str = "lstm_backward";

    fn blocks(&self) -> u64 {
        blocks(u64::from(self.rows) * u64::from(self.hidden))
    }
}

impl Kernel for CrossEntropy {
    const NAME: &str = "cross_entropy";

    fn blocks(&self) -> u64 {
        self.rows.into()
    }
}

impl Kernel for EmbeddingBackward {
    const NAME: &str = "embedding_backward";

    fn blocks(&self) -> u64 {
        self.rows.into()
    }
}

impl Kernel for Dropout {
    const NAME: &str = "dropout";

    fn blocks(&self) -> u64 {
        let words = self.place % 16 + u64::from(self.rows) * u64::from(self.width);
        blocks(words.div_ceil(16))
    }
}

impl Kernel for SquareSum {
    const NAME: &str = "square_sum";

    fn blocks(&self) -> u64 {
        Self::SUMS as u64
    }
}

impl Kernel for Adam {
    const NAME: &str = "adam";

    fn blocks(&self) -> u64 {
        blocks(self.gradient.length)
    }
}

impl Kernel for Sgd {
    const NAME: &str = "sgd";

    fn blocks(&self) -> u64 {
        blocks(self.gradient.length)
    }
}
