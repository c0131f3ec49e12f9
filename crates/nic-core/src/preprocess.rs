//! From an encoded image to what VGG16 reads, as torchvision does it.

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::decode::{Rgb, decode};
use crate::resample::resize;
use crate::{Error, Result};

/// torchvision's `Resize(resize)` (antialiased bilinear), `CenterCrop(crop)`, `ToTensor`, `Normalize(mean, std)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// The shorter side after resizing, in pixels.
    pub resize: usize,
    /// The side of the square that is kept, in pixels; at most `resize`.
    pub crop: usize,
    /// Taken from each channel (R, G, B), on a scale of 0 to 1.
    pub mean: [f32; 3],
    /// Each channel is divided by it.
    pub std: [f32; 3],
    /// Turn the image as its EXIF orientation says (Pillow's plain `convert("RGB")` does not).
    pub exif_orientation: bool,
}

/// A decoded, resized and cropped image: `[crop, crop, 3]` bytes, RGB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crop(pub Vec<u8>);

/// The largest `resize`; the limit only keeps arithmetic and memory within bounds.
const MAX_RESIZE: usize = 4096;

impl Default for Preprocess {
    fn default() -> Self {
        Self {
            resize: 256,
            crop: 224,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
            exif_orientation: false,
        }
    }
}

impl Preprocess {
    /// Says what is wrong with these numbers, if anything.
    pub fn check(&self) -> Result<()> {
        let mismatch = |what: &str, found: String, expected: String| {
            let place = "preprocess".into();
            Err(Error::Mismatch { place, what: what.into(), found, expected })
        };
        if !(1..=MAX_RESIZE).contains(&self.resize) {
            return mismatch("resize", self.resize.to_string(), format!("1 to {MAX_RESIZE}"));
        }
        if !(1..=self.resize).contains(&self.crop) {
            let expected = format!("1 to {} (resize)", self.resize);
            return mismatch("crop", self.crop.to_string(), expected);
        }
        if !self.mean.iter().all(|mean| mean.is_finite()) {
            return mismatch("mean", format!("{:?}", self.mean), "finite numbers".into());
        }
        if !self.std.iter().all(|std| std.is_finite() && *std > 0.0) {
            return mismatch("std", format!("{:?}", self.std), "numbers above 0".into());
        }
        Ok(())
    }

    /// Decodes JPEG, PNG, WebP, GIF (first frame) or BMP bytes, resizes and crops.
    ///
    /// # Errors
    /// [`Error::Image`] where the bytes are damaged, truncated, of another format, or more than 178,956,970 pixels.
    pub fn crop(&self, encoded: &[u8]) -> Result<Crop> {
        self.check()?;
        let image = decode(encoded, self.exif_orientation)?;
        let (width, height) = self.resized(&image);
        // Python's round, to even, of half the margin
        let start = |length: usize| ((length - self.crop) as f64 / 2.0).round_ties_even() as usize;
        let (left, top) = (start(width), start(height));
        let (columns, rows) = (left..left + self.crop, top..top + self.crop);
        Ok(Crop(resize(&image, (width, height), columns, rows)))
    }

    /// Width and height after torchvision's `Resize(resize)`: the longer side is truncated.
    fn resized(&self, image: &Rgb) -> (usize, usize) {
        let longer = |long: usize, short: usize| self.resize * long / short;
        if image.width <= image.height {
            (self.resize, longer(image.height, image.width))
        } else {
            (longer(image.width, image.height), self.resize)
        }
    }

    /// The normalised batch `[B, 3, crop, crop]`, f32.
    ///
    /// # Errors
    /// [`Error::Mismatch`] where a crop is not `[crop, crop, 3]` bytes.
    pub fn tensor(&self, crops: &[Crop], device: &Device) -> Result<Tensor> {
        self.check()?;
        let area = self.crop * self.crop;
        let tables: [[f32; 256]; 3] = std::array::from_fn(|channel| {
            std::array::from_fn(|value| {
                (value as f32 / 255.0 - self.mean[channel]) / self.std[channel]
            })
        });
        let mut values = Vec::with_capacity(crops.len() * 3 * area);
        for crop in crops {
            if crop.0.len() != 3 * area {
                return Err(Error::Mismatch {
                    place: "preprocess".into(),
                    what: "a crop".into(),
                    found: format!("{} bytes", crop.0.len()),
                    expected: format!("{} x {} x 3", self.crop, self.crop),
                });
            }
            for (channel, table) in tables.iter().enumerate() {
                values.extend(
                    crop.0[channel..].iter().step_by(3).map(|&value| table[usize::from(value)]),
                );
            }
        }
        Ok(Tensor::from_vec(values, (crops.len(), 3, self.crop, self.crop), device)?)
    }
}
