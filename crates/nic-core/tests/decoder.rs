//! The decoder against PyTorch (`golden/decoder.py`), and against itself by central differences.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // as in tests themselves

mod common;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use common::{Golden, golden_config, near};
use nic_core::{Decoder, DecoderConfig, Dropout, PackedCaptions, Training};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

const VARIANTS: [&str; 8] =
    ["lstm", "lstm-plain", "lstm-no-bias", "lstm-no-tanh", "rnn", "lstm-2", "rnn-2", "lstm-tied"];

/// The same rate everywhere.
fn training(rng: &mut ChaCha8Rng, rate: f32, variational: bool) -> Training<'_> {
    let dropout = Dropout { input: rate, layers: rate, output: rate, variational };
    Training { dropout, label_smoothing: 0.0, rng }
}

/// Trainable weights in the configuration's order, and the decoder on top of them.
fn trainable(
    config: &DecoderConfig,
    get: impl Fn(&str) -> Tensor,
) -> (Vec<(String, Var)>, Decoder) {
    let vars: Vec<(String, Var)> = config
        .tensors()
        .into_iter()
        .map(|(name, _)| {
            let var = Var::from_tensor(&get(&name)).unwrap();
            (name, var)
        })
        .collect();
    let tensors = vars.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect();
    let dtype = vars[0].1.dtype();
    let decoder =
        Decoder::new(config, VarBuilder::from_tensors(tensors, dtype, &Device::Cpu)).unwrap();
    (vars, decoder)
}

#[test]
fn first_gradients_equal_pytorch() {
    let golden = Golden::read();
    for variant in VARIANTS {
        for dtype in [DType::F32, DType::F64] {
            let get = |name: &str| {
                golden.tensor(&format!("{variant}/weights/{name}")).to_dtype(dtype).unwrap()
            };
            let (vars, decoder) = trainable(&golden_config(variant), get);
            let (features, captions) = golden.batch(0);
            let gradients = decoder.loss(&features, &captions, None).unwrap().backward().unwrap();
            for (name, var) in vars {
                let expected = golden.tensor(&format!("{variant}/gradients/{name}"));
                let found = gradients
                    .get(&var)
                    .unwrap_or_else(|| panic!("{variant} {name} has no gradient"));
                near(found, &expected, 1e-4, &format!("{variant} {dtype:?} gradient of {name}"));
            }
        }
    }
}

#[test]
fn first_fifty_losses_equal_pytorch() {
    let golden = Golden::read();
    let cases = VARIANTS.map(|variant| (variant, "sgd", 0.0, DType::F32));
    let smoothed = [DType::F32, DType::F64].map(|dtype| ("lstm", "smoothed", 0.1, dtype));
    for (variant, case, label_smoothing, dtype) in cases.into_iter().chain(smoothed) {
        let get = |name: &str| {
            golden.tensor(&format!("{variant}/weights/{name}")).to_dtype(dtype).unwrap()
        };
        let (vars, decoder) = trainable(&golden_config(variant), get);
        let rng = &mut ChaCha8Rng::seed_from_u64(0);
        for (step, expected) in golden.losses(variant, case).into_iter().enumerate() {
            let (features, captions) = golden.batch(step % golden.batches());
            let training = Training { dropout: Dropout::NONE, label_smoothing, rng: &mut *rng };
            let loss = decoder.loss(&features, &captions, Some(training)).unwrap();
            let loss = loss.to_dtype(DType::F32).unwrap();
            let found = f64::from(loss.to_scalar::<f32>().unwrap());
            assert!(
                (found / expected - 1.0).abs() < 1e-4,
                "{variant} {case} loss {step}: {found}, PyTorch {expected}"
            );
            let gradients = loss.backward().unwrap();
            for (_, var) in &vars {
                let update = (gradients.get(var).unwrap() * 0.5).unwrap();
                var.set(&(var.as_tensor() - update).unwrap()).unwrap();
            }
        }
    }
}

/// Teacher forcing and generation, step by step, see the same words the same way.
#[test]
fn steps_equal_pytorch() {
    let golden = Golden::read();
    for variant in VARIANTS {
        let decoder = golden.decoder(variant);
        let expected = golden.tensor(&format!("{variant}/logits"));
        let (features, _) = golden.batch(0);
        let feature = features.narrow(0, 1, 1).unwrap();
        let words = golden.caption(0, 1);
        let captions = PackedCaptions::new(&[&words], &Device::Cpu).unwrap();
        near(&decoder.logits(&feature, &captions, None).unwrap(), &expected, 1e-4, variant);

        let mut state = decoder.start(&feature).unwrap();
        let inputs = captions.inputs.to_vec1::<u32>().unwrap();
        for (t, word) in inputs.into_iter().enumerate() {
            let word = Tensor::from_vec(vec![word], 1, &Device::Cpu).unwrap();
            let (logits, next) = decoder.step(&state, &word).unwrap();
            near(&logits, &expected.narrow(0, t, 1).unwrap(), 1e-4, &format!("{variant} step {t}"));
            state = next;
        }
    }
}

