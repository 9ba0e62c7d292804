//! Calls of the client that publish, in memory that is used again.
//!
//! The client's future is over a kilobyte: to allocate one for each message costs more than all that we do for it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use lapin::options::BasicPublishOptions;
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation};

use crate::envelope::Envelope;
use crate::poll::once;

type Answer = lapin::Result<Confirmation>;

/// A message as it is handed to the client.
struct Publication {
    channel: Arc<Channel>,
    exchange: ShortString,
    key: ShortString,
    options: BasicPublishOptions,
    body: Bytes,
    properties: BasicProperties,
}

async fn publish(what: Publication) -> Answer {
    let Publication { channel, exchange, key, options, body, properties } = what;
    channel.basic_publish(exchange, key, options, &body, properties).await?.await
}

/// Room for one future after the other, whose type has no name.
trait Room: Send {
    fn set(&mut self, what: Option<Publication>);
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Answer>;
    fn start(&mut self) -> Option<Answer>;
}

struct Reused<M, F> {
    make: M,
    future: Pin<Box<Option<F>>>,
}

impl<M, F> Room for Reused<M, F>
where
    M: Fn(Publication) -> F + Send,
    F: Future<Output = Answer> + Send,
{
    fn set(&mut self, what: Option<Publication>) {
        self.future.as_mut().set(what.map(&self.make));
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Answer> {
        self.future.as_mut().as_pin_mut().map_or(Poll::Pending, |future| future.poll(context))
    }

    fn start(&mut self) -> Option<Answer> {
        self.future.as_mut().as_pin_mut().and_then(once)
    }
}

/// A call that has not ended.
pub(crate) struct Call(Box<dyn Room>);

impl Call {
    /// Collects the broker's answer.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Answer> {
        self.0.poll(context)
    }
}

/// Makes calls.
#[derive(Default)]
pub(crate) struct Calls(Vec<Call>);

impl Calls {
    /// Queues the frames of a message at once; the call is for the confirm, or it has ended with this answer.
    pub(crate) fn publish(
        &mut self,
        channel: Arc<Channel>,
        envelope: &Envelope,
        mandatory: bool,
    ) -> Result<Call, Box<Answer>> {
        let mut call = self.0.pop().unwrap_or_else(|| Call(Box::new(Reused { make: publish, future: Box::pin(None) })));
        call.0.set(Some(Publication {
            channel,
            exchange: envelope.route.exchange.clone(),
            key: envelope.route.key.clone(),
            options: BasicPublishOptions { mandatory, immediate: false },
            body: envelope.body.clone(),
            properties: envelope.properties.make(),
        }));
        match call.0.start() {
            None => Ok(call),
            Some(answer) => {
                self.end(call);
                Err(Box::new(answer))
            }
        }
    }

    /// Takes back a call that has its answer, or that nobody waits for any more.
    pub(crate) fn end(&mut self, mut call: Call) {
        call.0.set(None);
        self.0.push(call);
    }
}
