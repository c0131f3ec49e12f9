//! From an image file's bytes to RGB, as Pillow's `convert("RGB")` gives it.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::{Error, Result};

/// A larger image is taken for a decompression bomb; Pillow's limit.
const MAX_PIXELS: u64 = 178_956_970;

/// `[height, width, 3]` bytes.
pub(crate) struct Rgb {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) pixels: Vec<u8>,
}

/// Decodes JPEG, PNG, WebP, GIF (first frame) or BMP; turned as its EXIF orientation says where `upright`.
///
/// As in Pillow, alpha is dropped, not blended, and of 16 bits a channel the upper 8 are kept; a JPEG may differ by 1 to
/// 4 of 255 here and there. Unlike Pillow, 16-bit grey keeps its upper 8 bits too (Pillow clips it to white); transparent
/// pixels of a GIF or an animated WebP are black, whatever colour lies below; a GIF whose frame is smaller than its
/// canvas is read as the frame; and some damaged JPEGs are refused that libjpeg reads with a warning.
pub(crate) fn decode(encoded: &[u8], upright: bool) -> Result<Rgb> {
    if encoded.is_empty() {
        return Err(Error::Image("it is empty".into()));
    }
    let (image, orientation) = match image::guess_format(encoded) {
        Ok(ImageFormat::Jpeg) => jpeg(encoded)?,
        Ok(format) => other(encoded, format)?,
        Err(_) => return Err(Error::Image("not a JPEG, PNG, WebP, GIF or BMP file".into())),
    };
    if !upright || orientation == Orientation::NoTransforms {
        return Ok(image);
    }
    let (width, height) = (image.width as u32, image.height as u32);
    let Some(buffer) = image::RgbImage::from_raw(width, height, image.pixels) else {
        return Err(Error::Image(format!("decoded to fewer pixels than {width} x {height}")));
    };
    let mut turned = DynamicImage::ImageRgb8(buffer);
    turned.apply_orientation(orientation);
    Ok(rgb(turned))
}

/// `image` decodes JPEG with the same decoder, but leniently: what is missing of a truncated file would be grey.
fn jpeg(encoded: &[u8]) -> Result<(Rgb, Orientation)> {
    let failed = |error: zune_jpeg::errors::DecodeErrors| Error::Image(format!("JPEG: {error}"));
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(encoded), options);
    decoder.decode_headers().map_err(failed)?;
    let Some((width, height)) = decoder.dimensions() else {
        return Err(Error::Image("JPEG: it has no frame".into()));
    };
    check_size(width as u64, height as u64)?;
    let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    let pixels = decoder.decode().map_err(failed)?;
    if pixels.len() != 3 * width * height {
        return Err(Error::Image(format!(
            "JPEG: {} bytes decoded, expected {width} x {height} x 3",
            pixels.len()
        )));
    }
    Ok((Rgb { width, height, pixels }, orientation.unwrap_or(Orientation::NoTransforms)))
}

fn other(encoded: &[u8], format: ImageFormat) -> Result<(Rgb, Orientation)> {
    let failed = |error: image::ImageError| Error::Image(error.to_string());
    let mut reader = ImageReader::with_format(Cursor::new(encoded), format);
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(16 * MAX_PIXELS);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(failed)?;
    let (width, height) = decoder.dimensions();
    check_size(width.into(), height.into())?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let image = DynamicImage::from_decoder(decoder).map_err(failed)?;
    Ok((rgb(image), orientation))
}

fn check_size(width: u64, height: u64) -> Result<()> {
    match width.checked_mul(height) {
        Some(0) => Err(Error::Image(format!("it has no pixels: {width} x {height}"))),
        Some(1..=MAX_PIXELS) => Ok(()),
        _ => Err(Error::Image(format!("{width} x {height} is more than {MAX_PIXELS} pixels"))),
    }
}

fn rgb(image: DynamicImage) -> Rgb {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let upper = |value: &u16| (value >> 8) as u8;
    let pixels = match image {
        DynamicImage::ImageRgb8(image) => image.into_raw(),
        DynamicImage::ImageRgb16(image) => image.as_raw().iter().map(upper).collect(),
        DynamicImage::ImageRgba16(image) => image
            .pixels()
            .flat_map(|pixel| [pixel.0[0], pixel.0[1], pixel.0[2]])
            .map(|value| upper(&value))
            .collect(),
        DynamicImage::ImageLuma16(image) => {
            image.as_raw().iter().flat_map(|value| [upper(value); 3]).collect()
        }
        DynamicImage::ImageLumaA16(image) => {
            image.pixels().flat_map(|pixel| [upper(&pixel.0[0]); 3]).collect()
        }
        image => image.to_rgb8().into_raw(),
    };
    Rgb { width, height, pixels }
}
