//! Pictures made on the spot, with the detail of photographs.

use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::{Rgb, RgbImage};
use nic_core::Crop;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::error::Result;

/// Waves and grain in three channels; at 640 x 480 and quality 90 the size of COCO's files.
fn picture(seed: u64, width: u32, height: u32) -> RgbImage {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let waves: Vec<[f32; 5]> = (0..6)
        .map(|_| {
            let mut draw = |range: f32| rng.random_range(-range..range);
            [draw(0.1), draw(0.1), draw(3.2), draw(40.0), draw(40.0)]
        })
        .collect();
    RgbImage::from_fn(width, height, |x, y| {
        let grain = rng.random_range(-12.0..12.0f32);
        let mut values = [128.0 + grain; 3];
        for [along, across, phase, first, second] in &waves {
            let wave = (along * x as f32 + across * y as f32 + phase).sin();
            values[0] += first * wave;
            values[1] += second * wave;
            values[2] += (first + second) / 2.0 * wave;
        }
        Rgb(values.map(|value| value.clamp(0.0, 255.0) as u8))
    })
}

/// The image numbered from 1.
pub(crate) fn name(number: usize) -> String {
    format!("{number}.jpg")
}

/// So many pictures, numbered from 1, and the same ones under the numbers that follow until each has so many names; their
/// mean size in bytes.
pub(crate) fn write(
    dir: &Path,
    count: usize,
    names: usize,
    [width, height]: [u32; 2],
) -> Result<u64> {
    let sizes = (1..=count)
        .into_par_iter()
        .map(|number| {
            let mut bytes = Vec::new();
            picture(number as u64, width, height)
                .write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, 90))?;
            let first = dir.join(name(number));
            std::fs::write(&first, &bytes)?;
            for more in 1..names {
                std::fs::hard_link(&first, dir.join(name(more * count + number)))?;
            }
            Ok(bytes.len() as u64)
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(sizes.iter().sum::<u64>() / sizes.len().max(1) as u64)
}

/// Crops of a network's size.
pub(crate) fn crops(count: usize, side: usize) -> Vec<Crop> {
    let crop = |seed| Crop(picture(seed, side as u32, side as u32).into_raw());
    (0..count as u64).map(crop).collect()
}
