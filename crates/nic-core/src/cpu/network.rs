//! All sixteen layers. Activations are `[N][H][W][C/16]` lines.

use std::ops::Range;
use std::sync::Mutex;

use super::conv::Conv;
use super::dense::Dense;
use super::first::First;
use super::isa::Isa;
use super::lines::Line;
use crate::{Result, VggConfig};

/// Convolutions of the stages after the first; a 2x2 max pooling follows each stage.
const STAGES: [usize; 4] = [2, 3, 3, 3];

/// Lines of a stage's widest activation that are worked on together: fewer keep them closer to the cores, more mean
/// fewer passes over the weights. One image in the first stage of the paper's VGG16.
const GROUP: usize = 224 * 224 * 4;

/// VGG16 with packed weights.
#[derive(Debug)]
pub(crate) struct Network {
    side: usize,
    first: First,
    second: Conv,
    stages: Vec<Vec<Conv>>,
    fc6: Dense,
    fc7: Dense,
    logits: Dense,
    widths: [usize; 2],
    /// The last call's, for the next: memory from the system costs more than filling it.
    buffers: Mutex<Buffers>,
}

/// What the layers leave to one another.
#[derive(Debug, Default)]
struct Buffers {
    /// Between two convolutions of a stage, of as many images as [`GROUP`] says.
    between: [Vec<Line>; 2],
    /// What went into a stage and what came out, of the whole batch.
    stages: [Vec<Line>; 2],
}

/// A layer's parameters as PyTorch stores them.
pub(crate) struct Layer<'a> {
    /// The weights of some outputs.
    pub(crate) rows: Box<dyn Fn(Range<usize>) -> Result<Vec<f32>> + Sync + 'a>,
    pub(crate) bias: Vec<f32>,
}

impl Network {
    /// `layer(i)` is layer i of 16. The weights are read some rows at a time and packed at once: they are never held
    /// twice.
    pub(crate) fn new<'a>(
        isa: Isa,
        config: &VggConfig,
        layer: impl Fn(usize) -> Result<Layer<'a>>,
    ) -> Result<Self> {
        let Layer { rows, bias } = layer(0)?;
        let first = First::new(isa, &rows(0..bias.len())?, &bias);
        let mut index = 1;
        let mut conv = |lines: usize| -> Result<Conv> {
            let Layer { rows, bias } = layer(index)?;
            index += 1;
            Conv::new(isa, lines, &bias, rows)
        };
        let second = conv(first.lines_out())?;
        let mut lines = second.lines_out();
        let mut stages = Vec::with_capacity(STAGES.len());
        for length in STAGES {
            let mut stage = Vec::with_capacity(length);
            for _ in 0..length {
                stage.push(conv(lines)?);
                lines = stage[stage.len() - 1].lines_out();
            }
            stages.push(stage);
        }
        // fc6 reads [S][S][C], C filled up to lines, where the stored weights read [C][S][S].
        let pixels = (config.image / 32).pow(2);
        let Layer { rows, bias } = layer(13)?;
        let place = |i: usize| i % pixels * lines * 16 + i / pixels;
        let fc6 = Dense::new(isa, pixels * lines, &bias, true, place, rows)?;
        let Layer { rows, bias } = layer(14)?;
        let fc7 = Dense::new(isa, fc6.lines_out(), &bias, true, |i| i, rows)?;
        let Layer { rows, bias } = layer(15)?;
        let logits = Dense::new(isa, fc7.lines_out(), &bias, false, |i| i, rows)?;
        let widths = [config.hidden[1], config.classes];
        let buffers = Mutex::default();
        Ok(Self { side: config.image, first, second, stages, fc6, fc7, logits, widths, buffers })
    }

    /// fc7 after its ReLU, `[N, F]`, of images `[N, 3, S, S]`.
    pub(crate) fn fc7(&self, images: &[f32]) -> Vec<f32> {
        values(&self.run(images), self.fc7.lines_out(), self.widths[0])
    }

    /// `[N, classes]` of images `[N, 3, S, S]`.
    pub(crate) fn logits(&self, images: &[f32]) -> Vec<f32> {
        let lines = self.logits.run(&self.run(images));
        values(&lines, self.logits.lines_out(), self.widths[1])
    }

    /// fc7 in lines, `[N][F/16]`.
    fn run(&self, images: &[f32]) -> Vec<Line> {
        // Where another thread holds them, this call makes its own.
        let mut buffers = match self.buffers.try_lock() {
            Ok(mut kept) => std::mem::take(&mut *kept),
            Err(_) => Buffers::default(),
        };
        let Buffers { between, stages: [x, y] } = &mut buffers;
        let (mut x, mut y) = (x, y);
        let mut side = self.side / 2;
        let n = images.len() / (3 * self.side * self.side);
        self.first_stage(images, room(x, n * side * side * self.second.lines_out()), between);
        for stage in &self.stages {
            let (lines_in, lines_out) = lines(stage);
            let input = &x[..n * side * side * lines_in];
            run_stage(stage, input, room(y, n * side * side / 4 * lines_out), side, between);
            std::mem::swap(&mut x, &mut y);
            side /= 2;
        }
        let fc6 = self.fc6.run(&x[..n * self.fc6.lines_in()]);
        if let Ok(mut kept) = self.buffers.try_lock() {
            *kept = buffers;
        }
        self.fc7.run(&fc6)
    }

    /// Images `[N, 3, S, S]` to `[N][S/2][S/2]`.
    fn first_stage(&self, images: &[f32], y: &mut [Line], [between, _]: &mut [Vec<Line>; 2]) {
        let (side, pixels) = (self.side, self.side * self.side);
        let pooled = pixels / 4 * self.second.lines_out();
        let group = group(pixels, self.second.lines_out());
        for (images, y) in images.chunks(group * 3 * pixels).zip(y.chunks_mut(group * pooled)) {
            let x = room(between, images.len() / 3 * self.first.lines_out());
            self.first.run(images, x, side);
            self.second.run(x, y, side, true);
        }
    }
}

