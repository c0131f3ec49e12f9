//! METEOR on a little data of our own, in the files' formats: needs no download.

#![allow(clippy::unwrap_used)] // as in tests themselves

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::sync::LazyLock;

use caption_metrics::{Corpus, Meteor, Metric, References, Results, Score};
use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use tempfile::TempDir;
use zip::{ZipWriter, write::SimpleFileOptions};

const ENTRIES: [(&str, &str); 4] = [
    ("function/english.words", "the\nof\n"),
    ("nonbreaking/english.prefixes", "# titles\nMr\n\nNo #NUMERIC_ONLY# \n"),
    (
        "synonym/english.synsets",
        "car\n1 2\nautomobile\n00000001\ncarriage\n2\nmouse\n3\nrodent\n4 3\n",
    ),
    ("synonym/english.exceptions", "mouse\nmice meece\n"),
];
const TABLE: &str =
    "0.5\nin front of\nbefore\n0.1\nin front of\nahead of\n0.2\nglad\nfull of joy\n";

fn write(dir: &Path, entries: &[(&str, &str)], table: &[u8]) {
    let mut jar = ZipWriter::new(File::create(dir.join("meteor-1.5.jar")).unwrap());
    for (name, text) in entries {
        jar.start_file(*name, SimpleFileOptions::default()).unwrap();
        jar.write_all(text.as_bytes()).unwrap();
    }
    jar.finish().unwrap();
    std::fs::create_dir_all(dir.join("data")).unwrap();
    std::fs::write(dir.join("data/paraphrase-en.gz"), table).unwrap();
}

fn gz(text: impl AsRef<[u8]>) -> Vec<u8> {
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    gz.write_all(text.as_ref()).unwrap();
    gz.finish().unwrap()
}

static METEOR: LazyLock<Meteor> = LazyLock::new(|| {
    let dir = TempDir::new().unwrap();
    write(dir.path(), &ENTRIES, &gz(TABLE));
    Meteor::load(dir.path()).unwrap()
});

/// Of images, each its candidate and its references.
fn score<T: AsRef<str>>(images: &[(T, Vec<T>)]) -> Score {
    let (mut all, mut results) = (Vec::new(), Vec::new());
    for (id, (candidate, references)) in (0..).zip(images) {
        all.push((id, references.iter().map(|line| line.as_ref().to_owned()).collect()));
        results.push((id, candidate.as_ref().to_owned()));
    }
    let tokens = |lines: &[&str], part: Range<usize>| -> Vec<Vec<String>> {
        lines[part].iter().map(|line| line.split(' ').map(String::from).collect()).collect()
    };
    let (references, results) =
        (References::new("references", all), Results::new("results", results));
    METEOR.score(&Corpus::new(&references, &results, tokens).unwrap()).remove(0)
}

#[track_caller]
fn check(candidate: &str, reference: &str, expected: f64) {
    let score = score(&[(candidate, vec![reference])]);
    assert!((score.images[0] - expected).abs() < 1e-12, "{}", score.images[0]);
    assert!((score.corpus - expected).abs() < 1e-12, "{}", score.corpus);
}

/// The mean of precision and recall.
fn f(precision: f64, recall: f64) -> f64 {
    1.0 / (0.15 / precision + 0.85 / recall)
}

#[test]
fn words_match_by_form_stem_synonym_and_paraphrase() {
    check("red dog", "red dog", 1.0);
    check("red dogs", "red dog", (1.0 + 0.6) / 2.0);
    check("red automobile", "red car", (1.0 + 0.8) / 2.0);
    check("automobile", "carriage", 0.0);
    check("red automobile", "red cars", (1.0 + 0.8) / 2.0); // by a regular base form
    check("two meece", "two rodent", (1.0 + 0.8) / 2.0); // by an irregular one
    check("glad", "full of joy", 0.6);
    // "of" counts a third of other words
    let (candidate, reference) = (0.75 * 3.0 + 0.25, 0.75 * 2.0);
    let precision = (0.6 * (candidate - 0.75) + 0.75) / candidate;
    check("in front of it", "before it", f(precision, (0.6 * 0.75 + 0.75) / reference));
    check("before it", "in front of it", f((0.6 * 0.75 + 0.75) / reference, precision));
    // the table is read in both directions, and not through a third phrase
    check("ahead of", "before", 0.0);
}

#[test]
fn words_out_of_order_cost() {
    check("dog red", "red dog", 1.0 - 0.6);
    check("red dog barks", "red cat barks", 2.0 / 3.0 * 0.4);
    check("red dog", "red cat", 0.5 * 0.4);
    let penalty = |chunks: f64, matches: f64| 0.6 * (chunks / matches).powf(0.2);
    check("three four one two", "one two three four", 1.0 - penalty(2.0, 4.0));
    check("one two", "one two three four", f(1.0, 0.5) * (1.0 - penalty(1.0, 2.0)));
}

#[test]
fn nothing_has_the_score_0() {
    check("", "red dog", 0.0);
    check("red dog", "", 0.0);
    check("", "", 0.0);
    check("\u{1}", "\u{1}", 0.0);
    check("of", "the", 0.0);
}

#[test]
fn the_best_reference_counts() {
    let score = score(&[("red dog", vec!["blue cat", "a dog red", "red dogs", "dog"])]);
    assert!((score.images[0] - 0.8).abs() < 1e-12);
}

