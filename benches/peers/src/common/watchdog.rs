//! Ends a program that gets no further.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(120);

static STEPS: AtomicUsize = AtomicUsize::new(0);

/// Says that something has been done that takes long.
pub fn step() {
    STEPS.fetch_add(1, Relaxed);
}

/// Looks every second whether there were steps, also those of `handled`; exits with 3 when there were none for two minutes.
pub fn start(handled: impl Fn() -> usize + Send + 'static) {
    std::thread::spawn(move || {
        let (mut seen, mut since) = ((0, 0), Instant::now());
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let now = (STEPS.load(Relaxed), handled());
            if now != seen {
                (seen, since) = (now, Instant::now());
            } else if since.elapsed() > PATIENCE {
                eprintln!("peers: no progress for {PATIENCE:?}, {} handled", now.1);
                std::process::exit(3);
            }
        }
    });
}
