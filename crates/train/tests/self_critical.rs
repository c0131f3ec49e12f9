//! Self-critical sequence training: rewards, gradient, and that it does what it is for.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use candle_nn::ops::log_softmax;
use caption_metrics::{Cider, Corpus, Metric, References, Results};
use common::World;
use nic_core::{Decoder, Generate, Greedy, PackedCaptions, Rules, Vocab};
use nic_data::{Features, Split};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use train::Config;
use train::self_critical::SelfCritical;

/// The tiny world's training images and a decoder for them with random weights.
struct Toy {
    config: Config,
    corpus: train::corpus::Corpus,
    features: Features,
    vars: BTreeMap<String, Var>,
    decoder: Decoder,
    _world: World,
}

impl Toy {
    fn new(set: &[&str]) -> Self {
        let world = World::new();
        let set: Vec<String> = set.iter().map(|&set| set.to_owned()).collect();
        let config = Config::load(&world.path("run.toml"), &set).unwrap();
        let features = Features::open(&config.data.features).unwrap();
        let corpus =
            train::corpus::Corpus::load(&config.data, Split::Val, &features, &|_| ()).unwrap();
        let shape = config.model.decoder(features.dim(), corpus.vocab.len());
        let mut tensors = shape.init(&mut ChaCha8Rng::seed_from_u64(3)).unwrap();
        // as in any trained decoder, words that are never a target have no share
        let mut bias = vec![0f32; corpus.vocab.len()];
        bias[Vocab::PAD as usize] = -30.0;
        bias[Vocab::START as usize] = -30.0;
        let words = bias.len();
        tensors
            .insert("output.bias".to_owned(), Tensor::from_vec(bias, words, &Device::Cpu).unwrap());
        let vars: BTreeMap<String, Var> = tensors
            .into_iter()
            .map(|(name, tensor)| (name, Var::from_tensor(&(tensor * 3.0).unwrap()).unwrap()))
            .collect();
        let weights =
            vars.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect();
        let weights = VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu);
        let decoder = Decoder::new(&shape, weights).unwrap();
        Self { config, corpus, features, vars, decoder, _world: world }
    }

    fn self_critical(&self) -> SelfCritical {
        SelfCritical::new(&self.corpus.train, &self.config)
    }
}

/// Image by image what the CIDEr-D of files is, whose captions end with a word for END.
#[test]
fn the_reward_is_cider_d_with_end_as_a_word() {
    the_reward_is_cider_d(usize::MAX);
}

/// What may have been cut at `data.max_len` does not end there: one of two references, two of five captions.
#[test]
fn what_is_cut_has_no_end() {
    the_reward_is_cider_d(5);
}

fn the_reward_is_cider_d(max_len: usize) {
    let toy = match max_len {
        usize::MAX => Toy::new(&[]),
        _ => Toy::new(&[&format!("data.max_len={max_len}")]),
    };
    let ids: Vec<i64> = (1..=40).collect();
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let texts = |id: i64| {
        let (colour, thing) = common::shown(id);
        [format!("a {colour} {thing}"), format!("there is a {thing} and it is {colour}")]
    };
    let ended = |text: &str| {
        let mut words: Vec<&str> = text.split(' ').take(max_len).collect();
        if words.len() < max_len {
            words.push("END");
        }
        words.join(" ")
    };
    let references = References::new(
        "references",
        ids.iter().map(|&id| (id, texts(id).map(|text| ended(&text)).to_vec())).collect(),
    );
    let self_critical = toy.self_critical();
    assert_eq!(self_critical.images(), ids.len());
    for caption in ["a red dog", "there is a cat and it is", "a a a a dog", "cat and", "fish"] {
        let caption = &words(caption)[..words(caption).len().min(max_len)].join(" ");
        let results = ids.iter().map(|&id| (id, ended(caption))).collect();
        let results = Results::new("results", results);
        let split =
            |texts: &[&str], part: Range<usize>| texts[part].iter().map(|t| words(t)).collect();
        let corpus = Corpus::new(&references, &results, split).unwrap();
        let expected = &Cider::default().score(&corpus)[0];
        assert!(expected.corpus > 0.0);
        let ids = toy.corpus.vocab.encode(&words(caption));
        for (image, expected) in expected.images.iter().enumerate() {
            let found = self_critical.reward(image, &ids);
            assert!((found - expected).abs() < 1e-12, "{image}: {found}, expected {expected}");
        }
    }
}

