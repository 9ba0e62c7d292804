//! The message of the comparisons: that of the demonstration, 130 bytes of JSON with a key of 36.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use binder_core::prelude::*;
use tokio::sync::Notify;

use crate::measure::{Cost, Meter};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    pub action: String,
    pub organization_id: String,
    pub correlation_id: String,
}

/// A thousand changes, over and over.
pub fn changes(count: usize) -> impl Iterator<Item = &'static Change> + Send {
    static CHANGES: OnceLock<Vec<Change>> = OnceLock::new();
    let change = |number: usize| Change {
        action: "UPDATE".to_owned(),
        organization_id: format!("{number:08x}-2f1c-4b7e-9a60-{number:012x}"),
        correlation_id: format!("{:08x}-7d3a-4c15-8e42-{number:012x}", number * 7919),
    };
    CHANGES.get_or_init(|| (0..1000).map(change).collect()).iter().cycle().take(count)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_has_as_many_bytes_as_the_table_says() {
        assert!(changes(1000).all(|change| serde_json::to_vec(change).expect("JSON").len() == 130));
    }
}
