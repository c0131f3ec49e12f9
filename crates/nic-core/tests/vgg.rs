//! VGG16 against torchvision's (`golden/vgg.py`, in f64) and candle's own.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, IndexOp, ModuleT, Tensor};
use candle_nn::VarBuilder;
use nic_core::{Result, Vgg16, VggConfig};

const CPU: Device = Device::Cpu;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn tensors(name: &str) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(golden(name), &CPU).unwrap()
}

fn load(file: &Path) -> Result<Vgg16> {
    Vgg16::load(&[file.to_path_buf()], DType::F32, &CPU)
}

/// The generator of `golden/vgg.py`.
fn uniform(stream: u64, shape: &[usize], bound: f64) -> Tensor {
    let values: Vec<f32> = (0..shape.iter().product::<usize>() as u64)
        .map(|index| {
            let mut z = ((stream << 40) + index + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^= z >> 31;
            ((z >> 40) as f32 / (1 << 23) as f32 - 1.0) * bound as f32
        })
        .collect();
    Tensor::from_vec(values, shape, &CPU).unwrap()
}

fn images(count: usize, side: usize) -> Tensor {
    uniform(1000, &[count, 3, side, side], 2.0)
}

/// ||found - expected|| / ||expected||, the largest of the rows.
fn relative_error(found: &Tensor, expected: &Tensor) -> f32 {
    assert_eq!(found.dims(), expected.dims());
    let norm = |x: Tensor| x.sqr().unwrap().sum(1).unwrap().sqrt().unwrap();
    let errors = (norm((found - expected).unwrap()) / norm(expected.clone())).unwrap();
    let errors = errors.to_vec1::<f32>().unwrap();
    assert!(errors.iter().all(|error| error.is_finite()), "{errors:?}");
    errors.into_iter().fold(0.0, f32::max)
}

#[test]
fn narrow_equals_torchvision_in_both_namings() {
    let expected = tensors("narrow.safetensors");
    for name in ["narrow.torchvision.safetensors", "narrow.timm.safetensors"] {
        let vgg = load(&golden(name)).unwrap();
        let config = VggConfig {
            channels: [4, 5, 6, 7, 8, 6, 8, 7, 8, 5, 8, 7, 6],
            hidden: [16, 12],
            classes: 5,
            image: 64,
        };
        assert_eq!(vgg.config(), &config);
        let images = images(3, 64);
        let fc7 = relative_error(&vgg.fc7(&images).unwrap(), &expected["fc7"]);
        let logits = relative_error(&vgg.logits(&images).unwrap(), &expected["logits"]);
        assert!(fc7 <= 5e-6 && logits <= 5e-6, "{name}: fc7 {fc7:e}, logits {logits:e}");
    }
}

/// Random weights of these widths, in torchvision's names.
fn random(config: &VggConfig) -> HashMap<String, Tensor> {
    let mut shapes: Vec<(String, Vec<usize>)> = Vec::new();
    let mut inputs = 3;
    let features = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28];
    for (index, outputs) in features.into_iter().zip(config.channels) {
        shapes.push((format!("features.{index}"), vec![outputs, inputs, 3, 3]));
        inputs = outputs;
    }
    let mut inputs = inputs * (config.image / 32).pow(2);
    for (index, outputs) in [(0, config.hidden[0]), (3, config.hidden[1]), (6, config.classes)] {
        shapes.push((format!("classifier.{index}"), vec![outputs, inputs]));
        inputs = outputs;
    }
    let mut weights = HashMap::new();
    for (layer, (name, shape)) in shapes.into_iter().enumerate() {
        let bound = (6.0 / shape[1..].iter().product::<usize>() as f64).sqrt();
        let stream = 2 * layer as u64;
        weights.insert(format!("{name}.weight"), uniform(stream, &shape, bound));
        weights.insert(format!("{name}.bias"), uniform(stream + 1, &shape[..1], 0.05));
    }
    weights
}

fn vgg(config: &VggConfig, weights: &HashMap<String, Tensor>) -> Vgg16 {
    let vb = VarBuilder::from_tensors(weights.clone(), DType::F32, &CPU);
    Vgg16::new(config, vb).unwrap()
}

