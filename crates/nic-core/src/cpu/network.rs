//! All sixteen layers. Activations are `[N][H][W][C/16]` lines.

use rayon::prelude::*;

use super::conv::Conv;
use super::dense::Dense;
use super::lines::Line;
use crate::{Result, VggConfig};

/// Convolutions of each stage; a 2x2 max pooling follows each stage.
const STAGES: [usize; 5] = [2, 2, 3, 3, 3];

/// Lines of a stage's widest activation that are worked on together: fewer keep them closer to the cores, more mean
/// fewer passes over the weights. One image in the first stage of the paper's VGG16.
const GROUP: usize = 224 * 224 * 4;

/// VGG16 with packed weights.
#[derive(Debug)]
pub(crate) struct Network {
    side: usize,
    stages: Vec<Vec<Conv>>,
    fc6: Dense,
    fc7: Dense,
    logits: Dense,
    widths: [usize; 2],
}

impl Network {
    /// `layer(i)` is the weight and bias of layer i of 16 in PyTorch's layout. Each is asked for once, in order, so that
    /// only one is held unpacked.
    pub(crate) fn new(
        config: &VggConfig,
        layer: impl Fn(usize) -> Result<[Vec<f32>; 2]>,
    ) -> Result<Self> {
        let mut stages = Vec::with_capacity(STAGES.len());
        let (mut lines, mut next) = (1, 0);
        for length in STAGES {
            let mut stage = Vec::with_capacity(length);
            for _ in 0..length {
                let [weight, bias] = layer(next)?;
                let conv = Conv::new(lines, &weight, &bias);
                lines = conv.lines_out();
                stage.push(conv);
                next += 1;
            }
            stages.push(stage);
        }
        // fc6 reads [S][S][C], C filled up to lines, where the stored weights read [C][S][S].
        let pixels = (config.image / 32).pow(2);
        let (channels, filled) = (config.channels[12], lines * 16);
        let [weight, bias] = layer(13)?;
        let fc6 = Dense::new(pixels * lines, pixels * filled, &bias, true, |k, d| {
            let (pixel, channel) = (d / filled, d % filled);
            if channel < channels { weight[(k * channels + channel) * pixels + pixel] } else { 0.0 }
        });
        drop(weight);
        let plain = |i: usize, lines: usize, inputs: usize, relu: bool| -> Result<Dense> {
            let [weight, bias] = layer(i)?;
            Ok(Dense::new(lines, inputs, &bias, relu, |k, d| weight[k * inputs + d]))
        };
        let fc7 = plain(14, fc6.lines_out(), config.hidden[0], true)?;
        let logits = plain(15, fc7.lines_out(), config.hidden[1], false)?;
        let widths = [config.hidden[1], config.classes];
        Ok(Self { side: config.image, stages, fc6, fc7, logits, widths })
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
        let mut side = self.side;
        let mut x = pixels(images, side * side);
        for stage in &self.stages {
            x = run_stage(stage, &x, side);
            side /= 2;
        }
        self.fc7.run(&self.fc6.run(&x))
    }
}

/// A stage's convolutions and its pooling: `[N][S][S]` pixels to `[N][S/2][S/2]`.
fn run_stage(stage: &[Conv], x: &[Line], side: usize) -> Vec<Line> {
    let Some((last, others)) = stage.split_last() else { return x.to_vec() };
    let pixels = side * side;
    let image = pixels * stage[0].lines_in();
    let pooled = pixels / 4 * last.lines_out();
    let group = (GROUP / (pixels * last.lines_out())).max(1);
    let mut y = vec![Line::ZERO; x.len() / image * pooled];
    let mut between: Vec<Vec<Line>> = vec![Vec::new(); others.len()];
    for (x, y) in x.chunks(group * image).zip(y.chunks_mut(group * pooled)) {
        let images = x.len() / image;
        let mut x = x;
        for (conv, between) in others.iter().zip(&mut between) {
            between.resize(images * pixels * conv.lines_out(), Line::ZERO);
            conv.run(x, between, side, false);
            x = between;
        }
        last.run(x, y, side, true);
    }
    y
}

/// Images `[N, 3, P]` to `[N][P]` lines of one pixel each.
fn pixels(images: &[f32], pixels: usize) -> Vec<Line> {
    let mut lines = vec![Line::ZERO; images.len() / 3];
    let each = lines.par_chunks_mut(pixels).zip(images.par_chunks(3 * pixels));
    each.for_each(|(lines, image)| {
        for (channel, values) in image.chunks_exact(pixels).enumerate() {
            for (line, &value) in lines.iter_mut().zip(values) {
                line.0[channel] = value;
            }
        }
    });
    lines
}

/// Lines `[N][L]` to values `[N, width]`.
fn values(lines: &[Line], per_row: usize, width: usize) -> Vec<f32> {
    let row = |lines: &[Line]| lines.iter().flat_map(|line| line.0).take(width).collect::<Vec<_>>();
    lines.chunks_exact(per_row).flat_map(row).collect()
}
