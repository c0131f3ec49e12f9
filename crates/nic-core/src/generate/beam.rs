//! The best unfinished sentences, step by step.

use candle_core::Tensor;

use super::sentences::{Choice, Sentences};
use super::{Generate, Hypothesis, LengthNorm, MOST, Rules, in_range};
use crate::{Decoder, Error, Result, Vocab};

/// The best `width` unfinished sentences, step by step.
///
/// Of all sentences one word longer the likeliest `width` stay (Vinyals et al. 2015, section 3.1.3). Those that end with
/// END are finished; the best `best` of them, as `length_norm` compares, are kept. An unfinished sentence is given up
/// when it cannot become better than the worst of these: its log probability s only falls, and s / lp(`max_len`), lp
/// being what `length_norm` divides by, bounds what it may still be worth. So giving up changes no result. Of equally
/// good sentences the one with the likelier beginning comes first, then the one with the smaller last word id.
///
/// With `groups` it is diverse beam search (Vijayakumar et al. 2018, algorithm 1, Hamming diversity): the beam is cut
/// into groups of equal width that search one after the other in each step; a word's log probability is lowered by
/// `diversity` for each sentence of the groups before that took this word in this step. What is lowered stays so for
/// the rest of the group's search; [`Hypothesis::log_prob`] and the final order are by the decoder's own. A group ends
/// when none of its unfinished sentences can become better than its best finished ones. A sentence that several groups
/// find is there once.
#[derive(Clone, Debug)]
pub struct BeamSearch {
    /// How many unfinished sentences an image, in all groups together.
    pub width: usize,
    /// Return at most so many sentences: the fewer, the sooner it is known that there is no better one.
    pub best: usize,
    /// How sentences of different lengths compare.
    pub length_norm: LengthNorm,
    /// How many groups; 1 is beam search.
    pub groups: usize,
    /// The lambda of diverse beam search; without effect on one group.
    pub diversity: f32,
    /// What the sentences keep to.
    pub rules: Rules,
}

impl BeamSearch {
    /// A beam of `width` that returns up to as many sentences.
    pub fn new(width: usize) -> Self {
        Self {
            width,
            best: width,
            length_norm: LengthNorm::None,
            groups: 1,
            diversity: 0.0,
            rules: Rules::default(),
        }
    }

    /// Sentences that keep to `rules`.
    pub fn rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    /// At most `sentences` sentences an image.
    pub fn best(mut self, sentences: usize) -> Self {
        self.best = sentences;
        self
    }

    /// Sentences of different lengths compare by `norm`.
    pub fn length_norm(mut self, norm: LengthNorm) -> Self {
        self.length_norm = norm;
        self
    }

    /// Diverse beam search: `groups` groups, which divide the width, with a lambda of `diversity`.
    pub fn groups(mut self, groups: usize, diversity: f32) -> Self {
        self.groups = groups;
        self.diversity = diversity;
        self
    }

    /// The beam of each group.
    fn group_width(&self) -> usize {
        self.width / self.groups
    }

    /// How many finished sentences a group keeps. Groups keep all that they may return, since when they end must not
    /// depend on how many sentences are asked for: it changes what later groups find.
    fn pool(&self) -> usize {
        if self.groups == 1 { self.best } else { self.group_width() }
    }

    /// What a sentence of these words is worth by its score. Finished ones have END, those cut at `max_len` do not.
    fn worth(&self, words: &[u32], score: f32) -> f32 {
        score / self.length_norm.divisor((words.len() + 1).min(self.rules.max_len))
    }
}

impl Generate for BeamSearch {
    fn check(&self) -> Result<()> {
        in_range("the beam's width", self.width, MOST)?;
        in_range("the number of sentences", self.best, MOST)?;
        in_range("the number of groups", self.groups, MOST)?;
        let usage = |message: String| Err(Error::Usage(message));
        if self.best > self.width {
            return usage(format!(
                "the number of sentences is {}, expected at most {}, the beam's width",
                self.best, self.width
            ));
        }
        if !self.width.is_multiple_of(self.groups) {
            return usage(format!(
                "the beam's width is {}, expected a multiple of {}, the number of groups",
                self.width, self.groups
            ));
        }
        if !(self.diversity >= 0.0 && self.diversity.is_finite()) {
            return usage(format!("the diversity is {}, expected at least 0", self.diversity));
        }
        self.length_norm.check()?;
        self.rules.check()
    }