/// fc7 by candle's operations in f64, as f32.
fn by_candle(weights: &HashMap<String, Tensor>, images: &Tensor) -> Tensor {
    let double = |name: String| weights[&name].to_dtype(DType::F64).unwrap();
    let parameters = |layer: String| {
        let (weight, bias) = (double(format!("{layer}.weight")), double(format!("{layer}.bias")));
        (weight, bias)
    };
    let mut x = images.to_dtype(DType::F64).unwrap();
    for index in [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28] {
        let (weight, bias) = parameters(format!("features.{index}"));
        let bias = bias.reshape((1, (), 1, 1)).unwrap();
        x = x.conv2d(&weight, 1, 1, 1, 1).unwrap().broadcast_add(&bias).unwrap().relu().unwrap();
        if [2, 7, 14, 21, 28].contains(&index) {
            x = x.max_pool2d(2).unwrap();
        }
    }
    x = x.flatten_from(1).unwrap();
    for index in [0, 3] {
        let (weight, bias) = parameters(format!("classifier.{index}"));
        x = x.matmul(&weight.t().unwrap()).unwrap().broadcast_add(&bias).unwrap().relu().unwrap();
    }
    x.to_dtype(DType::F32).unwrap()
}

#[test]
fn any_width_and_size_is_computed() {
    let widths = [
        [1; 13],
        [4, 5, 6, 7, 8, 6, 8, 7, 8, 5, 8, 7, 6],
        [16, 33, 20, 48, 31, 32, 64, 17, 96, 40, 15, 65, 18],
    ];
    for (image, channels) in [32, 96, 160, 256].into_iter().flat_map(|i| widths.map(|w| (i, w))) {
        let config = VggConfig { channels, hidden: [50, 31], classes: 2, image };
        let weights = random(&config);
        let images = images(2, image);
        let fc7 = vgg(&config, &weights).fc7(&images).unwrap();
        let error = relative_error(&fc7, &by_candle(&weights, &images));
        // of a single channel nothing averages out
        let bound = if channels == [1; 13] { 3e-5 } else { 5e-6 };
        assert!(error <= bound, "{channels:?} at {image}: {error:e}");
    }
}

/// On one, two and three threads.
fn on_threads<T: Send>(work: impl Fn() -> T + Sync) -> Vec<T> {
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    [1, 2, 3].into_iter().map(|threads| pool(threads).install(&work)).collect()
}

/// fc7 of every image to the bit, in batches of `size`.
fn bits(vgg: &Vgg16, images: &Tensor, size: usize) -> Vec<Vec<u32>> {
    let mut rows = Vec::new();
    for start in (0..images.dims()[0]).step_by(size) {
        let batch = images.narrow(0, start, size.min(images.dims()[0] - start)).unwrap();
        let fc7 = vgg.fc7(&batch).unwrap().to_vec2::<f32>().unwrap();
        rows.extend(fc7.into_iter().map(|row| row.into_iter().map(f32::to_bits).collect()));
    }
    rows
}

/// Whatever the batch, the place in it and the number of threads.
fn check_invariance(vgg: &Vgg16, images: &Tensor, sizes: &[usize]) {
    let alone = bits(vgg, images, 1);
    let count = alone.len();
    for found in
        on_threads(|| sizes.iter().map(|&size| bits(vgg, images, size)).collect::<Vec<_>>())
    {
        for (size, found) in sizes.iter().zip(found) {
            assert!(found == alone, "batches of {size} differ");
        }
    }
    let order: Vec<u32> = (0..count as u32).rev().collect();
    let turned = images.index_select(&Tensor::new(order, &CPU).unwrap(), 0).unwrap();
    let turned: Vec<_> = bits(vgg, &turned, count).into_iter().rev().collect();
    assert!(turned == alone, "another place in the batch differs");
}

#[test]
fn an_image_gives_the_same_bits_in_any_batch() {
    let narrow = load(&golden("narrow.timm.safetensors")).unwrap();
    check_invariance(&narrow, &images(19, 64), &[1, 2, 7, 16, 19]);
    assert_eq!(narrow.fc7(&images(1, 64).narrow(0, 0, 0).unwrap()).unwrap().dims(), [0, 12]);

    let channels = [16, 33, 20, 48, 31, 32, 64, 17, 96, 40, 15, 65, 18];
    let config = VggConfig { channels, hidden: [530, 31], classes: 2, image: 224 };
    check_invariance(&vgg(&config, &random(&config)), &images(16, 224), &[2, 7, 16]);
}

