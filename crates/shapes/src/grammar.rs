//! The sentences of this world: one table of patterns both writes captions and reads them.

use std::collections::BTreeSet;

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::scene::{Colour, Object, Relation, Scene, Shape, Size};

/// Captions of a scene.
pub const CAPTIONS_PER_SCENE: usize = 5;
/// Words in the longest caption.
pub const MAX_WORDS: usize = 20;

/// Patterns and how often each is chosen, by the number of objects mentioned. `{a}` is an object with its article,
/// `{a.shape}` one of its words, `{ab}` how a stands to b, `{n}` how many objects there are, `{only}` that there is one.
const PATTERNS: [&[(&str, u32)]; 3] = [
    &[
        ("{a}", 2),
        ("there is {a}", 2),
        ("here we see {a}", 1),
        ("this is {a}", 1),
        ("the picture shows {a}", 1),
        ("the {only} shape is {a}", 1),
        ("{n} shape: {a}", 1),
        ("there is just {n} shape, {a}", 1),
        ("the {a.shape} is {a.size} and {a.colour}", 1),
        ("a {a.shape} that is {a.colour} and {a.size}", 1),
    ],
    &[
        ("{a} is {ab} {b}", 3),
        ("{b} is {ba} {a}", 2),
        ("there is {a} {ab} {b}", 2),
        ("{a} {ab} {b}", 2),
        ("{b} {ba} {a}", 1),
        ("{ab} {b} there is {a}", 1),
        ("in this picture {a} is {ab} {b}", 1),
        ("{a} and {b}", 1),
        ("{n} shapes: {a} and {b}", 2),
        ("there are {n} shapes, {a} and {b}", 1),
        ("the picture shows {a} and {b}", 1),
    ],
    &[
        ("{n} shapes: {a}, {b} and {c}", 3),
        ("there are {n} shapes: {a}, {b} and {c}", 2),
        ("{a}, {b} and {c}", 2),
        ("we see {a}, {b} and {c}", 1),
        ("the picture shows {a} with {b} and {c}", 1),
        ("{a} is {ab} {b} and {ac} {c}", 2),
        ("there is {a} {ab} {b} and {ac} {c}", 1),
    ],
];

const NUMBERS: [&str; 3] = ["one", "two", "three"];

/// What each is called, the usual word first.
fn size_words(size: Size) -> &'static [&'static str] {
    match size {
        Size::Small => &["small", "little"],
        Size::Large => &["large", "big"],
    }
}

fn colour_word(colour: Colour) -> &'static str {
    match colour {
        Colour::Red => "red",
        Colour::Orange => "orange",
        Colour::Yellow => "yellow",
        Colour::Green => "green",
        Colour::Blue => "blue",
        Colour::Purple => "purple",
    }
}

fn shape_word(shape: Shape) -> &'static str {
    match shape {
        Shape::Circle => "circle",
        Shape::Square => "square",
        Shape::Triangle => "triangle",
        Shape::Star => "star",
        Shape::Cross => "cross",
    }
}

fn relation_words(relation: Relation) -> &'static [&'static str] {
    match relation {
        Relation::Left => &["to the left of", "left of"],
        Relation::Right => &["to the right of", "right of"],
        Relation::Above => &["above", "over"],
        Relation::Below => &["below", "under"],
    }
}

fn article(next: &str) -> &'static str {
    if next.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

/// A piece of a pattern.
#[derive(Clone, Copy, Debug)]
enum Piece<'a> {
    Word(&'a str),
    Number,
    Only,
    Object(usize),
    ShapeOf(usize),
    ColourOf(usize),
    SizeOf(usize),
    Relation(usize, usize),
}

