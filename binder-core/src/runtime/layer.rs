//! Layers: what goes around every handler and every send.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::Result;
use crate::handler::{Delivery, HandlerError};
use crate::message::Headers;

/// A call of a handler, as layers see it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HandlerCall {
    /// Where the message came from and which attempt this is.
    pub delivery: Delivery,
    /// The message's headers.
    pub headers: Headers,
}

/// A send, as layers see it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SendCall {
    /// The channel.
    pub channel: Arc<str>,
    /// The destination.
    pub destination: Arc<str>,
    /// The headers; a layer may add to them.
    pub headers: Headers,
    /// The encoded payload; a tombstone has none.
    pub payload: Option<Bytes>,
}

/// Something around handlers and sends: timing, auditing, a tenant. Methods that are not written pass the call on.
///
/// Layers of the application go around those of a channel; in each, those that were added first are outermost. With at least one layer a
/// message costs a few allocations more; without, nothing.
///
/// ```
/// use binder_core::layer::{HandlerCall, Layer, Next};
/// use binder_core::prelude::*;
/// use futures::future::BoxFuture;
///
/// #[derive(Debug)]
/// struct Timing;
///
/// impl Layer for Timing {
///     fn handle<'a>(&'a self, call: HandlerCall, next: Next<'a>) -> BoxFuture<'a, Result<(), HandlerError>> {
///         Box::pin(async move {
///             let start = std::time::Instant::now();
///             let channel = call.delivery.channel.clone();
///             let outcome = next.run(call).await;
///             println!("{channel}: {:?}", start.elapsed());
///             outcome
///         })
///     }
/// }
/// # let _ = Application::builder().layer(Timing);
/// ```
pub trait Layer: fmt::Debug + Send + Sync + 'static {
    /// Goes around a handler's call; not around batch handlers.
    fn handle<'a>(&'a self, call: HandlerCall, next: Next<'a>) -> BoxFuture<'a, Result<(), HandlerError>> {
        next.run(call)
    }

    /// Goes around a send.
    fn send<'a>(&'a self, call: SendCall, next: SendNext<'a>) -> BoxFuture<'a, Result<()>> {
        next.run(call)
    }
}

/// Layers in order, outermost first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layers(Arc<Vec<Arc<dyn Layer>>>);

impl Layers {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a layer inside of those that are there.
    pub(crate) fn push(&mut self, layer: impl Layer) {
        Arc::make_mut(&mut self.0).push(Arc::new(layer));
    }

    /// Runs a handler's call through all layers.
    pub(crate) async fn handle(
        self,
        call: HandlerCall,
        handler: BoxFuture<'_, Result<(), HandlerError>>,
    ) -> Result<(), HandlerError> {
        Next { layers: &self.0, handler }.run(call).await
    }

    /// Runs a send through all layers.
    pub(crate) async fn send<'a>(&'a self, call: SendCall, send: SendFn<'a>) -> Result<()> {
        SendNext { layers: &self.0, send }.run(call).await
    }
}

pub(crate) type SendFn<'a> = Box<dyn FnOnce(SendCall) -> BoxFuture<'a, Result<()>> + Send + 'a>;

/// The rest of the way to the handler.
pub struct Next<'a> {
    layers: &'a [Arc<dyn Layer>],
    handler: BoxFuture<'a, Result<(), HandlerError>>,
}

impl<'a> Next<'a> {
    /// Goes on. Not calling it answers in the handler's place.
    pub fn run(self, call: HandlerCall) -> BoxFuture<'a, Result<(), HandlerError>> {
        match self.layers.split_first() {
            Some((layer, layers)) => layer.handle(call, Next { layers, handler: self.handler }),
            None => self.handler,
        }
    }
}

impl fmt::Debug for Next<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next").field("layers", &self.layers).finish_non_exhaustive()
    }
}

/// The rest of the way to the broker.
pub struct SendNext<'a> {
    layers: &'a [Arc<dyn Layer>],
    send: SendFn<'a>,
}

impl<'a> SendNext<'a> {
    /// Goes on. Not calling it means that nothing is sent.
    pub fn run(self, call: SendCall) -> BoxFuture<'a, Result<()>> {
        match self.layers.split_first() {
            Some((layer, layers)) => layer.send(call, SendNext { layers, send: self.send }),
            None => (self.send)(call),
        }
    }
}

impl fmt::Debug for SendNext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendNext").field("layers", &self.layers).finish_non_exhaustive()
    }
}
