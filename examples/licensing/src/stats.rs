//! What this instance has done so far.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Serialize, Serializer};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Serialize for Counter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.get())
    }
}

/// Counts of one instance: `GET /stats`.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Looks into the cache that found the organization.
    pub cache_hits: Counter,
    /// Looks that found nothing.
    pub cache_misses: Counter,
    /// Looks and fills that failed.
    pub cache_failures: Counter,
    /// Organizations written into the cache.
    pub cache_fills: Counter,
    /// Fills that came too late: the organization had changed since.
    pub stale_fills: Counter,
    /// Calls of the organization service.
    pub organization_calls: Counter,
    /// Organizations removed from the cache because of an event.
    pub invalidations: Counter,
}