/// `data.min_count` makes the things rare: the references are full of `<unk>`.
#[test]
fn writing_unk_earns_nothing() {
    let toy = Toy::new(&["data.min_count=18"]);
    let self_critical = toy.self_critical();
    assert!(toy.corpus.train.images().next().unwrap().1.flatten().any(|&word| word == Vocab::UNK));
    let words = ["a", "green"].map(str::to_owned);
    let mut caption = toy.corpus.vocab.encode(&words);
    let mut earned = |word| {
        caption.truncate(2);
        caption.push(word);
        self_critical.reward(0, &caption)
    };
    // the reference is "a green <unk>"; no caption has a word beyond the vocabulary
    let (unknown, nonsense) = (earned(Vocab::UNK), earned(toy.corpus.vocab.len() as u32));
    assert!(unknown > 0.0 && unknown == nonsense, "{unknown} {nonsense}");
}

#[test]
fn a_sample_is_compared_with_the_greedy_caption_or_with_the_others() {
    for baseline in ["greedy", "mean"] {
        let toy =
            Toy::new(&[&format!("train.baseline={baseline}"), "train.samples=4", "data.max_len=6"]);
        let self_critical = toy.self_critical();
        let images: Vec<usize> = vec![7, 0, 39];
        let draw = |images: &[usize], seed| {
            self_critical.draw(&toy.decoder, &toy.features, images, seed, &Device::Cpu).unwrap()
        };
        let drawn = draw(&images, 5);
        assert_eq!(drawn.captions, draw(&images, 5).captions);
        assert_ne!(drawn.captions, draw(&images, 6).captions);
        // an image's captions are its own, whatever is beside it
        assert_eq!(drawn.captions[4..8], draw(&[0], 5).captions);
        assert_eq!(drawn.rows, [7, 7, 7, 7, 0, 0, 0, 0, 39, 39, 39, 39]);
        let ends = drawn.captions.iter().filter(|caption| caption.len() < 6).count();
        let words: usize = drawn.captions.iter().map(Vec::len).sum();
        assert!(ends > 0 && ends < 12, "{ends}");
        assert_eq!(drawn.words(), (words + ends) as u64);
        for (number, image) in images.iter().enumerate() {
            let rules = Rules::default().max_len(6).allow_unk();
            let vector = toy.features.gather(&[*image], &Device::Cpu).unwrap();
            let greedy = &Greedy::new(rules).generate(&toy.decoder, &vector).unwrap()[0][0].words;
            let rewards = &drawn.rewards[number * 4..][..4];
            for at in 0..4 {
                let sample = number * 4 + at;
                assert_eq!(rewards[at], self_critical.reward(*image, &drawn.captions[sample]));
                let others = (0..4).filter(|&other| other != at).map(|other| rewards[other]);
                let expected = match baseline {
                    "greedy" => self_critical.reward(*image, greedy),
                    _ => others.sum::<f64>() / 3.0,
                };
                let found = rewards[at] - drawn.advantages[sample];
                assert!((found - expected).abs() < 1e-12, "{baseline}: {found}, {expected}");
            }
        }
    }
}

