//! `auto`, `cpu`, `cuda` or `cuda:N`.

use std::str::FromStr;

use candle_core::Device;

use crate::cpu::Isa;
use crate::{Error, Result};

/// The device that the user asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    /// CUDA where this build has it and a card is there, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The card of this ordinal.
    Cuda(usize),
}

impl DeviceChoice {
    /// Opens it; the text says which was taken and why, for the log.
    ///
    /// A build with CUDA starts, and `Auto` takes the CPU, where there is no card, no driver or no library of NVIDIA's.
    /// A card is to be worked with from one thread only.
    ///
    /// # Errors
    /// [`Error::Usage`] where a card is asked for by name and cannot be had.
    pub fn open(self) -> Result<(Device, String)> {
        let named = |ordinal: usize, name: String| format!("CUDA device {ordinal} ({name})");
        match self {
            Self::Cpu => Ok((Device::Cpu, cpu())),
            Self::Auto => match cuda(0) {
                Ok((device, name)) => Ok((device, named(0, name))),
                Err(reason) => Ok((Device::Cpu, format!("{} ({reason})", cpu()))),
            },
            Self::Cuda(ordinal) => match cuda(ordinal) {
                Ok((device, name)) => Ok((device, named(ordinal, name))),
                Err(reason) => Err(Error::Usage(format!("device cuda:{ordinal}: {reason}"))),
            },
        }
    }
}

/// Its threads, and the instruction set that VGG16 takes.
fn cpu() -> String {
    let threads = rayon::current_num_threads();
    let plural = if threads == 1 { "" } else { "s" };
    format!("the CPU, {threads} thread{plural}, {}", Isa::detect().name())
}

/// The card and its name, or why it cannot be had.
fn cuda(ordinal: usize) -> std::result::Result<(Device, String), String> {
    #[cfg(feature = "cuda")]
    return crate::cuda::open(ordinal);
    #[cfg(not(feature = "cuda"))]
    {
        let _ = ordinal;
        Err("this build has no CUDA; build with --features cudnn".into())
    }
}

impl FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => match text.strip_prefix("cuda:").map(str::parse) {
                Some(Ok(ordinal)) => Ok(Self::Cuda(ordinal)),
                _ => Err(Error::Usage(format!(
                    "device is {text:?}, expected auto, cpu, cuda or cuda:N"
                ))),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read() {
        assert_eq!("auto".parse::<DeviceChoice>().unwrap(), DeviceChoice::Auto);
        assert_eq!("cpu".parse::<DeviceChoice>().unwrap(), DeviceChoice::Cpu);
        assert_eq!("cuda".parse::<DeviceChoice>().unwrap(), DeviceChoice::Cuda(0));
        assert_eq!("cuda:3".parse::<DeviceChoice>().unwrap(), DeviceChoice::Cuda(3));
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU"] {
            let error = wrong.parse::<DeviceChoice>().unwrap_err().to_string();
            assert!(error.contains(&format!("{wrong:?}")), "{error}");
        }
    }

    #[cfg(feature = "cuda")]
    #[test]
    fn with_cuda_auto_opens_something_and_says_why() {
        let (device, text) = DeviceChoice::Auto.open().unwrap();
        match device.is_cpu() {
            true => assert!(text.starts_with("the CPU, ") && text.ends_with(')'), "{text}"),
            false => assert!(text.starts_with("CUDA device 0 ("), "{text}"),
        }
        let error = DeviceChoice::Cuda(1000).open().unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().starts_with("device cuda:1000: "), "{error}");
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn without_cuda_auto_falls_back_and_cuda_says_why() {
        let (device, reason) = DeviceChoice::Auto.open().unwrap();
        assert!(device.is_cpu());
        assert!(reason.contains("no CUDA"), "{reason}");
        let error = DeviceChoice::Cuda(1).open().unwrap_err().to_string();
        assert!(error.contains("cuda:1") && error.contains("no CUDA"), "{error}");
    }
}
