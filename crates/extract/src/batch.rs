//! What travels between the stages.

/// Neighbouring images of one shard, each with its content or the reason why there is none.
#[derive(Debug)]
pub(crate) struct Batch<T> {
    /// The shard that they belong to.
    pub(crate) shard: usize,
    /// Whether this is the shard's last batch.
    pub(crate) last: bool,
    /// Image id and content.
    pub(crate) images: Vec<(i64, Result<T, String>)>,
}
