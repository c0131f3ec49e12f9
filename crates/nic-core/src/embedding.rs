//! `nn.Embedding`, below the image's embedding.

#[cfg(feature = "cuda")]
use candle_core::cuda_backend::CudaDevice;
use candle_core::{DType, Device, Result, Tensor};
use rayon::prelude::*;

use crate::autograd::{Output, is_cpu_f32, with_backward, with_slices};

/// The rows of `image [B, E]`, then for each of `words [N]` its row of `embedding [V, E]`: `[B + N, E]`. PyTorch's
/// `torch.cat([image, F.embedding(words, embedding)])`.
pub(crate) fn embed(image: &Tensor, embedding: &Tensor, words: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if let Some(card) = crate::cuda::card(embedding) {
        return on_card(image, embedding, words, card);
    }
    if !is_cpu_f32(embedding) {
        return Tensor::cat(&[image, &embedding.index_select(words, 0)?], 0);
    }
    let (vocab, width) = embedding.dims2()?;
    let batch = image.dim(0)?;
    let words = words.to_dtype(DType::U32)?.to_vec1::<u32>()?;
    let x = with_slices([image, embedding], |[image, embedding]| {
        let mut x = vec![0.0; (batch + words.len()) * width];
        let (top, rest) = x.split_at_mut(batch * width);
        top.copy_from_slice(image);
        rest.par_chunks_mut(width).zip(&words).for_each(|(row, &word)| {
            row.copy_from_slice(&embedding[word as usize * width..][..width]);
        });
        Ok(Output::Values(x, (batch + words.len(), width).into()))
    })?;
    with_backward("embed", &[image, embedding], x, move |gradient| {
        with_slices([gradient], |[gradient]| {
            let (top, rest) = gradient.split_at(batch * width);
            // each word adds up its own rows, first to last: no thread meets another
            let mut rows = vec![Vec::new(); vocab];
            for (row, &word) in rest.chunks_exact(width).zip(&words) {
                rows[word as usize].push(row);
            }
            let mut sums = vec![0.0; vocab * width];
            sums.par_chunks_mut(width).zip(&rows).for_each(|(sum, rows)| {
                for row in rows {
                    sum.iter_mut().zip(*row).for_each(|(sum, value)| *sum += value);
                }
            });
            Ok(vec![
                Some(Tensor::from_slice(top, (batch, width), &Device::Cpu)?),
                Some(Tensor::from_vec(sums, (vocab, width), &Device::Cpu)?),
            ])
        })
    })
}

/// [`embed`] with a kernel for the gradient: candle's own takes one block of a card for all of it.
#[cfg(feature = "cuda")]
fn on_card(
    image: &Tensor,
    embedding: &Tensor,
    words: &Tensor,
    card: &CudaDevice,
) -> Result<Tensor> {
    use nic_kernels::{EmbeddingBackward, address, launch};

    let (batch, shape) = (image.dim(0)?, embedding.shape().clone());
    let (words, card) = (words.to_dtype(DType::U32)?, card.clone());
    let x = Tensor::cat(&[image.detach(), embedding.detach().index_select(&words, 0)?], 0)?;
    with_backward("embed", &[image, embedding], Output::Tensor(x), move |gradient| {
        let (rows, width) = (words.dim(0)?, shape.dims2()?.1);
        let rest = gradient.narrow(0, batch, rows)?.contiguous()?;
        let sums = Tensor::zeros(&shape, DType::F32, rest.device())?;
        let kernel = EmbeddingBackward {
            gradient: address(&rest, DType::F32)?,
            words: address(&words, DType::U32)?,
            sums: address(&sums, DType::F32)?,
            rows: rows as u32,
            width: width as u32,
        };
        // SAFETY: the tensors are of these shapes, `sums` is new; the words were looked up, so the embedding has them.
        unsafe { launch(kernel, &card) }?;
        Ok(vec![Some(gradient.narrow(0, 0, batch)?), Some(sums)])
    })
}
