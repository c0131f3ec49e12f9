//! Captions to words as coco-caption has them: those of Stanford CoreNLP 3.4.1's `PTBTokenizer` with
//! `-preserveLines -lowerCase`, less a list of punctuation. Equal token for token, without Java.
//!
//! Quirks that are kept, since scores depend on them:
//!
//! - `man's` is `man` and `'s`, `can't` is `ca` and `n't`, `cannot` is `can` and `not`.
//! - Brackets stay, as `-lrb-` and `-rrb-`: the list names them in capitals. So do `!!`, `/`, `#`, `$` and
//!   other marks that it does not name.
//! - A fraction, a telephone number or a tag is one token, with U+00A0 for its spaces: `1\u{a0}1/2`.
//!   Python's `split()`, which pycocoevalcap's BLEU and CIDEr use, cuts it there after all. `<!` ... `>`
//!   may hold tabs and other blanks besides.
//! - Emoji and all else that the original does not know vanish.
//! - How a caption ends can depend on the next: see [`tokenize_lines`].
//!
//! Known to differ: a tag whose quotation does not end on its line (the jar reads on into the captions
//! that follow), a Greek capital sigma whose word goes on in another script, `İ` and `ſ` for an English i
//! and s (`vſ.`), `&APOS;` in capitals after the likes of `AT&T`, `d've's`, and the characters `.[^x=`.

mod chars;
mod grammar;
mod join;
mod lexer;
mod token;

use std::borrow::Cow;
use std::ops::Range;

pub use join::join;

/// The words of a caption that stands alone, or before one that does not matter.
///
/// ```
/// # use caption_metrics::ptb::tokenize;
/// assert_eq!(tokenize("A man's dog doesn't bark."), ["a", "man", "'s", "dog", "does", "n't", "bark"]);
/// ```
pub fn tokenize(caption: &str) -> Vec<String> {
    let mut bytes = Vec::new();
    push_bytes(&mut bytes, caption);
    bytes.push(b'\n');
    line(caption, &bytes).into_iter().map(Cow::into_owned).collect()
}

/// The words of each caption in the file that coco-caption would make of them all.
///
/// It differs from [`tokenize`] caption by caption in little, but it does. Before a caption that
/// begins with `A`, `The` or another word that opens sentences, a single letter at the end loses its
/// full stop: `sign with a K.` ends in `k`, elsewhere in `k.`. `No.` keeps it before a caption that
/// begins with a digit. And nothing follows the last caption: if it ends in `they're`, its last two
/// words are `they` and `re`.
pub fn tokenize_lines<S: AsRef<str>>(captions: &[S]) -> Vec<Vec<String>> {
    let captions: Vec<&str> = captions.iter().map(AsRef::as_ref).collect();
    let lines = tokenize_part(&captions, 0..captions.len()).into_iter();
    lines.map(|line| line.into_iter().map(Cow::into_owned).collect()).collect()
}

/// What [`tokenize_lines`] makes of a part of the captions, which may be done apart from the others.
///
/// # Panics
/// Where there are not so many captions.
pub fn tokenize_part<'a>(captions: &[&'a str], part: Range<usize>) -> Vec<Vec<Cow<'a, str>>> {
    // the grammar looks past blank captions at the next one, and at the end of its line
    let after = &captions[part.end..];
    let next = after.iter().position(|caption| !caption.trim().is_empty());
    let seen = next.map_or(after.len(), |next| after.len().min(next + 2));
    let mut file = Vec::new();
    let mut starts = Vec::with_capacity(part.len() + seen);
    for caption in &captions[part.start..part.end + seen] {
        if !starts.is_empty() {
            file.push(b'\n');
        }
        starts.push(file.len());
        push_bytes(&mut file, caption);
    }
    captions[part]
        .iter()
        .zip(starts)
        .map(|(caption, start)| line(caption, &file[start..]))
        .collect()
}

/// Adds the bytes that the grammar reads a caption as. A line end within it is a space.
fn push_bytes(file: &mut Vec<u8>, caption: &str) {
    if caption.is_ascii() {
        file.extend(caption.bytes().map(|ascii| chars::byte(ascii.into())));
    } else {
        file.extend(caption.encode_utf16().map(chars::byte));
    }
}

/// The words of a caption, which is what `bytes` begin with.
fn line<'a>(caption: &'a str, bytes: &[u8]) -> Vec<Cow<'a, str>> {
    let mut words = Vec::with_capacity(caption.len() / 4);
    let mut rest = caption;
    let mut is_last_kept = false;
    lexer::lex(bytes, |length, form| {
        let (text, after) = split_at_unit(rest, length);
        rest = after;
        if let Some(token) = token::write(text, form) {
            is_last_kept = !token::is_dropped(&token);
            if is_last_kept {
                words.push(token);
            }
        }
        !rest.is_empty()
    });
    // coco-caption strips the lines that the jar prints; an address can end in a no-break space
    let is_space = |c: char| c.is_whitespace() || ('\x1c'..='\x1f').contains(&c);
    if let Some(word) = words.last_mut().filter(|_| is_last_kept).filter(|w| w.ends_with(is_space))
    {
        *word = Cow::Owned(word.trim_end_matches(is_space).to_owned());
    }
    words
}

/// `text` before and after so many UTF-16 units.
fn split_at_unit(text: &str, mut units: usize) -> (&str, &str) {
    if text.is_char_boundary(units) && text.as_bytes()[..units].is_ascii() {
        return text.split_at(units);
    }
    for (at, c) in text.char_indices() {
        if units == 0 {
            return text.split_at(at);
        }
        units -= c.len_utf16().min(units);
    }
    (text, "")
}
