//! A trained decoder on disk: `config.json`, `vocab.json`, `model.safetensors`.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

use crate::file::{recover_directory, replace_directory, whole_directory, write_atomically};
use crate::{Decoder, DecoderConfig, EncoderSpec, Error, Result, Vocab};

/// The version of the files' layout.
const FORMAT: u32 = 1;

/// What a checkpoint holds.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The decoder's shape.
    pub config: DecoderConfig,
    /// What made the features it was trained on; none where they came from elsewhere.
    pub encoder: Option<EncoderSpec>,
    /// The words.
    pub vocab: Vocab,
    /// The weights by the names of [`DecoderConfig::tensors`].
    pub tensors: BTreeMap<String, Tensor>,
}

/// `config.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    format: u32,
    /// The version of this crate that wrote it.
    nic: String,
    decoder: DecoderConfig,
    encoder: Option<EncoderSpec>,
}

impl Checkpoint {
    /// Reads and checks a checkpoint's directory; weights in f32. Where a [`Checkpoint::save`] was killed before the
    /// new checkpoint had its name, this reads the old one.
    ///
    /// # Errors
    /// A file that is missing, cut off or of another format, an unknown key, a tensor that is missing, unknown or of
    /// another shape, parts that do not fit each other; the error names the file and the key or tensor.
    pub fn load(dir: &Path, device: &Device) -> Result<Self> {
        let dir = &whole_directory(dir);
        if !dir.is_dir() {
            return Err(Error::Missing {
                place: dir.display().to_string(),
                what: "the checkpoint's directory".into(),
                hint: String::new(),
            });
        }
        for file in ["config.json", "vocab.json", "model.safetensors"] {
            if !dir.join(file).is_file() {
                return Err(Error::Missing {
                    place: dir.join(file).display().to_string(),
                    what: "the file".into(),
                    hint: "; a checkpoint is config.json, vocab.json and model.safetensors".into(),
                });
            }
        }
        let ConfigFile { decoder: config, encoder, .. } = read_config(&dir.join("config.json"))?;
        let vocab = Vocab::load(&dir.join("vocab.json"))?;

        let path = dir.join("model.safetensors");
        let bytes = fs::read(&path).map_err(Error::io(&path))?;
        let tensors =
            candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).map_err(|error| {
                Error::Safetensors { path: path.clone(), reason: error.to_string() }
            })?;
        let mut checkpoint =
            Self { config, encoder, vocab, tensors: tensors.into_iter().collect() };
        checkpoint.check(dir)?;
        for tensor in checkpoint.tensors.values_mut() {
            *tensor = tensor.to_dtype(DType::F32)?.to_device(device)?;
        }
        Ok(checkpoint)
    }

    /// Writes into an existing empty directory (the caller renames it into place).
    pub fn write(&self, dir: &Path) -> Result<()> {
        self.check(dir)?;
        let config = ConfigFile {
            format: FORMAT,
            nic: env!("CARGO_PKG_VERSION").into(),
            decoder: self.config.clone(),
            encoder: self.encoder.clone(),
        };
        let path = dir.join("config.json");
        let mut text = serde_json::to_vec_pretty(&config).map_err(Error::json(&path))?;
        text.push(b'\n');
        write_atomically(&path, &text)?;
        self.vocab.save(&dir.join("vocab.json"))?;

        let path = dir.join("model.safetensors");
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        let bytes = safetensors::serialize(&self.tensors, Some(metadata)).map_err(|error| {
            Error::Safetensors { path: path.clone(), reason: error.to_string() }
        })?;
        write_atomically(&path, &bytes)
    }

    /// Replaces the directory `dir` by this checkpoint, as a whole: killed at any moment, it leaves the old one or the
    /// new one for [`Checkpoint::load`].
    pub fn save(&self, dir: &Path) -> Result<()> {
        self.save_with(dir, |_| Ok(()))
    }

    /// [`Checkpoint::save`] with other files, which `extra` writes into the directory that it is given; they come and go
    /// together with the checkpoint.
    pub fn save_with<E: From<Error>>(
        &self,
        dir: &Path,
        extra: impl FnOnce(&Path) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        replace_directory(dir, |new| {
            self.write(new)?;
            extra(new)
        })
    }

    /// Puts right what a killed [`Checkpoint::save`] left beside `dir`. For the one program that saves there:
    /// [`Checkpoint::load`] does without and changes nothing.
    pub fn recover(dir: &Path) -> Result<()> {
        recover_directory(dir)
    }

    /// The decoder with these weights.
    pub fn decoder(&self) -> Result<Decoder> {
        let device = self.tensors.values().next().map_or(&Device::Cpu, Tensor::device);
        let tensors = self.tensors.clone().into_iter().collect();
        Decoder::new(&self.config, VarBuilder::from_tensors(tensors, DType::F32, device))
    }

    /// Whether the parts fit each other; `dir` is for the error.
    fn check(&self, dir: &Path) -> Result<()> {
        let mismatch = |file: &str, what: String, found: String, expected: String| {
            Err(Error::Mismatch {
                place: dir.join(file).display().to_string(),
                what,
                found,
                expected,
            })
        };
        if self.vocab.len() != self.config.vocab_size {
            let expected = format!("{}, the decoder's vocab_size", self.config.vocab_size);
            return mismatch(
                "vocab.json",
                "the number of words".into(),
                self.vocab.len().to_string(),
                expected,
            );
        }
        if let Some(encoder) =
            self.encoder.as_ref().filter(|encoder| encoder.dim != self.config.feature_dim)
        {
            let expected = format!("{}, the decoder's feature_dim", self.config.feature_dim);
            return mismatch(
                "config.json",
                "encoder.dim".into(),
                encoder.dim.to_string(),
                expected,
            );
        }
        let expected: BTreeMap<String, Vec<usize>> = self.config.tensors().into_iter().collect();
        for (name, shape) in &expected {
            let what = format!("tensor {name}");
            let Some(tensor) = self.tensors.get(name) else {
                let place = dir.join("model.safetensors").display().to_string();
                return Err(Error::Missing { place, what, hint: String::new() });
            };
            if tensor.dims() != shape {
                let (found, expected) = (format!("{:?}", tensor.dims()), format!("{shape:?}"));
                return mismatch("model.safetensors", format!("{what}'s shape"), found, expected);
            }
            if !tensor.dtype().is_float() {
                let found = format!("{:?}", tensor.dtype());
                return mismatch(
                    "model.safetensors",
                    format!("{what}'s type"),
                    found,
                    "F32".into(),
                );
            }
        }
        match self.tensors.keys().find(|name| !expected.contains_key(*name)) {
            None => Ok(()),
            Some(name) => {
                let names: Vec<&str> = expected.keys().map(String::as_str).collect();
                let expected = format!("one of {}", names.join(", "));
                mismatch("model.safetensors", format!("tensor {name}"), "unknown".into(), expected)
            }
        }
    }
}

fn read_config(path: &Path) -> Result<ConfigFile> {
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let text = fs::read(path).map_err(Error::io(path))?;
    // before the rest, which another version of the format may lay out in another way
    let version: Version = serde_json::from_slice(&text).map_err(Error::json(path))?;
    if version.format != FORMAT {
        return Err(Error::Mismatch {
            place: path.display().to_string(),
            what: "format".into(),
            found: version.format.to_string(),
            expected: FORMAT.to_string(),
        });
    }
    let config: ConfigFile = serde_json::from_slice(&text).map_err(Error::json(path))?;
    match config.decoder.check() {
        Ok(()) => Ok(config),
        Err(error) => Err(Error::Usage(format!("{}: decoder.{error}", path.display()))),
    }
}
