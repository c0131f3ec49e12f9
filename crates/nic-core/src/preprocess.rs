//! From an encoded image to what VGG16 reads, as torchvision does it.

use candle_core::{DType, Device, Tensor};
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
    /// On a device bytes are what travels, while it may be busy with an earlier batch.
    ///
    /// # Errors
    /// [`Error::Mismatch`] where a crop is not `[crop, crop, 3]` bytes.
    pub fn tensor(&self, crops: &[Crop], device: &Device) -> Result<Tensor> {
        self.check()?;
        let area = self.crop * self.crop;
        if let Some(crop) = crops.iter().find(|crop| crop.0.len() != 3 * area) {
            return Err(Error::Mismatch {
                place: "preprocess".into(),
                what: "a crop".into(),
                found: format!("{} bytes", crop.0.len()),
                expected: format!("{} x {} x 3", self.crop, self.crop),
            });
        }
        if !device.is_cpu() {
            return self.normalized(&upload(crops, self.crop, device)?);
        }
        let tables: [[f32; 256]; 3] = std::array::from_fn(|channel| {
            std::array::from_fn(|value| {
                (value as f32 / 255.0 - self.mean[channel]) / self.std[channel]
            })
        });
        let mut values = Vec::with_capacity(crops.len() * 3 * area);
        for crop in crops {
            for (channel, table) in tables.iter().enumerate() {
                values.extend(
                    crop.0[channel..].iter().step_by(3).map(|&value| table[usize::from(value)]),
                );
            }
        }
        Ok(Tensor::from_vec(values, (crops.len(), 3, self.crop, self.crop), device)?)
    }

    /// Bytes `[B, S, S, 3]` to `[B, 3, S, S]` by tensor operations.
    fn normalized(&self, bytes: &Tensor) -> Result<Tensor> {
        let channels = |value: &dyn Fn(usize) -> f32| {
            Tensor::new(&[value(0), value(1), value(2)], bytes.device())
        };
        let scale = channels(&|channel| 1.0 / (255.0 * self.std[channel]))?;
        let shift = channels(&|channel| -self.mean[channel] / self.std[channel])?;
        let values = bytes.to_dtype(DType::F32)?.broadcast_mul(&scale)?.broadcast_add(&shift)?;
        Ok(values.permute((0, 3, 1, 2))?)
    }
}

/// Crops as bytes `[B, S, S, 3]` on a device.
fn upload(crops: &[Crop], side: usize, device: &Device) -> Result<Tensor> {
    let shape = [crops.len(), side, side, 3];
    #[cfg(feature = "cuda")]
    if let (Device::Cuda(device), false) = (device, crops.is_empty()) {
        let parts: Vec<&[u8]> = crops.iter().map(|crop| crop.0.as_slice()).collect();
        return Ok(crate::cuda::upload(&parts, &shape, device)?);
    }
    let bytes = crops.iter().flat_map(|crop| &crop.0).copied().collect();
    Ok(Tensor::from_vec(bytes, &shape, device)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_normalizes_as_the_cpu_does() {
        let preprocess = Preprocess { crop: 16, resize: 16, ..Preprocess::default() };
        let crop = |salt: usize| Crop((0..16 * 16 * 3).map(|i| (i * 37 + salt) as u8).collect());
        let crops = [crop(0), crop(101)];
        let table = preprocess.tensor(&crops, &Device::Cpu).unwrap();
        let bytes = upload(&crops, 16, &Device::Cpu).unwrap();
        let operations = preprocess.normalized(&bytes).unwrap();
        assert_eq!(operations.dims(), [2, 3, 16, 16]);
        let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (a, b) in values(&table).iter().zip(values(&operations)) {
            assert!((a - b).abs() < 1e-6, "{a} {b}");
        }
    }
}
