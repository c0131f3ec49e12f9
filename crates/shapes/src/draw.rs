//! Scenes as pictures: a pixel's colour is the mean over points inside it.

use std::f64::consts::TAU;

use image::{Rgb, RgbImage};

use crate::scene::{Object, SIDE, Scene, Shape};

/// Points across and down a pixel.
const POINTS: u32 = 4;

/// The picture of a scene.
pub(crate) fn draw(scene: &Scene) -> RgbImage {
    let mut picture = RgbImage::from_pixel(SIDE, SIDE, Rgb(scene.ground));
    for object in &scene.objects {
        fill(&mut picture, &Outline::new(object), object.look.rgb);
    }
    picture
}

/// Colours what is inside `outline`.
pub(crate) fn fill(picture: &mut RgbImage, outline: &Outline, rgb: [u8; 3]) {
    let ((left, top), (right, bottom)) = outline.bounds();
    let span = |from: f64, to: f64, end: u32| {
        from.floor().max(0.0) as u32..(to.ceil().max(0.0) as u32).min(end)
    };
    for y in span(top, bottom, picture.height()) {
        for x in span(left, right, picture.width()) {
            let covered = outline.points_inside(x, y);
            let pixel = picture.get_pixel_mut(x, y);
            for (under, over) in pixel.0.iter_mut().zip(rgb) {
                let sum =
                    u32::from(over) * covered + u32::from(*under) * (POINTS * POINTS - covered);
                *under = ((sum + POINTS * POINTS / 2) / (POINTS * POINTS)) as u8;
            }
        }
    }
}

/// The edge of what is drawn, in pixels.
pub(crate) enum Outline {
    /// Around a point.
    Circle {
        /// Its centre from the left.
        x: f64,
        /// Its centre from the top.
        y: f64,
        /// From the centre to the edge.
        radius: f64,
    },
    /// Through these corners and back to the first.
    Polygon(Vec<(f64, f64)>),
}

impl Outline {
    fn new(object: &Object) -> Self {
        let radius = object.look.radius;
        // corners for a radius of 1, y downwards
        let ring = |corners: usize, radius: &dyn Fn(usize) -> f64| -> Vec<(f64, f64)> {
            (0..corners)
                .map(|i| {
                    let angle = TAU * i as f64 / corners as f64;
                    (radius(i) * angle.sin(), -radius(i) * angle.cos())
                })
                .collect()
        };
        let corners = match object.shape {
            Shape::Circle => {
                return Self::Circle { x: object.x, y: object.y, radius };
            }
            Shape::Square => vec![(-0.87, -0.87), (0.87, -0.87), (0.87, 0.87), (-0.87, 0.87)],
            Shape::Triangle => vec![(0.0, -1.05), (1.1, 0.85), (-1.1, 0.85)],
            Shape::Star => ring(10, &|i| if i % 2 == 0 { 1.18 } else { 0.48 }),
            Shape::Cross => {
                let (long, wide) = (1.05, 0.34);
                vec![
                    (-wide, -long),
                    (wide, -long),
                    (wide, -wide),
                    (long, -wide),
                    (long, wide),
                    (wide, wide),
                    (wide, long),
                    (-wide, long),
                    (-wide, wide),
                    (-long, wide),
                    (-long, -wide),
                    (-wide, -wide),
                ]
            }
        };
        let (sin, cos) = object.look.angle.to_radians().sin_cos();
        let place = |(x, y): (f64, f64)| {
            (object.x + radius * (x * cos - y * sin), object.y + radius * (x * sin + y * cos))
        };
        Self::Polygon(corners.into_iter().map(place).collect())
    }

    /// The corners of the upright box around it.
    fn bounds(&self) -> ((f64, f64), (f64, f64)) {
        match self {
            Self::Circle { x, y, radius } => ((x - radius, y - radius), (x + radius, y + radius)),
            Self::Polygon(corners) => corners.iter().fold(
                ((f64::INFINITY, f64::INFINITY), (f64::NEG_INFINITY, f64::NEG_INFINITY)),
                |((left, top), (right, bottom)), &(x, y)| {
                    ((left.min(x), top.min(y)), (right.max(x), bottom.max(y)))
                },
            ),
        }
    }

    /// How many of a pixel's points are inside.
    fn points_inside(&self, x: u32, y: u32) -> u32 {
        let at = |pixel: u32, i: u32| f64::from(pixel) + (f64::from(i) + 0.5) / f64::from(POINTS);
        let mut inside = 0;
        for j in 0..POINTS {
            for i in 0..POINTS {
                inside += u32::from(self.contains(at(x, i), at(y, j)));
            }
        }
        inside
    }

    fn contains(&self, px: f64, py: f64) -> bool {
        match self {
            Self::Circle { x, y, radius } => {
                (px - x) * (px - x) + (py - y) * (py - y) < radius * radius
            }
            // a ray to the right crosses the edge an odd number of times
            Self::Polygon(corners) => {
                let mut inside = false;
                for (i, &(ax, ay)) in corners.iter().enumerate() {
                    let (bx, by) = corners[(i + 1) % corners.len()];
                    if (ay > py) != (by > py) && px < ax + (py - ay) * (bx - ax) / (by - ay) {
                        inside = !inside;
                    }
                }
                inside
            }
        }
    }
}
