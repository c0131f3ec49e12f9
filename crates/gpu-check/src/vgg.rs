//! VGG16: right, and how fast.

use std::collections::HashMap;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use nic_core::{Preprocess, Vgg16, VggConfig};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::difference::Difference;
use crate::error::Result;
use crate::photos;
use crate::sizes::Sizes;

/// The types that a card computes in.
const TYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];
/// Images that are compared.
const COMPARED: usize = 8;

/// Seeded weights in torchvision's names, of the spread that keeps activations as they are (He et al. 2015).
pub(crate) fn weights(config: &VggConfig) -> Result<HashMap<String, Tensor>> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut tensors = HashMap::new();
    let mut add = |name: String, shape: &[usize]| -> Result<()> {
        let bound = (6.0 / shape[1..].iter().product::<usize>() as f32).sqrt();
        let mut draw = |count: usize, bound: f32| -> Vec<f32> {
            (0..count).map(|_| rng.random_range(-bound..bound)).collect()
        };
        let weight = draw(shape.iter().product(), bound);
        let bias = draw(shape[0], 0.05);
        tensors.insert(format!("{name}.weight"), Tensor::from_vec(weight, shape, &Device::Cpu)?);
        tensors.insert(format!("{name}.bias"), Tensor::from_vec(bias, shape[0], &Device::Cpu)?);
        Ok(())
    };
    let mut inputs = 3;
    let numbers = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28];
    for (number, channels) in numbers.into_iter().zip(config.channels) {
        add(format!("features.{number}"), &[channels, inputs, 3, 3])?;
        inputs = channels;
    }
    let [fc6, fc7] = config.hidden;
    add("classifier.0".into(), &[fc6, inputs * (config.image / 32).pow(2)])?;
    add("classifier.3".into(), &[fc7, fc6])?;
    add("classifier.6".into(), &[config.classes, fc7])?;
    Ok(tensors)
}

fn network(
    config: &VggConfig,
    weights: &HashMap<String, Tensor>,
    dtype: DType,
    device: &Device,
) -> Result<Vgg16> {
    Ok(Vgg16::new(config, VarBuilder::from_tensors(weights.clone(), dtype, device))?)
}

/// How far a device's fc7 is from the CPU's, for each type.
pub(crate) fn fc7(sizes: &Sizes, device: &Device) -> Result<Value> {
    let config = sizes.vgg();
    let weights = weights(&config)?;
    let preprocess = Preprocess { crop: sizes.image, ..Preprocess::default() };
    let crops = photos::crops(COMPARED, sizes.image);
    let expected = network(&config, &weights, DType::F32, &Device::Cpu)?
        .fc7(&preprocess.tensor(&crops, &Device::Cpu)?)?
        .to_vec2::<f32>()?;
    let many: Vec<_> = crops.iter().cycle().take(sizes.large_batch).cloned().collect();
    let mut result = json!({});
    for dtype in TYPES {
        let network = network(&config, &weights, dtype, device)?;
        let rows = |crops: &[_]| -> Result<Vec<Vec<f32>>> {
            let images = preprocess.tensor(crops, device)?;
            Ok(network.fc7(&images)?.to_dtype(DType::F32)?.to_vec2()?)
        };
        let mut worst = Difference::compare(&rows(&crops)?, &expected)?;
        for chunk in rows(&many)?.chunks_exact(COMPARED) {
            worst = worst.or(Difference::compare(chunk, &expected)?);
        }
        result[dtype.as_str()] = worst.json();
    }
    Ok(result)
}

/// Images a second by type and batch, the images on the device already.
pub(crate) fn speed(sizes: &Sizes, device: &Device) -> Result<Value> {
    let config = sizes.vgg();
    let weights = weights(&config)?;
    let mut result = json!({});
    for dtype in TYPES {
        let network = network(&config, &weights, dtype, device)?;
        for &batch in sizes.batches {
            let shape = (batch, config.image, config.image, 3);
            // as `extract` has them: [B, 3, S, S] with the channels last in memory
            let images = Tensor::rand(-2f32, 2f32, shape, device)?.permute((0, 3, 1, 2))?;
            let pass = || -> Result<()> {
                network.fc7(&images)?;
                Ok(())
            };
            for _ in 0..3 {
                pass()?;
            }
            device.synchronize()?;
            let (start, mut passes) = (Instant::now(), 0);
            while start.elapsed().as_secs_f64() < sizes.seconds {
                for _ in 0..4 {
                    pass()?;
                }
                device.synchronize()?;
                passes += 4;
            }
            let rate = (passes * batch) as f64 / start.elapsed().as_secs_f64();
            result[dtype.as_str()][batch.to_string()] = rate.into();
        }
    }
    #[cfg(feature = "cudnn")]
    {
        result["cudnn"] = nic_core::cudnn_choices(device)?.into();
    }
    Ok(result)
}
