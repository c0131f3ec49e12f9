//! From an encoded image to what VGG16 reads, as torchvision does it.

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::Result;

/// torchvision's `Resize(resize)` (antialiased bilinear), `CenterCrop(crop)`, `ToTensor`, `Normalize(mean, std)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// The shorter side after resizing, in pixels.
    pub resize: usize,
    /// The side of the square that is kept, in pixels.
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
    /// Decodes JPEG, PNG, WebP, GIF (first frame) or BMP bytes, resizes and crops.
    pub fn crop(&self, _encoded: &[u8]) -> Result<Crop> {
        unimplemented!()
    }

    /// The normalised batch `[B, 3, crop, crop]`, f32.
    pub fn tensor(&self, _crops: &[Crop], _device: &Device) -> Result<Tensor> {
        unimplemented!()
    }
}