#[test]
fn two_threads_may_share_a_network() {
    let vgg = load(&golden("narrow.timm.safetensors")).unwrap();
    let images = images(4, 64);
    let alone = bits(&vgg, &images, 4);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| (0..20).all(|_| bits(&vgg, &images, 4) == alone)))
            .collect();
        assert!(workers.into_iter().all(|worker| worker.join().unwrap()));
    });
}

#[test]
fn what_is_no_number_is_not_lost_in_a_relu() {
    let config = VggConfig { channels: [4; 13], hidden: [8, 8], classes: 2, image: 32 };
    for layer in ["features.0", "features.2", "features.28", "classifier.0"] {
        let mut weights = random(&config);
        let bias = weights.get_mut(&format!("{layer}.bias")).unwrap();
        *bias = Tensor::full(f32::NAN, bias.shape(), &CPU).unwrap();
        let fc7 = vgg(&config, &weights).fc7(&images(2, 32)).unwrap();
        let fc7 = fc7.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(fc7.iter().all(|value| value.is_nan()), "{layer}: {fc7:?}");
    }
}

#[test]
fn half_precision_weights_are_read() {
    let expected = tensors("narrow.safetensors");
    let dir = tempfile::tempdir().unwrap();
    for (dtype, bound) in [(DType::F16, 2e-3), (DType::BF16, 2e-2)] {
        let half: HashMap<String, Tensor> = tensors("narrow.timm.safetensors")
            .into_iter()
            .map(|(name, tensor)| (name, tensor.to_dtype(dtype).unwrap()))
            .collect();
        let file = dir.path().join("half.safetensors");
        candle_core::safetensors::save(&half, &file).unwrap();
        let vgg = Vgg16::load(&[file], dtype, &CPU).unwrap();
        let fc7 = vgg.fc7(&images(3, 64)).unwrap();
        assert_eq!(fc7.dtype(), DType::F32, "on the CPU it computes in f32");
        let error = relative_error(&fc7, &expected["fc7"]);
        assert!(error > 0.0 && error <= bound, "{dtype:?}: {error:e}");
    }
}

#[test]
fn the_full_width_equals_torchvision_and_candle() {
    let weights = random(&VggConfig::default());
    let full = vgg(&VggConfig::default(), &weights);
    let images = images(2, 224);
    let fc7 = full.fc7(&images).unwrap();
    let error = relative_error(&fc7, &tensors("full.safetensors")["fc7"]);
    assert!(error <= 5e-6, "fc7 {error:e}");
    check_invariance(&full, &images, &[2]);

    // candle reads timm's names, one image, and applies ReLU to the logits.
    let mut timm = weights;
    for (from, to, kernel) in [
        ("classifier.0", "pre_logits.fc1", Some((4096, 512, 7, 7))),
        ("classifier.3", "pre_logits.fc2", Some((4096, 4096, 1, 1))),
        ("classifier.6", "head.fc", None),
    ] {
        let mut weight = timm[&format!("{from}.weight")].clone();
        if let Some(kernel) = kernel {
            weight = weight.reshape(kernel).unwrap();
        }
        timm.insert(format!("{to}.weight"), weight);
        timm.insert(format!("{to}.bias"), timm[&format!("{from}.bias")].clone());
    }
    let vb = VarBuilder::from_tensors(timm, DType::F32, &CPU);
    use candle_transformers::models::vgg;
    let candle = vgg::Vgg::new(vb, vgg::Models::Vgg16).unwrap();
    let theirs = candle.forward_t(&images.i(0).unwrap(), false).unwrap();
    let ours = full.logits(&images.narrow(0, 0, 1).unwrap()).unwrap().relu().unwrap();
    let error = relative_error(&ours, &theirs);
    assert!(error <= 1e-5, "logits {error:e}");
}

