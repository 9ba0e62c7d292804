//! How often what goes past a plain success has happened on an input.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::Serialize;

/// What became of messages of an input that were not simply handled, since it was bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct InputCounts {
    /// Attempts that failed and are followed by another one.
    pub retried: u64,
    /// Messages that went to the dead letters, and are confirmed there.
    pub dead_lettered: u64,
    /// Messages that were given up where there are no dead letters.
    pub discarded: u64,
    /// Messages without a key, where `ordering: key` asks for one: each is handled beside all others.
    pub without_key: u64,
    /// Messages that were handled, and whose partition or connection was gone by then: they are delivered again.
    pub too_late: u64,
}

/// The counts, as the input's task adds to them.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) retried: Count,
    pub(crate) dead_lettered: Count,
    pub(crate) discarded: Count,
    pub(crate) without_key: Count,
    pub(crate) too_late: Count,
}

impl Counts {
    pub(crate) fn get(&self) -> InputCounts {
        InputCounts {
            retried: self.retried.get(),
            dead_lettered: self.dead_lettered.get(),
            discarded: self.discarded.get(),
            without_key: self.without_key.get(),
            too_late: self.too_late.get(),
        }
    }
}

/// One of the counts.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, more: usize) {
        self.0.fetch_add(more as u64, Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
