//! The cache where everything runs in one process.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use super::Lease;

type Caches = Mutex<HashMap<String, MemoryCache>>;

static CACHES: LazyLock<Caches> = LazyLock::new(Caches::default);

/// A map that all clones share.
#[derive(Clone, Default)]
pub(super) struct MemoryCache(Arc<Mutex<Maps>>);

#[derive(Default)]
struct Maps {
    values: HashMap<String, String>,
    leases: HashMap<String, Lease>,
}

impl MemoryCache {
    /// Returns the cache of this name, the same one to all who ask in this process.
    pub(super) fn named(name: &str) -> Self {
        let mut caches = CACHES.lock().unwrap_or_else(PoisonError::into_inner);
        caches.entry(name.to_owned()).or_default().clone()
    }

    pub(super) fn find(&self, id: &str) -> (Option<String>, Lease) {
        let mut maps = self.lock();
        if let Some(value) = maps.values.get(id) {
            return (Some(value.clone()), Lease(String::new()));
        }
        let lease = maps.leases.entry(id.to_owned()).or_insert_with(Lease::random);
        (None, lease.clone())
    }

    pub(super) fn fill(&self, id: &str, lease: &Lease, json: String) -> bool {
        let mut maps = self.lock();
        let stands = maps.leases.get(id) == Some(lease);
        if stands {
            maps.leases.remove(id);
            maps.values.insert(id.to_owned(), json);
        }
        stands
    }

    pub(super) fn remove(&self, id: &str) {
        let mut maps = self.lock();
        maps.values.remove(id);
        maps.leases.remove(id);
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.lock().values.contains_key(id)
    }

    pub(super) fn clear(&self) {
        *self.lock() = Maps::default();
    }

    fn lock(&self) -> MutexGuard<'_, Maps> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
