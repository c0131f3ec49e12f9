//! METEOR against the jar, with the user's data: `golden/meteor.json` and `golden/meteor_coco.json`, written by
//! `golden/meteor.py`. `NIC_METEOR_DATA` names `pycocoevalcap/meteor` in Python's site-packages.

#![allow(clippy::unwrap_used)] // as in tests themselves

use std::io::Write;
use std::ops::Range;
use std::path::PathBuf;

use caption_metrics::{Corpus, Meteor, Metric, References, Results, Score, ptb};
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
    ptb: Expected,
    split: Expected,
}

#[derive(Deserialize)]
struct Expected {
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

/// The jar has lines as they are.
fn tokens(lines: &[&str], part: Range<usize>) -> Vec<Vec<String>> {
    lines[part].iter().map(|line| line.split(' ').map(String::from).collect()).collect()
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
    let path = data.join("coco-mini/annotations/captions_val2017.json");
    let references = References::read(&path).unwrap();
    let captions: Vec<&String> = references.images().iter().flat_map(|(_, c)| c).collect();
    let ptb = ptb::tokenize_lines(&captions).into_iter();
    let split = captions.iter().map(|caption| caption.to_lowercase());
    let split = split.map(|caption| caption.split_whitespace().map(String::from).collect());

    let meteor = Meteor::load(dir).unwrap();
    for (tokenized, expected) in [(ptb.collect(), golden.ptb), (split.collect(), golden.split)] {
        let score = score(&meteor, &coco(&references, tokenized));
        assert!((score.corpus - expected.corpus).abs() < 1e-12, "{}", score.corpus);
        let images: Vec<_> = score.images.iter().step_by(golden.every).collect();
        assert_eq!((images.len(), expected.images.len()), (1000, 1000));
        for (number, (found, expected)) in images.into_iter().zip(&expected.images).enumerate() {
            assert!((found - expected).abs() < 1e-12, "{number}: {found} {expected}");
        }
    }
}

/// Tokenised captions in the references' order, where every image has the first one of the next for its result.
fn coco(references: &References, tokenized: Vec<Vec<String>>) -> Corpus {
    let mut lines = tokenized.into_iter().map(|tokens| tokens.join(" "));
    let images: Vec<(i64, Vec<String>)> = references
        .images()
        .iter()
        .map(|(id, captions)| (*id, lines.by_ref().take(captions.len()).collect()))
        .collect();
    let others = images.iter().cycle().skip(1);
    let results = images.iter().zip(others).map(|((id, _), (_, next))| (*id, next[0].clone()));
    let results = Results::new("results", results.collect());
    Corpus::new(&References::new("references", images), &results, tokens).unwrap()
}
