//! Beam search against exhaustive enumeration, and against its definition.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // as in tests themselves

mod common;

use candle_core::{Device, Tensor};
use common::toy::{assert_same, decoder, define, enumerate, features, image, next};
use nic_core::{BeamSearch, Generate, Greedy, Hypothesis, LengthNorm, Rules, Vocab};

const IMAGES: usize = 4;

fn up_to(max_len: usize) -> Rules {
    Rules::default().max_len(max_len)
}

/// Every rule alone, and together.
fn rules(max_len: usize) -> Vec<Rules> {
    let plain = || up_to(max_len);
    vec![
        plain(),
        plain().allow_unk(),
        plain().min_len(1),
        plain().min_len(max_len),
        plain().no_repeat(1),
        plain().no_repeat(2),
        plain().no_repeat(3),
        plain().min_len(2).no_repeat(2).allow_unk(),
    ]
}

const NORMS: [LengthNorm; 4] =
    [LengthNorm::None, LengthNorm::Mean, LengthNorm::Wu(0.6), LengthNorm::Wu(2.0)];

/// A beam that drops nothing finds all there is, whatever the options.
#[test]
fn a_wide_beam_equals_brute_force() {
    let features = features(IMAGES);
    for variant in ["lstm", "rnn"] {
        let decoder = decoder(variant, 3, 5);
        for rules in rules(4) {
            for norm in NORMS {
                // four words and <unk> make up to 4^3 * 5 sentences longer by one
                let search = BeamSearch::new(341).rules(rules.clone()).length_norm(norm);
                let found = search.generate(&decoder, &features).unwrap();
                for (row, found) in found.iter().enumerate() {
                    let image = image(&features, row);
                    let expected = enumerate(&search, std::slice::from_ref(&decoder), &image);
                    assert!(rules != up_to(4) || expected.len() == 1 + 3 + 9 + 27 + 81);
                    assert_same(found, &expected, &format!("{variant} {search:?}"));
                }
            }
        }
    }
}

/// The search gives up early without missing what it would have found, and `best` changes nothing but the number.
#[test]
fn a_narrow_beam_follows_its_definition() {
    let features = features(IMAGES);
    let decoder = decoder("lstm", 8, 5);
    let (mut ended, mut cut) = (0, 0);
    for rules in rules(5) {
        for norm in NORMS {
            for width in [1, 2, 3, 5] {
                let search = BeamSearch::new(width).rules(rules.clone()).length_norm(norm);
                let found = search.generate(&decoder, &features).unwrap();
                for best in 1..=width {
                    let fewer = search.clone().best(best).generate(&decoder, &features).unwrap();
                    for (fewer, found) in fewer.iter().zip(&found) {
                        assert_eq!(fewer[..], found[..best.min(found.len())], "{search:?}");
                    }
                }
                for (row, found) in found.iter().enumerate() {
                    let image = image(&features, row);
                    let expected = define(&search, std::slice::from_ref(&decoder), &image);
                    assert_same(found, &expected, &format!("{search:?}"));
                    let (short, long): (Vec<_>, Vec<_>) =
                        found.iter().partition(|sentence| sentence.words.len() < 5);
                    (ended, cut) = (ended + short.len(), cut + long.len());
                }
            }
        }
    }
    assert!(ended > 100 && cut > 100, "{ended} ended and {cut} cut");
}

#[test]
fn a_beam_of_one_is_greedy() {
    let features = features(IMAGES);
    for variant in ["lstm", "rnn"] {
        let decoder = decoder(variant, 40, 5);
        for rules in [up_to(1), up_to(3), up_to(12), up_to(12).no_repeat(1), up_to(9).min_len(9)] {
            let greedy = Greedy::new(rules.clone()).generate(&decoder, &features).unwrap();
            let beam = BeamSearch::new(1).rules(rules.clone());
            assert_eq!(greedy, beam.generate(&decoder, &features).unwrap());
            for (row, greedy) in greedy.iter().enumerate() {
                let image = image(&features, row);
                let mut expected = Hypothesis { words: Vec::new(), log_prob: 0.0 };
                while expected.words.len() < rules.max_len {
                    let words = &expected.words;
                    let repeats = |word| rules.no_repeat == Some(1) && words.contains(&word);
                    let early = |word| word == Vocab::END && words.len() < rules.min_len;
                    let (word, p) = (0..)
                        .zip(next(std::slice::from_ref(&decoder), &image, words))
                        .filter(|&(word, _)| word == Vocab::END || word > Vocab::UNK)
                        .filter(|&(word, _)| !repeats(word) && !early(word))
                        .max_by(|(_, a), (_, b)| a.total_cmp(b))
                        .unwrap();
                    expected.log_prob += p;
                    if word == Vocab::END {
                        break;
                    }
                    expected.words.push(word);
                }
                assert_same(greedy, &[expected], &format!("{rules:?}"));
            }
        }
    }
}

#[test]
fn diverse_groups_follow_their_definition() {
    let features = features(IMAGES);
    let decoder = decoder("lstm", 8, 5);
    let mut differ = false;
    for rules in [up_to(5), up_to(5).no_repeat(2).min_len(2)] {
        for norm in [LengthNorm::None, LengthNorm::Mean] {
            for (width, groups) in [(2, 2), (4, 2), (6, 3)] {
                for diversity in [0.0, 0.3, 2.0, 50.0] {
                    let search = BeamSearch::new(width).rules(rules.clone()).length_norm(norm);
                    let plain = search.generate(&decoder, &features).unwrap();
                    let search = search.groups(groups, diversity);
                    let found = search.generate(&decoder, &features).unwrap();
                    differ |= found != plain;
                    for (row, found) in found.iter().enumerate() {
                        let image = image(&features, row);
                        let expected = define(&search, std::slice::from_ref(&decoder), &image);
                        assert_same(found, &expected, &format!("{search:?}"));
                    }
                }
            }
        }
    }
    assert!(differ, "diversity had no effect");
}

