//! Ctrl-C, SIGTERM and SIGHUP: a flag that every wait looks at.
//!
//! The signals never end the process by themselves, so guards run and stop what was started.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::error::{Context, Failure, Result};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Takes the signals over for the rest of the process.
pub(crate) fn install() -> Result<()> {
    ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::SeqCst)).context("cannot handle signals")
}

/// Whether a signal has come.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Fails once a signal has come.
pub(crate) fn check() -> Result<()> {
    if interrupted() { Err(Failure::interrupted()) } else { Ok(()) }
}

/// Asks `done` every few milliseconds until it holds or the time is over; says whether it held.
pub(crate) fn poll(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
}
