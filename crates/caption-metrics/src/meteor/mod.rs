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
use self::paraphrases::{Paraphrases, Table};
use self::statistics::Statistics;
use self::wordnet::WordNet;

/// METEOR 1.5 for English: words are matched by their form, stem, synonyms and paraphrases, and a caption's score is
/// F = PR / (αP + (1 - α)R), less a penalty γ (chunks / matches)^β for words out of order, with its best reference.
///
/// P and R are the shares of the caption's and the reference's words that are matched; a match counts 1, .6, .8 or .6
/// by its kind, and a content word δ where a function word counts 1 - δ (α = .85, β = .2, γ = .6, δ = .75). The
/// corpus' score is the formula applied to the sums of all images' counts, which is not the mean of their scores.
///
/// Which words match which is a search, and the search is Java METEOR's, with what is odd in it:
/// a beam of 40 paths over the reference's words; matches other than exact ones count half there, rounded down, so that
/// a stem or synonym counts nothing until ties are broken by chunks; a path's distance is added to the path that goes
/// without the match. Words are compared by Java's 32-bit `hashCode`. A caption without a mistake adds no chunk to the
/// corpus' sum.
///
/// # Data
/// WordNet's synsets and the paraphrase table are not part of this crate: [`Meteor::load`] reads them from where pip's
/// `pycocoevalcap` has them. No Java is run.
pub struct Meteor {
    normalizer: Normalizer,
    function_words: FxHashSet<Box<str>>,
    wordnet: WordNet,
    paraphrases: Table,
}

impl Meteor {
    /// Reads METEOR's data from `dir`, which holds `meteor-1.5.jar` and `data/paraphrase-en.gz` as the directory
    /// `pycocoevalcap/meteor` in Python's site-packages does. Takes about a second, and 100 MB of memory.
    ///
    /// # Errors
    /// Name the file that is missing or damaged.
    pub fn load(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        let mut jar = Jar::open(&dir.join("meteor-1.5.jar"))?;
        Ok(Self {
            normalizer: jar.read("nonbreaking/english.prefixes", |t| Ok(Normalizer::new(t)))?,
            function_words: jar.read("function/english.words", |t| {
                Ok(t.lines().map(Into::into).collect())
            })?,
            wordnet: WordNet::new(
                jar.read("synonym/english.synsets", WordNet::synsets)?,
                jar.read("synonym/english.exceptions", WordNet::bases)?,
            ),
            paraphrases: Table::load(&dir.join("data/paraphrase-en.gz"))?,
        })
    }

    /// Of each image, the counts with the reference that gives the best score, the first of equals.
    fn statistics(&self, corpus: &Corpus) -> Vec<Statistics> {
        let normalized: Vec<(Vec<String>, Vec<Vec<String>>)> = corpus
            .images()
            .par_iter()
            .map(|image| {
                let line = |sentence| corpus.words().tokens(sentence).collect::<Vec<_>>().join(" ");
                // what coco-caption does to candidates, and what METEOR makes of references with its separator
                let candidate = line(&image.candidate).replace("|||", "").replace("  ", " ");
                let references = image.references.iter().map(line).collect::<Vec<_>>();
                let references = references.iter().flat_map(|line| line.split("|||"));
                (
                    self.normalizer.words(&candidate),
                    references.map(|line| self.normalizer.words(line)).collect(),
                )
            })
            .collect();
        let mut words = Words::default();
        let mut ids = |sentence: Vec<String>| -> Vec<u32> {
            sentence.iter().map(|word| words.intern(word)).collect()
        };
        let images: Vec<(Vec<u32>, Vec<Vec<u32>>)> = normalized
            .into_iter()
            .map(|(candidate, references)| {
                (ids(candidate), references.into_iter().map(&mut ids).collect())
            })
            .collect();
        let lexicon = Lexicon::new(words, &self.wordnet, &self.function_words);
        let paraphrases = self.paraphrases.among(lexicon.words());
        images
            .par_iter()
            .map(|(candidate, references)| {
                let with = |reference| compare(candidate, reference, &lexicon, &paraphrases);
                let mut best = Statistics::default();
                for (position, reference) in references.iter().enumerate() {
                    let counts = with(reference);
                    if position == 0 || counts.score() > best.score() {
                        best = counts;
                    }
                }
                best
            })
            .collect()
    }
}

fn compare(
    candidate: &[u32],
    reference: &[u32],
    lexicon: &Lexicon,
    paraphrases: &Paraphrases,
) -> Statistics {
    let matches = Matches::find(candidate, reference, lexicon, paraphrases);
    Statistics::new(&lexicon.entries(candidate), &lexicon.entries(reference), &align(&matches))
}

impl Metric for Meteor {
    fn score(&self, corpus: &Corpus) -> Vec<Score> {
        let statistics = self.statistics(corpus);
        let sum: Statistics = statistics.iter().sum();
        let images = statistics.iter().map(Statistics::score).collect();
        vec![Score { name: "meteor", corpus: sum.score(), images }]
    }
}