/// The expected reward is that of all captions there are, each times its probability, and differentiable: its gradient
/// is what drawing estimates.
#[test]
fn the_gradient_is_that_of_the_expected_reward() {
    const IMAGES: [usize; 3] = [3, 8, 14];
    for baseline in ["mean", "greedy"] {
        // captions of at most two words: few enough to add all of them up
        let mut toy = Toy::new(&["data.max_len=2", &format!("train.baseline={baseline}")]);
        toy.config.train.samples = 16_000;
        let self_critical = toy.self_critical();
        let drawn =
            self_critical.draw(&toy.decoder, &toy.features, &IMAGES, 1, &Device::Cpu).unwrap();
        let captions = drawn.captions.len();
        let loss = drawn.loss(&toy.decoder, &toy.features, 0..captions, &Device::Cpu).unwrap();
        let [whole, first, rest] = [0..captions, 0..7, 7..captions].map(|numbers| {
            let loss = drawn.loss(&toy.decoder, &toy.features, numbers, &Device::Cpu).unwrap();
            loss.to_scalar::<f32>().unwrap()
        });
        assert!((first + rest - whole).abs() < 1e-5, "{first} and {rest} are not {whole}");
        // the loss is a mean over words, the expected reward one over captions
        let scale = -(drawn.words() as f64) / captions as f64;
        let found = (loss * scale).unwrap().backward().unwrap();

        let words = 2..toy.corpus.vocab.len() as u32;
        let mut all: Vec<Vec<u32>> = vec![Vec::new()];
        for first in words.clone().filter(|&word| word != Vocab::END) {
            all.push(vec![first]);
            let seconds = words.clone().filter(|&word| word != Vocab::END);
            all.extend(seconds.map(|second| vec![first, second]));
        }
        let slices: Vec<&[u32]> = all.iter().map(Vec::as_slice).collect();
        let packed = PackedCaptions::new(&slices, &Device::Cpu).unwrap();
        let mut expected_reward = Tensor::zeros((), DType::F32, &Device::Cpu).unwrap();
        let mut total = 0.0;
        for image in IMAGES {
            let vectors = toy.features.gather(&vec![image; all.len()], &Device::Cpu).unwrap();
            let logits = toy.decoder.logits(&vectors, &packed, None).unwrap();
            let targets = packed.targets.unsqueeze(1).unwrap();
            let log_probs = log_softmax(&logits, D::Minus1).unwrap().gather(&targets, 1).unwrap();
            // a matrix that adds up the words of each caption, without the END of one that is cut
            let mut of = vec![0f32; all.len() * packed.tokens()];
            for (at, (caption, place)) in packed.words().enumerate() {
                if place < 2 {
                    of[caption * packed.tokens() + at] = 1.0;
                }
            }
            let of = Tensor::from_vec(of, (all.len(), packed.tokens()), &Device::Cpu).unwrap();
            let probabilities = of.matmul(&log_probs).unwrap().squeeze(1).unwrap().exp().unwrap();
            total += probabilities.sum_all().unwrap().to_scalar::<f32>().unwrap();
            let rewards: Vec<f32> =
                all.iter().map(|caption| self_critical.reward(image, caption) as f32).collect();
            let rewards = Tensor::from_vec(rewards, all.len(), &Device::Cpu).unwrap();
            let reward = (probabilities * rewards).unwrap().sum_all().unwrap();
            expected_reward = (expected_reward + (reward / 3.0).unwrap()).unwrap();
        }
        assert!((total - 3.0).abs() < 1e-4, "these are not all captions: {total}");
        let value = f64::from(expected_reward.to_scalar::<f32>().unwrap());
        let mean = drawn.rewards.iter().sum::<f64>() / captions as f64;
        assert!((mean / value - 1.0).abs() < 0.05, "{mean}, expected {value}");
        let expected = expected_reward.backward().unwrap();

        let (mut difference, mut norm) = (0.0, 0.0);
        for var in toy.vars.values() {
            let (found, expected) = (found.get(var).unwrap(), expected.get(var).unwrap());
            let square = |tensor: &Tensor| {
                tensor.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap()
            };
            difference += square(&(found - expected).unwrap());
            norm += square(expected);
        }
        let error = (difference / norm).sqrt();
        assert!(error < 0.1, "{baseline}: {error} of the gradient's norm");
    }
}

/// Cross entropy, then rewards: the captions that are drawn get better, and those of the validation split too.
#[test]
fn rewards_rise() {
    let world = World::new();
    let shape = ["model.hidden_dim=32", "model.embed_dim=32", "model.dropout=0"];
    world.done(&[&shape[..], &["train.epochs=20", "output.dir=start"]].concat());
    for baseline in ["greedy", "mean"] {
        let set = [
            "train.objective=self_critical",
            "train.init=start/best",
            &format!("train.baseline={baseline}"),
            "train.learning_rate=0.005",
            "train.epochs=40",
            "eval.metric=cider_d",
            &format!("output.dir={baseline}"),
        ];
        world.done(&[&shape[..], &set].concat());
        let rows = world.metrics(baseline);
        let all = |key: &str| rows.iter().map(|row| row[key].as_f64().unwrap()).collect::<Vec<_>>();
        let (rewards, scores) = (all("train_reward"), all("val_cider_d"));
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let (first, last) = (mean(&rewards[..5]), mean(&rewards[35..]));
        assert!(last > 1.1 * first, "{baseline}: {rewards:?}");
        assert!(mean(&scores[35..]) > mean(&scores[..5]), "{baseline}: {scores:?}");
        // 40 images in batches of 16
        assert_eq!(rows[39]["step"], 120);
        assert!(rows.iter().all(|row| row.get("train_loss").is_none()));
    }
}

/// A run on another's weights begins where that one ended.
#[test]
fn cross_entropy_can_start_from_a_checkpoint() {
    let world = World::new();
    world.done(&["output.dir=start"]);
    let set = ["train.init=start/last", "train.epochs=1", "train.learning_rate=1e-12"];
    world.done(&[&set[..], &["train.seed=2"]].concat());
    let [before, after] = ["start", "run"]
        .map(|run| world.metrics(run).last().unwrap()["val_loss"].as_f64().unwrap());
    assert!((before - after).abs() < 1e-6, "{before} {after}");
}
