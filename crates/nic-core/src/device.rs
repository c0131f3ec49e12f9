//! `auto`, `cpu`, `cuda` or `cuda:N`.

use std::str::FromStr;

use candle_core::Device;

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
    pub fn open(self) -> Result<(Device, String)> {
        unimplemented!()
    }
}

impl FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(_text: &str) -> Result<Self> {
        unimplemented!()
    }
}
