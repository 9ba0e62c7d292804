//! When everything is handled, and what that cost.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use crate::change::Change;
use crate::measure::{Cost, Meter};

/// Counts what was handled, and measures from the first message to the last.
#[derive(Clone)]
pub struct Tally(Arc<Counted>);

struct Counted {
    handled: AtomicUsize,
    wanted: usize,
    meter: OnceLock<Meter>,
    cost: OnceLock<Cost>,
    all: Notify,
}

impl Tally {
    pub fn new(wanted: usize) -> Self {
        let (meter, cost) = (OnceLock::new(), OnceLock::new());
        Self(Arc::new(Counted { handled: AtomicUsize::new(0), wanted, meter, cost, all: Notify::new() }))
    }

    /// Takes a message as a handler does; returns whether it was the last.
    pub fn take(&self, change: Change) -> bool {
        let counted = &*self.0;
        std::hint::black_box(change);
        let handled = counted.handled.fetch_add(1, Relaxed) + 1;
        if handled == 1 {
            counted.meter.get_or_init(Meter::start);
        }
        if handled == counted.wanted {
            counted.cost.get_or_init(|| counted.meter.get().expect("set by the first").cost());
            counted.all.notify_one();
        }
        handled >= counted.wanted
    }

    /// Waits for the last message.
    pub async fn cost(&self) -> Cost {
        self.0.all.notified().await;
        *self.0.cost.get().expect("set by the last")
    }
}
