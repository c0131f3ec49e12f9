//! Results paired with their references, tokenised.

use std::collections::HashMap;
use std::ops::Range;

use crate::error::first;
use crate::{Error, References, Result, Results, Sentence, Words};

/// Images, each with the caption to score and the captions to score it by: what a [`Metric`](crate::Metric) scores.
///
/// There is an image at least, and every image has a reference at least.
#[derive(Clone, Debug)]
pub struct Corpus {
    words: Words,
    images: Vec<Image>,
}

/// An image's captions.
#[derive(Clone, Debug)]
pub struct Image {
    /// What the files call it.
    pub id: i64,
    /// What people wrote; one at least.
    pub references: Vec<Sentence>,
    /// What is scored.
    pub candidate: Sentence,
}

impl Corpus {
    /// Pairs every image's references with its result, in the references' order.
    ///
    /// `tokenize` is given all references, then all results, as coco-caption gives them to its tokeniser, with the part
    /// of them that it is to tokenise; parts are done in parallel. With any other than
    /// [`ptb::tokenize_part`](crate::ptb::tokenize_part) the scores are not coco-caption's.
    ///
    /// # Errors
    /// [`Error::Pairing`] where the two are not of the same images; [`Error::Data`] where there is no image, or one
    /// has no reference or comes twice.
    pub fn new<'a, F, T>(
        references: &'a References,
        results: &'a Results,
        tokenize: F,
    ) -> Result<Self>
    where
        F: Fn(&[&'a str], Range<usize>) -> Vec<Vec<T>> + Sync,
        T: AsRef<str>,
    {
        check(references)?;
        let results = pair(references, results)?;
        let mut words = Words::default();
        let sentences = read(&mut words, references, &tokenize);
        let candidates = words.sentences(&results, tokenize);
        let images = sentences
            .zip(candidates)
            .map(|((id, references), candidate)| Image { id, references, candidate })
            .collect();
        Ok(Self { words, images })
    }

    /// The words that the ids stand for.
    pub fn words(&self) -> &Words {
        &self.words
    }

    /// The images; never none.
    pub fn images(&self) -> &[Image] {
        &self.images
    }

    /// Tokenises captions of another corpus into the same ids, image by image: for
    /// [`DocumentFrequency`](crate::DocumentFrequency) and [`Diversity`](crate::Diversity).
    pub fn intern<'a, F, T>(&mut self, others: &'a References, tokenize: F) -> Vec<Vec<Sentence>>
    where
        F: Fn(&[&'a str], Range<usize>) -> Vec<Vec<T>> + Sync,
        T: AsRef<str>,
    {
        read(&mut self.words, others, &tokenize).map(|(_, sentences)| sentences).collect()
    }
}

/// Each image's id and tokenised captions.
fn read<'a, F, T>(
    words: &mut Words,
    references: &'a References,
    tokenize: &F,
) -> impl Iterator<Item = (i64, Vec<Sentence>)> + use<'a, F, T>
where
    F: Fn(&[&'a str], Range<usize>) -> Vec<Vec<T>> + Sync,
    T: AsRef<str>,
{
    let captions = references.images().iter().flat_map(|(_, captions)| captions);
    let captions: Vec<&str> = captions.map(String::as_str).collect();
    let mut sentences = words.sentences(&captions, tokenize).into_iter();
    references
        .images()
        .iter()
        .map(move |(id, captions)| (*id, sentences.by_ref().take(captions.len()).collect()))
}

fn check(references: &References) -> Result<()> {
    let place = references.place();
    let images = references.images();
    if images.is_empty() {
        return Err(Error::data(place, "holds no image"));
    }
    let bare: Vec<_> = images.iter().filter(|(_, c)| c.is_empty()).map(|&(id, _)| id).collect();
    if !bare.is_empty() {
        let reason = format!("{} images have no caption ({})", bare.len(), first(&bare));
        return Err(Error::data(place, reason));
    }
    let mut ids: Vec<_> = images.iter().map(|&(id, _)| id).collect();
    ids.sort_unstable();
    let mut twice: Vec<_> = ids.windows(2).filter(|w| w[0] == w[1]).map(|w| w[0]).collect();
    twice.dedup();
    if !twice.is_empty() {
        let reason = format!("{} images come twice ({})", twice.len(), first(&twice));
        return Err(Error::data(place, reason));
    }
    Ok(())
}

/// The result of each image.
fn pair<'a>(references: &References, results: &'a Results) -> Result<Vec<&'a str>> {
    let images = references.images();
    let positions: HashMap<i64, usize> =
        images.iter().enumerate().map(|(position, &(id, _))| (id, position)).collect();
    let mut found = vec![None; images.len()];
    let (mut unknown, mut duplicate) = (Vec::new(), Vec::new());
    for (id, caption) in results.captions() {
        match positions.get(id) {
            None => unknown.push(*id),
            Some(&position) => {
                if found[position].replace(caption.as_str()).is_some() {
                    duplicate.push(*id);
                }
            }
        }
    }
    for ids in [&mut unknown, &mut duplicate] {
        ids.sort_unstable();
        ids.dedup();
    }
    let missing: Vec<i64> =
        images.iter().zip(&found).filter(|(_, f)| f.is_none()).map(|(&(id, _), _)| id).collect();
    if unknown.is_empty() && missing.is_empty() && duplicate.is_empty() {
        return Ok(found.into_iter().flatten().collect());
    }
    let (results, references) = (results.place().to_owned(), references.place().to_owned());
    Err(Error::Pairing { results, references, unknown, missing, duplicate })
}
