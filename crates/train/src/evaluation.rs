//! CIDEr-D of the captions that a decoder writes for a split.

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Device;
use caption_metrics::{Cider, Corpus, Metric, References, Results, ptb};
use nic_core::{BeamSearch, Decoder, Generate, Vocab};
use nic_data::Features;

use crate::Result;

/// A split's images, with the captions that people wrote.
#[derive(Debug)]
pub struct Evaluation {
    /// The row of each image's features.
    rows: Vec<usize>,
    references: References,
}

impl Evaluation {
    /// Of images (id, row of the features, captions as written); those without a caption are left out. `place` is for
    /// the errors.
    pub fn new(place: String, images: Vec<(i64, usize, Vec<String>)>) -> Self {
        let images = images.into_iter().filter(|(.., captions)| !captions.is_empty());
        let (rows, captions) =
            images.map(|(id, row, captions)| (row, (id, captions))).unzip::<_, _, Vec<_>, Vec<_>>();
        Self { rows, references: References::new(place, captions) }
    }

    /// What coco-caption prints as CIDEr, of each image's best caption by beam search; none where `stop` came first.
    pub fn cider_d(
        &self,
        decoder: &Decoder,
        vocab: &Vocab,
        features: &Features,
        beam: &BeamSearch,
        device: &Device,
        stop: &AtomicBool,
    ) -> Result<Option<f64>> {
        const BATCH: usize = 64;
        let mut results = Vec::with_capacity(self.rows.len());
        for (rows, images) in self.rows.chunks(BATCH).zip(self.references.images().chunks(BATCH)) {
            if stop.load(Ordering::SeqCst) {
                return Ok(None);
            }
            let captions = beam.generate(decoder, &features.gather(rows, device)?)?;
            for ((id, _), hypotheses) in images.iter().zip(captions) {
                let words = hypotheses.first().map_or(&[][..], |best| &best.words);
                results.push((*id, vocab.decode(words)));
            }
        }
        let results = Results::new("the decoder's captions", results);
        let corpus = Corpus::new(&self.references, &results, ptb::tokenize_part)?;
        let scores = Cider::default().score(&corpus);
        Ok(scores.iter().find(|score| score.name == "cider_d").map(|score| score.corpus))
    }
}