#[test]
fn one_group_is_beam_search_and_indifferent_groups_each_are() {
    let features = features(IMAGES);
    let decoder = decoder("lstm", 8, 5);
    for norm in NORMS {
        let search = |width| BeamSearch::new(width).rules(up_to(6)).length_norm(norm);
        let plain = |width| search(width).generate(&decoder, &features).unwrap();
        let one = search(3).groups(1, 0.7).generate(&decoder, &features).unwrap();
        assert_eq!(one, plain(3));
        // all groups find the same, which is there once
        for groups in [2, 3] {
            let same = search(3 * groups).groups(groups, 0.0);
            assert_eq!(same.generate(&decoder, &features).unwrap(), plain(3));
        }
    }
}

/// Groups that must differ at any price begin differently.
#[test]
fn diverse_groups_differ() {
    let features = features(IMAGES);
    let search = BeamSearch::new(4).rules(up_to(6).min_len(1)).groups(4, 1000.0);
    for sentences in search.generate(&decoder("lstm", 8, 5), &features).unwrap() {
        let mut first: Vec<u32> = sentences.iter().map(|sentence| sentence.words[0]).collect();
        first.sort();
        first.dedup();
        assert_eq!(first.len(), 4);
    }
}

#[test]
fn an_ensemble_takes_the_mean_of_probabilities() {
    let features = features(IMAGES);
    // other shapes, the same words
    let members = [decoder("lstm", 8, 5), decoder("rnn", 8, 6), decoder("lstm-plain", 8, 7)];
    for width in [1, 3] {
        let search = BeamSearch::new(width).rules(up_to(5));
        let found = search.ensemble(&members, &features).unwrap();
        for (row, found) in found.iter().enumerate() {
            let expected = define(&search, &members, &image(&features, row));
            assert_same(found, &expected, &format!("{search:?}"));
        }
        let alone = search.generate(&members[0], &features).unwrap();
        assert_ne!(found, alone);
        let twice = [members[0].clone(), members[0].clone()];
        assert_eq!(search.ensemble(&twice, &features).unwrap(), alone);
    }
}

/// A beam wider than there are words, and than there are sentences; sentences that no word may follow are dropped.
#[test]
fn a_beam_gives_what_there_is() {
    let few = |words, search: BeamSearch| {
        let decoder = decoder("lstm", words, 5);
        let sentences = search.generate(&decoder, &features(1)).unwrap().swap_remove(0);
        sentences.into_iter().map(|sentence| sentence.words).collect::<Vec<_>>()
    };
    // "", "w", "w w" cut
    assert_eq!(few(1, BeamSearch::new(50).rules(up_to(2))).len(), 3);
    assert_eq!(few(0, BeamSearch::new(2).rules(up_to(2))), [Vec::<u32>::new()]);
    // "w" cannot go on
    assert!(few(1, BeamSearch::new(3).rules(up_to(4).no_repeat(1).min_len(2))).is_empty());
}

#[test]
fn senseless_settings_are_errors() {
    let message = |search: BeamSearch| search.check().unwrap_err().to_string();
    assert!(message(BeamSearch::new(0)).contains("width is 0"));
    assert!(message(BeamSearch::new(usize::MAX)).contains("expected 1 to 1000"));
    assert!(message(BeamSearch::new(1).rules(up_to(100_000))).contains("expected 1 to 1000"));
    assert!(message(BeamSearch::new(2).best(0)).contains("sentences is 0"));
    assert!(message(BeamSearch::new(2).best(3)).contains("3, expected at most 2"));
    assert!(message(BeamSearch::new(2).groups(0, 0.0)).contains("groups is 0"));
    assert!(message(BeamSearch::new(4).groups(3, 0.0)).contains("multiple of 3"));
    assert!(message(BeamSearch::new(4).groups(2, -1.0)).contains("diversity is -1"));
    assert!(message(BeamSearch::new(4).groups(2, f32::NAN)).contains("diversity is NaN"));
    assert!(message(BeamSearch::new(4).length_norm(LengthNorm::Wu(-0.1))).contains("-0.1"));
    assert!(message(BeamSearch::new(1).rules(up_to(0))).contains("max_len is 0"));
    assert!(message(BeamSearch::new(1).rules(up_to(3).min_len(4))).contains("min_len is 4"));
    assert!(message(BeamSearch::new(1).rules(up_to(3).no_repeat(0))).contains("no_repeat is 0"));

    let features = features(2);
    let error = |decoders: &[nic_core::Decoder], features: &Tensor| {
        BeamSearch::new(3).ensemble(decoders, features).unwrap_err().to_string()
    };
    let (three, four) = (decoder("lstm", 3, 5), decoder("lstm", 4, 5));
    assert!(error(&[], &features).contains("no decoders"));
    assert!(error(&[three.clone(), four], &features).contains("[7, 8]"));
    let narrow = Tensor::ones((2, 11), candle_core::DType::F32, &Device::Cpu).unwrap();
    let message = error(std::slice::from_ref(&three), &narrow);
    assert!(message.contains("[2, 11]") && message.contains("12"), "{message}");
    let nan = Tensor::full(f32::NAN, (2, 12), &Device::Cpu).unwrap();
    assert!(error(std::slice::from_ref(&three), &nan).contains("not finite"));
    assert!(error(&[three.clone(), three], &nan).contains("not finite"));
}
