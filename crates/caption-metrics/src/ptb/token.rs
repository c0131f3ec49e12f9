//! A token as it is written.

use std::borrow::Cow;

use super::chars::is_line_end;

/// How the characters of a token become its text, which is in lower case always.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// As they stand.
    Plain,
    /// Without soft hyphens, `&amp;` as `&`.
    Word,
    /// Quotes and apostrophes as `` ` ``, ` `` `, `'` and `''`.
    Quotes,
    /// Spaces as U+00A0, so that a token is not taken for two.
    Solid,
    /// As [`Form::Solid`], with `-lrb-` and `-rrb-` for brackets.
    SolidBrackets,
    /// `1/2` for ½.
    Fraction,
    /// Always this.
    Is(&'static str),
    /// Nothing: white space, and what is left out.
    Nothing,
}

/// The token that `text` is written as, if any.
pub(super) fn write(text: &str, form: Form) -> Option<Cow<'_, str>> {
    let owned = |text: String| Cow::Owned(lowercase(&text).into_owned());
    Some(match form {
        Form::Plain => lowercase(text),
        Form::Word if text.contains(['\u{ad}', '&']) => {
            Cow::Owned(lowercase(&text.replace('\u{ad}', "")).replace("&amp;", "&"))
        }
        Form::Word => lowercase(text),
        Form::Quotes => owned(ascii_quotes(text)),
        Form::Solid => owned(solid(text)),
        Form::SolidBrackets => {
            let text = lowercase(&solid(text)).replace('(', "-lrb-");
            Cow::Owned(text.replace(')', "-rrb-"))
        }
        Form::Fraction => Cow::Borrowed(fraction(text)),
        Form::Is(token) => Cow::Borrowed(token),
        Form::Nothing => return None,
    })
}

/// coco-caption's punctuation. Its list also has `-LRB-`, `-RRB-`, `-LCB-` and `-RCB-`, but by then
/// they are in lower case: brackets stay.
pub(super) fn is_dropped(token: &str) -> bool {
    matches!(
        token,
        "" | "''" | "'" | "``" | "`" | "." | "?" | "!" | "," | ":" | "-" | "--" | "..." | ";"
    )
}

/// Java's lower case.
fn lowercase(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(text.to_ascii_lowercase())
        } else {
            Cow::Borrowed(text) // as most words stand
        }
    } else if text.contains('Σ') {
        Cow::Owned(lowercase_sigma(text))
    } else {
        Cow::Owned(text.to_lowercase())
    }
}

/// Lower case where a sigma that ends a word is ς. Java looks for the word's end further off than
/// [`str::to_lowercase`]: `ΟΔΟΣ5A` and `ΟΔΟΣ-A` go on, `ΟΔΟΣ-5A` and `ΟΔΟΣ/A` do not.
fn lowercase_sigma(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let is_cased = |at: usize| chars[at].is_lowercase() || chars[at].is_uppercase();
    let is_in_word = |&at: &usize| match chars[at] {
        '-' | '.' => ![at.checked_sub(1), Some(at + 1)]
            .iter()
            .any(|near| near.and_then(|near| chars.get(near)).is_some_and(char::is_ascii_digit)),
        '_' | '\'' => true,
        c => !c.is_ascii_punctuation(),
    };
    let mut lower = String::with_capacity(text.len());
    for (at, c) in chars.iter().enumerate() {
        let is_final = *c == 'Σ'
            && (0..at).rev().take_while(is_in_word).any(is_cased)
            && !(at + 1..chars.len()).take_while(is_in_word).any(is_cased);
        if is_final {
            lower.push('ς');
        } else {
            lower.extend(c.to_lowercase());
        }
    }
    lower
}

fn ascii_quotes(text: &str) -> String {
    let text = text.replace("&apos;", "'").replace("&quot;", "''").replace('"', "''");
    let mut ascii = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '‘' | '‛' | '‹' | '\u{91}' => ascii.push('`'),
            '’' | '›' | '\u{92}' => ascii.push('\''),
            '“' | '«' | '\u{93}' => ascii.push_str("``"),
            '”' | '»' | '\u{94}' => ascii.push_str("''"),
            other => ascii.push(other),
        }
    }
    ascii
}

fn solid(text: &str) -> String {
    text.replace(|c| c == ' ' || is_line_end(c), "\u{a0}")
}

fn fraction(text: &str) -> &'static str {
    match text {
        "¼" => "1/4",
        "½" => "1/2",
        "¾" => "3/4",
        "⅓" => "1/3",
        _ => "2/3",
    }
}
