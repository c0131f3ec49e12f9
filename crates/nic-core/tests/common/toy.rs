//! Small decoders with clear opinions, and the search written down plainly.

use std::collections::{HashMap, HashSet};

use candle_core::{D, DType, Device, Tensor};
use candle_nn::VarBuilder;
use nic_core::{BeamSearch, Decoder, DecoderConfig, Hypothesis, LengthNorm, Rules, Vocab};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::golden_config;

/// A decoder of `words` words beside the special ones.
pub fn decoder(variant: &str, words: usize, seed: u64) -> Decoder {
    with_config(&DecoderConfig { vocab_size: 4 + words, ..golden_config(variant) }, seed)
}

/// Weights four times as large as fresh ones, and END likely enough that some sentences end and some are cut.
pub fn with_config(config: &DecoderConfig, seed: u64) -> Decoder {
    let weights = config.init(&mut ChaCha8Rng::seed_from_u64(seed)).unwrap();
    let mut tensors: HashMap<String, Tensor> =
        weights.into_iter().map(|(name, tensor)| (name, (tensor * 4.0).unwrap())).collect();
    let mut bias = tensors["output.bias"].to_vec1::<f32>().unwrap();
    bias[Vocab::END as usize] += 3.0;
    tensors.insert("output.bias".into(), Tensor::new(bias, &Device::Cpu).unwrap());
    Decoder::new(config, VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu)).unwrap()
}

pub fn features(images: usize) -> Tensor {
    let values = Tensor::arange(0f32, (images * 12) as f32, &Device::Cpu).unwrap();
    values.sin().unwrap().reshape((images, 12)).unwrap()
}

pub fn image(features: &Tensor, row: usize) -> Tensor {
    features.narrow(0, row, 1).unwrap()
}

/// ln of the mean probability of each word after `words`, from the beginning, a step at a time.
pub fn next(decoders: &[Decoder], image: &Tensor, words: &[u32]) -> Vec<f32> {
    let member = |decoder: &Decoder| {
        let mut state = decoder.start(image).unwrap();
        let mut logits = None;
        for word in [&[Vocab::START], words].concat() {
            let word = Tensor::new(&[word], &Device::Cpu).unwrap();
            let (l, s) = decoder.step(&state, &word).unwrap();
            (logits, state) = (Some(l), s);
        }
        let log_probs = candle_nn::ops::log_softmax(&logits.unwrap(), D::Minus1).unwrap();
        log_probs.squeeze(0).unwrap().to_vec1::<f32>().unwrap()
    };
    let members: Vec<Vec<f32>> = decoders.iter().map(member).collect();
    if let [one] = members.as_slice() {
        return one.clone();
    }
    let mean = |word: usize| {
        let sum: f64 = members.iter().map(|member| f64::from(member[word]).exp()).sum();
        (sum / members.len() as f64).ln() as f32
    };
    (0..members[0].len()).map(mean).collect()
}

/// Whether the rules allow what is written so far, from the words alone.
pub fn allowed(rules: &Rules, words: &[u32]) -> bool {
    let unk = rules.unk || !words.contains(&Vocab::UNK);
    let repeats = rules.no_repeat.is_some_and(|n| {
        let mut seen = HashSet::new();
        !words.windows(n).all(|window| seen.insert(window))
    });
    unk && !repeats && !words.contains(&Vocab::PAD) && !words.contains(&Vocab::START)
}

/// What a finished sentence, or one cut at `max_len`, is worth.
pub fn worth(search: &BeamSearch, sentence: &Hypothesis) -> f32 {
    let cut = sentence.words.len() == search.rules.max_len;
    let tokens = sentence.words.len() as f32 + if cut { 0.0 } else { 1.0 };
    match search.length_norm {
        LengthNorm::None => sentence.log_prob,
        LengthNorm::Mean => sentence.log_prob / tokens,
        LengthNorm::Wu(alpha) => sentence.log_prob / ((5.0 + tokens) / 6.0).powf(alpha),
    }
}