/// A pattern's pieces, each with the punctuation that follows it.
fn pieces(pattern: &str) -> impl Iterator<Item = (Piece<'_>, &str)> {
    pattern.split(' ').map(|piece| {
        let end = piece.trim_end_matches([',', ':']).len();
        let (piece, punctuation) = piece.split_at(end);
        let object = |letter: u8| usize::from(letter - b'a');
        let inner = piece.strip_prefix('{').and_then(|p| p.strip_suffix('}'));
        let piece = match inner.map(str::as_bytes) {
            None => Piece::Word(piece),
            Some(b"n") => Piece::Number,
            Some(b"only") => Piece::Only,
            Some([a, b'.', b's', b'h', ..]) => Piece::ShapeOf(object(*a)),
            Some([a, b'.', b'c', ..]) => Piece::ColourOf(object(*a)),
            Some([a, b'.', ..]) => Piece::SizeOf(object(*a)),
            Some([a, b]) => Piece::Relation(object(*a), object(*b)),
            Some([a, ..]) => Piece::Object(object(*a)),
            Some([]) => Piece::Word(piece),
        };
        (piece, punctuation)
    })
}

/// Different true captions of a scene; the same seed and number give the same.
pub fn captions(scene: &Scene, seed: u64, number: u64) -> Vec<String> {
    // the upper half of the streams, for the lower decides the scenes
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(number | 1 << 63);
    let mut used = BTreeSet::new();
    let mut out = Vec::new();
    while out.len() < CAPTIONS_PER_SCENE {
        let Some(mut mentioned) = scene.objects.len().checked_sub(1) else { break };
        // of three shapes, sometimes two are enough
        if mentioned == 2 && rng.random_bool(0.3) {
            mentioned = 1;
        }
        let Ok(&(pattern, _)) = PATTERNS[mentioned].choose_weighted(&mut rng, |(_, w)| *w) else {
            break;
        };
        if mentioned + 1 < scene.objects.len() && pattern.contains("{n}") {
            continue; // "two shapes: ..." would leave out the third
        }
        let caption = write(pattern, mentioned + 1, scene, &mut rng);
        if caption.split(' ').count() <= MAX_WORDS && used.insert(pattern) {
            out.push(caption);
        }
    }
    out
}

/// A caption of the scene after a pattern.
fn write(pattern: &str, mentioned: usize, scene: &Scene, rng: &mut ChaCha8Rng) -> String {
    let objects = &scene.objects;
    let mut chosen = rand::seq::index::sample(rng, objects.len(), mentioned).into_vec();
    chosen.sort_unstable();
    let object = |i: usize| &objects[chosen[i]];
    let mut out = String::new();
    for (piece, punctuation) in pieces(pattern) {
        let words = match piece {
            Piece::Word(word) => word.into(),
            Piece::Number => NUMBERS[objects.len() - 1].into(),
            Piece::Only => "only".into(),
            Piece::Object(i) => mention(object(i), scene, rng),
            Piece::ShapeOf(i) => shape_word(object(i).shape).into(),
            Piece::ColourOf(i) => colour_word(object(i).colour).into(),
            Piece::SizeOf(i) => word(size_words(object(i).size), rng).into(),
            Piece::Relation(i, j) => {
                word(relation_words(relation(object(i), object(j))), rng).into()
            }
        };
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(&words);
        out.push_str(punctuation);
    }
    out
}

/// "a small red circle". The size may be left out, but not where it alone tells two objects apart.
fn mention(object: &Object, scene: &Scene, rng: &mut ChaCha8Rng) -> String {
    let alike = |o: &&Object| (o.colour, o.shape) == (object.colour, object.shape);
    let with_size = rng.random_bool(0.7) || scene.objects.iter().filter(alike).count() > 1;
    let colour = colour_word(object.colour);
    let first = if with_size { word(size_words(object.size), rng) } else { colour };
    let rest = if with_size { format!(" {colour}") } else { String::new() };
    format!("{} {first}{rest} {}", article(first), shape_word(object.shape))
}

/// The usual word two times out of three.
fn word(words: &'static [&'static str], rng: &mut ChaCha8Rng) -> &'static str {
    words[usize::from(rng.random_ratio(1, 3))]
}

/// How a stands to b: along the axis on which they are further apart.
fn relation(a: &Object, b: &Object) -> Relation {
    let (dx, dy) = (a.x - b.x, a.y - b.y);
    match (dx.abs() > dy.abs(), dx > 0.0, dy > 0.0) {
        (true, true, _) => Relation::Right,
        (true, false, _) => Relation::Left,
        (false, _, true) => Relation::Below,
        (false, _, false) => Relation::Above,
    }
}

