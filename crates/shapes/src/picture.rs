//! The demo's picture: scenes with their captions underneath.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use embedded_graphics::Pixel;
use embedded_graphics::mono_font::ascii::{FONT_9X15, FONT_10X20};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::{Rgb888, RgbColor};
use embedded_graphics::prelude::{DrawTarget, Drawable, OriginDimensions, Point, Size};
use embedded_graphics::text::{Baseline, Text};
use image::imageops::{self, FilterType};
use image::{ImageFormat, Rgb, RgbImage};
use zip::ZipArchive;

use crate::dataset::{IMAGES, save};
use crate::draw::{Outline, fill};
use crate::report::Judged;
use crate::scene::Kind;
use crate::{Error, Result};

/// Scenes of each kind, and so columns: the first of the split, right or wrong.
const COLUMNS: usize = 6;
/// Pixels: a scene's side, the space around things, a line of a caption's text, all its lines.
const TILE: u32 = 216;
const GAP: u32 = 28;
const LINE: u32 = 19;
const LINES: u32 = 5;
const HEADING: u32 = 34;

const PAPER: [u8; 3] = [255, 255, 255];
const INK: [u8; 3] = [34, 38, 44];
const FAINT: [u8; 3] = [110, 116, 125];
const GREEN: [u8; 3] = [22, 138, 62];
const RED: [u8; 3] = [200, 38, 38];

/// Draws the first scenes of each kind, from the dataset in `dir`, with their captions, and saves that as a PNG file.
///
/// # Errors
/// Where the archive of pictures cannot be read, or the picture not written.
pub fn draw(judged: &[Judged], dir: &Path, out: &Path) -> Result<()> {
    let mut archive = Archive::open(dir)?;
    let row = HEADING + TILE + 10 + LINES * LINE + GAP;
    let width = GAP + COLUMNS as u32 * (TILE + GAP);
    let mut page = Page(RgbImage::from_pixel(width, GAP + HEADING + 2 * row, Rgb(PAPER)));
    page.write("What the network says of scenes it has never seen", GAP, GAP, &FONT_10X20, INK);
    let mut top = GAP + HEADING + 8;
    for (kind, what) in [
        (Kind::Seen, "colours and shapes that went together in training"),
        (Kind::Unseen, "green triangles, purple stars, orange circles: never in training"),
    ] {
        let of_kind = || judged.iter().filter(|j| j.entry.kind == kind);
        let right = of_kind().filter(|j| j.is_true()).count();
        let heading = format!("{what}; {right} of {} captions wholly true", of_kind().count());
        page.write(&heading, GAP, top, &FONT_9X15, FAINT);
        for (judged, column) in of_kind().take(COLUMNS).zip(0..) {
            let left = GAP + column * (TILE + GAP);
            let scene = archive.picture(&judged.entry.file_name())?;
            let scene = imageops::resize(&scene, TILE, TILE, FilterType::CatmullRom);
            imageops::replace(&mut page.0, &scene, left.into(), (top + HEADING - 8).into());
            page.caption(judged, left, top + HEADING + TILE + 4);
        }
        top += row;
    }
    let mut png = Cursor::new(Vec::new());
    page.0.write_to(&mut png, ImageFormat::Png).map_err(|e| Error::content(out, e))?;
    if let Some(parent) = out.parent() {
        std::fs::create_dir_all(parent).map_err(|e| Error::file(parent, e))?;
    }
    save(out, &png.into_inner())
}

/// The dataset's pictures.
struct Archive {
    path: PathBuf,
    zip: ZipArchive<File>,
}

impl Archive {
    fn open(dir: &Path) -> Result<Self> {
        let path = dir.join(IMAGES);
        let file = File::open(&path).map_err(|e| Error::file(&path, e))?;
        let zip = ZipArchive::new(file).map_err(|e| Error::content(&path, e))?;
        Ok(Self { path, zip })
    }

    fn picture(&mut self, name: &str) -> Result<RgbImage> {
        let wrong = |e: &dyn std::fmt::Display| Error::content(&self.path, format!("{name}: {e}"));
        let mut png = Vec::new();
        self.zip
            .by_name(name)
            .map_err(|e| wrong(&e))?
            .read_to_end(&mut png)
            .map_err(|e| wrong(&e))?;
        Ok(image::load_from_memory(&png).map_err(|e| wrong(&e))?.to_rgb8())
    }
}

/// What is drawn on.
struct Page(RgbImage);

impl Page {
    fn write(&mut self, text: &str, left: u32, top: u32, font: &MonoFont<'_>, ink: [u8; 3]) {
        let style = MonoTextStyle::new(font, Rgb888::new(ink[0], ink[1], ink[2]));
        let place = Point::new(left as i32, top as i32);
        let Ok(_) = Text::with_baseline(text, place, style, Baseline::Top).draw(self);
    }

    /// A mark, green and ticked or red and crossed, and the caption beside it.
    fn caption(&mut self, judged: &Judged, left: u32, top: u32) {
        let ink = if judged.is_true() { GREEN } else { RED };
        let (x, y) = (f64::from(left) + 8.0, f64::from(top) + 7.5);
        fill(&mut self.0, &Outline::Circle { x, y, radius: 8.0 }, ink);
        let strokes: &[[(f64, f64); 2]] = if judged.is_true() {
            &[[(-3.6, 0.2), (-1.2, 2.8)], [(-1.2, 2.8), (3.8, -2.9)]]
        } else {
            &[[(-2.8, -2.8), (2.8, 2.8)], [(-2.8, 2.8), (2.8, -2.8)]]
        };
        for [from, to] in strokes {
            fill(&mut self.0, &stroke((x + from.0, y + from.1), (x + to.0, y + to.1)), PAPER);
        }
        let indent = 24;
        let width = ((TILE - indent) / FONT_9X15.character_size.width) as usize;
        let ink = if judged.is_true() { INK } else { RED };
        for (line, number) in wrap(&judged.caption, width).iter().take(LINES as usize).zip(0..) {
            self.write(line, left + indent, top + number * LINE, &FONT_9X15, ink);
        }
    }
}

/// A line two pixels wide.
fn stroke(from: (f64, f64), to: (f64, f64)) -> Outline {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let length = dx.hypot(dy);
    let (x, y) = (dx / length, dy / length);
    Outline::Polygon(vec![
        (from.0 - x - y, from.1 - y + x),
        (from.0 - x + y, from.1 - y - x),
        (to.0 + x + y, to.1 + y - x),
        (to.0 + x - y, to.1 + y + x),
    ])
}

/// Lines of at most `width` characters, broken between words.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.into()),
        }
    }
    lines
}

impl OriginDimensions for Page {
    fn size(&self) -> Size {
        Size::new(self.0.width(), self.0.height())
    }
}

impl DrawTarget for Page {
    type Color = Rgb888;
    type Error = std::convert::Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(
        &mut self,
        pixels: I,
    ) -> std::result::Result<(), Self::Error> {
        for Pixel(Point { x, y }, ink) in pixels {
            let place = (u32::try_from(x), u32::try_from(y));
            if let (Ok(x), Ok(y)) = place
                && let Some(pixel) = self.0.get_pixel_mut_checked(x, y)
            {
                *pixel = Rgb([ink.r(), ink.g(), ink.b()]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::wrap;

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrap("a small red circle", 7), ["a small", "red", "circle"]);
        assert_eq!(wrap("", 7), Vec::<String>::new());
        assert_eq!(wrap("triangles", 4), ["triangles"]);
    }
}
