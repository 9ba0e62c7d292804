//! Tells of a program that gets no further, and of one that has failed.

use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

const PATIENCE: Duration = Duration::from_secs(120);

/// How long it may take to remove what is on the broker.
const REMOVAL: Duration = Duration::from_secs(20);

/// The exit codes.
pub const FAILED: i32 = 1;
const STUCK: i32 = 3;

static STEPS: AtomicUsize = AtomicUsize::new(0);
static CODE: AtomicI32 = AtomicI32::new(FAILED);
static TROUBLE: Notify = Notify::const_new();

/// Says that something has been done that takes long.
pub fn step() {
    STEPS.fetch_add(1, Relaxed);
}

/// Says that the program has to end with this code.
pub fn report(code: i32) {
    CODE.store(code, Relaxed);
    TROUBLE.notify_one();
}

/// Waits until the program has to end, and returns the code.
pub async fn trouble() -> i32 {
    TROUBLE.notified().await;
    CODE.load(Relaxed)
}

/// Looks every second whether there were steps, also those of `handled`, and reports when there were none for two minutes.
pub fn start(handled: impl Fn() -> usize + Send + 'static) {
    std::thread::spawn(move || {
        let (mut seen, mut since) = ((0, 0), Instant::now());
        while since.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_secs(1));
            let now = (STEPS.load(Relaxed), handled());
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
        }
        eprintln!("peers: no progress for {PATIENCE:?}, {} handled", seen.1);
        report(STUCK);
        std::thread::sleep(REMOVAL);
        std::process::exit(STUCK);
    });
}
