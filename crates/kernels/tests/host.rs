//! The kernels' arithmetic, on a CPU: the very source, compiled as C with `host.c` around it, beside candle's own
//! operations and their gradients.

#![cfg(target_os = "linux")] // pthread_barrier_t
#![allow(clippy::unwrap_used)] // as in tests themselves

use std::ffi::c_void;
use std::path::Path;
use std::process::Command;

use candle_core::{D, Device, Tensor, Var};
use candle_nn::ops::sigmoid;
use libloading::Library;
use nic_kernels::{
    Adam, CrossEntropy, Dropout, EmbeddingBackward, Gradient, Kernel, LstmBackward, LstmForward,
    Sgd, SquareSum,
};
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Runs a kernel whose addresses are those of slices here.
fn launch<K: Kernel>(kernel: &K) {
    // a library of its own for each launch: blocks share what in C is static
    let directory = tempfile::tempdir().unwrap();
    let library = directory.path().join("kernels.so");
    let compiler = std::env::var("CC").unwrap_or("cc".into());
    let done = Command::new(&compiler)
        .args(["-O1", "-shared", "-fPIC", "-pthread", "-o"])
        .arg(&library)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/host.c"))
        .arg("-lm")
        .status();
    assert!(done.unwrap().success(), "{compiler} does not compile the kernels");
    let blocks = u32::try_from(kernel.blocks()).unwrap();
    // SAFETY: the library has no initialisers; the functions have this signature; the arguments are laid out as in C.
    unsafe {
        let library = Library::new(&library).unwrap();
        let name = format!("host_{}", K::NAME);
        let run = library.get::<unsafe extern "C" fn(*const c_void, u32)>(name.as_bytes()).unwrap();
        run(std::ptr::from_ref(kernel).cast(), blocks);
    }
}

/// Where a slice begins; it may be written.
fn at<T>(slice: &mut [T]) -> u64 {
    slice.as_mut_ptr() as u64
}

fn random(count: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    (0..count).map(|_| rng.random_range(-2.0..2.0)).collect()
}

fn var(values: &[f32], shape: (usize, usize)) -> Var {
    Var::from_slice(values, shape, &Device::Cpu).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() < 2e-6 * (1.0 + expected.abs()),
            "{at}: {found} {expected}"
        );
    }
}

