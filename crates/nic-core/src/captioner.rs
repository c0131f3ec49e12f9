//! Photographs in, sentences out.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Device, Tensor};

use crate::{
    Checkpoint, Crop, Decoder, Encoder, EncoderSpec, Error, Generate, Hypothesis, Location,
    Preprocess, Result, Vocab,
};

/// A sentence for an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Caption {
    /// As people write it.
    pub text: String,
    /// The sum of the words' natural log probabilities, END included.
    pub log_prob: f32,
}

/// A trained decoder, or an ensemble, together with the encoder that its features came from.
///
/// The encoder's weights are loaded with the first image: whoever brings feature vectors never needs them.
#[derive(Debug)]
pub struct Captioner {
    /// At least one.
    decoders: Vec<Decoder>,
    feature_dim: usize,
    vocab: Vocab,
    spec: Option<EncoderSpec>,
    weights: Option<Location>,
    encoder: Mutex<Option<Encoder>>,
    device: Device,
    place: String,
}

impl Captioner {
    /// Loads a checkpoint onto the CPU: a directory, or `hf://OWNER/NAME`.
    ///
    /// # Errors
    /// Where a file is missing or the parts do not fit each other; the error names them.
    pub fn load(checkpoint: impl AsRef<Path>) -> Result<Self> {
        Self::load_on(checkpoint, &Device::Cpu)
    }

    /// [`Captioner::load`] onto a device.
    pub fn load_on(checkpoint: impl AsRef<Path>, device: &Device) -> Result<Self> {
        Self::ensemble_on(&[checkpoint], device)
    }

    /// Loads several checkpoints onto the CPU: the next word's probabilities are the mean of theirs. They must have the
    /// same words, and have learnt from the features of one encoder; their decoders may differ.
    ///
    /// # Errors
    /// As [`Captioner::load`]; where there is none, or where one does not fit the first.
    pub fn ensemble(checkpoints: &[impl AsRef<Path>]) -> Result<Self> {
        Self::ensemble_on(checkpoints, &Device::Cpu)
    }

    /// [`Captioner::ensemble`] onto a device.
    pub fn ensemble_on(checkpoints: &[impl AsRef<Path>], device: &Device) -> Result<Self> {
        let mut members =
            checkpoints.iter().map(|checkpoint| Member::load(checkpoint.as_ref(), device));
        let first = members
            .next()
            .ok_or_else(|| Error::Usage("an ensemble of no checkpoints".into()))??;
        let mut decoders = vec![first.checkpoint.decoder()?];
        for member in members {
            let member = member?;
            member.check_fit(&first)?;
            decoders.push(member.checkpoint.decoder()?);
        }
        let Member { checkpoint: Checkpoint { encoder: spec, vocab, config, .. }, location, dir } =
            first;
        // A relative path is relative to the checkpoint, wherever that is.
        let weights = match (&spec, &location) {
            (None, _) => None,
            (Some(spec), Location::Hub { .. }) if !spec.weights.starts_with("hf://") => {
                Some(location.join(&spec.weights))
            }
            (Some(spec), _) => Some(Location::parse(&spec.weights, &dir)?),
        };
        Ok(Self {
            decoders,
            feature_dim: config.feature_dim,
            vocab,
            spec,
            weights,
            encoder: Mutex::new(None),
            device: device.clone(),
            place: location.to_string(),
        })
    }

    /// Reads the encoder's weights from `weights` instead of the place that the checkpoint names. They must be the
    /// same weights: their hash is compared.
    pub fn with_weights(mut self, weights: Location) -> Self {
        self.weights = Some(weights);
        self
    }

    /// What the features were made with in training; none where they came from elsewhere.
    pub fn encoder_spec(&self) -> Option<&EncoderSpec> {
        self.spec.as_ref()
    }

    /// D, the length of a feature vector.
    pub fn feature_dim(&self) -> usize {
        self.feature_dim
    }

    /// Where the decoder computes.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What an image goes through before the encoder.
    ///
    /// # Errors
    /// Where the checkpoint does not know its encoder.
    pub fn preprocess(&self) -> Result<&Preprocess> {
        self.spec().map(|spec| &spec.preprocess)
    }

    /// Captions of an image file (JPEG, PNG, WebP, GIF or BMP), the best first.
    pub fn caption_file(&self, path: impl AsRef<Path>, how: &dyn Generate) -> Result<Vec<Caption>> {
        let crop = self.crop_file(path)?;
        self.caption_crop(crop, how)
    }

    /// Captions of an encoded image's bytes, the best first.
    pub fn caption_bytes(&self, bytes: &[u8], how: &dyn Generate) -> Result<Vec<Caption>> {
        let crop = self.preprocess()?.crop(bytes)?;
        self.caption_crop(crop, how)
    }

    /// Captions of one feature vector of length D, the best first.
    pub fn caption_features(&self, features: &[f32], how: &dyn Generate) -> Result<Vec<Caption>> {
        let features = Tensor::from_slice(features, (1, features.len()), &self.device)?;
        Ok(self.caption_batch(&features, how)?.swap_remove(0))
    }

    /// Captions of a batch of feature vectors `[B, D]`: per image, the best first.
    pub fn caption_batch(
        &self,
        features: &Tensor,
        how: &dyn Generate,
    ) -> Result<Vec<Vec<Caption>>> {
        let sentences = how.ensemble(&self.decoders, features)?;
        Ok(sentences.into_iter().map(|image| self.captions(image)).collect())
    }