/// An object as a caption calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mention {
    /// What colour it is said to have.
    pub colour: Colour,
    /// What it is said to be.
    pub shape: Shape,
    /// How large it is said to be, if that is said.
    pub size: Option<Size>,
}

/// What a caption says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statement {
    /// How many objects there are.
    pub count: Option<usize>,
    /// Different objects that are there.
    pub mentions: Vec<Mention>,
    /// How one mentioned object stands to another, by their positions in `mentions`.
    pub relations: Vec<(usize, Relation, usize)>,
}

/// What a caption says; none where it is no sentence of this world. Case and punctuation do not matter.
pub fn read(caption: &str) -> Option<Statement> {
    let plain = |word: &str| -> String {
        word.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect()
    };
    let words: Vec<String> =
        caption.split_whitespace().map(plain).filter(|w| !w.is_empty()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    PATTERNS.iter().zip(1..).find_map(|(patterns, mentioned)| {
        patterns.iter().find_map(|(pattern, _)| read_as(pattern, mentioned, &words))
    })
}

/// What is said of an object, word by word.
#[derive(Clone, Copy, Default)]
struct Said {
    colour: Option<Colour>,
    shape: Option<Shape>,
    size: Option<Size>,
}

fn read_as(pattern: &str, mentioned: usize, words: &[&str]) -> Option<Statement> {
    let mut rest = words;
    let mut said = vec![Said::default(); mentioned];
    let mut statement = Statement::default();
    for (piece, _) in pieces(pattern) {
        match piece {
            Piece::Word(word) => take(&mut rest, |w| (w == word).then_some(()))?,
            Piece::Number => {
                let number = take(&mut rest, |w| NUMBERS.iter().position(|n| *n == w))?;
                statement.count = Some(number + 1);
            }
            Piece::Only => {
                take(&mut rest, |w| (w == "only").then_some(()))?;
                statement.count = Some(1);
            }
            Piece::Object(i) => {
                let found = take(&mut rest, Some)?;
                if found != article(rest.first()?) {
                    return None;
                }
                let size = take(&mut rest, read_size);
                let colour = Some(take(&mut rest, read_colour)?);
                let shape = Some(take(&mut rest, read_shape)?);
                said[i] = Said { colour, shape, size };
            }
            Piece::ShapeOf(i) => said[i].shape = Some(take(&mut rest, read_shape)?),
            Piece::ColourOf(i) => said[i].colour = Some(take(&mut rest, read_colour)?),
            Piece::SizeOf(i) => said[i].size = Some(take(&mut rest, read_size)?),
            Piece::Relation(i, j) => {
                let (relation, words) = Relation::ALL.into_iter().find_map(|relation| {
                    relation_words(relation).iter().find_map(|phrase| {
                        let phrase: Vec<&str> = phrase.split(' ').collect();
                        Some((relation, rest.strip_prefix(phrase.as_slice())?))
                    })
                })?;
                rest = words;
                statement.relations.push((i, relation, j));
            }
        }
    }
    let mention =
        |said: Said| Some(Mention { colour: said.colour?, shape: said.shape?, size: said.size });
    statement.mentions = said.into_iter().map(mention).collect::<Option<_>>()?;
    rest.is_empty().then_some(statement)
}

/// The first word, if `read` knows it.
fn take<'a, T>(rest: &mut &[&'a str], read: impl FnOnce(&'a str) -> Option<T>) -> Option<T> {
    let (first, others) = rest.split_first()?;
    let found = read(first)?;
    *rest = others;
    Some(found)
}

fn read_colour(word: &str) -> Option<Colour> {
    Colour::ALL.into_iter().find(|c| colour_word(*c) == word)
}

fn read_shape(word: &str) -> Option<Shape> {
    Shape::ALL.into_iter().find(|s| shape_word(*s) == word)
}

fn read_size(word: &str) -> Option<Size> {
    Size::ALL.into_iter().find(|s| size_words(*s).contains(&word))
}
