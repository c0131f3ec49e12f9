//! METEOR 1.5 (Denkowski and Lavie 2014, "Meteor Universal"), as coco-caption runs it: `-l en -norm`, over stdio.

mod alignment;
mod jar;
mod lexicon;
mod matches;
mod normalizer;
mod paraphrases;
mod statistics;
mod wordnet;

use std::path::Path;

use rayon::prelude::*;
use rustc_hash::FxHashSet;

use crate::{Corpus, Metric, Result, Score, Words};

use self::alignment::align;
use self::jar::Jar;
use self::lexicon::Lexicon;
use self::matches::Matches;
use self::normalizer::Normalizer;
use self::paraphrases::Table;
use self::statistics::Statistics;
use self::wordnet::WordNet;

/// METEOR 1.5 for English: words are matched by form, stem, synonym and paraphrase; a caption has the score
/// F (1 - γ (chunks / matches)^β), F = PR / (αP + (1 - α)R), with the reference that gives the most. Scores are the Java
/// program's to 1e-12, of a corpus and of each image.
///
/// P and R are the matched shares of the caption's words and of the reference's. A match counts 1, .6, .8 or .6 by its
/// kind, a content word δ, a function word 1 - δ; chunks are runs of matches in one order. α = .85, β = .2, γ = .6,
/// δ = .75. The corpus has the score of all images' counts together, which is not the mean of their scores.
///
/// # Quirks
/// Which of the possible matches are made is a search, and this one's choices are those of the Java program:
///
/// - 40 paths go on from a word to the next; a match that is not exact counts half its words there, rounded down, so
///   that a stem or synonym counts nothing; and a match's distance is added to the paths without it.
/// - Words are the same if their 32-bit `hashCode` is.
/// - A caption is tokenised once more: "man-made" is two words, "a.m." is "am", but of "a,b,c" one comma is cut off.
/// - A caption matched whole and in order adds no chunk to the corpus, and `|||` parts a reference into two.
///
/// # Data
/// WordNet's synsets and the paraphrase table are not part of this crate: [`Meteor::load`] reads them from files that
/// Python's package brings. Java is not needed.
pub struct Meteor {
    normalizer: Normalizer,
    function_words: FxHashSet<Box<str>>,
    wordnet: WordNet,
    paraphrases: Table,
}

impl Meteor {
    /// Reads METEOR's data from `dir`, which holds `meteor-1.5.jar` and `data/paraphrase-en.gz` as the directory
    /// `pycocoevalcap/meteor` in Python's site-packages does.
    ///
    /// The table's five million entries take about a second and 100 MB of memory; [`Meteor::score`](Metric::score)
    /// looks only at those made of the corpus' words. Whoever scores often loads once.
    ///
    /// # Errors
    /// Name the file that is missing or damaged.
    pub fn load(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        let mut jar = Jar::open(&dir.join("meteor-1.5.jar"))?;
        Ok(Self {
            normalizer: jar.read("nonbreaking/english.prefixes", |t| Ok(Normalizer::new(t)))?,
            function_words: jar
                .read("function/english.words", |t| Ok(t.lines().map(Into::into).collect()))?,
            wordnet: WordNet::new(
                jar.read("synonym/english.synsets", WordNet::synsets)?,
                jar.read("synonym/english.exceptions", WordNet::bases)?,
            ),
            paraphrases: Table::load(&dir.join("data/paraphrase-en.gz"))?,
        })
    }

    /// Of each image, the counts with the reference that gives the best score; with the first of several.
    fn statistics(&self, corpus: &Corpus) -> Vec<Statistics> {
        let (words, images) = self.normalize(corpus);
        let lexicon = Lexicon::new(words, &self.wordnet, &self.function_words);
        let paraphrases = self.paraphrases.among(lexicon.words());
        let compare = |candidate: &[u32], reference: &[u32]| {
            let matches = Matches::find(candidate, reference, &lexicon, &paraphrases);
            let made = align(&matches);
            Statistics::new(&lexicon.entries(candidate), &lexicon.entries(reference), &made)
        };
        images
            .par_iter()
            .map(|Image { candidate, references }| {
                let all = references.iter().map(|reference| compare(candidate, reference));
                all.reduce(|best, next| if next.score() > best.score() { next } else { best })
                    .unwrap_or_default()
            })
            .collect()
    }

    /// The captions in METEOR's words.
    fn normalize(&self, corpus: &Corpus) -> (Words, Vec<Image>) {
        let normalized: Vec<(Vec<String>, Vec<Vec<String>>)> = corpus
            .images()
            .par_iter()
            .map(|image| {
                let line = |sentence| corpus.words().tokens(sentence).collect::<Vec<_>>().join(" ");
                // as pycocoevalcap hands them over, in a line between |||
                let candidate = line(&image.candidate).replace("|||", "").replace("  ", " ");
                let references: Vec<_> = image.references.iter().map(line).collect();
                let references = references.iter().flat_map(|line| line.split("|||"));
                let references = references.map(|line| self.normalizer.words(line)).collect();
                (self.normalizer.words(&candidate), references)
            })
            .collect();
        let mut words = Words::default();
        let mut ids = |sentence: Vec<String>| -> Vec<u32> {
            sentence.iter().map(|word| words.intern(word)).collect()
        };
        let images = normalized
            .into_iter()
            .map(|(candidate, references)| Image {
                candidate: ids(candidate),
                references: references.into_iter().map(&mut ids).collect(),
            })
            .collect();
        (words, images)
    }
}

/// An image's captions as word ids.
struct Image {
    candidate: Vec<u32>,
    references: Vec<Vec<u32>>,
}

impl Metric for Meteor {
    fn score(&self, corpus: &Corpus) -> Vec<Score> {
        let statistics = self.statistics(corpus);
        let sum: Statistics = statistics.iter().sum();
        let images = statistics.iter().map(Statistics::score).collect();
        vec![Score { name: "meteor", corpus: sum.score(), images }]
    }
}
