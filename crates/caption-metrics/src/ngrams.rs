//! n-grams as numbers.

/// BLEU and CIDEr count n-grams of one to four words.
pub(crate) const ORDERS: usize = 4;

/// The n-grams of `order` words, each packed into one number; only among those of one order does the number tell.
pub(crate) fn ngrams(words: &[u32], order: usize) -> impl Iterator<Item = u128> {
    words
        .windows(order)
        .map(|ngram| ngram.iter().fold(0, |key, &word| key << 32 | u128::from(word)))
}

/// Each n-gram of `order` words with its count, in rising order of the n-gram.
pub(crate) fn counts(words: &[u32], order: usize) -> Vec<(u128, u32)> {
    // a caption is so short that sorting is faster than hashing
    let mut counts: Vec<(u128, u32)> = ngrams(words, order).map(|ngram| (ngram, 1)).collect();
    counts.sort_unstable();
    counts.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 += next.1;
        }
        same
    });
    counts
}

/// Calls `both` with the values of every key that stands in the two rising lists.
pub(crate) fn join<K: Ord + Copy, A: Copy, B: Copy>(
    left: &[(K, A)],
    right: &[(K, B)],
    mut both: impl FnMut(K, A, B),
) {
    let (mut i, mut j) = (0, 0);
    while i < left.len() && j < right.len() {
        let ((key, a), (other, b)) = (left[i], right[j]);
        if key == other {
            both(key, a, b);
        }
        i += usize::from(key <= other);
        j += usize::from(other <= key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_every_window_once() {
        let words = [7, 0, 7, 0, 0, u32::MAX];
        assert_eq!(counts(&words, 1), [(0, 3), (7, 2), (u128::from(u32::MAX), 1)]);
        let pair = |a: u128, b: u128| a << 32 | b;
        let bigrams = [(0, 1), (pair(0, u32::MAX.into()), 1), (pair(0, 7), 1), (pair(7, 0), 2)];
        let mut sorted = bigrams;
        sorted.sort_unstable();
        assert_eq!(counts(&words, 2), sorted);
        assert_eq!(counts(&words[..3], 4), []);
        assert_eq!(counts(&[u32::MAX; 4], 4), [(u128::MAX, 1)]);
    }

    #[test]
    fn joins_on_the_key() {
        let mut found = Vec::new();
        join(&[(1, 'a'), (3, 'b'), (4, 'c')], &[(0, 0), (3, 1), (4, 2), (9, 3)], |k, a, b| {
            found.push((k, a, b));
        });
        assert_eq!(found, [(3, 'b', 1), (4, 'c', 2)]);
    }
}