/// A step of five sequences, of which three go on, before and after candle's autograd. With and without a step before.
#[test]
fn an_lstm_step() {
    const ROWS: usize = 5;
    const GOING: usize = 3;
    const HIDDEN: usize = 70; // more than a block, no multiple of it
    for (tanh, is_first) in [(true, false), (false, false), (true, true)] {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let mut gates = random(ROWS * 4 * HIDDEN, rng);
        let mut bias = random(4 * HIDDEN, rng);
        let mut before = random((ROWS + 1) * HIDDEN, rng); // one sequence ended with the step before
        let mut dh = random(ROWS * HIDDEN, rng);
        let mut dc = random(ROWS * HIDDEN, rng);

        let x = var(&gates, (ROWS, 4 * HIDDEN));
        let c_before = var(&before[..ROWS * HIDDEN], (ROWS, HIDDEN));
        let bias_row = Tensor::from_slice(&bias, 4 * HIDDEN, &Device::Cpu).unwrap();
        let chunks = x.broadcast_add(&bias_row).unwrap().chunk(4, 1).unwrap();
        let [i, f, g, o] = [
            sigmoid(&chunks[0]).unwrap(),
            sigmoid(&chunks[1]).unwrap(),
            chunks[2].tanh().unwrap(),
            sigmoid(&chunks[3]).unwrap(),
        ];
        let mut c = (&i * &g).unwrap();
        if !is_first {
            c = (c + (&f * c_before.as_tensor()).unwrap()).unwrap();
        }
        let h = (if tanh { c.tanh().unwrap() } else { c.clone() } * &o).unwrap();
        // a loss whose gradients are dh and, for the sequences that go on, dc
        let weigh = |values: &[f32], tensor: &Tensor, rows: usize| {
            let weights =
                Tensor::from_slice(&values[..rows * HIDDEN], (rows, HIDDEN), &Device::Cpu);
            (tensor.narrow(0, 0, rows).unwrap() * weights.unwrap()).unwrap().sum_all().unwrap()
        };
        let loss = (weigh(&dh, &h, ROWS) + weigh(&dc, &c, GOING)).unwrap();
        let gradients = loss.backward().unwrap();

        let (mut c_found, mut h_found) =
            (vec![f32::NAN; ROWS * HIDDEN], vec![f32::NAN; ROWS * HIDDEN]);
        let c_address = if is_first { 0 } else { at(&mut before) };
        let (rows, hidden, tanh) = (ROWS as u32, HIDDEN as u32, tanh.into());
        launch(&LstmForward {
            gates: at(&mut gates),
            bias: at(&mut bias),
            c_before: c_address,
            c: at(&mut c_found),
            h: at(&mut h_found),
            rows,
            hidden,
            tanh,
        });
        assert_close(&c_found, &values(&c));
        assert_close(&h_found, &values(&h));
        assert_close(&gates, &values(&Tensor::cat(&[i, f, g, o], 1).unwrap()));

        dc[GOING * HIDDEN..].fill(f32::NAN); // nobody's
        let mut dgates = vec![f32::NAN; gates.len()];
        launch(&LstmBackward {
            gates: at(&mut gates),
            c: at(&mut c_found),
            c_before: c_address,
            dh: at(&mut dh),
            dc: at(&mut dc),
            dgates: at(&mut dgates),
            rows,
            going: GOING as u32,
            hidden,
            tanh,
        });
        assert_close(&dgates, &values(gradients.get(&x).unwrap()));
        if !is_first {
            assert_close(&dc, &values(gradients.get(&c_before).unwrap()));
        }
    }
}

#[test]
fn softmax_and_cross_entropy() {
    const ROWS: usize = 4;
    const WORDS: usize = 600; // more than twice a block's threads
    for (smoothing, has_shares, scale) in [(0.0, false, 1.0), (0.1, false, 1.0), (0.1, true, 30.0)]
    {
        let rng = &mut ChaCha8Rng::seed_from_u64(2);
        let mut logits: Vec<f32> = random(ROWS * WORDS, rng).iter().map(|x| x * scale).collect();
        let mut bias = random(WORDS, rng);
        let mut targets: Vec<u32> = (0..ROWS).map(|_| rng.random_range(0..WORDS as u32)).collect();
        let mut shares = random(ROWS, rng);

        let x = var(&logits, (ROWS, WORDS));
        let row = |values: &[f32]| Tensor::from_slice(values, values.len(), &Device::Cpu).unwrap();
        let log_probs =
            candle_nn::ops::log_softmax(&x.broadcast_add(&row(&bias)).unwrap(), D::Minus1);
        let log_probs = log_probs.unwrap();
        let wanted = Tensor::from_slice(&targets, (ROWS, 1), &Device::Cpu).unwrap();
        let right = log_probs.gather(&wanted, 1).unwrap().squeeze(1).unwrap();
        let even = log_probs.mean(D::Minus1).unwrap();
        let losses = ((right * (smoothing - 1.0)).unwrap() - (even * smoothing).unwrap()).unwrap();
        let weights = if has_shares { shares.clone() } else { vec![1.0 / ROWS as f32; ROWS] };
        let losses = (losses * row(&weights)).unwrap();
        let gradients = losses.sum_all().unwrap().backward().unwrap();

        let mut kernel = CrossEntropy {
            logits: at(&mut logits),
            bias: at(&mut bias),
            targets: at(&mut targets),
            shares: if has_shares { at(&mut shares) } else { 0 },
            losses: 0,
            rows: ROWS as u32,
            words: WORDS as u32,
            backward: 1,
            share: 1.0 / ROWS as f32,
            smoothing: smoothing as f32,
        };
        let (mut found, mut copy) = (vec![f32::NAN; ROWS], logits.clone());
        kernel.losses = at(&mut found);
        launch(&kernel);
        let near = |found: &[f32], expected: &[f32]| {
            found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5 * (1.0 + b.abs()))
        };
        assert!(near(&found, &values(&losses)), "{found:?} {losses}");
        assert!(near(&logits, &values(gradients.get(&x).unwrap())));

        let mut again = vec![f32::NAN; ROWS];
        launch(&CrossEntropy {
            logits: at(&mut copy),
            losses: at(&mut again),
            backward: 0,
            ..kernel
        });
        assert_eq!(again, found);
    }
}

