//! Reads organizations: the cache first, else the organization service, which then fills the cache.

use std::sync::Arc;

use example_service::CorrelationId;

use crate::cache::{Cache, CacheError, Lease, Lookup};
use crate::client::{NoAnswer, OrganizationClient};
use crate::organization::Organization;
use crate::stats::Stats;

/// The organizations, as this service sees them; clones share all.
#[derive(Clone, Debug)]
pub struct Organizations {
    cache: Cache,
    client: OrganizationClient,
    stats: Arc<Stats>,
}

impl Organizations {
    /// Reads from the cache and, behind it, from the service.
    pub fn new(cache: Cache, client: OrganizationClient) -> Self {
        Self { cache, client, stats: Arc::default() }
    }

    /// Returns what was counted.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Finds an organization. A cache that fails is a cache that has nothing; only the service's silence is an error.
    pub async fn find(&self, id: &str, correlation: &CorrelationId) -> Result<Option<Organization>, NoAnswer> {
        let lease = match self.look(id).await {
            Some(Lookup::Hit(organization)) => return Ok(Some(organization)),
            Some(Lookup::Miss(lease)) => Some(lease),
            None => None,
        };
        let found = self.find_uncached(id, correlation).await?;
        if let (Some(organization), Some(lease)) = (&found, lease) {
            self.fill(id, organization, &lease).await;
        }
        Ok(found)
    }

    /// Asks the organization service, whatever the cache has.
    pub async fn find_uncached(&self, id: &str, correlation: &CorrelationId) -> Result<Option<Organization>, NoAnswer> {
        self.stats.organization_calls.add();
        self.client.find(id, correlation).await
    }

    /// Drops what is cached of an organization that has changed.
    pub async fn invalidate(&self, id: &str) -> Result<(), CacheError> {
        self.cache.remove(id).await?;
        self.stats.invalidations.add();
        Ok(())
    }

    async fn look(&self, id: &str) -> Option<Lookup> {
        match self.cache.find(id).await {
            Ok(lookup) => {
                let hit = matches!(lookup, Lookup::Hit(_));
                if hit {
                    self.stats.cache_hits.add()
                } else {
                    self.stats.cache_misses.add()
                }
                Some(lookup)
            }
            Err(error) => {
                self.failed(&error);
                None
            }
        }
    }

    async fn fill(&self, id: &str, organization: &Organization, lease: &Lease) {
        match self.cache.fill(id, organization, lease).await {
            Ok(true) => self.stats.cache_fills.add(),
            Ok(false) => self.stats.stale_fills.add(),
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&self, error: &CacheError) {
        self.stats.cache_failures.add();
        let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        tracing::error!(%error, cause, "going on without the cache");
    }
}