/// Central differences in f64, for some values of every tensor.
#[test]
fn gradients_equal_differences() {
    const STEP: f64 = 1e-5;
    let golden = Golden::read();
    let dropped = ["lstm-2", "rnn-2", "lstm-tied"];
    let cases = VARIANTS.map(|variant| (variant, 0.0, false)).into_iter();
    let cases = cases.chain(dropped.map(|variant| (variant, 0.3, false)));
    for (variant, rate, variational) in cases.chain(dropped.map(|variant| (variant, 0.3, true))) {
        let get = |name: &str| {
            golden.tensor(&format!("{variant}/weights/{name}")).to_dtype(DType::F64).unwrap()
        };
        let (vars, decoder) = trainable(&golden_config(variant), get);
        let (features, captions) = golden.batch(2);
        // always the same masks
        let loss = || {
            let mut rng = ChaCha8Rng::seed_from_u64(8);
            let training = training(&mut rng, rate, variational);
            let training = Training { label_smoothing: 0.2, ..training };
            decoder.loss(&features, &captions, Some(training)).unwrap()
        };
        let gradients = loss().backward().unwrap();
        for (name, var) in &vars {
            let gradient =
                gradients.get(var).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
            let original = var.flatten_all().unwrap().to_vec1::<f64>().unwrap();
            for at in (0..original.len()).step_by(original.len().div_ceil(17)) {
                let shifted = |by: f64| {
                    let mut values = original.clone();
                    values[at] += by;
                    var.set(&Tensor::from_vec(values, var.shape(), &Device::Cpu).unwrap()).unwrap();
                    loss().to_scalar::<f64>().unwrap()
                };
                let difference = (shifted(STEP) - shifted(-STEP)) / (2.0 * STEP);
                shifted(0.0);
                assert!(
                    (difference - gradient[at]).abs() < 1e-8 + 1e-6 * difference.abs(),
                    "{variant} {name}[{at}]: {} by hand, {difference} by differences",
                    gradient[at]
                );
            }
        }
    }
}

/// The loops over slices (f32) against tensor operations (f64), at a size that is no multiple of any SIMD width.
#[test]
fn slices_equal_tensor_operations() {
    for mut config in VARIANTS.map(golden_config) {
        (config.feature_dim, config.embed_dim, config.hidden_dim, config.vocab_size) =
            (37, if config.tie_embeddings { 51 } else { 45 }, 51, 310);
        let weights = config.init(&mut ChaCha8Rng::seed_from_u64(3)).unwrap();
        let captions: Vec<Vec<u32>> = (0..33u32)
            .map(|i| (0..i * 7 % 19).map(|t| 3 + (i * 31 + t * 17) % 307).collect())
            .collect();
        let captions: Vec<&[u32]> = captions.iter().map(Vec::as_slice).collect();
        let captions = PackedCaptions::new(&captions, &Device::Cpu).unwrap();
        let features = Tensor::arange(0f32, 33.0 * 37.0, &Device::Cpu).unwrap().sin().unwrap();
        let features = features.reshape((33, 37)).unwrap();

        let run = |dtype: DType| {
            let (vars, decoder) = trainable(&config, |name| weights[name].to_dtype(dtype).unwrap());
            let mut rng = ChaCha8Rng::seed_from_u64(8);
            let training = training(&mut rng, 0.25, true);
            let training = Training { label_smoothing: 0.1, ..training };
            let loss = decoder.loss(&features, &captions, Some(training)).unwrap();
            let gradients = loss.backward().unwrap();
            let named =
                vars.iter().map(|(name, var)| (name.clone(), gradients.get(var).unwrap().clone()));
            (loss, decoder.logits(&features, &captions, None).unwrap(), named.collect::<Vec<_>>())
        };
        let (fast, slow) = (run(DType::F32), run(DType::F64));
        near(&fast.0, &slow.0, 1e-6, "loss");
        near(&fast.1, &slow.1, 1e-5, "logits");
        for ((name, fast), (_, slow)) in fast.2.iter().zip(&slow.2) {
            near(fast, slow, 1e-5, &format!("{:?} gradient of {name}", config.cell));
        }
    }
}