/// A score that is no number must show in the loss, wherever it stands.
#[test]
fn a_loss_of_what_is_no_number_is_none() {
    for bad in [0, 300, 599] {
        let mut logits = vec![0.5f32; 600];
        logits[bad] = f32::NAN;
        let (mut bias, mut targets, mut losses) = (vec![0.0f32; 600], [1u32], [0.0f32]);
        launch(&CrossEntropy {
            logits: at(&mut logits),
            bias: at(&mut bias),
            targets: at(&mut targets),
            shares: 0,
            losses: at(&mut losses),
            rows: 1,
            words: 600,
            backward: 1,
            share: 1.0,
            smoothing: 0.0,
        });
        assert!(losses[0].is_nan(), "{bad}: {losses:?}");
    }
}

#[test]
fn an_embeddings_gradient() {
    // narrower than a block; wider than what a block adds up at a time
    for width in [70, 1100] {
        const WORDS: usize = 9;
        let rng = &mut ChaCha8Rng::seed_from_u64(3);
        // more rows than a block has threads, and a word that is nowhere
        let mut words: Vec<u32> =
            (0..700).map(|_| [0, 2, 2, 2, 7, 8][rng.random_range(0..6)]).collect();
        words[650] = 5;
        let mut gradient = random(words.len() * width, rng);
        let mut sums = vec![0.0f32; WORDS * width];
        launch(&EmbeddingBackward {
            gradient: at(&mut gradient),
            words: at(&mut words),
            sums: at(&mut sums),
            rows: words.len() as u32,
            width: width as u32,
        });
        let mut expected = vec![0.0f32; WORDS * width];
        for (row, word) in gradient.chunks(width).zip(&words) {
            let sum = &mut expected[*word as usize * width..][..width];
            sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        assert_eq!(sums, expected);
    }
}

/// The mask is the generator's words, from wherever it stands; later steps have the first rows of the first one's.
#[test]
fn dropout_is_the_generators() {
    const WIDTH: usize = 33;
    for (before, mut steps) in [(0, vec![40u32]), (5, vec![40]), (1000, vec![4, 4, 3, 1])] {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        rng.set_stream(77 << 32 | 5);
        rng.set_word_pos((1 << 36) + before);
        let key = rng.get_seed();
        let key =
            std::array::from_fn(|k| u32::from_le_bytes(key[4 * k..][..4].try_into().unwrap()));
        let rows = steps.iter().sum::<u32>() as usize;
        let mut x = random(rows * WIDTH, &mut ChaCha8Rng::seed_from_u64(5));
        let mut y = vec![f32::NAN; x.len()];
        let threshold = (0.3 * 2f64.powi(32)) as u32;
        launch(&Dropout {
            x: at(&mut x),
            y: at(&mut y),
            steps: if steps.len() > 1 { at(&mut steps) } else { 0 },
            count: steps.len() as u32,
            width: WIDTH as u32,
            place: rng.get_word_pos() as u64,
            stream: rng.get_stream(),
            key,
            threshold,
            keep: 1.0 / 0.7,
            rows: steps[0],
        });
        let mask: Vec<f32> = (0..steps[0] as usize * WIDTH)
            .map(|_| if rng.next_u32() >= threshold { 1.0 / 0.7 } else { 0.0 })
            .collect();
        let masks = steps.iter().flat_map(|rows| &mask[..*rows as usize * WIDTH]);
        let expected: Vec<f32> = x.iter().zip(masks).map(|(x, mask)| x * mask).collect();
        assert_eq!(y, expected);
    }
}

#[test]
fn sums_of_squares() {
    for length in [1, 1000, 100_000] {
        let mut values = random(length, &mut ChaCha8Rng::seed_from_u64(6));
        let mut sums = [f64::NAN; SquareSum::SUMS];
        launch(&SquareSum { values: at(&mut values), sums: at(&mut sums), length: length as u64 });
        let expected: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
        let found: f64 = sums.iter().sum();
        assert!((found - expected).abs() < 1e-12 * expected, "{found} {expected}");
    }
}

/// Three steps of Adam, AdamW and SGD beside the formulas in f64.
#[test]
fn optimizers() {
    const LENGTH: usize = 1000;
    let clip = |g: f64| (g * 0.8).clamp(-0.9, 0.9);
    for (decay, keep, momentum) in [(0.01, 1.0, true), (0.0, 0.98, false)] {
        let rng = &mut ChaCha8Rng::seed_from_u64(7);
        let start = random(LENGTH, rng);
        let (mut adam, mut sgd) = (start.clone(), start.clone());
        let [mut mean, mut square, mut buffer] =
            [vec![0.0f32; LENGTH], vec![0.0; LENGTH], vec![0.0; LENGTH]];
        let wide = |values: &[f32]| values.iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
        let [mut adam64, mut sgd64] = [wide(&start), wide(&start)];
        let [mut mean64, mut square64, mut buffer64] =
            [vec![0.0f64; LENGTH], vec![0.0; LENGTH], vec![0.0; LENGTH]];
        for t in 1..=3 {
            let mut gradient = random(LENGTH, rng);
            let (root, step_size) = ((1.0 - 0.999f64.powi(t)).sqrt(), 0.1 / (1.0 - 0.9f64.powi(t)));
            let clipped = Gradient {
                values: at(&mut gradient),
                length: LENGTH as u64,
                scale: 0.8,
                limit: 0.9,
            };
            launch(&Adam {
                weight: at(&mut adam),
                mean: at(&mut mean),
                square: at(&mut square),
                gradient: clipped,
                decay,
                keep,
                one_beta1: 0.1,
                beta2: 0.999,
                one_beta2: 0.001,
                root: root as f32,
                eps: 1e-8,
                step_size: step_size as f32,
            });
            launch(&Sgd {
                weight: at(&mut sgd),
                momentum: if momentum { at(&mut buffer) } else { 0 },
                gradient: clipped,
                decay,
                keep: 0.7,
                rate: 0.1,
            });
            let (decay, keep) = (f64::from(decay), f64::from(keep));
            for k in 0..LENGTH {
                let g = clip(f64::from(gradient[k])) + decay * adam64[k];
                mean64[k] = 0.9 * mean64[k] + 0.1 * g;
                square64[k] = 0.999 * square64[k] + 0.001 * g * g;
                let update = mean64[k] / (square64[k].sqrt() / root + 1e-8);
                adam64[k] = adam64[k] * keep - step_size * update;
                let g = clip(f64::from(gradient[k])) + decay * sgd64[k];
                buffer64[k] = if momentum { 0.7 * buffer64[k] + g } else { g };
                sgd64[k] -= 0.1 * buffer64[k];
            }
        }
        let near = |found: &[f32], expected: &[f64]| {
            let near = |(a, b): (&f32, &f64)| (f64::from(*a) - b).abs() < 1e-5;
            found.iter().zip(expected).all(near)
        };
        assert!(near(&adam, &adam64) && near(&mean, &mean64) && near(&square, &square64));
        assert!(near(&sgd, &sgd64) && (!momentum || near(&buffer, &buffer64)));
    }
}
