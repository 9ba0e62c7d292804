//! Messages that are published now and then, each confirmed; the channel is opened for the first of them.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use binder_core::binder::Status;
use binder_core::{Error, ErrorKind, Result};

use crate::envelope::Envelope;
use crate::link::Link;
use crate::publisher::{Options, Publisher};

const OPTIONS: Options = Options { window: 1000, timeout: Duration::from_secs(30), mandatory: true };

#[derive(Debug)]
pub(crate) struct Courier {
    link: Arc<Link>,
    publisher: OnceLock<Publisher>,
}

impl Courier {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Self { link, publisher: OnceLock::new() }
    }

    pub(crate) fn frame_max(&self) -> usize {
        self.link.frame_max()
    }

    fn publisher(&self) -> &Publisher {
        let spawn = || Publisher::spawn(Arc::clone(&self.link), OPTIONS, None, Status::new(), None);
        self.publisher.get_or_init(spawn)
    }

    /// Publishes a message and waits until the broker has confirmed it; `what` it is, for people.
    pub(crate) async fn send(&self, envelope: Envelope, what: &str) -> Result<()> {
        let publisher = self.publisher();
        let slot = loop {
            match publisher.reserve(1)? {
                Some(slot) => break slot,
                None => std::future::poll_fn(|context| publisher.poll_room(context)).await?,
            }
        };
        let route = Arc::clone(&envelope.route);
        let failed = |failures: binder_core::binder::BatchFailures| {
            let cause = failures.into_first();
            let target = format!("{}/{}", route.exchange, route.key);
            let kind = cause.kind();
            let message = format!("{what} was not taken: {cause}");
            let retryable = cause.is_retryable() || kind == ErrorKind::Unroutable;
            let error = Error::new(kind, message).with_context("destination", target).with_source(cause);
            if retryable { error.retryable() } else { error }
        };
        publisher.publish(slot, [Ok(envelope)]).await.map_err(failed)
    }
}
