//! Which of the possible matches are made: a beam search for the most words in the fewest chunks.

use super::matches::{Kind, Match, Matches};

/// How many paths go on from one word of the reference to the next.
const BEAM: usize = 40;

/// Chooses among `matches` so that no word is matched twice. They come in the reference's order.
///
/// # Algorithm
/// A match that is the only one of all its words is made at once. Then paths go over the reference's words from left to
/// right; at each, a path splits into one a match and one without, and the best 40 go on: of most words, then of fewest
/// chunks, then of least distance between matched positions, then in the order in which they came.
pub(super) fn align(matches: &Matches) -> Vec<&Match> {
    let length = matches.by_start.len();
    let sure: Vec<Option<&Match>> =
        matches.by_start.iter().map(|starting| only(starting, matches)).collect();
    let mut start = Path {
        made: Vec::new(),
        candidate_used: vec![false; matches.candidate_cover.len()],
        reference_used: vec![false; length],
        words: 0,
        chunks: 0,
        distance: 0,
        end: None,
    };
    sure.iter().flatten().for_each(|sure| start.mark(sure));

    let mut paths = vec![start];
    for (position, starting) in matches.by_start.iter().enumerate() {
        prune(&mut paths);
        let mut next = Vec::with_capacity(paths.len());
        for mut path in paths {
            if path.reference_used[position] {
                if let Some(sure) = sure[position] {
                    path.make(sure);
                    path.distance += distance(sure);
                }
                next.push(path);
                continue;
            }
            for choice in starting {
                if path.allows(choice) {
                    let mut with = path.clone();
                    with.mark(choice);
                    with.make(choice);
                    next.push(with);
                    // to the path without the match, as METEOR has it
                    path.distance += distance(choice);
                }
            }
            path.close_chunk();
            next.push(path);
        }
        paths = next;
    }
    prune(&mut paths);
    paths.iter_mut().for_each(Path::close_chunk);
    prune(&mut paths);
    paths.into_iter().next().map_or_else(Vec::new, |best| best.made)
}

/// The number of runs of matches without a gap in either sentence.
pub(super) fn chunks(made: &[&Match]) -> usize {
    let follows = |pair: &&[&Match]| {
        pair[0].reference.end == pair[1].reference.start
            && pair[0].candidate.end == pair[1].candidate.start
    };
    made.len() - made.windows(2).filter(follows).count()
}

/// The only match of a word, if it is also the only one of its other words.
fn only<'a>(starting: &'a [Match], matches: &Matches) -> Option<&'a Match> {
    let [only] = starting else { return None };
    let once = matches.candidate_cover[only.candidate.clone()].iter().all(|&n| n == 1)
        && matches.reference_cover[only.reference.clone()].iter().all(|&n| n == 1);
    once.then_some(only)
}

fn distance(made: &Match) -> usize {
    made.reference.start.abs_diff(made.candidate.start)
}

/// Leaves the best paths, the best first.
fn prune(paths: &mut Vec<Path>) {
    paths.sort_by_key(|path| (std::cmp::Reverse(path.words), path.chunks, path.distance));
    paths.truncate(BEAM);
}

/// Matches made so far.
#[derive(Clone)]
struct Path<'a> {
    made: Vec<&'a Match>,
    candidate_used: Vec<bool>,
    reference_used: Vec<bool>,
    /// Matched words of both sentences; those not matched exactly by half, rounded down for each match.
    words: usize,
    /// Chunks that have ended.
    chunks: usize,
    distance: usize,
    /// Where in the candidate the open chunk ends.
    end: Option<usize>,
}

impl<'a> Path<'a> {
    fn allows(&self, choice: &Match) -> bool {
        !self.candidate_used[choice.candidate.clone()].contains(&true)
            && !self.reference_used[choice.reference.clone()].contains(&true)
    }

    fn mark(&mut self, choice: &Match) {
        self.candidate_used[choice.candidate.clone()].fill(true);
        self.reference_used[choice.reference.clone()].fill(true);
    }

    fn make(&mut self, choice: &'a Match) {
        let weigh = |words: usize| if choice.kind == Kind::Exact { words } else { words / 2 };
        self.words += weigh(choice.candidate.len()) + weigh(choice.reference.len());
        if self.end != Some(choice.candidate.start) {
            self.close_chunk();
        }
        self.end = Some(choice.candidate.end);
        self.made.push(choice);
    }

    fn close_chunk(&mut self) {
        if self.end.take().is_some() {
            self.chunks += 1;
        }
    }
}
