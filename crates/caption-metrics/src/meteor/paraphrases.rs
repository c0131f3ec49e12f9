//! The paraphrase table.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use rayon::prelude::*;
use rustc_hash::FxHashMap;

use crate::{Error, Result, Words};

/// The whole table as text: a phrase a line, with its paraphrases behind it, separated by tabs.
pub(super) struct Table(String);

impl Table {
    /// Reads `paraphrase-en.gz`, in which an entry is three lines: a probability, which METEOR does not use, a phrase
    /// and its paraphrase.
    pub(super) fn load(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path))?;
        let gz = MultiGzDecoder::new(BufReader::with_capacity(1 << 18, file));
        let mut lines = Lines { reader: BufReader::with_capacity(1 << 18, gz), number: 0 };
        let damaged = |number: u64, reason: &str| {
            Error::data(path.display(), format!("line {number} {reason}"))
        };
        let (mut text, mut last) = (Vec::new(), Vec::new());
        let (mut probability, mut phrase, mut paraphrase) = (Vec::new(), Vec::new(), Vec::new());
        while lines.next(&mut probability).map_err(Error::io(path))? {
            if !probability.first().is_some_and(u8::is_ascii_digit) {
                return Err(damaged(lines.number, "is not a probability"));
            }
            for line in [&mut phrase, &mut paraphrase] {
                if !lines.next(line).map_err(Error::io(path))? || line.is_empty() {
                    return Err(damaged(lines.number, "is not a phrase"));
                }
            }
            if phrase != last {
                if !text.is_empty() {
                    text.push(b'\n');
                }
                text.extend_from_slice(&phrase);
                last.clone_from(&phrase);
            }
            text.push(b'\t');
            text.extend_from_slice(&paraphrase);
        }
        text.shrink_to_fit();
        let text = String::from_utf8(text)
            .map_err(|e| Error::data(path.display(), format!("is not UTF-8 text: {e}")))?;
        Ok(Self(text))
    }

    /// Those entries of which both sides are made of `words`: the others cannot match.
    pub(super) fn among(&self, words: &Words) -> Paraphrases {
        let ids = |phrase: &str| -> Option<Vec<u32>> {
            phrase.split_ascii_whitespace().map(|word| words.id(word)).collect()
        };
        let entries: Vec<(Vec<u32>, Vec<Box<[u32]>>)> = self
            .0
            .par_lines()
            .filter_map(|line| {
                let (phrase, paraphrases) = line.split_once('\t')?;
                let phrase = ids(phrase)?;
                let paraphrases: Vec<_> = paraphrases.split('\t').filter_map(ids).collect();
                (!paraphrases.is_empty())
                    .then(|| (phrase, paraphrases.into_iter().map(Into::into).collect()))
            })
            .collect();
        let mut tree = Paraphrases { edges: FxHashMap::default(), nodes: vec![Vec::new()] };
        for (phrase, paraphrases) in entries {
            let mut node = 0;
            for word in phrase {
                node = *tree.edges.entry((node, word)).or_insert_with(|| {
                    tree.nodes.push(Vec::new());
                    tree.nodes.len() as u32 - 1
                });
            }
            tree.nodes[node as usize].extend(paraphrases);
        }
        tree
    }
}

/// A reader's lines, counted.
struct Lines<R> {
    reader: R,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    /// Reads the next line into `line`, without its end; false where there is none.
    fn next(&mut self, line: &mut Vec<u8>) -> std::io::Result<bool> {
        line.clear();
        let read = self.reader.read_until(b'\n', line)?;
        self.number += 1;
        line.truncate(line.trim_ascii_end().len());
        Ok(read > 0)
    }
}

/// Paraphrases of phrases, as word ids; a tree over the phrases' words.
pub(super) struct Paraphrases {
    /// From a node, by a word, to a node.
    edges: FxHashMap<(u32, u32), u32>,
    /// The paraphrases of the phrase that ends at each node, in the table's order.
    nodes: Vec<Vec<Box<[u32]>>>,
}

impl Paraphrases {
    /// The phrases that `words` begins with, shortest first: their lengths and paraphrases.
    pub(super) fn of<'a>(
        &'a self,
        words: &'a [u32],
    ) -> impl Iterator<Item = (usize, &'a [Box<[u32]>])> {
        let mut node = 0;
        words.iter().enumerate().map_while(move |(position, &word)| {
            node = *self.edges.get(&(node, word))?;
            Some((position + 1, self.nodes[node as usize].as_slice()))
        })
    }
}
