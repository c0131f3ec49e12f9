//! METEOR against the jar, with the user's data: `golden/meteor.json` and `golden/meteor_coco.json`, written by
//! `golden/meteor.py`. `NIC_METEOR_DATA` names `pycocoevalcap/meteor` in Python's site-packages.

#![allow(clippy::unwrap_used)] // as in tests themselves

use std::io::Write;
use std::path::PathBuf;

use caption_metrics::{Corpus, Meteor, Metric, References, Results, Score};
use serde::Deserialize;

#[derive(Deserialize)]
struct Written {
    corpus: f64,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    candidate: String,
    references: Vec<String>,
    score: f64,
}

#[derive(Deserialize)]
struct Coco {
    every: usize,
    corpus: f64,
    images: Vec<f64>,
}

/// What a variable names, or none after saying so.
fn variable(test: &str, name: &str) -> Option<PathBuf> {
    let path = std::env::var_os(name).map(PathBuf::from);
    if path.is_none() {
        let _ = writeln!(std::io::stderr(), "{test}: skipped, as {name} is not set");
    }
    path
}

fn score(meteor: &Meteor, corpus: &Corpus) -> Score {
    let [score] = <[Score; 1]>::try_from(meteor.score(corpus)).unwrap();
    assert_eq!(score.name, "meteor");
    score
}

#[test]
fn scores_of_our_sentences_are_the_jars() {
    let Some(dir) = variable("scores_of_our_sentences_are_the_jars", "NIC_METEOR_DATA") else {
        return;
    };
    let golden: Written = serde_json::from_str(include_str!("golden/meteor.json")).unwrap();
    assert!(golden.cases.len() > 350);
    let (mut references, mut results) = (Vec::new(), Vec::new());
    for (id, case) in (0..).zip(&golden.cases) {
        references.push((id, case.references.clone()));
        results.push((id, case.candidate.clone()));
    }
    let (references, results) =
        (References::new("references", references), Results::new("results", results));
    // the jar had them as they are
    let tokens = |line: &str| line.split(' ').map(String::from).collect();
    let corpus = Corpus::new(&references, &results, tokens).unwrap();
    let score = score(&Meteor::load(dir).unwrap(), &corpus);
    assert!((score.corpus - golden.corpus).abs() < 1e-12, "{} {}", score.corpus, golden.corpus);
    assert_eq!(score.images.len(), golden.cases.len());
    for (found, case) in score.images.iter().zip(&golden.cases) {
        let Case { candidate, references, score } = case;
        assert!((found - score).abs() < 1e-12, "{found} {score}: {candidate:?} {references:?}");
    }
}

#[test]
fn scores_of_cocos_captions_are_the_jars() {
    let test = "scores_of_cocos_captions_are_the_jars";
    let Some(dir) = variable(test, "NIC_METEOR_DATA") else { return };
    let Some(data) = variable(test, "NIC_TEST_DATA") else { return };
    let golden: Coco = serde_json::from_str(include_str!("golden/meteor_coco.json")).unwrap();
    let captions = data.join("coco-mini/annotations/captions_val2017.json");
    let references = References::read(&captions).unwrap();
    let images = references.images();
    let others = images.iter().cycle().skip(1);
    let results = images.iter().zip(others).map(|((id, _), (_, next))| (*id, next[0].clone()));
    let results = Results::new("results", results.collect());
    // METEOR's own tokenisation has the more to do
    let tokens = |line: &str| line.to_lowercase().split_whitespace().map(String::from).collect();
    let corpus = Corpus::new(&references, &results, tokens).unwrap();
    let score = score(&Meteor::load(dir).unwrap(), &corpus);
    assert!((score.corpus - golden.corpus).abs() < 1e-12, "{} {}", score.corpus, golden.corpus);
    let images: Vec<_> = score.images.iter().step_by(golden.every).collect();
    assert_eq!((images.len(), golden.images.len()), (1000, 1000));
    for (number, (found, expected)) in images.into_iter().zip(&golden.images).enumerate() {
        assert!((found - expected).abs() < 1e-12, "{number}: {found} {expected}");
    }
}