/// A stage's convolutions and its pooling: `[N][S][S]` pixels to `[N][S/2][S/2]`.
fn run_stage(
    stage: &[Conv],
    x: &[Line],
    y: &mut [Line],
    side: usize,
    between: &mut [Vec<Line>; 2],
) {
    let Some((last, others)) = stage.split_last() else { return };
    let pixels = side * side;
    let (lines_in, lines_out) = lines(stage);
    let group = group(pixels, lines_out);
    let chunks = x.chunks(group * pixels * lines_in);
    for (x, y) in chunks.zip(y.chunks_mut(group * pixels / 4 * lines_out)) {
        let images = x.len() / (pixels * lines_in);
        let mut x = x;
        for (conv, between) in others.iter().zip(&mut *between) {
            let y = room(between, images * pixels * conv.lines_out());
            conv.run(x, y, side, false);
            x = y;
        }
        last.run(x, y, side, true);
    }
}

/// Lines of a pixel that goes into a stage and of one that comes out.
fn lines(stage: &[Conv]) -> (usize, usize) {
    (stage.first().map_or(0, Conv::lines_in), stage.last().map_or(0, Conv::lines_out))
}

/// How many images go together.
fn group(pixels: usize, lines: usize) -> usize {
    (GROUP / (pixels * lines)).max(1)
}

/// The first `length` lines of a buffer that grows where it is too small.
fn room(buffer: &mut Vec<Line>, length: usize) -> &mut [Line] {
    if buffer.len() < length {
        buffer.resize(length, Line::ZERO);
    }
    &mut buffer[..length]
}

/// Lines `[N][L]` to values `[N, width]`.
fn values(lines: &[Line], per_row: usize, width: usize) -> Vec<f32> {
    let row = |lines: &[Line]| lines.iter().flat_map(|line| line.0).take(width).collect::<Vec<_>>();
    lines.chunks_exact(per_row).flat_map(row).collect()
}
