//! Tensors from a device to the CPU, which the device need not stand still for.

use candle_core::Tensor;

use crate::Result;

/// A tensor on its way to the CPU. The device may be given other work meanwhile.
#[derive(Debug)]
pub struct Download(Way);

#[derive(Debug)]
enum Way {
    There(Tensor),
    #[cfg(feature = "cuda")]
    UnderWay(crate::cuda::Download),
}

impl Download {
    /// Of a tensor in f32; it begins when the device has done the work that it was given so far.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn begin(tensor: Tensor) -> Result<Self> {
        #[cfg(feature = "cuda")]
        if let candle_core::Device::Cuda(device) = tensor.device() {
            return Ok(Self(Way::UnderWay(crate::cuda::Download::begin(&tensor, device)?)));
        }
        Ok(Self(Way::There(tensor)))
    }

    /// The tensor on the CPU; waits for nothing that the device was given after [`Download::begin`].
    ///
    /// # Errors
    /// Where the device fails, also at work that it was given before.
    pub fn wait(self) -> Result<Tensor> {
        match self.0 {
            Way::There(tensor) => Ok(tensor),
            #[cfg(feature = "cuda")]
            Way::UnderWay(download) => Ok(download.wait()?),
        }
    }
}
