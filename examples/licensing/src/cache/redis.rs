//! The cache in Redis: hash `organization`, field = id, value = JSON; a lease is a key of its own that runs out.
//!
//! The fence must hold over all licensing processes, so it lives in Redis too: each step that looks and then acts is one script, which
//! Redis runs alone.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{AsyncCommands, Client, Script};

use super::{CacheError, Lease};

const HASH: &str = "organization";
const LEASE_MILLISECONDS: u32 = 30_000;
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
const RESPONSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Returns `{value}`, or `{false, lease}`: the lease of another reader that is under way counts for this one too.
const FIND: &str = r"
local value = redis.call('HGET', KEYS[1], ARGV[1])
if value then return {value, false} end
if redis.call('SET', KEYS[2], ARGV[2], 'NX', 'PX', ARGV[3]) then return {false, ARGV[2]} end
return {false, redis.call('GET', KEYS[2])}";

/// Writes the value and uses up the lease, if it stands.
const FILL: &str = r"
if redis.call('GET', KEYS[2]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('DEL', KEYS[2])
return 1";

/// A connection that comes back by itself, and the scripts.
#[derive(Clone)]
pub(super) struct RedisCache {
    connection: ConnectionManager,
    scripts: Arc<Scripts>,
}

struct Scripts {
    find: Script,
    fill: Script,
}

impl RedisCache {
    /// Prepares a connection; opens it with the first command. A command fails at once while Redis is away.
    pub(super) fn open(url: &str) -> Result<Self, CacheError> {
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        let connection = ConnectionManager::new_lazy_with_config(Client::open(url)?, config)?;
        let scripts = Scripts { find: Script::new(FIND), fill: Script::new(FILL) };
        Ok(Self { connection, scripts: Arc::new(scripts) })
    }

    pub(super) async fn find(&self, id: &str) -> Result<(Option<String>, Lease), CacheError> {
        let mut call = self.scripts.find.key(HASH);
        call.key(lease_key(id)).arg(id).arg(Lease::random().0).arg(LEASE_MILLISECONDS);
        let (value, lease): (Option<String>, Option<String>) = call.invoke_async(&mut self.connection.clone()).await?;
        Ok((value, Lease(lease.unwrap_or_default())))
    }

    pub(super) async fn fill(&self, id: &str, lease: &Lease, json: String) -> Result<bool, CacheError> {
        let mut call = self.scripts.fill.key(HASH);
        call.key(lease_key(id)).arg(id).arg(&lease.0).arg(json);
        Ok(call.invoke_async(&mut self.connection.clone()).await?)
    }

    pub(super) async fn remove(&self, id: &str) -> Result<(), CacheError> {
        let mut both = redis::pipe();
        both.atomic().hdel(HASH, id).ignore().del(lease_key(id)).ignore();
        Ok(both.exec_async(&mut self.connection.clone()).await?)
    }

    pub(super) async fn contains(&self, id: &str) -> Result<bool, CacheError> {
        Ok(self.connection.clone().hexists(HASH, id).await?)
    }

    pub(super) async fn clear(&self) -> Result<(), CacheError> {
        let mut connection = self.connection.clone();
        let mut keys = vec![HASH.to_owned()];
        let mut leases = connection.scan_match::<_, String>(lease_key("*")).await?;
        while let Some(key) = leases.next_item().await {
            keys.push(key?);
        }
        drop(leases);
        Ok(connection.del(keys).await?)
    }
}

fn lease_key(id: &str) -> String {
    format!("{HASH}:lease:{id}")
}
