//! What holds for captions of any text.

#![allow(clippy::unwrap_used)] // as in tests themselves

use std::ops::Range;

use caption_metrics::{Bleu, Cider, Corpus, Metric, References, Results, RougeL, Score, ptb};
use proptest::prelude::*;

/// An image's references and its candidate.
type Image = (Vec<String>, String);

/// Any text, and sentences of few words, in which n-grams meet.
fn caption() -> impl Strategy<Value = String> {
    let words = prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "d's", "."]), 0..12);
    prop_oneof![any::<String>(), words.prop_map(|words| words.join(" "))]
}

fn images() -> impl Strategy<Value = Vec<Image>> {
    let references = prop::collection::vec(caption(), 1..5);
    prop::collection::vec((references, caption()), 1..6)
}

fn tokens(captions: &[&str], part: Range<usize>) -> Vec<Vec<String>> {
    let tokens = |c: &&str| c.split(' ').filter(|t| !t.is_empty()).map(String::from).collect();
    captions[part].iter().map(tokens).collect()
}

fn corpus(
    images: &[Image],
    tokenize: impl Fn(&[&str], Range<usize>) -> Vec<Vec<String>> + Sync,
) -> Corpus {
    let ids = 0..images.len() as i64;
    let references = ids.clone().zip(images).map(|(id, image)| (id, image.0.clone())).collect();
    let mut results: Vec<_> = ids.zip(images).map(|(id, image)| (id, image.1.clone())).collect();
    results.reverse(); // they may come in any order
    let references = References::new("references", references);
    let results = Results::new("results", results);
    Corpus::new(&references, &results, tokenize).unwrap()
}

fn scores(corpus: &Corpus) -> Vec<Score> {
    let metrics: [&dyn Metric; 3] = [&Bleu, &RougeL, &Cider::default()];
    metrics.iter().flat_map(|metric| metric.score(corpus)).collect()
}

/// Up to the order in which numbers are added.
fn same(found: &[f64], expected: &[f64]) -> bool {
    found.len() == expected.len() && found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-9)
}

/// What the tokeniser takes for one thing at a caption's end, and for another where it knows what follows.
fn line() -> impl Strategy<Value = String> {
    let ends = vec![
        "sign with a K.",
        "No.",
        "the '80",
        "they're",
        "U.S.",
        "A",
        "The",
        "Mr.",
        "<br>",
        "5",
        "",
        " ",
        "\u{a0}",
        "\n",
        "A dog",
        "a",
        "犬",
    ];
    prop_oneof![4 => prop::sample::select(ends).prop_map(String::from), 1 => any::<String>()]
}

proptest! {
    #[test]
    fn captions_may_be_tokenised_in_parts(
        lines in prop::collection::vec(line(), 0..20),
        (from, to) in (0..20_usize, 0..20_usize),
    ) {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let (from, to) = (from.min(lines.len()), to.min(lines.len()));
        let part = from.min(to)..from.max(to);
        prop_assert_eq!(ptb::tokenize_part(&lines, part.clone()), &ptb::tokenize_lines(&lines)[part]);
    }

    #[test]
    fn any_text_goes_through_tokeniser_and_scores(images in images()) {
        let ptb = |captions: &[&str], part: Range<usize>| ptb::tokenize_lines(captions)[part].to_vec();
        for score in scores(&corpus(&images, ptb)) {
            prop_assert!(score.images.iter().all(|score| score.is_finite()));
        }
    }

    #[test]
    fn scores_are_in_range(images in images()) {
        for score in scores(&corpus(&images, tokens)) {
            let most = if score.name.starts_with("cider") { 10.0 } else { 1.0 };
            prop_assert_eq!(score.images.len(), images.len());
            for value in score.images.into_iter().chain([score.corpus]) {
                prop_assert!((0.0..=most + 1e-9).contains(&value), "{}: {}", score.name, value);
            }
        }
    }

    #[test]
    fn cider_d_is_at_most_cider(images in images()) {
        let [cider_d, cider] = &Cider::default().score(&corpus(&images, tokens))[..] else { unreachable!() };
        for (d, plain) in cider_d.images.iter().zip(&cider.images) {
            prop_assert!(*d <= plain + 1e-9);
        }
    }

    #[test]
    fn the_order_of_images_does_not_matter(images in images()) {
        let reversed: Vec<_> = images.iter().rev().cloned().collect();
        for (found, expected) in scores(&corpus(&reversed, tokens)).iter().zip(scores(&corpus(&images, tokens))) {
            prop_assert!(same(&[found.corpus], &[expected.corpus]));
            let found: Vec<_> = found.images.iter().rev().copied().collect();
            prop_assert!(same(&found, &expected.images));
        }
    }

    #[test]
    fn the_order_of_references_does_not_matter(images in images()) {
        let reversed: Vec<Image> = images
            .iter()
            .map(|(references, candidate)| (references.iter().rev().cloned().collect(), candidate.clone()))
            .collect();
        for (found, expected) in scores(&corpus(&reversed, tokens)).iter().zip(scores(&corpus(&images, tokens))) {
            prop_assert!(same(&found.images, &expected.images));
        }
    }

    #[test]
    fn a_caption_that_is_a_reference_scores_best(images in images()) {
        let copied: Vec<Image> =
            images.iter().map(|(references, _)| (references.clone(), references[0].clone())).collect();
        let corpus = corpus(&copied, tokens);
        for (at, image) in corpus.images().iter().enumerate() {
            // as long as that many words, BLEU-n has n-grams to find
            for score in Bleu.score(&corpus).iter().take(image.candidate.words().len()) {
                prop_assert!(score.images[at] > 1.0 - 1e-8);
            }
            prop_assert!(RougeL.score(&corpus)[0].images[at] > 1.0 - 1e-9);
        }
    }
}
