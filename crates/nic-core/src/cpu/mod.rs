//! VGG16 on the CPU, at a quarter of the multiplications: Winograd's convolution on packed weights, with the machine's
//! vectors (AVX-512, AVX2, NEON or none) chosen at run time.
//!
//! An image's result is the same to the bit whatever the batch it is in and the number of threads.

#[expect(clippy::needless_range_loop, reason = "rows and columns index several arrays")]
pub(crate) mod conv;
mod dense;
mod first;
mod isa;
pub(crate) mod lines;
mod network;
mod product;
mod winograd;

#[cfg(test)]
mod tests;

pub(crate) use isa::Isa;
pub(crate) use network::{Layer, Network};