    /// Reads, decodes, resizes and crops an image file; errors name the file.
    pub fn crop_file(&self, path: impl AsRef<Path>) -> Result<Crop> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        self.preprocess()?.crop(&bytes).map_err(|error| match error {
            Error::Image(reason) => Error::Image(format!("{}: {reason}", path.display())),
            other => other,
        })
    }

    /// Feature vectors `[B, D]` of a batch of images.
    pub fn encode(&self, crops: &[Crop]) -> Result<Tensor> {
        // A poisoned lock only means that another thread panicked; the encoder is set whole or not at all.
        let mut slot = self.encoder.lock().unwrap_or_else(PoisonError::into_inner);
        let encoder = match slot.take() {
            Some(encoder) => encoder,
            None => self.load_encoder()?,
        };
        slot.insert(encoder).encode(crops)
    }

    fn spec(&self) -> Result<&EncoderSpec> {
        self.spec.as_ref().ok_or_else(|| Error::Missing {
            place: self.place.clone(),
            what: "the encoder".into(),
            hint: "; this decoder was trained on features that do not say what made them, \
                   so it captions feature vectors, not images"
                .into(),
        })
    }

    fn load_encoder(&self) -> Result<Encoder> {
        let spec = self.spec()?;
        let weights = self.weights.as_ref().ok_or_else(|| Error::Missing {
            place: self.place.clone(),
            what: "the place of the encoder's weights".into(),
            hint: String::new(),
        })?;
        let encoder = Encoder::load(weights, spec.preprocess.clone(), DType::F32, &self.device)?;
        let differences = encoder.spec().differences(spec);
        if differences.is_empty() {
            Ok(encoder)
        } else {
            Err(Error::Mismatch {
                place: weights.to_string(),
                what: "the encoder".into(),
                found: format!("another ({})", differences.join("; ")),
                expected: format!("that of {}", self.place),
            })
        }
    }

    fn caption_crop(&self, crop: Crop, how: &dyn Generate) -> Result<Vec<Caption>> {
        let features = self.encode(&[crop])?;
        Ok(self.caption_batch(&features, how)?.swap_remove(0))
    }

    fn captions(&self, hypotheses: Vec<Hypothesis>) -> Vec<Caption> {
        hypotheses
            .into_iter()
            .map(|h| Caption { text: self.vocab.decode(&h.words), log_prob: h.log_prob })
            .collect()
    }
}

/// A checkpoint and where it was found.
struct Member {
    checkpoint: Checkpoint,
    location: Location,
    dir: PathBuf,
}

impl Member {
    fn load(checkpoint: &Path, device: &Device) -> Result<Self> {
        let location = Location::parse(&checkpoint.to_string_lossy(), Path::new(""))?;
        let dir = fetch_checkpoint(&location)?;
        Ok(Self { checkpoint: Checkpoint::load(&dir, device)?, location, dir })
    }

    /// Whether both can speak of one image in the same words.
    fn check_fit(&self, first: &Self) -> Result<()> {
        let mismatch = |what: &str, found: String, expected: String| {
            Err(Error::Mismatch {
                place: self.location.to_string(),
                what: what.into(),
                found,
                expected: format!("{expected} as in {}: this is an ensemble", first.location),
            })
        };
        let (a, b) = (&self.checkpoint, &first.checkpoint);
        if a.vocab.len() != b.vocab.len() {
            let count = |vocab: &Vocab| format!("{} words", vocab.len());
            return mismatch("the vocabulary", count(&a.vocab), count(&b.vocab));
        }
        let differs = |id: &u32| a.vocab.word(*id) != b.vocab.word(*id);
        if let Some(id) = (0..a.vocab.len() as u32).find(differs) {
            let word = |vocab: &Vocab| format!("{:?}", vocab.word(id).unwrap_or_default());
            return mismatch(&format!("word {id}"), word(&a.vocab), word(&b.vocab));
        }
        if a.config.feature_dim != b.config.feature_dim {
            let dim = |checkpoint: &Checkpoint| checkpoint.config.feature_dim.to_string();
            return mismatch("the features' width", dim(a), dim(b));
        }
        match (&a.encoder, &b.encoder) {
            (None, None) => Ok(()),
            (Some(found), Some(expected)) => match found.differences(expected).as_slice() {
                [] => Ok(()),
                differences => {
                    let found = format!("another ({})", differences.join("; "));
                    mismatch("the encoder", found, "the same".into())
                }
            },
            (found, expected) => {
                let known = |spec: &Option<EncoderSpec>| {
                    if spec.is_some() { "recorded" } else { "not recorded" }.to_owned()
                };
                mismatch("the encoder", known(found), known(expected))
            }
        }
    }
}

/// The directory of a checkpoint, fetched from the hub where need be.
fn fetch_checkpoint(location: &Location) -> Result<PathBuf> {
    let Location::Hub { .. } = location else {
        return location.fetch();
    };
    for file in ["vocab.json", "model.safetensors"] {
        location.join(file).fetch()?;
    }
    let config = location.join("config.json").fetch()?;
    Ok(config.parent().map(Path::to_path_buf).unwrap_or_default())
}
