//! Photographs in, sentences out.

/// A sentence for an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Caption {
    /// As people write it.
    pub text: String,
    /// Natural log probability, END included.
    pub log_prob: f32,
}

/// A decoder with the encoder that its features came from.
#[derive(Debug)]
pub struct Captioner {}
