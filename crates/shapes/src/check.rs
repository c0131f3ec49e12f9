//! Which of a caption's facts are true of its scene.

use crate::grammar::{Mention, Statement, read};
use crate::scene::{Object, Scene};

/// What a fact is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FactKind {
    /// A colour and a shape that go together.
    Pair,
    /// The size of such an object.
    Size,
    /// How one mentioned object stands to another.
    Relation,
    /// How many objects there are.
    Count,
}

/// Something that a caption states, and whether it is so.
pub type Fact = (FactKind, bool);

/// The facts that a caption states; none where it is no sentence of this world.
///
/// Mentions are of different objects. Where several objects could be meant, those are that make most facts true.
pub fn facts(caption: &str, scene: &Scene) -> Option<Vec<Fact>> {
    let statement = read(caption)?;
    let mut best = Vec::new();
    let mut most = None;
    choose(&statement, scene, &mut Vec::new(), &mut |meant| {
        let facts = facts_if(&statement, scene, meant);
        let count = facts.iter().filter(|(_, is_true)| *is_true).count();
        if most < Some(count) {
            most = Some(count);
            best = facts;
        }
    });
    Some(best)
}

/// Whether a caption states a fact at least, and nothing that is not so.
pub fn is_true(facts: &[Fact]) -> bool {
    !facts.is_empty() && facts.iter().all(|(_, is_true)| *is_true)
}

/// Calls `each` with every choice of different objects (or of none) for the mentions.
fn choose<'a>(
    statement: &Statement,
    scene: &'a Scene,
    meant: &mut Vec<Option<&'a Object>>,
    each: &mut impl FnMut(&[Option<&'a Object>]),
) {
    if meant.len() == statement.mentions.len() {
        return each(meant);
    }
    for object in scene.objects.iter().map(Some).chain([None]) {
        let taken =
            |o: &Option<&Object>| matches!((o, object), (Some(a), Some(b)) if std::ptr::eq(*a, b));
        if !meant.iter().any(taken) {
            meant.push(object);
            choose(statement, scene, meant, each);
            meant.pop();
        }
    }
}

/// The facts where the mentions are of the objects `meant`.
fn facts_if(statement: &Statement, scene: &Scene, meant: &[Option<&Object>]) -> Vec<Fact> {
    let mut facts = Vec::new();
    let holds = |object: Option<&Object>, test: &dyn Fn(&Object) -> bool| object.is_some_and(test);
    for (&Mention { colour, shape, size }, &object) in statement.mentions.iter().zip(meant) {
        let pair = holds(object, &|o| (o.colour, o.shape) == (colour, shape));
        facts.push((FactKind::Pair, pair));
        if let Some(size) = size {
            facts.push((FactKind::Size, holds(object, &|o| o.size == size)));
        }
    }
    for &(a, relation, b) in &statement.relations {
        let is_so = matches!((meant[a], meant[b]), (Some(a), Some(b)) if a.is(relation, b));
        facts.push((FactKind::Relation, is_so));
    }
    if let Some(count) = statement.count {
        facts.push((FactKind::Count, scene.objects.len() == count));
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::{Colour, Look, Shape, Size};

    fn scene() -> Scene {
        let object =
            |colour, shape, size, x, y| Object { colour, shape, size, x, y, look: Look::default() };
        Scene {
            ground: [0; 3],
            objects: vec![
                object(Colour::Red, Shape::Circle, Size::Small, 30.0, 30.0),
                object(Colour::Blue, Shape::Square, Size::Large, 120.0, 35.0),
                object(Colour::Orange, Shape::Star, Size::Small, 33.0, 125.0),
            ],
        }
    }

    fn verdict(caption: &str) -> Option<bool> {
        facts(caption, &scene()).map(|f| is_true(&f))
    }

    #[test]
    fn true_captions_pass() {
        for caption in [
            "a small red circle is to the left of a large blue square",
            "There is a blue square right of a red circle.",
            "an orange star is below a red circle and left of a blue square",
            "above a little orange star there is a red circle",
            "three shapes a big blue square a red circle and a small orange star",
            "a red circle and an orange star",
        ] {
            assert_eq!(verdict(caption), Some(true), "{caption}");
        }
    }

    #[test]
    fn one_wrong_fact_is_enough() {
        for caption in [
            "a small green circle is to the left of a large blue square",
            "a small red cross is to the left of a large blue square",
            "a large red circle is to the left of a large blue square",
            "a small red circle is to the right of a large blue square",
            "a small red circle is above a large blue square",
            "a large blue square is to the left of a small red circle",
            "two shapes: a red circle and a blue square",
            "a small red square is to the left of a large blue circle",
            "the only shape is a red circle",
            "a red circle and a red circle",
            "a red circle, a blue square and a red circle",
        ] {
            assert_eq!(verdict(caption), Some(false), "{caption}");
        }
    }

    #[test]
    fn what_is_no_sentence_is_not_read() {
        for caption in [
            "",
            "a",
            "red circle",
            "an red circle",
            "a orange star",
            "a red circle is",
            "a red circle is to the left a blue square",
            "a red circle is above",
            "a circle red",
            "a red circle and a blue square and",
            "three shapes",
            "a photograph of a cat",
        ] {
            assert_eq!(verdict(caption), None, "{caption}");
        }
    }

    #[test]
    fn facts_are_counted_by_kind() {
        let found = facts("a small red circle is above a large blue square", &scene());
        let expected = vec![
            (FactKind::Pair, true),
            (FactKind::Size, true),
            (FactKind::Pair, true),
            (FactKind::Size, true),
            (FactKind::Relation, false),
        ];
        assert_eq!(found, Some(expected));
    }
}
