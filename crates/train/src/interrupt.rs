//! Ctrl-C: once to finish the step and save, twice to leave at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nic_core::Error;

use crate::Result;

/// Turns true at the first Ctrl-C (or SIGTERM); the second ends the process with status 130.
pub fn watch() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if seen.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        eprintln!("finishing the step and saving; press Ctrl-C again to leave at once");
    })
    .map_err(|error| Error::Usage(format!("cannot watch for Ctrl-C: {error}")))?;
    Ok(stop)
}
