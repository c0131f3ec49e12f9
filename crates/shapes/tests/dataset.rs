//! The dataset that is shipped: what is in it, and that it can be made again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // as in tests themselves

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;
use shapes::check::{facts, is_true};
use shapes::dataset::{self, CAPTIONS, Entry, IMAGES, PLAN, SCENES, Split};
use shapes::grammar::{CAPTIONS_PER_SCENE, MAX_WORDS};
use shapes::scene::{HELD_OUT, Kind, Scene};

const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../datasets/shapes");

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Scenes with their captions, as the files say.
fn scenes() -> Result<Vec<(Entry, Vec<String>)>> {
    let entries = dataset::read_scenes(Path::new(DIR))?;
    let file: Value = serde_json::from_slice(&fs::read(Path::new(DIR).join(CAPTIONS))?)?;
    let images = file["images"].as_array().ok_or("no images")?;
    assert_eq!(images.len(), entries.len());
    let mut out = Vec::new();
    for (image, entry) in images.iter().zip(entries) {
        assert_eq!(image["filename"], entry.file_name());
        assert_eq!(image["split"], serde_json::to_value(entry.split)?);
        let sentences = image["sentences"].as_array().ok_or("no sentences")?;
        let captions =
            sentences.iter().filter_map(|s| s["raw"].as_str()).map(String::from).collect();
        out.push((entry, captions));
    }
    Ok(out)
}

#[test]
fn generating_again_gives_the_shipped_bytes() -> Result<()> {
    let dir = tempfile::tempdir()?;
    dataset::write(dir.path(), 1, &dataset::sample(1, &PLAN))?;
    for name in [IMAGES, CAPTIONS, SCENES] {
        let (again, shipped) =
            (fs::read(dir.path().join(name))?, fs::read(Path::new(DIR).join(name))?);
        assert!(again == shipped, "{name}: run `shapes generate --out datasets/shapes`");
    }
    Ok(())
}

#[test]
fn held_out_pairs_are_in_unseen_test_scenes_only() -> Result<()> {
    let mut unseen = 0;
    for (entry, _) in scenes()? {
        let shows_one = entry.scene.objects.iter().any(|o| HELD_OUT.contains(&(o.colour, o.shape)));
        assert_eq!(shows_one, entry.kind == Kind::Unseen, "scene {}", entry.id);
        assert!(!shows_one || entry.split == Split::Test, "scene {}", entry.id);
        unseen += usize::from(shows_one);
    }
    assert_eq!(unseen, 120);
    Ok(())
}

#[test]
fn captions_are_true_different_and_short() -> Result<()> {
    let mut words = BTreeSet::new();
    for (entry, captions) in scenes()? {
        let different: BTreeSet<&String> = captions.iter().collect();
        assert_eq!(different.len(), CAPTIONS_PER_SCENE, "scene {}", entry.id);
        for caption in &captions {
            let facts = facts(caption, &entry.scene).ok_or_else(|| caption.clone())?;
            assert!(is_true(&facts), "scene {}: {caption}", entry.id);
            assert!(caption.split(' ').count() <= MAX_WORDS, "{caption}");
            words.extend(caption.split(' ').map(|w| w.trim_end_matches([',', ':']).to_owned()));
        }
    }
    assert!((40..=80).contains(&words.len()), "{} words", words.len());
    Ok(())
}

const COLOURS: [&str; 6] = ["red", "orange", "yellow", "green", "blue", "purple"];
const SHAPES: [&str; 5] = ["circle", "square", "triangle", "star", "cross"];
const NUMBERS: [&str; 3] = ["one", "two", "three"];
const OPPOSITES: [(&str, &str); 5] = [
    ("left", "right"),
    ("above", "below"),
    ("over", "under"),
    ("small", "large"),
    ("little", "big"),
];

/// Whether some object is called `word`: a colour or a shape.
fn shows(scene: &Scene, word: &str) -> bool {
    scene
        .objects
        .iter()
        .any(|o| format!("{:?} {:?}", o.colour, o.shape).to_lowercase().contains(word))
}

/// What a word can become so that a true caption is no longer true.
fn falsehoods(word: &str, scene: &Scene) -> Vec<&'static str> {
    let absent = |names: &[&'static str]| -> Vec<&'static str> {
        names.iter().copied().filter(|n| !shows(scene, n)).collect()
    };
    // two objects of one colour and shape can trade places in a sentence
    let alike = scene.objects.iter().enumerate().any(|(i, a)| {
        scene.objects.iter().skip(i + 1).any(|b| (a.colour, a.shape) == (b.colour, b.shape))
    });
    if COLOURS.contains(&word) {
        absent(&COLOURS)
    } else if SHAPES.contains(&word) {
        absent(&SHAPES)
    } else if NUMBERS.contains(&word) {
        NUMBERS.into_iter().filter(|n| *n != word).collect()
    } else if alike {
        Vec::new()
    } else {
        let other = |&(a, b)| (a == word).then_some(b).or((b == word).then_some(a));
        OPPOSITES.iter().filter_map(other).collect()
    }
}

#[test]
fn one_changed_word_makes_a_caption_false() -> Result<()> {
    let mut tried = 0;
    for (entry, captions) in scenes()?.into_iter().step_by(5) {
        for caption in captions {
            let words: Vec<&str> =
                caption.split(' ').map(|w| w.trim_end_matches([',', ':'])).collect();
            for (i, word) in words.iter().enumerate() {
                for lie in falsehoods(word, &entry.scene) {
                    let mut changed = words.clone();
                    changed[i] = lie;
                    // the article follows its word
                    if i > 0 && matches!(changed[i - 1], "a" | "an") {
                        changed[i - 1] = if lie == "orange" { "an" } else { "a" };
                    }
                    let changed = changed.join(" ");
                    let facts = facts(&changed, &entry.scene).ok_or_else(|| changed.clone())?;
                    assert!(!is_true(&facts), "scene {}: {caption} -> {changed}", entry.id);
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 10_000, "{tried} changes tried");
    Ok(())
}
