//! The frozen network that turns an image into a feature vector, and the record of what it was.

use std::path::{Component, Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::weights::{self, Weights};
use crate::{Crop, Error, Location, Preprocess, Result, Vgg16, VggConfig};

/// What made a feature vector. Written into every shard and checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderSpec {
    /// `vgg16`.
    pub architecture: String,
    /// `fc7`.
    pub layer: String,
    /// The vector's length D.
    pub dim: usize,
    /// Where the weights came from: `hf://...`, an absolute path, or a path relative to the directory of the file that
    /// holds this record. [`Encoder::load`] makes it `hf://...` or absolute; who writes it down chooses
    /// [`EncoderSpec::relative_to`] for what is moved or copied together, and [`EncoderSpec::relocated`] to carry it
    /// from one file to another.
    pub weights: String,
    /// SHA-256 of the bytes of the weights' safetensors files, one after the other by name, in hexadecimal: what
    /// identifies them. For one file it is what `sha256sum` prints.
    pub weights_sha256: String,
    /// What was done to the image before.
    pub preprocess: Preprocess,
}

impl EncoderSpec {
    /// What [`Encoder::load`] would say of itself: hashes the weights but loads none of them.
    ///
    /// # Errors
    /// As [`Encoder::load`], but for tensors that are not needed to know the widths.
    pub fn of(weights: &Location, preprocess: Preprocess) -> Result<Self> {
        preprocess.check()?;
        let files = weights::files(weights)?;
        let config = VggConfig::of(&Weights::open(&files)?)?;
        if preprocess.crop != config.image {
            return Err(Error::Mismatch {
                place: "preprocess".into(),
                what: "crop".into(),
                found: preprocess.crop.to_string(),
                expected: format!("{}, which the weights of {weights} read", config.image),
            });
        }
        let place = match weights {
            Location::Local(path) => {
                std::path::absolute(path).map_err(Error::io(path))?.display().to_string()
            }
            Location::Hub { .. } | Location::Object { .. } => weights.to_string(),
        };
        Ok(Self {
            architecture: "vgg16".into(),
            layer: "fc7".into(),
            dim: config.hidden[1],
            weights: place,
            weights_sha256: weights::sha256(&files)?,
            preprocess,
        })
    }

    /// What differs from `other`, a line each; empty where the features are interchangeable
    /// (`weights` is only a place and not compared).
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let (ours, theirs) = (&self.preprocess, &other.preprocess);
        let pairs = [
            ("architecture", self.architecture.clone(), other.architecture.clone()),
            ("layer", self.layer.clone(), other.layer.clone()),
            ("dim", self.dim.to_string(), other.dim.to_string()),
            ("weights_sha256", self.weights_sha256.clone(), other.weights_sha256.clone()),
            ("preprocess.resize", ours.resize.to_string(), theirs.resize.to_string()),
            ("preprocess.crop", ours.crop.to_string(), theirs.crop.to_string()),
            ("preprocess.mean", format!("{:?}", ours.mean), format!("{:?}", theirs.mean)),
            ("preprocess.std", format!("{:?}", ours.std), format!("{:?}", theirs.std)),
            (
                "preprocess.exif_orientation",
                ours.exif_orientation.to_string(),
                theirs.exif_orientation.to_string(),
            ),
        ];
        pairs
            .into_iter()
            .filter(|(_, ours, theirs)| ours != theirs)
            .map(|(key, ours, theirs)| format!("{key} is {ours}, the other's is {theirs}"))
            .collect()
    }

    /// For a record in `dir`: an absolute `weights` becomes relative to it.
    pub fn relative_to(&self, dir: &Path) -> Result<Self> {
        let path = Path::new(&self.weights);
        if !path.is_absolute() {
            return Ok(self.clone());
        }
        let weights = relative(&resolved(path)?, &resolved(dir)?);
        Ok(Self { weights: weights.display().to_string(), ..self.clone() })
    }

    /// A record from a file in `from` for a file in `to`: a relative `weights` still names the same file.
    /// `hf://...` and absolute paths stay as they are.
    pub fn relocated(&self, from: &Path, to: &Path) -> Result<Self> {
        if let Some(weights) = below_url(from, &self.weights) {
            return Ok(Self { weights, ..self.clone() });
        }
        match Location::parse(&self.weights, from)? {
            Location::Local(path) if !Path::new(&self.weights).is_absolute() => {
                let path = std::path::absolute(&path).map_err(Error::io(path))?;
                Self { weights: path.display().to_string(), ..self.clone() }.relative_to(to)
            }
            _ => Ok(self.clone()),
        }
    }
}

/// The URL of a path that is relative to the URL `from`; none where either is not such.
fn below_url(from: &Path, path: &str) -> Option<String> {
    let mut url = Location::parse(from.to_str()?, Path::new("")).ok()?;
    if path.contains("://") || Path::new(path).is_absolute() {
        return None;
    }
    let Location::Object { key, .. } = &mut url else { return None };
    let mut parts: Vec<&str> = key.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            ".." => _ = parts.pop()?,
            "." | "" => {}
            part => parts.push(part),
        }
    }
    *key = parts.join("/");
    Some(url.to_string())
}

/// `path`, absolute, free of `..` and of symbolic links but for its last part; it need not exist yet.
fn resolved(path: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(path).map_err(Error::io(path))?;
    let mut whole = PathBuf::new();
    let mut parts = path.components().peekable();
    while let Some(part) = parts.next() {
        match part {
            Component::ParentDir => drop(whole.pop()),
            _ => whole.push(part),
        }
        // A link must be followed before a `..` after it can be taken.
        if parts.peek().is_some() && whole.is_symlink() {
            whole = whole.canonicalize().map_err(Error::io(whole))?;
        }
    }
    Ok(whole)
}

/// The way from the directory `dir` to `path`.
fn relative(path: &Path, dir: &Path) -> PathBuf {
    let shared = path.components().zip(dir.components()).take_while(|(a, b)| a == b).count();
    let up = dir.components().skip(shared).map(|_| Component::ParentDir);
    up.chain(path.components().skip(shared)).collect()
}

/// VGG16 with its preprocessing.
#[derive(Clone, Debug)]
pub struct Encoder {
    spec: EncoderSpec,
    vgg: Vgg16,
    device: Device,
}

impl Encoder {
    /// Loads weights: a safetensors file, a `*.index.json` naming several, a directory of them, or a hub repository
    /// (its `model.safetensors`, else what its `model.safetensors.index.json` names).
    ///
    /// Computes in `dtype`, on the CPU always in f32.
    ///
    /// # Errors
    /// Where a file is missing, cannot be fetched or is truncated, tensors are missing or do not fit, or the crop is
    /// not of the size that the network reads.
    pub fn load(
        weights: &Location,
        preprocess: Preprocess,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let files = weights::files(weights)?;
        // hashing takes one core, and about as long as the rest
        let (spec, vgg) = std::thread::scope(|scope| {
            let spec = scope.spawn(|| EncoderSpec::of(weights, preprocess));
            let vgg = Vgg16::load(&files, dtype, device);
            (spec.join(), vgg)
        });
        let spec = spec.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(Self { spec, vgg: vgg?, device: device.clone() })
    }

    /// What it is.
    pub fn spec(&self) -> &EncoderSpec {
        &self.spec
    }

    /// fc7 of a batch: `[B, D]`, f32.
    pub fn encode(&self, crops: &[Crop]) -> Result<Tensor> {
        let images = self.spec.preprocess.tensor(crops, &self.device)?;
        Ok(self.vgg.fc7(&images)?.to_dtype(DType::F32)?)
    }
}
