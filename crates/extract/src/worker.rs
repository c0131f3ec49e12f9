//! The share of one process among several that fill one directory.

use std::fmt;
use std::str::FromStr;

/// One of `count` processes that share the shards: it makes those whose number, divided by `count`, leaves `index`.
///
/// No share has more than one shard above another, and each has its part of every split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worker {
    index: usize,
    count: usize,
}

impl Worker {
    /// None unless `index` is below `count`.
    pub fn new(index: usize, count: usize) -> Option<Self> {
        (index < count).then_some(Self { index, count })
    }

    /// Which of the workers, from 0.
    pub fn index(self) -> usize {
        self.index
    }

    /// How many there are.
    pub fn count(self) -> usize {
        self.count
    }

    /// Whether shard number `shard` is in its share.
    pub fn makes(self, shard: usize) -> bool {
        shard % self.count == self.index
    }
}

/// `2/4`: the third of four.
impl fmt::Display for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

/// What `--worker` says: `I/N`, or `/N` where a variable of the scheduler says I.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerChoice {
    /// I.
    pub index: Option<usize>,
    /// N, above I.
    pub count: usize,
}

impl FromStr for WorkerChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("`{text}` is not I/N or /N, as 0/4 is the first worker of 4");
        let (index, count) = text.split_once('/').ok_or_else(expected)?;
        let count = count.parse().map_err(|_| expected())?;
        let index = match index {
            "" => None,
            index => Some(index.parse().map_err(|_| expected())?),
        };
        match Worker::new(index.unwrap_or(0), count) {
            Some(_) => Ok(Self { index, count }),
            None => Err(format!("`{text}`: I counts from 0 and is below N")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_is_in_one_share_and_the_shares_are_even() {
        for count in [1, 2, 3, 4, 7] {
            let workers: Vec<_> = (0..count).map(|i| Worker::new(i, count).unwrap()).collect();
            let mut sizes = vec![0; count];
            for shard in 0..31 {
                let makers: Vec<_> = workers.iter().filter(|w| w.makes(shard)).collect();
                assert_eq!(makers.len(), 1);
                sizes[makers[0].index()] += 1;
            }
            assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{sizes:?}");
        }
        assert_eq!(Worker::new(4, 4), None);
        assert_eq!(Worker::new(0, 0), None);
    }

    #[test]
    fn what_the_flag_may_say() {
        let choice = |index, count| Ok(WorkerChoice { index, count });
        assert_eq!("0/4".parse(), choice(Some(0), 4));
        assert_eq!("3/4".parse(), choice(Some(3), 4));
        assert_eq!("/4".parse(), choice(None, 4));
        for wrong in ["", "4", "4/4", "0/0", "/0", "/", "-1/4", "1/4/2", "a/4", "1/b", "1/ 4"] {
            let error = wrong.parse::<WorkerChoice>().unwrap_err();
            assert!(error.contains(&format!("`{wrong}`")), "{error}");
        }
    }
}
