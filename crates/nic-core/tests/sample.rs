//! Sampling: its distribution and its seeds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // as in tests themselves

mod common;

use std::collections::HashMap;

use common::toy::{decoder, features, image, next};
use nic_core::{Generate, Greedy, Rules, Sample, Vocab};

const IMAGES: usize = 6;

fn sample(count: usize) -> Sample {
    Sample::new(count).seed(1).rules(Rules::default().max_len(8))
}

#[test]
fn samples_follow_their_seed() {
    let decoder = decoder("lstm", 40, 5);
    let features = features(IMAGES);
    let draw = |seed| sample(5).seed(seed).generate(&decoder, &features).unwrap();
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    for image in draw(1) {
        assert_eq!(image.len(), 5);
        assert!(image.is_sorted_by(|a, b| a.log_prob >= b.log_prob));
        assert!(image.iter().any(|sentence| sentence != &image[0]), "five equal samples");
        let special = [Vocab::PAD, Vocab::START, Vocab::END, Vocab::UNK];
        assert!(image.iter().flat_map(|s| &s.words).all(|word| !special.contains(word)));
    }
}

/// Neither its place in the batch nor the number of sentences changes what is drawn for an image.
#[test]
fn samples_do_not_depend_on_what_is_beside_them() {
    let decoder = decoder("lstm", 40, 5);
    let features = features(IMAGES);
    let all = sample(5).generate(&decoder, &features).unwrap();
    for (row, all) in all.iter().enumerate() {
        let image = image(&features, row);
        assert_eq!(&sample(5).generate(&decoder, &image).unwrap()[0], all);
        for sentence in &sample(2).generate(&decoder, &image).unwrap()[0] {
            assert!(all.contains(sentence), "{sentence:?}");
        }
    }
}

#[test]
fn cold_samples_and_single_choices_are_greedy() {
    let decoder = decoder("lstm", 40, 5);
    let features = features(IMAGES);
    let greedy = Greedy::new(sample(1).rules).generate(&decoder, &features).unwrap();
    let cold = [
        sample(1).temperature(0.0),
        sample(1).temperature(1e-3),
        sample(1).top_k(1),
        sample(1).top_p(1e-6),
        sample(1).top_k(7).top_p(1e-6),
    ];
    for how in cold {
        assert_eq!(how.generate(&decoder, &features).unwrap(), greedy, "{how:?}");
    }
}

/// First words' frequencies against the distribution that the options describe: chi-squared, at a level that 1 of 1000
/// correct programs would fail; the seed is fixed, so that this one never does.
#[test]
fn samples_follow_their_distribution() {
    const DRAWS: usize = 20_000;
    // for 0, 1, 2 ... degrees of freedom
    const LIMITS: [f64; 8] = [1e-9, 10.83, 13.82, 16.27, 18.47, 20.52, 22.46, 24.32];
    let decoder = decoder("lstm", 6, 5);
    let features = features(1);
    let log_probs = next(std::slice::from_ref(&decoder), &features, &[]);
    let rules = Rules::default().max_len(1);
    let draws = || Sample::new(DRAWS).seed(1).rules(rules.clone());
    let cases = [
        draws(),
        draws().temperature(2.5),
        draws().top_k(3).temperature(2.0),
        draws().top_k(100),
        draws().top_p(0.8).temperature(2.0),
        draws().top_p(1.0),
        draws().top_k(5).top_p(0.6).temperature(2.0),
        draws().rules(rules.clone().min_len(1)).temperature(2.0),
        draws().rules(rules.clone().allow_unk()).temperature(2.0),
    ];
    for how in cases {
        let mut counts: HashMap<u32, f64> = HashMap::new();
        for sentence in &how.generate(&decoder, &features).unwrap()[0] {
            let word = sentence.words.first().copied().unwrap_or(Vocab::END);
            *counts.entry(word).or_default() += 1.0;
            assert!((sentence.log_prob - log_probs[word as usize]).abs() < 1e-5);
        }

        let mut expected: Vec<(u32, f64)> = (0..)
            .zip(&log_probs)
            .filter(|(word, _)| match *word {
                Vocab::PAD | Vocab::START => false,
                Vocab::UNK => how.rules.unk,
                Vocab::END => how.rules.min_len == 0,
                _ => true,
            })
            .map(|(word, &p)| (word, (f64::from(p) / how.temperature).exp()))
            .collect();
        let total: f64 = expected.iter().map(|(_, p)| p).sum();
        expected.iter_mut().for_each(|(_, p)| *p /= total);
        expected.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        let reach = |p: f64| {
            let mut sum = 0.0;
            expected
                .iter()
                .take_while(|(_, q)| {
                    let go = sum < p;
                    sum += q;
                    go
                })
                .count()
        };
        let kept = how.top_p.map_or(expected.len(), reach);
        expected.truncate(kept.min(how.top_k.unwrap_or(usize::MAX)));

        let total: f64 = expected.iter().map(|(_, p)| p).sum();
        let drawn: f64 = expected.iter().filter_map(|(word, _)| counts.get(word)).sum();
        assert_eq!(drawn, DRAWS as f64, "words that must not be drawn: {counts:?} {how:?}");
        let chi_squared: f64 = expected
            .iter()
            .map(|(word, p)| {
                let expected = DRAWS as f64 * p / total;
                assert!(expected > 5.0, "too rare for this test");
                (counts.get(word).copied().unwrap_or(0.0) - expected).powi(2) / expected
            })
            .sum();
        assert!(chi_squared < LIMITS[expected.len() - 1], "chi-squared {chi_squared} {how:?}");
    }
}

#[test]
fn samples_keep_to_the_rules() {
    let decoder = decoder("lstm", 12, 5);
    let rules = Rules::default().max_len(12).min_len(4).no_repeat(2);
    let how = Sample::new(50).temperature(3.0).rules(rules);
    for sentence in how.generate(&decoder, &features(IMAGES)).unwrap().iter().flatten() {
        let words = &sentence.words;
        assert!((4..=12).contains(&words.len()));
        let pairs: Vec<&[u32]> = words.windows(2).collect();
        assert!((1..pairs.len()).all(|i| !pairs[..i].contains(&pairs[i])), "{words:?}");
    }
    // no sentence of two different words can be made of one
    let one = common::toy::decoder("lstm", 1, 5);
    let how = Sample::new(5).rules(Rules::default().no_repeat(1).min_len(2));
    assert_eq!(how.generate(&one, &features(2)).unwrap(), [[], []]);
}

#[test]
fn senseless_settings_are_errors() {
    let message = |how: Sample| how.check().unwrap_err().to_string();
    assert!(message(sample(0)).contains("sentences is 0"));
    assert!(message(sample(usize::MAX)).contains("expected 1 to 100000"));
    assert!(message(sample(1).temperature(-1.0)).contains("temperature is -1"));
    assert!(message(sample(1).temperature(f64::NAN)).contains("temperature is NaN"));
    assert!(message(sample(1).top_k(0)).contains("top-k is 0"));
    assert!(message(sample(1).top_p(0.0)).contains("top-p is 0"));
    assert!(message(sample(1).rules(Rules::default().max_len(0))).contains("max_len is 0"));
}
