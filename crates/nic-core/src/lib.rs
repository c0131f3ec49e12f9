//! Neural image captioning: VGG16 reads the picture once, an LSTM writes the sentence.
//!
//! See [`Captioner`] for the short way from a photograph to a caption.

mod captioner;
mod checkpoint;
mod decoder;
mod device;
mod encoder;
mod error;
mod generate;
mod hub;
mod packed;
mod preprocess;
mod tokenizer;
mod vgg;
mod vocab;

pub use captioner::{Caption, Captioner};
pub use checkpoint::Checkpoint;
pub use decoder::{Cell, Decoder, DecoderConfig, DecoderState, Dropout};
pub use device::DeviceChoice;
pub use encoder::{Encoder, EncoderSpec};
pub use error::{Error, Result};
pub use generate::{BeamSearch, Generate, Greedy, Hypothesis, Sample};
pub use hub::Location;
pub use packed::PackedCaptions;
pub use preprocess::{Crop, Preprocess};
pub use tokenizer::Tokenizer;
pub use vgg::{Vgg16, VggConfig};
pub use vocab::Vocab;