#[test]
fn one_batch_can_be_learnt_by_heart() {
    let golden = Golden::read();
    for variant in ["lstm", "lstm-plain", "rnn"] {
        let get = |name: &str| golden.tensor(&format!("{variant}/weights/{name}"));
        let (vars, decoder) = trainable(&golden_config(variant), get);
        let (features, captions) = golden.batch(2);
        // Adam
        let mut moments: Vec<(Tensor, Tensor)> =
            vars.iter().map(|(_, v)| (v.zeros_like().unwrap(), v.zeros_like().unwrap())).collect();
        let mut perplexity = f32::INFINITY;
        for step in 1..=600 {
            let loss = decoder.loss(&features, &captions, None).unwrap();
            perplexity = loss.to_scalar::<f32>().unwrap().exp();
            let gradients = loss.backward().unwrap();
            for ((_, var), (m, v)) in vars.iter().zip(&mut moments) {
                let g = gradients.get(var).unwrap();
                *m = ((&*m * 0.9).unwrap() + (g * 0.1).unwrap()).unwrap();
                *v = ((&*v * 0.999).unwrap() + (g.sqr().unwrap() * 0.001).unwrap()).unwrap();
                let rate = 0.02 * (1.0 - 0.999f64.powi(step)).sqrt() / (1.0 - 0.9f64.powi(step));
                let update = (&*m / (v.sqrt().unwrap() + 1e-8).unwrap()).unwrap();
                var.set(&(var.as_tensor() - (update * rate).unwrap()).unwrap()).unwrap();
            }
        }
        assert!(perplexity < 1.05, "{variant}: perplexity {perplexity}");
    }
}

#[test]
fn dropout_follows_its_seed() {
    let golden = Golden::read();
    let decoder = golden.decoder("lstm");
    let (features, captions) = golden.batch(0);
    let logits = |seed: u64, rate: f32| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let training = training(&mut rng, rate, false);
        let logits = decoder.logits(&features, &captions, Some(training)).unwrap();
        logits.to_vec2::<f32>().unwrap()
    };
    let without = decoder.logits(&features, &captions, None).unwrap().to_vec2::<f32>().unwrap();
    assert_eq!(logits(1, 0.0), without);
    assert_eq!(logits(1, 0.5), logits(1, 0.5));
    assert_ne!(logits(1, 0.5), logits(2, 0.5));
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for rate in [1.0, -0.1, f32::NAN] {
        let dropped = training(&mut rng, rate, false);
        let error = decoder.loss(&features, &captions, Some(dropped)).unwrap_err().to_string();
        assert!(error.contains("dropout is"), "{error}");
        let smoothed = Training { label_smoothing: rate, ..training(&mut rng, 0.0, false) };
        let error = decoder.loss(&features, &captions, Some(smoothed)).unwrap_err().to_string();
        assert!(error.contains("label smoothing is"), "{error}");
    }
}

/// Each rate has its place; between layers there is none where there is one layer.
#[test]
fn dropout_is_where_it_says() {
    let golden = Golden::read();
    let (features, captions) = golden.batch(0);
    let none = Dropout::NONE;
    for (variant, dropout, changes) in [
        ("lstm", Dropout { layers: 0.5, ..none }, false),
        ("lstm-2", Dropout { layers: 0.5, ..none }, true),
        ("lstm", Dropout { input: 0.5, ..none }, true),
        ("lstm", Dropout { output: 0.5, ..none }, true),
        ("lstm", Dropout { variational: true, ..none }, false),
    ] {
        let decoder = golden.decoder(variant);
        let logits = |dropout| {
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            let training = Training { dropout, label_smoothing: 0.0, rng: &mut rng };
            let logits = decoder.logits(&features, &captions, Some(training)).unwrap();
            logits.to_vec2::<f32>().unwrap()
        };
        assert_eq!(logits(dropout) != logits(none), changes, "{variant} {dropout:?}");
    }
}

