//! The vectors that the machine has.

use pulp::{Arch, Simd, WithSimd};

/// An instruction set that this machine has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Isa(Arch);

impl Isa {
    /// The widest.
    pub(crate) fn detect() -> Self {
        Self(Arch::new())
    }

    /// All of them.
    #[cfg(test)]
    pub(crate) fn available() -> Vec<Self> {
        let mut all = vec![Self(Arch::Scalar), Self::detect()];
        #[cfg(target_arch = "x86_64")]
        all.extend(pulp::x86::V3::try_new().map(|simd| Self(Arch::V3(simd))));
        all
    }

    pub(crate) fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Arch::V4(_) => "AVX-512",
            #[cfg(target_arch = "x86_64")]
            Arch::V3(_) => "AVX2 and FMA",
            #[cfg(target_arch = "aarch64")]
            Arch::Neon(_) => "NEON",
            _ => "no vector instructions",
        }
    }

    /// Runs `op`, compiled for this instruction set.
    #[inline(always)]
    pub(crate) fn run<Op: WithSimd>(self, op: Op) -> Op::Output {
        match self.0 {
            // four lanes of plain Rust, which every target's compiler knows vectors for
            Arch::Scalar => pulp::Scalar128b.vectorize(op),
            arch => arch.dispatch(op),
        }
    }
}
