//! Which of the possible matches are made: a beam search for the most words in the fewest chunks.

use std::cmp::Reverse;

use super::matches::{Kind, Match, Matches};

/// How many paths go on from one word of the reference to the next.
const BEAM: usize = 40;

/// Chooses among `matches` so that no word is matched twice; those chosen come in the reference's order.
///
/// A match that is the only one of all its words is made in any case. Beside those, paths go over the reference's words
/// from left to right; at each word a path splits into one for each match that begins there, and one without. The best
/// 40 go on: those of the most words, then of the fewest chunks, then of the least distance between the positions of
/// what they match, then of those that came first.
pub(super) fn align(matches: &Matches) -> Vec<&Match> {
    let length = matches.reference_cover.len();
    let sure: Vec<Option<&Match>> = (0..length).map(|position| sure(matches, position)).collect();
    let mut candidate_taken = vec![false; matches.candidate_cover.len()];
    let mut reference_taken = vec![false; length];
    for made in sure.iter().flatten() {
        candidate_taken[made.candidate.clone()].fill(true);
        reference_taken[made.reference.clone()].fill(true);
    }

    let mut links = Vec::new();
    let mut paths = vec![Path::default()];
    let mut next = Vec::new();
    for (position, &sure) in sure.iter().enumerate() {
        prune(&mut paths);
        for mut path in paths.drain(..) {
            if position < path.reference_end {
                // inside a match of several words
            } else if let Some(sure) = sure {
                path.make(sure, &mut links);
                path.distance += distance(sure);
            } else {
                for choice in matches.starting_at(position) {
                    let taken = candidate_taken[choice.candidate.clone()].contains(&true)
                        || reference_taken[choice.reference.clone()].contains(&true);
                    if !taken && path.allows(choice, &links) {
                        let mut with = path;
                        with.make(choice, &mut links);
                        next.push(with);
                        // METEOR adds it to the path without the match, and so to those that split off later
                        path.distance += distance(choice);
                    }
                }
                path.close_chunk();
            }
            next.push(path);
        }
        std::mem::swap(&mut paths, &mut next);
    }
    prune(&mut paths);
    paths.iter_mut().for_each(Path::close_chunk);
    prune(&mut paths);

    let last = paths.first().and_then(|best| best.last);
    let mut made: Vec<_> = chain(last, &links).collect();
    made.reverse();
    made
}

/// The number of runs of matches without a gap in either sentence; matches as [`align`] gives them.
pub(super) fn chunks(made: &[&Match]) -> usize {
    let follows = |pair: &&[&Match]| {
        pair[0].reference.end == pair[1].reference.start
            && pair[0].candidate.end == pair[1].candidate.start
    };
    made.len() - made.windows(2).filter(follows).count()
}

/// The match that begins at a word of the reference, if none of its words, of either sentence, has another.
fn sure(matches: &Matches, position: usize) -> Option<&Match> {
    let [only] = matches.starting_at(position) else { return None };
    let candidate = &matches.candidate_cover[only.candidate.clone()];
    let reference = &matches.reference_cover[only.reference.clone()];
    candidate.iter().chain(reference).all(|&matches| matches == 1).then_some(only)
}

/// How far apart matched words stand.
fn distance(made: &Match) -> usize {
    made.reference.start.abs_diff(made.candidate.start)
}

/// Leaves the best paths, the best first.
fn prune(paths: &mut Vec<Path>) {
    paths.sort_by_key(|path| (Reverse(path.words), path.chunks, path.distance));
    paths.truncate(BEAM);
}

/// Matches made so far, and what becomes of them. Paths share their beginnings.
#[derive(Clone, Copy, Default)]
struct Path {
    /// The last match made, among the links.
    last: Option<usize>,
    /// Where it ends in the reference.
    reference_end: usize,
    /// Where it ends in the candidate, while a chunk may go on there.
    candidate_end: Option<usize>,
    /// Matched words of both sentences; in each match that is not exact half of them, rounded down.
    words: usize,
    /// Chunks that have ended.
    chunks: usize,
    distance: usize,
}

/// A match, and the one that its path made before.
struct Link<'a> {
    made: &'a Match,
    before: Option<usize>,
}

impl Path {
    /// Whether the candidate's words are free.
    fn allows(&self, choice: &Match, links: &[Link]) -> bool {
        chain(self.last, links).all(|made| {
            made.candidate.end <= choice.candidate.start || choice.candidate.end <= made.candidate.start
        })
    }

    fn make<'a>(&mut self, choice: &'a Match, links: &mut Vec<Link<'a>>) {
        links.push(Link { made: choice, before: self.last });
        self.last = Some(links.len() - 1);
        let weigh = |words: usize| if choice.kind == Kind::Exact { words } else { words / 2 };
        self.words += weigh(choice.candidate.len()) + weigh(choice.reference.len());
        if self.candidate_end != Some(choice.candidate.start) {
            self.close_chunk();
        }
        self.candidate_end = Some(choice.candidate.end);
        self.reference_end = choice.reference.end;
    }

    fn close_chunk(&mut self) {
        if self.candidate_end.take().is_some() {
            self.chunks += 1;
        }
    }
}

/// A path's matches, the last first.
fn chain<'a>(last: Option<usize>, links: &[Link<'a>]) -> impl Iterator<Item = &'a Match> {
    std::iter::successors(last.map(|last| &links[last]), |link| Some(&links[link.before?]))
        .map(|link| link.made)
}
