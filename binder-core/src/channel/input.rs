//! The receiving end.

use std::fmt;
use std::future::{Ready, ready};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use tokio::sync::{mpsc, oneshot};

use crate::codec::Decode;
use crate::handler::{Delivery, DeliveryRef, HandlerError, Verdict};
use crate::message::Message;
use crate::runtime::{Command, InputEntry, Layer, Layers};
use crate::{Error, ErrorKind, Result};

/// A named channel that receives payloads of type `T`.
///
/// Either it is given to [`Application::handle`](crate::Application::handle) or one of its sisters, or deliveries are pulled from it with
/// [`recv`](Self::recv) and settled by hand. It is also a `futures::Stream` of such deliveries.
pub struct Input<T> {
    entry: Arc<InputEntry>,
    layers: Layers,
    pulled: Option<mpsc::Receiver<Pulled<T>>>,
    payload: PhantomData<fn() -> T>,
}

/// A delivery that was pulled from an [`Input`] and waits to be settled by hand.
///
/// One that is dropped without an answer is delivered again at once, at the head of its lane. With `ordering: partition` the next delivery
/// of the same partition comes after this one is settled.
#[must_use = "a delivery that is dropped is delivered again"]
pub struct Pulled<T> {
    message: Message<T>,
    delivery: Delivery,
    answer: oneshot::Sender<Verdict>,
}

impl<T> Pulled<T> {
    /// Returns the payload; a tombstone has none.
    pub fn payload(&self) -> Option<&T> {
        self.message.payload()
    }

    /// Returns payload, key and headers.
    pub fn message(&self) -> &Message<T> {
        &self.message
    }

    /// Returns where it came from and which attempt this is.
    pub fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    /// Says that the delivery is done. It is settled with the broker at the binder's own pace, in order.
    ///
    /// # Errors
    /// [`Closed`](ErrorKind::Closed) if the binding is gone: the message is delivered again.
    pub fn settle(self) -> Ready<Result<()>> {
        self.answer(Ok(()))
    }

    /// Says that the delivery failed: it is tried again or becomes a dead letter, as after a handler's error.
    ///
    /// # Errors
    /// [`Closed`](ErrorKind::Closed) if the binding is gone: the message is delivered again.
    pub fn reject(self, error: impl Into<HandlerError>) -> Ready<Result<()>> {
        self.answer(Err(error.into()))
    }

    fn answer(self, verdict: Verdict) -> Ready<Result<()>> {
        let taken = self.answer.send(verdict);
        ready(taken.map_err(|_| Error::new(ErrorKind::Closed, "the binding is gone; the message is delivered again")))
    }
}

impl<T> fmt::Debug for Pulled<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pulled").field("delivery", &self.delivery).finish_non_exhaustive()
    }
}

impl<T> Input<T> {
    pub(crate) fn new(entry: Arc<InputEntry>) -> Self {
        let layers = entry.layers.clone();
        Self { entry, layers, pulled: None, payload: PhantomData }
    }

    /// Returns the channel's name.
    pub fn name(&self) -> &str {
        &self.entry.binding.channel
    }

    /// Puts a layer around the handler of this channel, inside of the application's layers.
    #[must_use]
    pub fn layer(mut self, layer: impl Layer) -> Self {
        self.layers.push(layer);
        self
    }

    pub(crate) fn entry(&self) -> &Arc<InputEntry> {
        &self.entry
    }

    pub(crate) fn layers(&self) -> &Layers {
        &self.layers
    }
}

impl<T: Decode> Input<T> {
    /// Waits for the next delivery; the first call starts the binding. `None` when the binding has stopped.
    ///
    /// An undecodable message goes to the dead letters and is not seen here. `handler-timeout` does not count for what is pulled.
    ///
    /// # Errors
    /// With the reason if the binding has stopped for good.
    ///
    /// # Cancel safety
    /// Dropping the future loses no delivery.
    pub async fn recv(&mut self) -> Result<Option<Pulled<T>>> {
        let next = self.receiver().recv().await;
        match (next, self.entry.state.stopped()) {
            (Some(pulled), _) => Ok(Some(pulled)),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(None),
        }
    }

    fn receiver(&mut self) -> &mut mpsc::Receiver<Pulled<T>> {
        let entry = &self.entry;
        self.pulled.get_or_insert_with(|| {
            let (sender, receiver) = mpsc::channel(1);
            let decoder = entry.decoder();
            entry.set_pulled_run(move |delivery: &DeliveryRef<'_>| {
                let message = delivery.to_message(decoder.decode::<T>(delivery)?);
                let delivery = Delivery::of(delivery);
                Ok(hand_out(sender.clone(), message, delivery))
            });
            entry.start();
            receiver
        })
    }
}

/// Hands a delivery to the one who pulls, and waits for the answer.
async fn hand_out<T>(sender: mpsc::Sender<Pulled<T>>, message: Message<T>, delivery: Delivery) -> Verdict {
    let (answer, answered) = oneshot::channel();
    if sender.send(Pulled { message, delivery, answer }).await.is_err() {
        // Nobody pulls any more: the delivery stays unsettled until the binding stops.
        return std::future::pending().await;
    }
    answered.await.unwrap_or_else(|_| Err(HandlerError::redeliver()))
}

impl<T: Decode> Stream for Input<T> {
    type Item = Result<Pulled<T>>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let input = self.get_mut();
        match input.receiver().poll_recv(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(pulled)) => Poll::Ready(Some(Ok(pulled))),
            Poll::Ready(None) => Poll::Ready(input.entry.state.stopped().map(Err)),
        }
    }
}

impl<T> Unpin for Input<T> {}

impl<T> Drop for Input<T> {
    /// Stops a binding that is pulled from: nobody would take its deliveries any more.
    fn drop(&mut self) {
        if self.pulled.is_some() {
            self.entry.command(Command::Stop(Duration::ZERO));
        }
    }
}

impl<T> fmt::Debug for Input<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input").field("channel", &self.entry.binding.channel).finish_non_exhaustive()
    }
}