    fn ensemble(&self, decoders: &[Decoder], features: &Tensor) -> Result<Vec<Vec<Hypothesis>>> {
        self.check()?;
        let mut sentences = Sentences::new(decoders, features, &self.rules)?;
        let mut images: Vec<Vec<Group>> = (0..features.dim(0)? as u32)
            .map(|row| (0..self.groups).map(|_| Group::new(self, row)).collect())
            .collect();
        for _ in 0..self.rules.max_len {
            // the unfinished sentences of all images are one batch
            let (mut parents, mut words, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
            for (before, group) in images.iter().flat_map(|groups| groups.iter().enumerate()) {
                for unfinished in &group.live {
                    parents.push(unfinished.row);
                    words.push(unfinished.last());
                    // so many that enough are left without the forbidden and the lowered
                    let lowered = before * self.group_width();
                    wanted.push(self.group_width() + unfinished.forbidden.len() + lowered);
                }
            }
            if parents.is_empty() {
                break;
            }
            sentences.select(&parents)?;
            let choices = sentences.step(&words)?.best(&wanted)?;
            let mut row = 0;
            for groups in &mut images {
                let mut taken = Vec::new();
                for group in groups {
                    let live = group.live.len();
                    let words = group.extend(self, row, &choices[row..row + live], &taken);
                    taken.extend(words);
                    row += live;
                }
            }
        }
        Ok(images.into_iter().map(|groups| self.finish(groups)).collect())
    }
}

impl BeamSearch {
    fn finish(&self, groups: Vec<Group>) -> Vec<Hypothesis> {
        let mut all: Vec<Hypothesis> =
            groups.into_iter().flat_map(|group| group.finish(self)).collect();
        let worth = |sentence: &Hypothesis| self.worth(&sentence.words, sentence.log_prob);
        all.sort_by(|a, b| worth(b).total_cmp(&worth(a)));
        let mut sentences: Vec<Hypothesis> = Vec::with_capacity(self.best);
        for sentence in all {
            if sentences.len() < self.best && sentences.iter().all(|s| s.words != sentence.words) {
                sentences.push(sentence);
            }
        }
        sentences
    }
}

/// One group's search for one image.
struct Group {
    /// The likeliest first.
    live: Vec<Unfinished>,
    /// The best first.
    finished: Vec<Scored>,
}

/// A sentence with its log probability, and its score: that less what the groups before took.
struct Scored {
    sentence: Hypothesis,
    score: f32,
}

struct Unfinished {
    scored: Scored,
    /// Where its state is in the batch.
    row: u32,
    /// Words that must not be the next.
    forbidden: Vec<u32>,
}

impl Unfinished {
    fn new(search: &BeamSearch, scored: Scored, row: u32) -> Self {
        let forbidden = search.rules.forbidden(&scored.sentence.words);
        Self { scored, row, forbidden }
    }

    fn last(&self) -> u32 {
        self.scored.sentence.words.last().copied().unwrap_or(Vocab::START)
    }
}

impl Group {
    fn new(search: &BeamSearch, row: u32) -> Self {
        let sentence = Hypothesis { words: Vec::new(), log_prob: 0.0 };
        let nothing = Scored { sentence, score: 0.0 };
        Self { live: vec![Unfinished::new(search, nothing, row)], finished: Vec::new() }
    }

    /// A word more for each unfinished sentence, whose rows of the batch begin with `row`; `taken` are the words that
    /// the groups before took in this step. Gives those that this one took.
    fn extend(
        &mut self,
        search: &BeamSearch,
        row: usize,
        choices: &[Vec<Choice>],
        taken: &[u32],
    ) -> Vec<u32> {
        let mut longer: Vec<(f32, usize, Choice)> = Vec::new();
        for (place, (parent, choices)) in self.live.iter().zip(choices).enumerate() {
            for &choice in choices.iter().filter(|c| !parent.forbidden.contains(&c.word)) {
                let times = taken.iter().filter(|word| **word == choice.word).count();
                let lowered = search.diversity * times as f32;
                longer.push((parent.scored.score + choice.log_prob - lowered, place, choice));
            }
        }
        // stable: equal ones stay in the order of their beginnings, then of their words
        longer.sort_by(|(a, ..), (b, ..)| b.total_cmp(a));
        longer.truncate(search.group_width());

        let mut live = Vec::with_capacity(longer.len());
        for &(score, place, Choice { word, log_prob }) in &longer {
            let parent = &self.live[place].scored.sentence;
            let (mut words, log_prob) = (parent.words.clone(), parent.log_prob + log_prob);
            if word == Vocab::END {
                self.keep(search, Scored { sentence: Hypothesis { words, log_prob }, score });
            } else {
                words.push(word);
                let scored = Scored { sentence: Hypothesis { words, log_prob }, score };
                live.push(Unfinished::new(search, scored, (row + place) as u32));
            }
        }
        self.live = live;
        self.give_up(search);
        longer.into_iter().map(|(.., choice)| choice.word).collect()
    }

    fn keep(&mut self, search: &BeamSearch, scored: Scored) {
        let worth = |scored: &Scored| search.worth(&scored.sentence.words, scored.score);
        let place = self.finished.partition_point(|better| worth(better) >= worth(&scored));
        self.finished.insert(place, scored);
        self.finished.truncate(search.pool());
    }

    /// Drops the unfinished sentences that cannot become better than the finished ones.
    fn give_up(&mut self, search: &BeamSearch) {
        let Some(worst) = self.finished.last().filter(|_| self.finished.len() == search.pool())
        else {
            return;
        };
        let worst = search.worth(&worst.sentence.words, worst.score);
        let longest = search.length_norm.divisor(search.rules.max_len);
        let hopeful = |unfinished: &Unfinished| unfinished.scored.score / longest > worst;
        if search.groups == 1 {
            self.live.retain(hopeful);
        } else if !self.live.iter().any(hopeful) {
            self.live.clear();
        }
    }

    /// The finished sentences, and those that `max_len` cuts.
    fn finish(mut self, search: &BeamSearch) -> Vec<Hypothesis> {
        for cut in std::mem::take(&mut self.live) {
            self.keep(search, cut.scored);
        }
        self.finished.into_iter().map(|scored| scored.sentence).collect()
    }
}
