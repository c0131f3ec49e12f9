//! Neural image captioning: VGG16 reads the picture once, an LSTM writes the sentence.
//!
//! See [`Captioner`] for the short way from a photograph to a caption.

mod activation;
mod autograd;
mod captioner;
mod checkpoint;
mod cpu;
mod cross_entropy;
#[cfg(feature = "cuda")]
mod cuda;
mod decode;
mod decoder;
mod device;
mod download;
mod dropout;
mod embedding;
mod encoder;
mod error;
#[cfg(feature = "hub")]
mod fetch;
mod file;
mod generate;
mod hub;
mod init;
mod linear;
mod matmul;
#[cfg(feature = "object-store")]
mod objects;
mod packed;
mod preprocess;
mod recurrence;
mod resample;
mod scheduled_sampling;
mod tokenizer;
mod vgg;
mod vocab;
mod weights;

pub use captioner::{Caption, Captioner};
pub use checkpoint::Checkpoint;
#[cfg(feature = "cudnn")]
pub use cuda::cudnn_choices;
pub use decoder::{Cell, Decoder, DecoderConfig, DecoderState, Training};
pub use device::DeviceChoice;
pub use download::Download;
pub use dropout::Dropout;
pub use encoder::{Encoder, EncoderSpec};
pub use error::{Error, Result};
#[cfg(feature = "hub")]
pub use fetch::Hub;
pub use generate::{BeamSearch, Generate, Greedy, Hypothesis, LengthNorm, Rules, Sample};
pub use hub::Location;
#[cfg(feature = "object-store")]
pub use objects::Objects;
pub use packed::PackedCaptions;
pub use preprocess::{Crop, Preprocess};
pub use tokenizer::Tokenizer;
pub use vgg::{Vgg16, VggConfig};
pub use vocab::Vocab;