/// Every sentence that the rules allow, the best first.
pub fn enumerate(search: &BeamSearch, decoders: &[Decoder], image: &Tensor) -> Vec<Hypothesis> {
    let rules = &search.rules;
    let mut open = vec![Hypothesis { words: Vec::new(), log_prob: 0.0 }];
    let mut all = Vec::new();
    while let Some(Hypothesis { words, log_prob }) = open.pop() {
        if words.len() == rules.max_len {
            all.push(Hypothesis { words, log_prob });
            continue;
        }
        for (word, p) in (0..).zip(next(decoders, image, &words)) {
            let longer = [words.as_slice(), &[word]].concat();
            let log_prob = log_prob + p;
            if word != Vocab::END && allowed(rules, &longer) {
                open.push(Hypothesis { words: longer, log_prob });
            } else if word == Vocab::END && words.len() >= rules.min_len {
                all.push(Hypothesis { words: words.clone(), log_prob });
            }
        }
    }
    all.sort_by(|a, b| worth(search, b).total_cmp(&worth(search, a)));
    all
}

/// [`BeamSearch`] as it is defined: one image, no states kept, nothing given up before `max_len`; but that a group of
/// several ends early is part of the definition.
pub fn define(search: &BeamSearch, decoders: &[Decoder], image: &Tensor) -> Vec<Hypothesis> {
    #[derive(Clone)]
    struct Scored(Hypothesis, f32);
    let BeamSearch { width, groups, rules, diversity, .. } = search;
    let width = width / groups;
    let worth_of = |Scored(sentence, score): &Scored| {
        worth(search, &Hypothesis { words: sentence.words.clone(), log_prob: *score })
    };
    let nothing = Scored(Hypothesis { words: Vec::new(), log_prob: 0.0 }, 0.0);
    let mut live = vec![vec![nothing]; *groups];
    let mut pools = vec![Vec::<Scored>::new(); *groups];
    for _ in 0..rules.max_len {
        let mut taken: Vec<u32> = Vec::new();
        for (live, pool) in live.iter_mut().zip(&mut pools) {
            let mut longer = Vec::new();
            for Scored(sentence, score) in live.iter() {
                for (word, p) in (0..).zip(next(decoders, image, &sentence.words)) {
                    let words = [sentence.words.as_slice(), &[word]].concat();
                    let fits = match word {
                        Vocab::END => sentence.words.len() >= rules.min_len,
                        _ => allowed(rules, &words),
                    };
                    if fits {
                        let times = taken.iter().filter(|taken| **taken == word).count() as f32;
                        let log_prob = sentence.log_prob + p;
                        let score = score + p - diversity * times;
                        longer.push(Scored(Hypothesis { words, log_prob }, score));
                    }
                }
            }
            longer.sort_by(|a, b| b.1.total_cmp(&a.1));
            longer.truncate(width);
            taken.extend(longer.iter().filter_map(|Scored(sentence, _)| sentence.words.last()));
            let ended: Vec<Scored>;
            (ended, *live) = longer
                .into_iter()
                .partition(|Scored(sentence, _)| sentence.words.last() == Some(&Vocab::END));
            pool.extend(ended.into_iter().map(|mut scored| {
                scored.0.words.pop();
                scored
            }));
            pool.sort_by(|a, b| worth_of(b).total_cmp(&worth_of(a)));
            pool.truncate(width);
            if *groups > 1 && pool.len() == width {
                let longest = Hypothesis { words: vec![9; rules.max_len], log_prob: 0.0 };
                let bound =
                    |score| worth(search, &Hypothesis { log_prob: score, ..longest.clone() });
                if live.iter().all(|Scored(_, score)| bound(*score) <= worth_of(&pool[width - 1])) {
                    live.clear();
                }
            }
        }
    }
    let mut all = Vec::new();
    for (mut pool, live) in pools.into_iter().zip(live) {
        pool.extend(live);
        pool.sort_by(|a, b| worth_of(b).total_cmp(&worth_of(a)));
        pool.truncate(width);
        all.extend(pool.into_iter().map(|Scored(sentence, _)| sentence));
    }
    all.sort_by(|a, b| worth(search, b).total_cmp(&worth(search, a)));
    let mut seen = HashSet::new();
    all.retain(|sentence| seen.insert(sentence.words.clone()));
    all.truncate(search.best);
    all
}

pub fn assert_same(found: &[Hypothesis], expected: &[Hypothesis], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        let same = (found.log_prob - expected.log_prob).abs() < 1e-4;
        assert!(same, "{found:?}, expected {expected:?}: {what}");
        assert_eq!(found.words, expected.words, "{what}");
    }
}
