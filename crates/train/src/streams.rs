//! All randomness of a run: one seed, a stream of its own for each purpose, so that no generator's state needs saving.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// What random numbers are for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// The initial weights.
    Init,
    /// The order of the captions, or of the images, in this epoch.
    Order(u64),
    /// The dropout masks of this step.
    Dropout(u64),
    /// The coins and draws of scheduled sampling in this step, or the captions that self-critical training draws.
    Sampling(u64),
}

/// The generator for a purpose.
pub(crate) fn stream(seed: u64, purpose: Purpose) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(match purpose {
        Purpose::Init => 0,
        Purpose::Order(epoch) => 1 + 2 * epoch,
        Purpose::Dropout(step) => 2 + 2 * step,
        // counted down from the top, where the others do not come
        Purpose::Sampling(step) => u64::MAX - step,
    });
    rng
}

/// The numbers below `len` in the order of this epoch.
pub(crate) fn order(seed: u64, epoch: u64, len: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    order.shuffle(&mut stream(seed, Purpose::Order(epoch)));
    order
}
