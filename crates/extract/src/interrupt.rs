//! Ctrl-C: the first stops at the next batch, the second at once.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Result;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Listens for Ctrl-C (and SIGTERM, SIGHUP). To be called once.
pub fn install() -> Result<()> {
    Ok(ctrlc::set_handler(|| {
        if REQUESTED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        let _ = writeln!(std::io::stderr().lock(), "stopping; once more to stop at once");
    })?)
}

/// Whether Ctrl-C was pressed.
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}