/// What loading the narrow weights says after `change`.
fn complaint(change: impl FnOnce(&mut HashMap<String, Tensor>)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("changed.safetensors");
    let mut weights = tensors("narrow.timm.safetensors");
    change(&mut weights);
    candle_core::safetensors::save(&weights, &file).unwrap();
    let error = load(&file).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    let error = error.to_string();
    assert!(error.contains("changed.safetensors"), "{error}");
    error
}

#[test]
fn a_missing_tensor_is_named() {
    let error = complaint(|weights| drop(weights.remove("features.7.bias")));
    assert!(error.contains("features.7.bias is missing"), "{error}");
    let error = complaint(|weights| drop(weights.remove("pre_logits.fc2.weight")));
    assert!(error.contains("classifier.3.weight or pre_logits.fc2.weight"), "{error}");
}

#[test]
fn a_tensor_that_does_not_fit_is_named() {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &CPU).unwrap();
    for (name, shape, expected) in [
        ("features.5.weight", vec![6, 4, 3, 3], "[6, 4, 3, 3], expected [6, 5, 3, 3]"),
        ("features.5.bias", vec![7], "[7], expected [6]"),
        ("pre_logits.fc1.weight", vec![16, 6, 2, 3], "[16, 6, 2, 3], expected [_, 6 * S * S]"),
        ("head.fc.weight", vec![5, 13], "[5, 13], expected [5, 12]"),
        ("features.0.weight", vec![], "[], expected"),
        ("features.28.weight", vec![0, 7, 3, 3], "expected"),
    ] {
        let error = complaint(|weights| drop(weights.insert(name.into(), zeros(&shape))));
        assert!(error.contains(expected), "{error}");
    }
    let integers = zeros(&[4]).to_dtype(DType::I64).unwrap();
    let error = complaint(|weights| drop(weights.insert("features.0.bias".into(), integers)));
    assert!(error.contains("features.0.bias is I64, expected F32, F16 or BF16"), "{error}");
}

#[test]
fn a_file_that_is_no_whole_safetensors_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cut.safetensors");
    let whole = std::fs::read(golden("narrow.timm.safetensors")).unwrap();
    for length in [0, 7, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&file, &whole[..length]).unwrap();
        let error = load(&file).unwrap_err().to_string();
        assert!(error.contains("cut.safetensors: not a whole safetensors file: "), "{error}");
    }
    let error = load(&dir.path().join("none.safetensors")).unwrap_err();
    assert!(error.to_string().contains("none.safetensors"), "{error}");
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn a_tensor_in_two_files_is_refused() {
    let both = [golden("narrow.timm.safetensors"), golden("narrow.torchvision.safetensors")];
    let error = Vgg16::load(&both, DType::F32, &CPU).unwrap_err().to_string();
    assert!(error.contains("tensor features."), "{error}");
    assert!(error.contains("narrow.timm.safetensors too"), "{error}");
}

#[test]
fn images_of_another_shape_are_refused() {
    let vgg = load(&golden("narrow.timm.safetensors")).unwrap();
    for shape in [vec![1, 3, 32, 32], vec![3, 64, 64], vec![1, 1, 64, 64]] {
        let images = Tensor::zeros(shape.as_slice(), DType::F32, &CPU).unwrap();
        let error = vgg.fc7(&images).unwrap_err().to_string();
        assert!(error.contains(&format!("{shape:?}, expected [B, 3, 64, 64]")), "{error}");
    }
}

#[test]
fn a_width_of_zero_is_refused() {
    let mut config = VggConfig { channels: [4; 13], hidden: [8, 8], classes: 3, image: 32 };
    config.hidden[0] = 0;
    let vb = VarBuilder::zeros(DType::F32, &CPU);
    let error = Vgg16::new(&config, vb).unwrap_err().to_string();
    assert!(error.contains("the width of layer 14 of 16 is 0, expected at least 1"), "{error}");
}

#[test]
fn a_side_that_is_no_multiple_of_32_is_refused() {
    let config = VggConfig { channels: [4; 13], hidden: [8, 8], classes: 3, image: 40 };
    let vb = VarBuilder::zeros(DType::F32, &CPU);
    let error = Vgg16::new(&config, vb).unwrap_err().to_string();
    assert!(error.contains("image is 40, expected a multiple of 32"), "{error}");
}
