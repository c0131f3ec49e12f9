//! METEOR's own tokenisation, which `-norm` puts on top of the tokeniser's.

use rustc_hash::FxHashMap;

/// Splits a line into lower-case words.
pub(super) struct Normalizer {
    /// Abbreviations that keep their full stop; `true` where they do only before a number ("No. 5").
    abbreviations: FxHashMap<Box<str>, bool>,
}

impl Normalizer {
    /// From the jar's list: an abbreviation a line, `#` before comments, `#NUMERIC_ONLY#` behind some.
    pub(super) fn new(prefixes: &str) -> Self {
        let mut abbreviations = FxHashMap::default();
        for line in prefixes.lines() {
            let mut words = line.split_ascii_whitespace();
            if let Some(abbreviation) = words.next().filter(|word| !word.starts_with('#')) {
                let numeric = words.next() == Some("#NUMERIC_ONLY#");
                abbreviations.insert(abbreviation.into(), numeric);
            }
        }
        Self { abbreviations }
    }

    /// The words of `line`, in lower case.
    pub(super) fn words(&self, line: &str) -> Vec<String> {
        let line = self.full_stops(&punctuation(trim(line)));
        let spaced: String = line.chars().map(|c| if is_space(c) { ' ' } else { c }).collect();
        // trimmed before it is split: control characters are words in the middle of a line, and nothing at its ends
        tokens(&trim(&spaced).to_lowercase()).map(str::to_owned).collect()
    }

    /// Takes full stops off the words that they end, or out of acronyms.
    fn full_stops(&self, line: &str) -> String {
        let words: Vec<&str> = tokens(line).collect();
        let mut out = String::with_capacity(line.len() + 8);
        for (position, &word) in words.iter().enumerate() {
            let next = words.get(position + 1).and_then(|word| word.bytes().next());
            match word.strip_suffix('.').filter(|stem| !stem.is_empty() && !word.starts_with("..")) {
                Some(stem) if stem.contains('.') && stem.contains(is_letter) => {
                    out.extend(word.chars().filter(|&c| c != '.'));
                }
                Some(stem) if !self.keeps(stem, next) => {
                    out.push_str(stem);
                    out.push_str(" .");
                }
                _ => out.push_str(word),
            }
            out.push(' ');
        }
        out
    }

    /// Whether `stem` keeps its full stop before a word that begins with `next`.
    fn keeps(&self, stem: &str, next: Option<u8>) -> bool {
        match self.abbreviations.get(stem) {
            Some(false) => true,
            _ if next.is_some_and(|c| c.is_ascii_lowercase()) => true,
            Some(true) => next.is_some_and(|c| c.is_ascii_digit()),
            None => false,
        }
    }
}

/// Sets punctuation apart from the words that it touches.
fn punctuation(line: &str) -> String {
    // every character has a neighbour on both sides
    let mut spaced = String::with_capacity(line.len() + 16);
    spaced.push(' ');
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        if c == '.' && rest.peek() == Some(&'.') {
            spaced.push_str(" .");
            while rest.next_if_eq(&'.').is_some() {
                spaced.push('.');
            }
            spaced.push(' ');
        } else if is_word(c) || " \t\n\x0b\x0c\r.'`,-‘’".contains(c) {
            spaced.push(c);
        } else {
            spaced.extend([' ', c, ' ']);
        }
    }
    spaced.push(' ');

    let (digit, other) = (|c: char| c.is_ascii_digit(), |c: char| !c.is_ascii_digit());
    let mut line = between(spaced, ',', other, other, " , ");
    line = between(line, ',', digit, other, " , ");
    line = between(line, ',', other, digit, " , ");
    line = line.replace(['`', '‘', '’'], "'");
    line = line.replace(['“', '”'], " \" ").replace("''", " \" ");
    line = line.replace('–', "-").replace("--", "-");
    line = between(line, '-', |c| is_word(c) || c == '.', is_word, " ");

    let (letter, other) = (is_letter, |c: char| !is_letter(c));
    line = between(line, '\'', other, other, " ' ");
    line = between(line, '\'', |c| !is_word(c), letter, " ' ");
    line = between(line, '\'', letter, other, " ' ");
    line = between(line, '\'', letter, letter, " '");
    between(line, '\'', digit, |c| c == 's', " '")
}

/// Writes `with` for each `separator` whose neighbours are as `before` and `after` say. The neighbour behind one is not
/// the neighbour before the next, as regular expressions have it: "a-b-c" has one such dash.
fn between(
    line: String,
    separator: char,
    before: impl Fn(char) -> bool,
    after: impl Fn(char) -> bool,
    with: &str,
) -> String {
    if !line.contains(separator) {
        return line;
    }
    let mut out = String::with_capacity(line.len() + 8);
    let mut previous = None;
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        let fits = c == separator && previous.is_some_and(&before);
        match rest.next_if(|&next| fits && after(next)) {
            Some(next) => {
                out.push_str(with);
                out.push(next);
                previous = None;
            }
            None => {
                out.push(c);
                previous = Some(c);
            }
        }
    }
    out
}

/// Latin and Cyrillic letters.
fn is_letter(c: char) -> bool {
    matches!(c,
        'A'..='Z' | 'a'..='z' | 'À'..='Ö' | 'Ø'..='ö' | 'ø'..='ž'
        | '\u{400}'..='\u{527}' | '\u{a640}'..='\u{a66e}' | '\u{a67e}'..='\u{a697}' | '\u{1d00}'..='\u{1d7f}')
}

/// Letters and digits.
fn is_word(c: char) -> bool {
    c.is_ascii_digit() || is_letter(c)
}

/// Unicode's spaces, but not all.
fn is_space(c: char) -> bool {
    matches!(c, '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' | '\u{a0}')
}

/// As Java's `StringTokenizer` splits.
fn tokens(line: &str) -> impl Iterator<Item = &str> {
    line.split([' ', '\t', '\n', '\r', '\x0c']).filter(|token| !token.is_empty())
}

/// As Java's `String.trim`: control characters too.
fn trim(line: &str) -> &str {
    line.trim_matches(|c| c <= ' ')
}
