//! The cache of organizations that all instances share, with a fence against stale fills.
//!
//! A reader that misses gets a [`Lease`]; it may fill the cache only while the lease stands. Removing an organization takes its lease too, so
//! what was fetched before a change can't be written after it. A lease is a random text and not a number that counts: a cache that was emptied
//! in between has no lease to match, whereas a counter would start again at a value that was valid before.

mod memory;
mod redis;

use std::fmt;

use crate::organization::Organization;
use memory::MemoryCache;
use redis::RedisCache;

/// The right to fill the cache with one organization, until that organization changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease(String);

impl Lease {
    fn random() -> Self {
        Self(uuid::Uuid::new_v4().to_string())
    }
}

/// What a look into the cache finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The organization.
    Hit(Organization),
    /// Nothing, and the right to fill it in.
    Miss(Lease),
}

/// The cache failed. Reads go on without it; an invalidation has to be tried again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// Redis is not reached, too slow, or refuses.
    #[error("the cache failed")]
    Redis(#[from] ::redis::RedisError),
    /// The URL is neither `redis://…` nor `memory:`.
    #[error("`{0}` names no cache: it is `redis://host:port` or, within one process, `memory:`")]
    Url(String),
    /// Something that is not an organization was put into the cache.
    #[error("the cache holds what is no organization")]
    Content(#[from] serde_json::Error),
}

/// The cache; clones share it.
#[derive(Clone)]
pub struct Cache(Store);

#[derive(Clone)]
enum Store {
    Memory(MemoryCache),
    Redis(RedisCache),
}

impl Cache {
    /// Opens the cache that a URL names, without connecting: a Redis that is down makes reads slower and breaks nothing.
    ///
    /// `memory:` and `memory:NAME` are shared by all who name them within this process.
    pub fn open(url: &str) -> Result<Self, CacheError> {
        if let Some(name) = url.strip_prefix("memory:") {
            return Ok(Self(Store::Memory(MemoryCache::named(name))));
        }
        if !url.starts_with("redis:") {
            return Err(CacheError::Url(url.split("://").next().unwrap_or_default().to_owned()));
        }
        Ok(Self(Store::Redis(RedisCache::open(url)?)))
    }

    /// Looks for an organization.
    pub async fn find(&self, id: &str) -> Result<Lookup, CacheError> {
        match self.look(id).await {
            Err(CacheError::Content(error)) => {
                tracing::warn!(organization = id, %error, "dropped from the cache: not an organization");
                self.remove(id).await?;
                self.look(id).await
            }
            found => found,
        }
    }

    async fn look(&self, id: &str) -> Result<Lookup, CacheError> {
        let (value, lease) = match &self.0 {
            Store::Memory(cache) => cache.find(id),
            Store::Redis(cache) => cache.find(id).await?,
        };
        match value {
            Some(json) => Ok(Lookup::Hit(serde_json::from_str(&json)?)),
            None => Ok(Lookup::Miss(lease)),
        }
    }

    /// Fills in an organization if the lease still stands; returns whether it did.
    pub async fn fill(&self, id: &str, organization: &Organization, lease: &Lease) -> Result<bool, CacheError> {
        let json = serde_json::to_string(organization)?;
        match &self.0 {
            Store::Memory(cache) => Ok(cache.fill(id, lease, json)),
            Store::Redis(cache) => cache.fill(id, lease, json).await,
        }
    }

    /// Removes exactly this organization, and the leases on it.
    pub async fn remove(&self, id: &str) -> Result<(), CacheError> {
        match &self.0 {
            Store::Memory(cache) => cache.remove(id),
            Store::Redis(cache) => cache.remove(id).await?,
        }
        Ok(())
    }

    /// Returns whether the organization is cached; hands out no lease.
    pub async fn contains(&self, id: &str) -> Result<bool, CacheError> {
        match &self.0 {
            Store::Memory(cache) => Ok(cache.contains(id)),
            Store::Redis(cache) => cache.contains(id).await,
        }
    }

    /// Removes all organizations and all leases, and nothing else that Redis holds.
    pub async fn clear(&self) -> Result<(), CacheError> {
        match &self.0 {
            Store::Memory(cache) => cache.clear(),
            Store::Redis(cache) => cache.clear().await?,
        }
        Ok(())
    }
}

impl fmt::Debug for Cache {
    /// Prints the kind only: a URL may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Store::Memory(_) => "Cache(memory)",
            Store::Redis(_) => "Cache(redis)",
        })
    }
}
