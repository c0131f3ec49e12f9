//! How large everything is.

use nic_core::VggConfig;

/// The sizes of all measurements.
#[derive(Debug)]
pub(crate) struct Sizes {
    /// Output channels of the five stages of VGG16.
    stages: [usize; 5],
    hidden: usize,
    pub(crate) image: usize,
    /// Batches whose images a second are taken.
    pub(crate) batches: &'static [usize],
    /// The batch of which only the first images are compared: beyond 148, where 32-bit indices overflow.
    pub(crate) large_batch: usize,
    /// Seconds that a rate is taken over.
    pub(crate) seconds: f64,
    /// JPEGs for `extract`, their width and height, and under how many names each of them lies: for long enough that the
    /// start does not count.
    pub(crate) photos: usize,
    pub(crate) photo: [u32; 2],
    pub(crate) names: usize,
    /// Words, E = H and captions of the training step.
    pub(crate) words: usize,
    pub(crate) dim: usize,
    pub(crate) captions: usize,
}

impl Sizes {
    /// The paper's VGG16, COCO's photographs and vocabulary.
    pub(crate) const FULL: Self = Self {
        stages: [64, 128, 256, 512, 512],
        hidden: 4096,
        image: 224,
        batches: &[1, 32, 256],
        large_batch: 160,
        seconds: 1.0,
        photos: 4096,
        photo: [640, 480],
        names: 8,
        words: 10_000,
        dim: 512,
        captions: 128,
    };

    /// Seconds on any CPU.
    pub(crate) const QUICK: Self = Self {
        stages: [8, 8, 16, 16, 16],
        hidden: 32,
        image: 224,
        batches: &[1, 3],
        large_batch: 9,
        seconds: 0.05,
        photos: 24,
        photo: [320, 240],
        names: 2,
        words: 50,
        dim: 16,
        captions: 8,
    };

    /// VGG16 of these widths, with one logit that nobody asks for.
    pub(crate) fn vgg(&self) -> VggConfig {
        let [a, b, c, d, e] = self.stages;
        VggConfig {
            channels: [a, a, b, b, c, c, c, d, d, d, e, e, e],
            hidden: [self.hidden; 2],
            classes: 1,
            image: self.image,
        }
    }
}
