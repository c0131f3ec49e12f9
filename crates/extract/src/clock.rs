//! What a stage cost.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Busy time and images of one stage, counted from any thread.
#[derive(Debug, Default)]
pub struct Clock {
    nanoseconds: AtomicU64,
    images: AtomicU64,
}

impl Clock {
    /// Does `work` on `images` images and adds the time it took, shared by `workers` that run side by side.
    pub(crate) fn time<T>(&self, images: usize, workers: usize, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let done = work();
        let nanoseconds = start.elapsed().as_nanos() / workers.max(1) as u128;
        self.nanoseconds.fetch_add(nanoseconds as u64, Ordering::Relaxed);
        self.images.fetch_add(images as u64, Ordering::Relaxed);
        done
    }

    /// How long it was busy.
    pub fn busy(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed))
    }

    /// How many images went through.
    pub fn images(&self) -> u64 {
        self.images.load(Ordering::Relaxed)
    }
}

/// `12.3 s (45.6 images/s)`.
impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, images) = (self.busy().as_secs_f64(), self.images());
        write!(f, "{seconds:.1} s ({:.1} images/s)", images as f64 / seconds.max(1e-9))
    }
}

/// The four stages' clocks.
#[derive(Debug, Default)]
pub struct Clocks {
    /// Encoded bytes from the disk or the network.
    pub read: Clock,
    /// JPEG and others to a crop; the mean over the threads that do it.
    pub decode: Clock,
    /// The network on the device.
    pub encode: Clock,
    /// Shards to the disk.
    pub write: Clock,
}

impl fmt::Display for Clocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stages = [
            ("read", &self.read),
            ("decode", &self.decode),
            ("encode", &self.encode),
            ("write", &self.write),
        ];
        for (name, clock) in stages {
            write!(f, "{name} {clock}, ")?;
        }
        let slowest =
            stages.iter().max_by_key(|(_, clock)| clock.busy()).map_or("", |stage| stage.0);
        write!(f, "slowest: {slowest}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_stage_is_the_slowest() {
        let clocks = Clocks::default();
        let busy = |clock: &Clock, milliseconds: u64| {
            clock.nanoseconds.store(milliseconds * 1_000_000, Ordering::Relaxed);
        };
        busy(&clocks.read, 1);
        busy(&clocks.decode, 60);
        busy(&clocks.encode, 200);
        busy(&clocks.write, 2);
        assert!(clocks.to_string().ends_with("slowest: encode"), "{clocks}");
        busy(&clocks.decode, 300);
        assert!(clocks.to_string().ends_with("slowest: decode"), "{clocks}");
    }

    #[test]
    fn a_clock_adds_up_images_and_shares_time_among_workers() {
        let clock = Clock::default();
        let mut alone = Duration::ZERO;
        for _ in 0..2 {
            let start = Instant::now();
            clock.time(3, 50, || std::hint::black_box(vec![1u8; 1 << 20]));
            alone += start.elapsed();
        }
        assert_eq!(clock.images(), 6);
        assert!(clock.busy() > Duration::ZERO && clock.busy() <= alone / 50, "{clock}");
    }
}
