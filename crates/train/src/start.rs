//! The weights that a run begins with.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use nic_core::{Checkpoint, DecoderConfig, EncoderSpec, Error, Vocab};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use crate::{Result, hash, saved};

/// The weights that a run begins with.
#[derive(Debug)]
pub(crate) struct Start {
    /// By name, on the CPU.
    pub(crate) tensors: BTreeMap<String, Tensor>,
    sha256: Option<String>,
}

impl Start {
    /// Drawn, the output bias at the words' log frequencies where `output_bias` says so.
    pub(crate) fn random(
        vocab: &Vocab,
        shape: &DecoderConfig,
        output_bias: bool,
        rng: &mut ChaCha8Rng,
    ) -> Result<Self> {
        let mut tensors = shape.init(rng)?;
        if output_bias {
            let bias = Tensor::new(vocab.log_frequencies(), &Device::Cpu)?;
            tensors.insert("output.bias".to_owned(), bias);
        }
        Ok(Self { tensors, sha256: None })
    }

    /// Those of a checkpoint with these words, of this shape, for features of this encoder.
    pub(crate) fn checkpoint(
        dir: &Path,
        vocab: &Vocab,
        shape: &DecoderConfig,
        encoder: Option<&EncoderSpec>,
    ) -> Result<Self> {
        let checkpoint = Checkpoint::load(dir, &Device::Cpu)?;
        let refuse = |file: &str, what: String, found: String, expected: String| {
            let place = dir.join(file).display().to_string();
            Err(Error::Mismatch { place, what, found, expected }.into())
        };
        if let Some((what, found, expected)) = difference(&checkpoint.vocab, vocab) {
            let expected = format!("{expected}, as the training split of data.dataset has it");
            return refuse("vocab.json", what, found, expected);
        }
        let table = |shape: &DecoderConfig| {
            toml::Table::try_from(shape).map_err(|error| Error::Usage(error.to_string()))
        };
        let differences = saved::differences(&table(&checkpoint.config)?, &table(shape)?);
        if let Some((key, found, expected)) = differences.into_iter().next() {
            let expected = format!("{expected}, as [model] and data.features have it");
            return refuse("config.json", format!("decoder.{key}"), found, expected);
        }
        let differences = saved::encoder_differences(checkpoint.encoder.as_ref(), encoder);
        if !differences.is_empty() {
            let expected = "the one that made data.features".to_owned();
            return refuse("config.json", "encoder".into(), differences.join(", "), expected);
        }
        let mut digest = Sha256::new();
        for (name, tensor) in &checkpoint.tensors {
            digest.update(name);
            for value in tensor.flatten_all()?.to_vec1::<f32>()? {
                digest.update(value.to_le_bytes());
            }
        }
        Ok(Self { tensors: checkpoint.tensors, sha256: Some(hash::hex(digest)) })
    }

    /// Of a checkpoint's weights, in hexadecimal; none of random ones.
    pub(crate) fn sha256(&self) -> Option<&str> {
        self.sha256.as_deref()
    }
}

/// The first thing in which two vocabularies' ids mean different words: what, the first one's and the second one's.
pub(crate) fn difference(found: &Vocab, expected: &Vocab) -> Option<(String, String, String)> {
    let show = |vocab: &Vocab, id| vocab.word(id).map_or("none".to_owned(), |w| format!("{w:?}"));
    if found.tokenizer() != expected.tokenizer() {
        let [found, expected] =
            [found, expected].map(|v| format!("{:?}", v.tokenizer()).to_lowercase());
        return Some(("tokenizer".into(), found, expected));
    }
    if found.len() != expected.len() {
        let [found, expected] = [found, expected].map(|vocab| vocab.len().to_string());
        return Some(("the number of words".into(), found, expected));
    }
    let id = (0..found.len() as u32).find(|&id| found.word(id) != expected.word(id))?;
    Some((format!("words[{id}]"), show(found, id), show(expected, id)))
}
