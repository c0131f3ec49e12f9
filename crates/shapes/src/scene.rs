//! Scenes: one to three coloured shapes on a plain ground.

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

/// A picture's side in pixels.
pub const SIDE: u32 = 160;
/// `extract` scales the shorter side to 256 and keeps the middle 224: so many pixels are lost at each edge.
const MARGIN: f64 = SIDE as f64 * (256.0 - 224.0) / 256.0 / 2.0;
/// Objects stand in different cells of a grid of so many rows and columns, which keeps them apart.
const GRID: usize = 3;
/// One object is left of (above ...) another where its centre is at least so many pixels further that way: more than
/// two objects of one column can differ by, less than two of neighbouring columns do.
const CLEAR: f64 = 24.0;

/// What a colour is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs)]
pub enum Colour {
    Red,
    Orange,
    Yellow,
    Green,
    Blue,
    Purple,
}

/// What a shape is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs)]
pub enum Shape {
    Circle,
    Square,
    Triangle,
    Star,
    Cross,
}

/// There is nothing between small and large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs)]
pub enum Size {
    Small,
    Large,
}

/// Where one object is, seen from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs)]
pub enum Relation {
    Left,
    Right,
    Above,
    Below,
}

impl Colour {
    /// All.
    pub const ALL: [Self; 6] =
        [Self::Red, Self::Orange, Self::Yellow, Self::Green, Self::Blue, Self::Purple];

    /// Its RGB, of which an object's own differs a little.
    fn rgb(self) -> [u8; 3] {
        match self {
            Self::Red => [214, 40, 40],
            Self::Orange => [243, 130, 20],
            Self::Yellow => [245, 208, 30],
            Self::Green => [45, 155, 70],
            Self::Blue => [45, 95, 205],
            Self::Purple => [135, 60, 170],
        }
    }
}

impl Shape {
    /// All.
    pub const ALL: [Self; 5] =
        [Self::Circle, Self::Square, Self::Triangle, Self::Star, Self::Cross];
}

impl Size {
    /// All.
    pub const ALL: [Self; 2] = [Self::Small, Self::Large];
}

impl Relation {
    /// All.
    pub const ALL: [Self; 4] = [Self::Left, Self::Right, Self::Above, Self::Below];
}

/// The pairs that only pictures of [`Kind::Unseen`] show.
pub const HELD_OUT: [(Colour, Shape); 3] = [
    (Colour::Green, Shape::Triangle),
    (Colour::Purple, Shape::Star),
    (Colour::Orange, Shape::Circle),
];

/// Whether a scene shows a held-out pair of colour and shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It shows none.
    Seen,
    /// It shows one at least.
    Unseen,
}

/// One shape in the picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Object {
    /// What its colour is called.
    pub colour: Colour,
    /// What it is.
    pub shape: Shape,
    /// What its size is called.
    pub size: Size,
    /// Its centre from the left, in pixels.
    pub x: f64,
    /// Its centre from the top, in pixels.
    pub y: f64,
    /// What it takes to draw it and nothing states; not in `scenes.json`.
    #[serde(skip)]
    pub look: Look,
}

/// How an object looks besides what it is called.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Look {
    /// Its colour.
    pub rgb: [u8; 3],
    /// About half its width, in pixels.
    pub radius: f64,
    /// How far it is turned, in degrees.
    pub angle: f64,
}

impl Object {
    /// Whether it is `relation` (left of ...) `other`, beyond doubt.
    pub fn is(&self, relation: Relation, other: &Self) -> bool {
        match relation {
            Relation::Left => other.x - self.x >= CLEAR,
            Relation::Right => self.x - other.x >= CLEAR,
            Relation::Above => other.y - self.y >= CLEAR,
            Relation::Below => self.y - other.y >= CLEAR,
        }
    }

    fn is_held_out(&self) -> bool {
        HELD_OUT.contains(&(self.colour, self.shape))
    }
}

/// What a picture shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scene {
    /// The ground's colour; not in `scenes.json`.
    #[serde(skip)]
    pub ground: [u8; 3],
    /// One to three, as one reads: row by row of the grid, from the left. No two agree in colour, shape and size.
    pub objects: Vec<Object>,
}

impl Scene {
    /// Draws lots for scene `number`: the same seed and number give the same scene.
    pub fn sample(seed: u64, number: u64, kind: Kind) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(number);
        loop {
            let scene = Self::draw_lots(&mut rng);
            if scene.kind() == kind && scene.are_all_different() {
                return scene;
            }
        }
    }

    /// Whether it shows a held-out pair.
    pub fn kind(&self) -> Kind {
        if self.objects.iter().any(Object::is_held_out) { Kind::Unseen } else { Kind::Seen }
    }

    fn are_all_different(&self) -> bool {
        let look = |o: &Object| (o.colour, o.shape, o.size);
        self.objects
            .iter()
            .enumerate()
            .all(|(i, a)| self.objects.iter().skip(i + 1).all(|b| look(a) != look(b)))
    }

    fn draw_lots(rng: &mut ChaCha8Rng) -> Self {
        let light = rng.random_range(205..=250);
        let ground = [light; 3].map(|c: u8| c.saturating_add_signed(rng.random_range(-10..=5)));
        let mut cells: Vec<usize> = (0..GRID * GRID).collect();
        cells.shuffle(rng);
        let count = [1, 2, 2, 3, 3].choose(rng).copied().unwrap_or(1);
        cells.truncate(count);
        cells.sort_unstable();
        let objects = cells.into_iter().map(|cell| Object::sample(rng, cell)).collect();
        Self { ground, objects }
    }
}

impl Object {
    fn sample(rng: &mut ChaCha8Rng, cell: usize) -> Self {
        let colour = Colour::ALL[rng.random_range(0..Colour::ALL.len())];
        let shape = Shape::ALL[rng.random_range(0..Shape::ALL.len())];
        let size = Size::ALL[rng.random_range(0..Size::ALL.len())];
        let (radius, play) = match size {
            Size::Small => (rng.random_range(9.5..11.0), 7.0),
            Size::Large => (rng.random_range(17.5..19.5), 2.0),
        };
        let side = (f64::from(SIDE) - 2.0 * MARGIN) / GRID as f64;
        let mut place = |cell: usize| {
            tenths(MARGIN + side * (cell as f64 + 0.5) + rng.random_range(-play..=play))
        };
        let (x, y) = (place(cell % GRID), place(cell / GRID));
        let look = Look {
            rgb: colour.rgb().map(|c| c.saturating_add_signed(rng.random_range(-10..=10))),
            radius: tenths(radius),
            angle: tenths(rng.random_range(-10.0..=10.0)),
        };
        Self { colour, shape, size, x, y, look }
    }
}

/// Rounded to a tenth: what `scenes.json` says is what is drawn.
fn tenths(x: f64) -> f64 {
    (x * 10.0).round() / 10.0
}
