//! Every score against pycocoevalcap's: `golden/scores.json`, written by `golden/scores.py`.

#![allow(clippy::unwrap_used)] // as in tests themselves

use std::collections::BTreeMap;
use std::ops::Range;

use caption_metrics::{
    Bleu, Cider, CiderScorer, Corpus, DocumentFrequency, Metric, References, Results, RougeL,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    images: Vec<Captions>,
    /// The references of another corpus, which the document frequencies are taken from.
    others: Option<Vec<Vec<String>>>,
    scores: BTreeMap<String, Expected>,
}

#[derive(Deserialize)]
struct Captions {
    candidate: String,
    references: Vec<String>,
}

#[derive(Deserialize)]
struct Expected {
    corpus: f64,
    images: Vec<f64>,
}

/// The captions are tokenised already.
fn tokens(captions: &[&str], part: Range<usize>) -> Vec<Vec<String>> {
    let tokens = |c: &&str| c.split(' ').filter(|t| !t.is_empty()).map(String::from).collect();
    captions[part].iter().map(tokens).collect()
}

fn cases() -> Vec<Case> {
    let cases: Vec<Case> = serde_json::from_str(include_str!("golden/scores.json")).unwrap();
    assert!(cases.len() > 40);
    cases
}

impl Case {
    fn corpus(&self) -> Corpus {
        let images = self.images.iter().zip(0..);
        let references = images.clone().map(|(image, id)| (id, image.references.clone()));
        let results = images.map(|(image, id)| (id, image.candidate.clone()));
        let references = References::new("references", references.collect());
        Corpus::new(&references, &Results::new("results", results.collect()), tokens).unwrap()
    }

    fn frequencies(&self, corpus: &mut Corpus) -> Option<DocumentFrequency> {
        let others = self.others.clone()?.into_iter().enumerate();
        let others = References::new("others", others.map(|(id, o)| (id as i64, o)).collect());
        let others = corpus.intern(&others, tokens);
        Some(DocumentFrequency::of(others.iter().map(Vec::as_slice)))
    }
}

#[test]
fn scores_are_those_of_pycocoevalcap() {
    for case in cases() {
        let mut corpus = case.corpus();
        let cider = Cider { frequencies: case.frequencies(&mut corpus) };
        let metrics: [&dyn Metric; 3] = [&Bleu, &RougeL, &cider];
        let scores: Vec<_> = metrics.iter().flat_map(|metric| metric.score(&corpus)).collect();
        assert_eq!(scores.len(), case.scores.len());
        for score in scores {
            let place = format!("{}: {}", case.name, score.name);
            let expected = &case.scores[score.name];
            assert!((score.corpus - expected.corpus).abs() < 1e-9, "{place}: {}", score.corpus);
            assert_eq!(score.images.len(), expected.images.len(), "{place}");
            for (number, (found, expected)) in score.images.iter().zip(&expected.images).enumerate()
            {
                assert!((found - expected).abs() < 1e-9, "{place} of {number}: {found} {expected}");
            }
        }
    }
}

/// What a training loop calls: ids alone, any number of captions an image.
#[test]
fn a_scorer_of_ids_gives_the_same() {
    for case in cases() {
        let mut corpus = case.corpus();
        let frequencies = case.frequencies(&mut corpus);
        let references = || corpus.images().iter().map(|image| &image.references[..]);
        let scorer = match frequencies {
            Some(frequencies) => CiderScorer::with_frequencies(references(), frequencies),
            None => CiderScorer::new(references()),
        };
        for (at, image) in corpus.images().iter().enumerate() {
            for _ in 0..2 {
                let found = scorer.cider_d(at, image.candidate.words());
                assert!((found - case.scores["cider_d"].images[at]).abs() < 1e-9, "{}", case.name);
                let found = scorer.cider(at, image.candidate.words());
                assert!((found - case.scores["cider"].images[at]).abs() < 1e-9, "{}", case.name);
            }
        }
    }
}

#[test]
fn scores_are_the_same_bits_on_any_number_of_threads() {
    let scores = |threads: usize, corpus: &Corpus| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let metrics: [&dyn Metric; 3] = [&Bleu, &RougeL, &Cider::default()];
            metrics.map(|metric| metric.score(corpus))
        })
    };
    for case in cases() {
        let corpus = case.corpus();
        assert_eq!(scores(1, &corpus), scores(3, &corpus), "{}", case.name);
    }
}
