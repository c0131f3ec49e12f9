//! WordNet's synonyms.

use rustc_hash::FxHashMap;

/// Which synsets a word is in.
pub(super) struct WordNet {
    synsets: FxHashMap<Box<str>, Box<[u32]>>,
    /// The base forms of irregular ones: "mice" is of "mouse".
    bases: FxHashMap<Box<str>, Vec<Box<str>>>,
}

/// WordNet's rules of detachment (`morphy`), in the order in which METEOR tries them: an ending, and what the base form
/// has there.
const ENDINGS: [(&str, &str); 18] = [
    ("s", ""),
    ("ses", "s"),
    ("xes", "x"),
    ("zes", "z"),
    ("ches", "ch"),
    ("shes", "sh"),
    ("men", "man"),
    ("ies", "y"),
    ("es", "e"),
    ("es", ""),
    ("ed", "e"),
    ("ed", ""),
    ("ing", "e"),
    ("ing", ""),
    ("er", ""),
    ("est", ""),
    ("er", "e"),
    ("est", "e"),
];

impl WordNet {
    /// From the jar's lists, of two lines an entry: a word, then its synsets' numbers; a base form, then the irregular
    /// forms of it.
    pub(super) fn new(
        synsets: FxHashMap<Box<str>, Box<[u32]>>,
        bases: FxHashMap<Box<str>, Vec<Box<str>>>,
    ) -> Self {
        Self { synsets, bases }
    }

    /// The jar's list of synsets: a word, and in the next line its synsets' numbers.
    pub(super) fn synsets(text: &str) -> Result<FxHashMap<Box<str>, Box<[u32]>>, String> {
        pairs(text)
            .map(|pair| {
                let (word, numbers) = pair?;
                let numbers = numbers.split_ascii_whitespace().map(|number| {
                    number.parse().map_err(|_| format!("{word} has {number}, expected a number"))
                });
                Ok((word.into(), numbers.collect::<Result<_, String>>()?))
            })
            .collect()
    }

    /// The jar's list of exceptions: a base form, and in the next line its irregular forms.
    pub(super) fn bases(text: &str) -> Result<FxHashMap<Box<str>, Vec<Box<str>>>, String> {
        let mut bases: FxHashMap<Box<str>, Vec<Box<str>>> = FxHashMap::default();
        for pair in pairs(text) {
            let (base, forms) = pair?;
            for form in forms.split_ascii_whitespace() {
                bases.entry(form.into()).or_default().push(base.into());
            }
        }
        Ok(bases)
    }

    /// The synsets of `word` and of its base forms, in ascending order.
    pub(super) fn synsets_of(&self, word: &str) -> Box<[u32]> {
        let mut synsets = self.exactly(word).to_vec();
        match self.bases.get(word) {
            Some(bases) => synsets.extend(bases.iter().flat_map(|base| self.exactly(base))),
            None => synsets.extend(self.regular_base(word).unwrap_or_default()),
        }
        synsets.sort_unstable();
        synsets.dedup();
        synsets.into()
    }

    fn exactly(&self, word: &str) -> &[u32] {
        self.synsets.get(word).map_or(&[], AsRef::as_ref)
    }

    /// The synsets of the first known base form that the rules give.
    fn regular_base(&self, word: &str) -> Option<&[u32]> {
        if word.len() <= 2 || word.ends_with("ss") {
            return None;
        }
        ENDINGS.iter().find_map(|(ending, base)| {
            let base = word.strip_suffix(ending)?.to_owned() + base;
            self.synsets.get(base.as_str()).map(AsRef::as_ref)
        })
    }
}

/// Every two lines.
fn pairs(text: &str) -> impl Iterator<Item = Result<(&str, &str), String>> {
    let mut lines = text.lines();
    std::iter::from_fn(move || {
        let first = lines.next()?;
        Some(lines.next().map(|second| (first, second)).ok_or_else(|| format!("ends after {first}")))
    })
}
