//! Words back to text.

/// Words joined as people write them: `do n't` is "don't", `man 's` "man's", `$ 5` "$5".
///
/// What [`tokenize`](super::tokenize) drops, capitals and most punctuation, does not come back. But the
/// words of a caption are those of the text that they are joined to.
///
/// ```
/// # use caption_metrics::ptb::join;
/// assert_eq!(join(&["a", "man", "'s", "dog", "-lrb-", "he", "ca", "n't", "bark", "-rrb-"]), "a man's dog (he can't bark)");
/// ```
pub fn join<S: AsRef<str>>(words: &[S]) -> String {
    let mut text = String::new();
    let mut before = None;
    for word in words.iter().map(AsRef::as_ref) {
        if before.is_some_and(|before| !is_glued(before, word)) {
            text.push(' ');
        }
        text.push_str(&spell(word));
        before = Some(word);
    }
    text
}

/// Whether no space stands between two words.
fn is_glued(left: &str, right: &str) -> bool {
    matches!(
        right,
        "'s" | "'m" | "'d" | "'ll" | "'re" | "'ve" | "n't" | "-rrb-" | "-rsb-" | "-rcb-" | "%"
    ) || (right.len() > 1 && right.bytes().all(|mark| matches!(mark, b'!' | b'?')))
        || matches!(left, "-lrb-" | "-lsb-" | "-lcb-" | "#" | "y'")
        || left.ends_with('$')
        || matches!(
            (left, right),
            ("can", "not")
                | ("gon" | "wan", "na")
                | ("got", "ta")
                | ("gim" | "lem", "me")
                | ("'t", "is" | "was")
        )
}

fn spell(word: &str) -> String {
    let mut spelled = word.replace('\u{a0}', " ");
    for (name, bracket) in [
        ("-lrb-", "("),
        ("-rrb-", ")"),
        ("-lsb-", "["),
        ("-rsb-", "]"),
        ("-lcb-", "{"),
        ("-rcb-", "}"),
    ] {
        spelled = spelled.replace(name, bracket);
    }
    spelled
}
