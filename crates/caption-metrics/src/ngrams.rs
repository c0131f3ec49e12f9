//! n-grams as numbers.

/// BLEU and CIDEr count n-grams of one to four words.
pub(crate) const ORDERS: usize = 4;

/// The n-grams of `order` words, each packed into one number; only among those of one order does the number tell.
pub(crate) fn ngrams(words: &[u32], order: usize) -> impl Iterator<Item = u128> {
    words
        .windows(order)
        .map(|ngram| ngram.iter().fold(0, |key, &word| key << 32 | u128::from(word)))
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
    fn packs_every_window() {
        let words = [7, 0, u32::MAX];
        let found: Vec<_> = ngrams(&words, 1).collect();
        assert_eq!(found, [7, 0, u128::from(u32::MAX)]);
        let found: Vec<_> = ngrams(&words, 2).collect();
        assert_eq!(found, [7 << 32, u128::from(u32::MAX)]);
        assert_eq!(ngrams(&words, 4).count(), 0);
        assert_eq!(ngrams(&[u32::MAX; 4], 4).next(), Some(u128::MAX));
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
