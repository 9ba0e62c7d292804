//! A client that has lost all its brokers is told where they are.
//!
//! librdkafka drops the brokers that metadata does not name, and begins anew with `bootstrap.servers` when all are down. A broker on its own
//! names none while it stops; and one that is about to be dropped counts as known. Then the client has no broker left and looks for none, for
//! ever. See `docs/adr/0025-a-client-without-brokers-is-told-them.md`.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fmt;
use std::sync::{Arc, OnceLock};

use rdkafka::ClientConfig;
use rdkafka::client::{Client, ClientContext};
use serde::Deserialize;
use tokio::runtime::Handle;

/// How a client is told its brokers.
#[derive(Clone)]
pub(crate) struct Bootstrap {
    tell: Arc<OnceLock<Box<dyn Fn() + Send + Sync>>>,
    runtime: Handle,
}

impl Bootstrap {
    /// Must be called within a runtime.
    pub(crate) fn new() -> Self {
        Self { tell: Arc::default(), runtime: Handle::current() }
    }

    /// Notes whom to tell. It is not kept alive by that.
    pub(crate) fn is_of<T, C>(&self, client: &Arc<T>, config: &ClientConfig, inner: fn(&T) -> &Client<C>)
    where
        T: Send + Sync + 'static,
        C: ClientContext + 'static,
    {
        let client = Arc::downgrade(client);
        // what holds a zero byte is no address, and the client has refused it
        let brokers = CString::new(config.get("bootstrap.servers").unwrap_or_default()).unwrap_or_default();
        let tell = move || {
            if let Some(client) = client.upgrade() {
                tell(inner(&client), &brokers);
            }
        };
        let _ = self.tell.set(Box::new(tell));
    }

    /// Looks whether the client that tells this of itself knows a broker, and tells it some if it knows none.
    #[cold]
    pub(crate) fn look(&self, statistics: &[u8]) {
        if serde_json::from_slice::<Known>(statistics).is_ok_and(|known| known.is_nobody()) {
            let tell = Arc::clone(&self.tell);
            // this may be the client's own thread, and the last to hold it must not be
            self.runtime.spawn_blocking(move || tell.get().map(|tell| tell()));
        }
    }
}

impl fmt::Debug for Bootstrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bootstrap").finish_non_exhaustive()
    }
}

/// What a client tells of its brokers.
#[derive(Deserialize)]
struct Known<'a> {
    #[serde(borrow)]
    brokers: HashMap<&'a str, Broker<'a>>,
}

#[derive(Deserialize)]
struct Broker<'a> {
    source: &'a str,
}

impl Known<'_> {
    /// Returns whether the client knows no address: a group's coordinator, and what is internal, are none.
    fn is_nobody(&self) -> bool {
        self.brokers.values().all(|broker| matches!(broker.source, "logical" | "internal"))
    }
}

/// Tells a client where brokers are. One that it knows it keeps as it is.
#[expect(unsafe_code, reason = "rust-rdkafka has no call for it")]
fn tell<C: ClientContext>(client: &Client<C>, brokers: &CStr) {
    // SAFETY: the client is borrowed, so its handle lives; the text ends with a zero, and is copied
    let count = unsafe { rdkafka::bindings::rd_kafka_brokers_add(client.native_ptr(), brokers.as_ptr()) };
    tracing::warn!(?brokers, "a Kafka client knew no broker any more, it was told {count} again");
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseProducer, Producer as _};

    use super::*;

    /// Of a client of which nothing was left after its broker had been restarted.
    const NOBODY: &str = r#"{ "name": "rdkafka#consumer-1", "brokers": {
        "GroupCoordinator": { "name": "GroupCoordinator", "nodeid": -1, "source": "logical", "state": "INIT" }
    }, "topics": {} }"#;

    #[test]
    fn a_coordinator_is_no_broker() {
        let known = |text: &str| !serde_json::from_str::<Known<'_>>(text).expect("valid").is_nobody();
        assert!(!known(NOBODY));
        let one = r#""127.0.0.1:9092/bootstrap": { "source": "configured" }, "GroupCoordinator""#;
        assert!(known(&NOBODY.replacen(r#""GroupCoordinator""#, one, 1)));
    }

    #[tokio::test]
    async fn a_client_finds_the_broker_that_it_is_told() {
        let cluster = MockCluster::new(1).expect("a cluster");
        // nobody listens there
        let client: BaseProducer =
            ClientConfig::new().set("bootstrap.servers", "127.0.0.1:1").create().expect("a client");
        let client = Arc::new(client);
        let bootstrap = Bootstrap::new();
        let known = ClientConfig::new().set("bootstrap.servers", cluster.bootstrap_servers()).clone();
        bootstrap.is_of(&client, &known, |client| client.client());
        let answers = || client.client().fetch_metadata(None, Duration::from_secs(1)).is_ok();
        assert!(!answers());
        bootstrap.look(NOBODY.as_bytes());
        let begun = Instant::now();
        while !answers() {
            assert!(begun.elapsed() < Duration::from_secs(30), "it was told");
        }
    }
}
