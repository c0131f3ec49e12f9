//! The paraphrase table.

use std::fs::File;
use std::io::{self, BufReader, Read};
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
        let damaged = |reason: String| Error::data(path.display(), reason);
        let unread = |e| damaged(format!("not a whole .gz file: {e}"));
        let file = File::open(path).map_err(Error::io(path))?;
        let mut lines = Lines::new(MultiGzDecoder::new(BufReader::with_capacity(1 << 18, file)));
        let mut text = Vec::new();
        let mut last = 0..0;
        while let Some(probability) = lines.next().map_err(unread)? {
            if !probability.first().is_some_and(u8::is_ascii_digit) {
                return Err(damaged(format!("line {} is not a probability", lines.number)));
            }
            for is_phrase in [true, false] {
                let line = lines.next().map_err(unread)?.unwrap_or_default();
                if line.is_empty() {
                    return Err(damaged(format!("line {} is not a phrase", lines.number)));
                }
                if is_phrase && text[last.clone()] != *line {
                    text.push(b'\n');
                    last = text.len()..text.len() + line.len();
                    text.extend_from_slice(line);
                } else if !is_phrase {
                    text.push(b'\t');
                    text.extend_from_slice(line);
                }
            }
        }
        text.shrink_to_fit();
        String::from_utf8(text).map(Self).map_err(|e| damaged(format!("not UTF-8 text: {e}")))
    }

    /// Those entries of which both sides are made of `words`: the others cannot match.
    pub(super) fn among(&self, words: &Words) -> Paraphrases {
        let entries: Vec<(Vec<u32>, Packed)> = self
            .0
            .par_lines()
            .filter_map(|line| {
                let (phrase, paraphrases) = line.split_once('\t')?;
                let phrase = phrase.split_ascii_whitespace().map(|word| words.id(word));
                let phrase: Vec<u32> = phrase.collect::<Option<_>>()?;
                let mut packed = Packed::default();
                for paraphrase in paraphrases.split('\t') {
                    packed.push(paraphrase.split_ascii_whitespace().map(|word| words.id(word)));
                }
                Some((phrase, packed)).filter(|(_, packed)| !packed.0.is_empty())
            })
            .collect();
        let mut tree = Paraphrases { edges: FxHashMap::default(), nodes: vec![Packed::default()] };
        for (phrase, packed) in entries {
            let mut node = 0;
            for word in phrase {
                node = *tree.edges.entry((node, word)).or_insert_with(|| {
                    tree.nodes.push(Packed::default());
                    tree.nodes.len() as u32 - 1
                });
            }
            tree.nodes[node as usize].0.extend(packed.0);
        }
        tree
    }
}

/// Phrases as word ids, one behind another, each behind its length: there are half a million of them.
#[derive(Default)]
pub(super) struct Packed(Vec<u32>);

impl Packed {
    /// Adds a phrase, unless one of its words is unknown.
    fn push(&mut self, phrase: impl Iterator<Item = Option<u32>>) {
        let start = self.0.len();
        self.0.push(0);
        for word in phrase {
            let Some(word) = word else { return self.0.truncate(start) };
            self.0.push(word);
            self.0[start] += 1;
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u32]> {
        let mut rest = self.0.as_slice();
        std::iter::from_fn(move || {
            let (&length, behind) = rest.split_first()?;
            let (phrase, behind) = behind.split_at_checked(length as usize)?;
            rest = behind;
            Some(phrase)
        })
    }
}

/// Paraphrases of phrases, as word ids; a tree over the phrases' words.
pub(super) struct Paraphrases {
    /// From a node, by a word, to a node.
    edges: FxHashMap<(u32, u32), u32>,
    /// The paraphrases of the phrase that ends at each node, in the table's order.
    nodes: Vec<Packed>,
}

impl Paraphrases {
    /// The phrases that `words` begins with, shortest first: their lengths and paraphrases.
    pub(super) fn of(&self, words: &[u32]) -> impl Iterator<Item = (usize, &Packed)> {
        let mut node = 0;
        words.iter().zip(1..).map_while(move |(&word, length)| {
            node = *self.edges.get(&(node, word))?;
            Some((length, &self.nodes[node as usize]))
        })
    }
}

/// A reader's lines, counted.
struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    /// What of the buffer is read and not yet given out.
    ready: std::ops::Range<usize>,
    number: u64,
}

impl<R: Read> Lines<R> {
    fn new(reader: R) -> Self {
        Self { reader, buffer: vec![0; 1 << 20], ready: 0..0, number: 0 }
    }

    /// The next line without the space at its end, which stays valid until the next call.
    fn next(&mut self) -> io::Result<Option<&[u8]>> {
        let mut searched = 0;
        let length = loop {
            let ready = &self.buffer[self.ready.clone()];
            if let Some(length) = memchr::memchr(b'\n', &ready[searched..]) {
                break searched + length;
            }
            searched = ready.len();
            if self.fill()? == 0 {
                break searched;
            }
        };
        if self.ready.is_empty() {
            return Ok(None);
        }
        let line = self.ready.start..self.ready.start + length;
        self.ready.start = (line.end + 1).min(self.ready.end);
        self.number += 1;
        Ok(Some(self.buffer[line].trim_ascii_end()))
    }

    /// Reads on, behind what is ready; 0 at the end.
    fn fill(&mut self) -> io::Result<usize> {
        self.buffer.copy_within(self.ready.clone(), 0);
        self.ready = 0..self.ready.len();
        if self.ready.end == self.buffer.len() {
            self.buffer.resize(2 * self.buffer.len(), 0);
        }
        let read = self.reader.read(&mut self.buffer[self.ready.end..])?;
        self.ready.end += read;
        Ok(read)
    }
}
