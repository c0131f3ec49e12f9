//! n-grams as numbers.

/// BLEU and CIDEr count n-grams of one to four words.
pub(crate) const ORDERS: usize = 4;

/// Up to four words as two numbers, which tell n-grams of one length apart.
pub(crate) type Ngram = (u64, u64);

/// The n-grams of `order` words.
pub(crate) fn ngrams(words: &[u32], order: usize) -> impl Iterator<Item = Ngram> {
    words.windows(order).map(|window| {
        let ngram = window.iter().fold(0, |ngram: u128, &word| ngram << 32 | u128::from(word));
        ((ngram >> 64) as u64, ngram as u64)
    })
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
    fn gives_every_window() {
        let words = [7, 0, u32::MAX];
        let found: Vec<_> = ngrams(&words, 2).collect();
        assert_eq!(found, [(0, 7 << 32), (0, u64::from(u32::MAX))]);
        assert_eq!(ngrams(&words, 3).next(), Some((7, u64::from(u32::MAX))));
        assert_eq!(ngrams(&words, 4).count(), 0);
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
