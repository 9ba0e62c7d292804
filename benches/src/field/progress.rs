//! A run that stands still ends.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// How long nothing may happen.
const PATIENCE: Duration = Duration::from_secs(120);

/// The exit code of a run that stood still.
const STOOD_STILL: i32 = 3;

static STEPS: AtomicUsize = AtomicUsize::new(0);

/// Tells that message `number` was sent or handled. One in 32 is noted, so that it costs nothing.
pub fn note(number: usize) {
    if number.is_multiple_of(32) {
        STEPS.fetch_add(1, Relaxed);
    }
}

/// Ends the process when nothing happens any more. Ends itself with what is returned.
pub fn watch() -> Sender<()> {
    let (to, end) = channel();
    std::thread::spawn(move || {
        let (mut seen, mut since) = (0, Instant::now());
        while end.recv_timeout(Duration::from_secs(1)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let steps = STEPS.load(Relaxed);
            if steps != seen {
                (seen, since) = (steps, Instant::now());
            } else if since.elapsed() > PATIENCE {
                eprintln!("benches: nothing has happened for {PATIENCE:?}");
                std::process::exit(STOOD_STILL);
            }
        }
    });
    to
}