#[test]
fn the_corpus_has_the_score_of_all_counts() {
    let images =
        [("one two", vec!["one two"]), ("one three", vec!["one two"]), ("six", vec!["two"])];
    let score = score(&images);
    assert_eq!(score.images, [1.0, 0.5 * 0.4, 0.0]);
    // three of five words, in a chunk: the perfect sentence brings none
    let expected = 0.6 * (1.0 - 0.6 * (1.0_f64 / 3.0).powf(0.2));
    assert!((score.corpus - expected).abs() < 1e-12, "{}", score.corpus);
}

#[test]
fn abbreviations_keep_their_full_stop() {
    check("Mr. fox", "mr. fox", 1.0);
    check("Fox. He", "fox . he", 1.0);
    // "no ." in the reference, where it is no abbreviation
    check("No. 5", "no. 5", f(1.0 / 2.0, 1.0 / 3.0) * 0.4);
    check("No. Fox", "no . fox", 1.0);
}

#[track_caller]
fn fails(entries: &[(&str, &str)], table: &[u8], expected: &[&str]) {
    let dir = TempDir::new().unwrap();
    write(dir.path(), entries, table);
    let error = Meteor::load(dir.path()).err().unwrap().to_string();
    for part in expected {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn missing_and_damaged_files_are_named() {
    let dir = TempDir::new().unwrap();
    let error = || Meteor::load(dir.path()).err().unwrap().to_string();
    assert!(error().contains("meteor-1.5.jar: No such file"), "{}", error());
    write(dir.path(), &ENTRIES, b"");
    std::fs::remove_file(dir.path().join("data/paraphrase-en.gz")).unwrap();
    assert!(error().contains("paraphrase-en.gz: No such file"), "{}", error());
    std::fs::write(dir.path().join("meteor-1.5.jar"), b"not a jar").unwrap();
    assert!(error().contains("meteor-1.5.jar: not a whole .jar file"), "{}", error());
}

#[test]
fn damage_inside_of_the_jar_is_named() {
    for (at, (name, _)) in ENTRIES.iter().enumerate() {
        let mut entries = ENTRIES.to_vec();
        entries.remove(at);
        fails(&entries, &gz(TABLE), &["meteor-1.5.jar", name]);
    }
    let with = |text: &'static str| [ENTRIES[0], ENTRIES[1], (ENTRIES[2].0, text), ENTRIES[3]];
    fails(&with("car\n1\nbus"), &gz(TABLE), &["english.synsets", "ends after bus"]);
    fails(&with("car\none"), &gz(TABLE), &["english.synsets", "car has one, expected a number"]);
}

#[test]
fn damage_of_the_table_is_named() {
    let whole = gz(TABLE.repeat(1000));
    fails(&ENTRIES, &whole[..whole.len() / 2], &["paraphrase-en.gz: not a whole .gz file"]);
    let mut changed = whole.clone();
    let checksum = changed.len() - 6;
    changed[checksum] ^= 1;
    fails(&ENTRIES, &changed, &["paraphrase-en.gz: not a whole .gz file"]);
    fails(&ENTRIES, TABLE.as_bytes(), &["paraphrase-en.gz: not a whole .gz file"]);
    fails(&ENTRIES, &gz("0.5\nglad\nhappy\nglad\n0.5\nhappy\n"), &["line 4 is not a probability"]);
    fails(&ENTRIES, &gz("0.5\nglad\n\n0.5\n"), &["line 3 is not a phrase"]);
    fails(&ENTRIES, &gz("0.5\nglad\n"), &["line 3 is not a phrase"]);
    fails(&ENTRIES, &gz(b"0.5\nglad\n\xff\n"), &["paraphrase-en.gz: not UTF-8 text"]);
}

/// Any text, and sentences in which words come again and phrases overlap.
fn caption() -> impl Strategy<Value = String> {
    let words =
        ["the", "of", "in", "front", "before", "ahead", "glad", "full", "joy", "car", "cars"];
    let more = ["automobile", "carriages", "mice", "rodents", "Mr.", "No.", "5", "'s", "--", "..."];
    let word = prop::sample::select([words.as_slice(), &more].concat());
    let sentence = prop::collection::vec(word, 0..30).prop_map(|words| words.join(" "));
    prop_oneof![any::<String>(), "[ab.,'’`“”–| -]{0,30}", sentence]
}

proptest! {
    #[test]
    fn scores_are_between_0_and_1(
        images in prop::collection::vec((caption(), prop::collection::vec(caption(), 1..4)), 1..8)
    ) {
        let score = score(&images);
        for value in score.images.into_iter().chain([score.corpus]) {
            prop_assert!((0.0..=1.0).contains(&value), "{}", value);
        }
    }

    #[test]
    fn a_caption_that_people_wrote_is_perfect(one in caption(), other in caption()) {
        // of what pycocoevalcap replaces in candidates, and not in references
        let one = one.replace('|', "").split(' ').filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" ");
        let image = (one.clone(), vec![other, one.clone()]);
        let alone = score(&[(one.clone(), vec![one])]).images[0];
        prop_assert!(alone == 0.0 || (alone - 1.0).abs() < 1e-12, "{}", alone);
        prop_assert!(score(&[image]).images[0] >= alone);
    }

    #[test]
    fn the_order_of_images_changes_no_score(
        mut images in prop::collection::vec((caption(), prop::collection::vec(caption(), 1..4)), 1..8)
    ) {
        let mut there = score(&images);
        images.reverse();
        let back = score(&images);
        there.images.reverse();
        prop_assert_eq!(there, back);
    }
}
