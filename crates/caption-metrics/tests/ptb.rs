//! The tokeniser against the one it equals: CoreNLP's, run by pycocoevalcap (see `golden/ptb.py`).
#![allow(clippy::unwrap_used)] // as in tests themselves

use std::{collections::BTreeMap, fs, io::Write as _, path::Path};

use caption_metrics::ptb::{join, tokenize, tokenize_lines};
use proptest::prelude::*;
use serde::Deserialize;
use sha2::{Digest, Sha256};

#[derive(Deserialize)]
struct Golden {
    /// Lines that the tokeniser was made with, each with its words, which U+0020 parts.
    tuned: Vec<(String, String)>,
    /// The words of the same lines in one file.
    tuned_file: Vec<String>,
    /// Lines that it was not made with.
    untuned: Vec<(String, String)>,
    /// SHA-256 of the words of real captions, by their path in `NIC_TEST_DATA`.
    corpora: BTreeMap<String, String>,
}

fn golden() -> Golden {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/ptb.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn assert_no_disagreements(golden: &[(String, String)]) {
    let disagreements: Vec<_> = golden
        .iter()
        .filter_map(|(line, words)| {
            let ours = tokenize(line).join(" ");
            (ours != *words).then(|| format!("{line}\n  want {words}\n  have {ours}\n"))
        })
        .collect();
    assert!(
        disagreements.is_empty(),
        "{} of {}:\n{}",
        disagreements.len(),
        golden.len(),
        disagreements.concat()
    );
}

#[test]
fn agrees_on_the_awkward_corpus() {
    assert_no_disagreements(&golden().tuned);
}

#[test]
fn agrees_on_the_corpus_it_was_not_tuned_to() {
    let untuned = golden().untuned;
    assert_eq!(untuned.len(), 1000);
    assert_no_disagreements(&untuned);
}

#[test]
fn agrees_on_lines_that_see_the_next() {
    let golden = golden();
    let lines: Vec<String> = golden.tuned.into_iter().map(|(line, _)| line).collect();
    let words: Vec<String> = tokenize_lines(&lines).iter().map(|words| words.join(" ")).collect();
    assert_eq!(words, golden.tuned_file);
}

#[test]
fn the_next_caption_matters_to_the_last_word() {
    let last = |captions: &[&str]| tokenize_lines(captions)[0].last().unwrap().clone();
    assert_eq!(last(&["A sign with a K.", "the end"]), "k.");
    assert_eq!(last(&["A sign with a K.", "The end"]), "k");
    assert_eq!(last(&["A sign with a K.", "", "The end"]), "k");
    assert_eq!(last(&["A sign that says no.", "Five men"]), "no");
    assert_eq!(last(&["A sign that says no.", "5 men"]), "no.");
    assert_eq!(last(&["see how happy they're", "x"]), "'re");
    assert_eq!(last(&["see how happy they're"]), "re");
    assert_eq!(tokenize("see how happy they're").last().unwrap(), "'re");
}

#[test]
fn a_line_end_within_a_caption_is_a_space() {
    let words = tokenize("A man\nis 1\n1/2 old.\r\nThe\u{2028}end");
    assert_eq!(words, ["a", "man", "is", "1\u{a0}1/2", "old", "the", "end"]);
    assert_eq!(tokenize_lines(&["a\nb", "c"]), [vec!["a", "b"], vec!["c"]]);
}

#[test]
fn nothing_comes_of_nothing() {
    for empty in ["", " ", "\n", "...", "\u{ad}", "🐶", "\u{200b}"] {
        assert!(tokenize(empty).is_empty(), "{empty:?}");
    }
    assert!(tokenize_lines::<&str>(&[]).is_empty());
    assert_eq!(tokenize_lines(&["", "a", ""]), [vec![], vec!["a"], vec![]]);
}

#[test]
fn joins_words_as_people_write_them() {
    for text in [
        "a man's dog won't bark and can't bite",
        "they've said they'd rather we didn't",
        "they're gonna go 'cause they wanna; I'm not",
        "we cannot go, y'all: gimme a break, lemme be, it's gotta stop",
        "'tis the rock 'n' roll of the '60s",
        "a sign (in red) reads [no] for $5.50 at 50% off, #1!!",
        "half of 1 1/2 is 3/4, call (555) 123-4567",
        "o'brien's t-shirt and d'you know l'eau d'or",
        "at 5 p.m. mr. smith of the u.s. is at st. john's",
    ] {
        let words = tokenize(text);
        let joined = join(&words);
        assert_eq!(tokenize(&joined), words, "{joined}");
    }
    assert_eq!(
        join(&tokenize("A man's dog can't read (it's a dog): \"gonna\", $5!!")),
        "a man's dog can't read (it's a dog) gonna $5!!"
    );
    assert_eq!(join(&["n't", "'s"]), "n't's");
    assert_eq!(join::<&str>(&[]), "");
}

/// Any text, and text of the characters that the grammar has rules for.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[aAeInTsS09 .,'’/&;:!?@#$%()<>{}\"`_^~=+*|½é\u{301}\u{ad}\u{a0}…—٣日🐶\n\tΣİK\\[\\]\\-\\\\]{0,40}",
    ]
}

proptest! {
    #[test]
    fn any_text_has_words(texts in prop::collection::vec(text(), 1..20)) {
        for text in &texts {
            let words = tokenize(text);
            for word in &words {
                prop_assert!(!word.is_empty() && !word.contains([' ', '\n', '\r', '\u{2028}']), "{word:?}");
            }
            prop_assert_eq!(&words, &tokenize(text));
            prop_assert_eq!(&words, &tokenize_lines(&[text.as_str(), "x"])[0]);
            join(&words);
        }
        prop_assert_eq!(tokenize_lines(&texts).len(), texts.len());
    }
}

#[derive(Deserialize)]
struct Captions {
    #[serde(default)]
    annotations: Vec<Annotation>,
    #[serde(default)]
    images: Vec<Image>,
}

#[derive(Deserialize)]
struct Annotation {
    caption: String,
}

#[derive(Deserialize)]
struct Image {
    #[serde(default)]
    sentences: Vec<Sentence>,
}

#[derive(Deserialize)]
struct Sentence {
    raw: String,
}

fn read_captions(path: &Path) -> Vec<String> {
    let captions: Captions = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let annotations = captions.annotations.into_iter().map(|annotation| annotation.caption);
    let sentences =
        captions.images.into_iter().flat_map(|image| image.sentences).map(|sentence| sentence.raw);
    annotations.chain(sentences).collect()
}

#[test]
fn agrees_on_real_captions() {
    let Some(data) = std::env::var_os("NIC_TEST_DATA") else {
        let _ = writeln!(
            std::io::stderr(),
            "agrees_on_real_captions: skipped, as NIC_TEST_DATA is not set"
        );
        return;
    };
    for (path, digest) in golden().corpora {
        let captions = read_captions(&Path::new(&data).join(&path));
        let lines = tokenize_lines(&captions);
        let mut hash = Sha256::new();
        for words in &lines {
            hash.update(words.join(" "));
            hash.update("\n");
        }
        let ours: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(ours, digest, "{path}");
        for caption in &captions {
            let words = tokenize(caption);
            assert_eq!(tokenize(&join(&words)), words, "{caption}");
        }
    }
}