/// Not one bit of a training step depends on how many threads there are.
#[test]
fn threads_change_nothing() {
    let config = DecoderConfig {
        feature_dim: 300,
        num_layers: 2,
        embed_dim: 128,
        hidden_dim: 128,
        vocab_size: 2000,
        ..golden_config("lstm")
    };
    let weights = config.init(&mut ChaCha8Rng::seed_from_u64(3)).unwrap();
    let captions: Vec<Vec<u32>> =
        (0..64u32).map(|i| (0..i % 13).map(|t| 3 + (i * 131 + t * 17) % 1997).collect()).collect();
    let captions: Vec<&[u32]> = captions.iter().map(Vec::as_slice).collect();
    let captions = PackedCaptions::new(&captions, &Device::Cpu).unwrap();
    let features = Tensor::arange(0f32, 64.0 * 300.0, &Device::Cpu).unwrap().sin().unwrap();
    let features = features.reshape((64, 300)).unwrap();
    let step = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (vars, decoder) = trainable(&config, |name| weights[name].clone());
            let mut rng = ChaCha8Rng::seed_from_u64(9);
            let training = training(&mut rng, 0.3, false);
            let loss = decoder.loss(&features, &captions, Some(training)).unwrap();
            let gradients = loss.backward().unwrap();
            let bits = |tensor: &Tensor| -> Vec<u32> {
                let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                values.into_iter().map(f32::to_bits).collect()
            };
            let mut all = vec![("loss".to_owned(), bits(&loss))];
            all.extend(
                vars.iter().map(|(name, var)| (name.clone(), bits(gradients.get(var).unwrap()))),
            );
            all
        })
    };
    let one = step(1);
    for threads in [2, 5] {
        for ((name, one), (_, many)) in one.iter().zip(step(threads)) {
            assert!(*one == many, "{name} differs between 1 and {threads} threads");
        }
    }
}

#[test]
fn misfits_are_named() {
    let golden = Golden::read();
    let decoder = golden.decoder("lstm");
    let (features, captions) = golden.batch(0);

    let wide = Tensor::zeros((4, 13), DType::F32, &Device::Cpu).unwrap();
    for error in
        [decoder.loss(&wide, &captions, None).unwrap_err(), decoder.start(&wide).unwrap_err()]
    {
        let text = error.to_string();
        assert!(text.contains("[4, 13]") && text.contains("12"), "{text}");
    }

    let few = features.narrow(0, 0, 3).unwrap();
    let text = decoder.loss(&few, &captions, None).unwrap_err().to_string();
    assert!(text.contains('3') && text.contains('4'), "{text}");

    let strange = PackedCaptions::new(&[&[5, 23], &[4], &[], &[7]], &Device::Cpu).unwrap();
    let text = decoder.loss(&features, &strange, None).unwrap_err().to_string();
    assert!(text.contains("word 23") && text.contains("23 words"), "{text}");

    let state = decoder.start(&features).unwrap();
    let words = Tensor::from_vec(vec![1u32, 1, 99, 1], 4, &Device::Cpu).unwrap();
    let text = decoder.step(&state, &words).unwrap_err().to_string();
    assert!(text.contains("99") && text.contains("23"), "{text}");
    assert!(decoder.step(&state, &words.narrow(0, 0, 2).unwrap()).is_err());

    let mut config = golden_config("lstm");
    config.hidden_dim = usize::MAX;
    let text = config.init(&mut ChaCha8Rng::seed_from_u64(0)).unwrap_err().to_string();
    assert!(text.contains("hidden_dim"), "{text}");

    let mut config = golden_config("lstm");
    config.tie_embeddings = true;
    let text = config.init(&mut ChaCha8Rng::seed_from_u64(0)).unwrap_err().to_string();
    assert_eq!(text, "tie_embeddings with embed_dim 8 and hidden_dim 10, expected equal ones");
    config.num_layers = 0;
    let text = config.init(&mut ChaCha8Rng::seed_from_u64(0)).unwrap_err().to_string();
    assert_eq!(text, "num_layers is 0, expected 1 to 64");
}

#[test]
fn fresh_weights_are_pytorchs() {
    let config = DecoderConfig { embed_dim: 64, hidden_dim: 100, ..golden_config("lstm") };
    let weights = config.init(&mut ChaCha8Rng::seed_from_u64(7)).unwrap();
    assert_eq!(weights.len(), config.tensors().len());
    for (name, shape) in config.tensors() {
        assert_eq!(weights[&name].dims(), shape, "{name}");
    }
    for (name, bound) in
        [("lstm.weight_ih_l0", 0.1), ("embedding.weight", 0.08), ("image.weight", 12f32.powf(-0.5))]
    {
        let values = weights[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let deviation = (values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32).sqrt();
        assert!(values.iter().all(|v| v.abs() <= bound), "{name}");
        // a uniform distribution in ±b has the deviation b / √3
        assert!((deviation * 3f32.sqrt() / bound - 1.0).abs() < 0.05, "{name}: {deviation}");
    }
    let again = config.init(&mut ChaCha8Rng::seed_from_u64(7)).unwrap();
    let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert!(weights.iter().all(|(name, tensor)| values(tensor) == values(&again[name])));
}
