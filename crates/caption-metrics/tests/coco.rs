//! Against pycocoevalcap on COCO's validation captions, found through `NIC_TEST_DATA`.

#![allow(clippy::unwrap_used)] // as in tests themselves

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;

use caption_metrics::{
    Bleu, Cider, Corpus, Diversity, Metric, References, Results, RougeL, Sentence, ptb,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    /// Of how many images the score of one is kept.
    every: usize,
    scores: HashMap<String, Expected>,
}

#[derive(Deserialize)]
struct Expected {
    corpus: f64,
    images: Vec<f64>,
}

/// `captions_val2017.json`, or none after saying so.
fn captions(test: &str) -> Option<References> {
    let Some(data) = std::env::var_os("NIC_TEST_DATA").map(PathBuf::from) else {
        let _ = writeln!(std::io::stderr(), "{test}: skipped, as NIC_TEST_DATA is not set");
        return None;
    };
    let path = data.join("coco-mini/annotations/captions_val2017.json");
    Some(References::read(&path).unwrap())
}

/// Every image has the first caption of the next for its result, as in `golden/coco.py`.
fn corpus(references: &References) -> Corpus {
    let images = references.images();
    let others = images.iter().cycle().skip(1);
    let results = images.iter().zip(others).map(|((id, _), (_, next))| (*id, next[0].clone()));
    Corpus::new(references, &Results::new("results", results.collect()), ptb::tokenize_part)
        .unwrap()
}

#[test]
fn scores_are_those_of_pycocoevalcap() {
    let Some(references) = captions("scores_are_those_of_pycocoevalcap") else { return };
    let golden: Golden = serde_json::from_str(include_str!("golden/coco.json")).unwrap();
    let corpus = corpus(&references);
    assert_eq!(corpus.images().len(), 5000);
    let metrics: [&dyn Metric; 3] = [&Bleu, &RougeL, &Cider::default()];
    let scores: Vec<_> = metrics.iter().flat_map(|metric| metric.score(&corpus)).collect();
    assert_eq!(scores.len(), golden.scores.len());
    for score in scores {
        let expected = &golden.scores[score.name];
        assert!((score.corpus - expected.corpus).abs() < 1e-9, "{}: {}", score.name, score.corpus);
        let images: Vec<_> = score.images.iter().step_by(golden.every).collect();
        assert_eq!(images.len(), expected.images.len());
        for (found, expected) in images.iter().zip(&expected.images) {
            assert!((*found - expected).abs() < 1e-9, "{}: {found} {expected}", score.name);
        }
    }
}

/// Taken from the references, the results are all in the training set; the counts are by other means.
#[test]
fn diversity_is_what_sets_of_words_say() {
    let Some(references) = captions("diversity_is_what_sets_of_words_say") else { return };
    let corpus = corpus(&references);
    let candidates = || corpus.images().iter().map(|image| &image.candidate);
    let training: Vec<Sentence> =
        corpus.images().iter().flat_map(|image| image.references.clone()).collect();
    let diversity = Diversity::of(candidates(), Some(&training));
    assert_eq!(diversity.in_training, Some(1.0));
    // `1 1/2` is one token and two words
    let text = |candidate| corpus.words().tokens(candidate).collect::<Vec<_>>().join(" ");
    let text = candidates().map(text).collect::<Vec<_>>().join(" ");
    let mut words: Vec<&str> = text.split_whitespace().collect();
    let all = words.len() as f64;
    words.sort_unstable();
    words.dedup();
    assert_eq!(diversity.vocabulary, words.len());
    assert!((diversity.distinct_1 - words.len() as f64 / all).abs() < 1e-12);
    assert!((diversity.mean_length - all / 5000.0).abs() < 1e-12);
}
