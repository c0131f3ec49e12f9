//! CUDA where candle does not do: opening NVIDIA's libraries and a card, VGG16's convolutions on cuDNN, copies beside
//! the computation. Compiled into builds with the feature `cuda`, the convolutions with `cudnn`.

#[cfg(feature = "cudnn")]
mod convolutions;
#[cfg(feature = "cudnn")]
mod cudnn;
mod download;
mod libraries;
mod open;
mod upload;

#[cfg(feature = "cudnn")]
pub(crate) use convolutions::Convolutions;
#[cfg(feature = "cudnn")]
pub use cudnn::choices as cudnn_choices;
pub(crate) use download::Download;
pub(crate) use open::open;
pub(crate) use upload::upload;
