//! Words back to text.

/// Words joined as people write them.
pub fn join(words: &[&str]) -> String {
    words.join(" ")
}
