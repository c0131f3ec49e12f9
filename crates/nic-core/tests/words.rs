//! Tokeniser, vocabulary, packed captions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // as in tests themselves

mod common;

use std::path::Path;

use candle_core::Device;
use common::karpathy;
use nic_core::{PackedCaptions, Tokenizer, Vocab};

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn vocab() -> Vocab {
    let captions = ["a dog and a cat", "a dog runs", "the cat sleeps", "a bird"].map(words);
    Vocab::build(Tokenizer::Karpathy, captions.iter().map(Vec::as_slice), 2)
}

#[test]
fn karpathys_words() {
    let cut = |caption| Tokenizer::Karpathy.tokenize(caption);
    assert_eq!(cut("A man's T-shirt, No. 7 !"), ["a", "mans", "tshirt", "no", "7"]);
    assert_eq!(cut("two\nlines\tand\u{a0}gaps"), ["two", "lines", "and", "gaps"]);
    assert_eq!(cut("Café – naïve"), ["caf", "nave"]);
    assert!(cut("").is_empty() && cut(" -- ... ").is_empty());
}

#[test]
fn karpathys_words_of_real_captions() {
    let Some(images) = karpathy("karpathys_words_of_real_captions") else { return };
    let mut captions = 0;
    for sentence in images.iter().flat_map(|image| &image.sentences) {
        assert_eq!(
            Tokenizer::Karpathy.tokenize(&sentence.raw),
            sentence.tokens,
            "{:?}",
            sentence.raw
        );
        captions += 1;
    }
    assert_eq!(captions, 35_000);
}

/// That the cutting is the Java program's is caption-metrics' to show.
#[test]
fn ptb_words_are_joined_as_people_write_them() {
    let words = Tokenizer::Ptb.tokenize("A man's T-shirt, and he can't read it.");
    assert_eq!(words, ["a", "man", "'s", "t-shirt", "and", "he", "ca", "n't", "read", "it"]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    assert_eq!(Tokenizer::Ptb.join(&words), "a man's t-shirt and he can't read it");
    assert_eq!(serde_json::to_value(Tokenizer::Ptb).unwrap(), "ptb");
}

#[test]
fn a_vocabulary_is_sorted_by_count_then_word() {
    let vocab = vocab();
    let words: Vec<&str> = (0..).map_while(|id| vocab.word(id)).collect();
    assert_eq!(words, ["<pad>", "<start>", "<end>", "<unk>", "a", "cat", "dog"]);
    let counts: Vec<u64> = (0..).map_while(|id| vocab.count(id)).collect();
    // four captions end; and, runs, the, sleeps and bird are rare
    assert_eq!(counts, [0, 0, 4, 5, 4, 2, 2]);
    let shares: Vec<f32> = vocab.log_frequencies().into_iter().map(f32::exp).collect();
    let expected = [1.0, 1.0, 4.0, 5.0, 4.0, 2.0, 2.0].map(|count| count / 19.0);
    assert!(
        shares.iter().zip(expected).all(|(share, expected)| (share - expected).abs() < 1e-6),
        "{shares:?}"
    );
}

#[test]
fn words_to_ids_and_back() {
    let vocab = vocab();
    assert_eq!(vocab.encode(&words("a bird <end> cat")), [4, Vocab::UNK, Vocab::UNK, 5]);
    assert_eq!(vocab.decode(&[Vocab::START, 4, 6, Vocab::UNK, 99, Vocab::END]), "a dog");
}

#[test]
fn special_words_in_captions_are_rare_words() {
    let captions = [words("<end> <end> <pad> dog")];
    let vocab = Vocab::build(Tokenizer::Karpathy, captions.iter().map(Vec::as_slice), 1);
    assert_eq!((vocab.len(), vocab.count(Vocab::UNK)), (5, Some(3)));
}

#[test]
fn a_saved_vocabulary_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vocab.json");
    vocab().save(&path).unwrap();
    let text = std::fs::read(&path).unwrap();
    assert!(text.starts_with(br#"{"tokenizer":"karpathy","words":["<pad>","#));
    let loaded = Vocab::load(&path).unwrap();
    assert_eq!(loaded, vocab());
    loaded.save(&path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), text);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn damaged_vocabularies_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vocab.json");
    let special = r#""<pad>","<start>","<end>","<unk>""#;
    let cases = [
        (
            r#"{"tokenizer":"karpathy","words":["<pad>","a"],"counts":[0,1]}"#.to_owned(),
            "words[1] is \"a\"",
        ),
        (r#"{"tokenizer":"karpathy","words":[],"counts":[]}"#.to_owned(), "words[0] is missing"),
        (
            format!(r#"{{"tokenizer":"karpathy","words":[{special},"a"],"counts":[0,0,1,0]}}"#),
            "counts is 4, expected 5",
        ),
        (
            format!(
                r#"{{"tokenizer":"karpathy","words":[{special},"a","a"],"counts":[0,0,1,0,1,1]}}"#
            ),
            "\"a\", there twice",
        ),
        (
            format!(r#"{{"tokenizer":"karpathy","words":[{special}],"counts":[0,0,1,0],"x":1}}"#),
            "unknown field `x`",
        ),
        (
            format!(r#"{{"tokenizer":"bpe","words":[{special}],"counts":[0,0,1,0]}}"#),
            "unknown variant `bpe`",
        ),
        (format!(r#"{{"tokenizer":"karpathy","words":[{special}],"counts":[0,0,-1,0]}}"#), "-1"),
        (r#"{"tokenizer":"karpathy","words":["#.to_owned(), "line 1"),
    ];
    for (text, expected) in cases {
        std::fs::write(&path, &text).unwrap();
        let error = Vocab::load(&path).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("vocab.json") && message.contains(expected), "{text}: {message}");
        assert_eq!(error.exit_code(), 2);
    }
    let message = Vocab::load(Path::new("nowhere/vocab.json")).unwrap_err().to_string();
    assert!(message.contains("nowhere/vocab.json"), "{message}");
}

#[test]
fn captions_are_packed_longest_first() {
    let captions: [&[u32]; 4] = [&[5], &[], &[6, 7, 8], &[9]];
    let packed = PackedCaptions::new(&captions, &Device::Cpu).unwrap();
    assert_eq!(packed.order, [2, 0, 3, 1]);
    assert_eq!(packed.steps, [4, 3, 1, 1]);
    assert_eq!(packed.tokens(), 9);
    assert_eq!(packed.inputs.to_vec1::<u32>().unwrap(), [1, 1, 1, 1, 6, 5, 9, 7, 8]);
    assert_eq!(packed.targets.to_vec1::<u32>().unwrap(), [6, 5, 9, 2, 7, 2, 2, 8, 2]);

    let empty = PackedCaptions::new(&[&[], &[]], &Device::Cpu).unwrap();
    assert_eq!((empty.steps, empty.targets.to_vec1::<u32>().unwrap()), (vec![2], vec![2, 2]));
    assert!(
        PackedCaptions::new(&[], &Device::Cpu)
            .unwrap_err()
            .to_string()
            .contains("at least one caption")
    );
}
