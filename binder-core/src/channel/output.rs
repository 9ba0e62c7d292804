//! The sending end.

use std::borrow::Borrow;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::future::BoxFuture;

use super::core::{OutputCore, with_buffers};
use super::partition::hash_of;
use super::send_all::SendAllError;
use super::{Key, KeyOf};
use crate::binder::{BatchFailures, Outgoing, Producer, Receipt, TrySend};
use crate::codec::Encode;
use crate::message::{ContentType, HeaderValue, Headers, Message, Name};
use crate::runtime::{Layer, Layers, SendCall};
use crate::{Error, ErrorKind, Result};

/// Messages that the `futures::Sink` of an output collects before it sends them.
const SINK_BATCH: usize = 128;

/// A named channel that sends payloads of type `T`. Clones share the binding; sends need no `mut`.
///
/// A send waits until the broker has taken responsibility, at most `send-timeout` (30 s); up to `window` (1,000) messages of all clones are
/// on their way at once. An error says by its [kind](crate::ErrorKind) what happened; after a
/// [`Timeout`](crate::ErrorKind::Timeout) the broker may have the message.
///
/// # Cancel safety
/// Dropping the future of a send leaves open whether the message is sent.
///
/// It is also a `futures::Sink<Message<T>>`, whose flush waits for the broker; the inherent `send` wins over `SinkExt::send`.
pub struct Output<T> {
    core: Arc<OutputCore>,
    key: Option<KeyOf<T>>,
    layers: Layers,
    sink: Mutex<SinkState<T>>,
}

struct SinkState<T> {
    collected: Vec<Message<T>>,
    sending: Option<BoxFuture<'static, Result<()>>>,
}

impl<T> Default for SinkState<T> {
    fn default() -> Self {
        Self { collected: Vec::new(), sending: None }
    }
}

/// What is sent beside the payload.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) key: Option<&'a [u8]>,
    pub(super) headers: &'a Headers,
    pub(super) content_type: Option<&'a ContentType>,
    pub(super) partition: Option<u32>,
    /// Hash code of a partition key that the sender gave.
    pub(super) hash: Option<i32>,
}

/// What became of a send that waits for nothing.
enum Started<'a> {
    Confirmed,
    Waits(Receipt<'a>),
    Failed(Error),
    /// Something has to be waited for, or layers have to be gone through.
    Not,
}

static NO_HEADERS: Headers = Headers::new();

impl<'a> Around<'a> {
    pub(super) fn of<T>(message: &'a Message<T>) -> Self {
        Self {
            key: message.key(),
            headers: message.headers(),
            content_type: message.content_type(),
            partition: message.partition(),
            hash: None,
        }
    }
}

impl Around<'_> {
    /// Returns whether there is nothing but perhaps a key.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        self.headers.is_empty() && self.content_type.is_none() && self.partition.is_none() && self.hash.is_none()
    }
}

impl Around<'static> {
    pub(super) const NOTHING: Self =
        Self { key: None, headers: &NO_HEADERS, content_type: None, partition: None, hash: None };
}

impl<T> Output<T> {
    pub(crate) fn new(core: Arc<OutputCore>, key: Option<KeyOf<T>>) -> Self {
        let layers = core.common.layers.clone();
        Self { core, key, layers, sink: Mutex::default() }
    }

    /// Returns the channel's name.
    pub fn name(&self) -> &str {
        &self.core.binding.channel
    }

    /// Returns the destination's name.
    pub fn destination(&self) -> &str {
        &self.core.binding.destination
    }

    /// Returns the same channel with another destination, for a name that is known only at run time. Its binding is made by the first
    /// send and kept until the application ends.
    #[must_use]
    pub fn to(&self, destination: &str) -> Self {
        self.with_core(self.core.to(destination))
    }

    fn with_core(&self, core: Arc<OutputCore>) -> Self {
        Self { core, key: self.key, layers: self.layers.clone(), sink: Mutex::default() }
    }

    /// Puts a layer around the sends of this channel, inside of the application's layers. Concerns this handle and its later clones.
    #[must_use]
    pub fn layer(mut self, layer: impl Layer) -> Self {
        self.layers.push(layer);
        self
    }

    pub(crate) fn core(&self) -> &Arc<OutputCore> {
        &self.core
    }

    /// Returns whether payloads may have a key of their own.
    pub(super) fn has_key(&self) -> bool {
        self.key.is_some()
    }

    pub(super) fn has_layers(&self) -> bool {
        !self.layers.is_empty()
    }

    pub(super) fn layers(&self) -> &Layers {
        &self.layers
    }
}

impl<T: Encode> Output<T> {
    /// Sends a payload. Its key is the field that `#[output(key = "..")]` names, if it does.
    pub async fn send(&self, payload: &T) -> Result<()> {
        match self.start(Some(payload), Around::NOTHING) {
            Started::Confirmed => Ok(()),
            Started::Waits(receipt) => self.confirmed(receipt).await,
            Started::Failed(error) => Err(self.core.in_context(error)),
            Started::Not => self.transmit_slowly(Some(payload), Around::NOTHING).await,
        }
    }

    /// Starts a message with key, headers or content type of its own.
    pub fn message<'a>(&'a self, payload: &'a T) -> Draft<'a, T> {
        Draft {
            output: self,
            payload: Some(payload),
            key: None,
            headers: Headers::new(),
            content_type: None,
            partition: None,
            hash: None,
        }
    }

    /// Starts a message without payload.
    pub fn tombstone(&self) -> Draft<'_, T> {
        Draft {
            output: self,
            payload: None,
            key: None,
            headers: Headers::new(),
            content_type: None,
            partition: None,
            hash: None,
        }
    }

    /// Sends a message.
    pub async fn send_message(&self, message: Message<T>) -> Result<()> {
        self.transmit(message.payload(), Around::of(&message)).await
    }

    /// Sends many payloads in order, many at once; returns when the broker has answered for all. The error names those that failed.
    pub async fn send_all<I>(&self, payloads: I) -> Result<(), SendAllError>
    where
        I: IntoIterator<Item: Borrow<T> + Send, IntoIter: Send> + Send,
    {
        super::send_all::payloads(self, payloads.into_iter()).await
    }

    /// Sends many messages in order, as [`send_all`](Self::send_all) does.
    pub async fn send_all_messages<I>(&self, messages: I) -> Result<(), SendAllError>
    where
        I: IntoIterator<Item = Message<T>, IntoIter: Send> + Send,
        T: Send,
    {
        super::send_all::messages(self, messages.into_iter()).await
    }

    /// Sends messages that stay with the caller, as [`send_all`](Self::send_all) does.
    pub(crate) async fn send_all_borrowed(&self, messages: &[Message<T>]) -> Result<(), SendAllError>
    where
        T: Send,
    {
        super::send_all::messages(self, messages.iter()).await
    }

    /// Sends.
    pub(super) async fn transmit(&self, payload: Option<&T>, around: Around<'_>) -> Result<()> {
        match self.start(payload, around) {
            Started::Confirmed => Ok(()),
            Started::Waits(receipt) => self.confirmed(receipt).await,
            Started::Failed(error) => Err(self.core.in_context(error)),
            Started::Not => self.transmit_slowly(payload, around).await,
        }
    }

    /// Encodes and hands over, if nothing has to be waited for and there are no layers. An `async fn` that calls this first has one level of
    /// futures on the usual way.
    #[inline(always)]
    fn start(&self, payload: Option<&T>, around: Around<'_>) -> Started<'_> {
        if !self.layers.is_empty() {
            return Started::Not;
        }
        let Some(producer) = self.core.bound() else { return Started::Not };
        match self.try_send(producer, payload, around) {
            Ok(TrySend::Sent(receipt)) if receipt.is_confirmed() => Started::Confirmed,
            Ok(TrySend::Sent(receipt)) => Started::Waits(receipt),
            Ok(TrySend::Full) => Started::Not,
            Err(error) => Started::Failed(error),
        }
    }

    async fn confirmed(&self, receipt: Receipt<'_>) -> Result<()> {
        receipt.await.map_err(|failures| self.core.in_context(failures.into_first()))
    }

    /// Sends where something has to be waited for, or layers have to be gone through.
    #[cold]
    fn transmit_slowly<'a>(&'a self, payload: Option<&'a T>, around: Around<'a>) -> BoxFuture<'a, Result<()>> {
        if self.has_layers() {
            return Box::pin(self.transmit_through_layers(payload, around));
        }
        Box::pin(async move {
            let core = &self.core;
            let deadline = core.deadline();
            let producer = core.wait_bound(deadline).await?;
            let sent = loop {
                match self.try_send(producer, payload, around) {
                    Ok(TrySend::Sent(receipt)) => break receipt.await.map_err(BatchFailures::into_first),
                    Ok(TrySend::Full) => {
                        if let Err(error) = core.wait_room(producer, deadline).await {
                            break Err(error);
                        }
                    }
                    Err(error) => break Err(error),
                }
            };
            sent.map_err(|error| core.in_context(error))
        })
    }

    #[inline(always)]
    fn try_send<'p>(&self, producer: &'p dyn Producer, payload: Option<&T>, around: Around<'_>) -> Result<TrySend<'p>> {
        if self.chooses_partition(&around) {
            return self.try_send_to_chosen(producer, payload, around);
        }
        with_buffers(|buffer, key_buffer| {
            let content_type = around.content_type.unwrap_or(&self.core.binding.content_type);
            self.core.write(payload, content_type, buffer)?;
            let key = self.key(payload, around.key, key_buffer);
            producer.try_send(Outgoing {
                payload: payload.map(|_| buffer.as_slice()),
                key,
                content_type,
                headers: around.headers,
                partition: around.partition,
            })
        })
    }

    /// As `try_send`, to the partition that Spring's formula names; apart, so that the usual way stays short.
    #[inline(never)]
    fn try_send_to_chosen<'p>(
        &self,
        producer: &'p dyn Producer,
        payload: Option<&T>,
        around: Around<'_>,
    ) -> Result<TrySend<'p>> {
        with_buffers(|buffer, key_buffer| {
            let content_type = around.content_type.unwrap_or(&self.core.binding.content_type);
            self.core.write(payload, content_type, buffer)?;
            let key = self.key(payload, around.key, key_buffer);
            let partition = self.choose_partition(producer, payload, Around { key, ..around })?;
            producer.try_send(Outgoing {
                payload: payload.map(|_| buffer.as_slice()),
                key,
                content_type,
                headers: around.headers,
                partition: Some(partition),
            })
        })
    }

    /// Returns whether it is here that the partition is chosen.
    #[inline]
    pub(super) fn chooses_partition(&self, around: &Around<'_>) -> bool {
        (self.core.partition_key.is_some() || around.hash.is_some()) && around.partition.is_none()
    }

    /// Returns the partition of a message by Spring's formula.
    #[cold]
    pub(super) fn choose_partition(
        &self,
        producer: &dyn Producer,
        payload: Option<&T>,
        around: Around<'_>,
    ) -> Result<u32> {
        let hash = match (around.hash, &self.core.partition_key) {
            (Some(hash), _) => hash,
            (None, Some(key)) => key.hash(around.key, around.headers, |path| {
                let payload = payload.ok_or_else(|| {
                    Error::new(
                        ErrorKind::Codec,
                        "a tombstone has no partition key; give it a partition or a key of its own",
                    )
                })?;
                payload.hash_code(path)
            })?,
            (None, None) => return Err(Error::new(ErrorKind::Unexpected, "nothing to choose a partition by")),
        };
        self.core.partition_of(producer, hash)
    }

    #[inline]
    pub(super) fn key<'a>(
        &self,
        payload: Option<&T>,
        given: Option<&'a [u8]>,
        buffer: &'a mut Vec<u8>,
    ) -> Option<&'a [u8]> {
        match (given, self.key, payload) {
            (None, Some(write), Some(payload)) => write(payload, buffer).then_some(buffer.as_slice()),
            _ => given,
        }
    }

    async fn transmit_through_layers(&self, payload: Option<&T>, around: Around<'_>) -> Result<()> {
        let core = &self.core;
        let content_type = around.content_type.unwrap_or(&core.binding.content_type);
        let (encoded, key) = with_buffers(|buffer, key_buffer| {
            let written = core.write(payload, content_type, buffer)?;
            let encoded = written.then(|| Bytes::copy_from_slice(buffer));
            Ok::<_, Error>((encoded, self.key(payload, around.key, key_buffer).map(Bytes::copy_from_slice)))
        })?;
        let call = SendCall {
            channel: Arc::clone(&core.binding.channel),
            destination: core.binding.destination.as_str().into(),
            headers: around.headers.clone(),
            payload: encoded,
        };
        let send = move |call: SendCall| -> BoxFuture<'_, Result<()>> {
            Box::pin(async move {
                let around = Around { key: key.as_deref(), headers: &call.headers, ..around };
                let deadline = core.deadline();
                let producer = core.wait_bound(deadline).await?;
                let partition = if self.chooses_partition(&around) {
                    Some(self.choose_partition(producer, payload, around).map_err(|error| core.in_context(error))?)
                } else {
                    around.partition
                };
                let Around { key, headers, .. } = around;
                let payload = call.payload.as_deref();
                let message = Outgoing { payload, key, content_type, headers, partition };
                core.transmit_encoded(producer, message, deadline).await
            })
        };
        self.layers.send(call, Box::new(send)).await
    }
}

impl OutputCore {
    async fn transmit_encoded(
        &self,
        producer: &dyn Producer,
        message: Outgoing<'_>,
        deadline: tokio::time::Instant,
    ) -> Result<()> {
        let sent = loop {
            match producer.try_send(message) {
                Ok(TrySend::Sent(receipt)) => break receipt.await.map_err(BatchFailures::into_first),
                Ok(TrySend::Full) => self.wait_room(producer, deadline).await?,
                Err(error) => break Err(error),
            }
        };
        sent.map_err(|error| self.in_context(error))
    }
}

/// A message that is being put together; [`send`](Self::send) sends it.
#[must_use = "nothing is sent before `.send().await`"]
pub struct Draft<'a, T> {
    output: &'a Output<T>,
    payload: Option<&'a T>,
    key: Option<Vec<u8>>,
    headers: Headers,
    content_type: Option<ContentType>,
    partition: Option<u32>,
    hash: Option<Result<i32>>,
}

impl<T: Encode> Draft<'_, T> {
    /// Sets the key; it wins over the payload's own.
    pub fn key(mut self, key: impl Key) -> Self {
        let mut bytes = Vec::new();
        self.key = key.write(&mut bytes).then_some(bytes);
        self
    }

    /// Appends a header.
    pub fn header(mut self, name: impl Into<Name>, value: impl Into<HeaderValue>) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Sets the content type; it wins over the binding's.
    pub fn content_type(mut self, content_type: impl Into<ContentType>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    /// Sets the partition; it wins over every other choice.
    pub fn partition(mut self, partition: u32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Chooses the partition by a key of its own, with Spring's formula over Java's hash codes; wins over the binding's `partition-key`.
    ///
    /// The key is text, an integer, a number, a boolean, a UUID or a list of these; its type must be that which a Java producer uses: `i32` is an
    /// `Integer`, `i64` a `Long`. Sending fails if it is something else.
    pub fn partition_key(mut self, key: &(impl serde::Serialize + ?Sized)) -> Self {
        self.hash = Some(hash_of(key));
        self
    }

    /// Sends the message.
    pub async fn send(self) -> Result<()> {
        let hash = self.hash.transpose().map_err(|error| self.output.core.in_context(error))?;
        let around = Around {
            hash,
            key: self.key.as_deref(),
            headers: &self.headers,
            content_type: self.content_type.as_ref(),
            partition: self.partition,
        };
        self.output.transmit(self.payload, around).await
    }
}

impl<T> fmt::Debug for Draft<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draft").field("output", self.output).finish_non_exhaustive()
    }
}

impl<T: Encode + Send> Output<T> {
    /// Sends what is collected, one batch after the other.
    fn poll_collected(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        loop {
            let output = self.with_core(Arc::clone(&self.core));
            let state = self.sink.get_mut().unwrap_or_else(PoisonError::into_inner);
            if let Some(sending) = &mut state.sending {
                let sent = ready!(sending.as_mut().poll(context));
                state.sending = None;
                sent?;
            } else if state.collected.is_empty() {
                return Poll::Ready(Ok(()));
            } else {
                let messages = std::mem::take(&mut state.collected);
                state.sending = Some(Box::pin(async move { Ok(output.send_all_messages(messages).await?) }));
            }
        }
    }
}

impl<T: Encode + Send> futures::Sink<Message<T>> for Output<T> {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let output = self.get_mut();
        let state = output.sink.get_mut().unwrap_or_else(PoisonError::into_inner);
        if state.collected.len() < SINK_BATCH { Poll::Ready(Ok(())) } else { output.poll_collected(context) }
    }

    fn start_send(self: Pin<&mut Self>, message: Message<T>) -> Result<()> {
        let state = self.get_mut().sink.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.collected.push(message);
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.get_mut().poll_collected(context)
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_flush(context)
    }
}

impl<T> Unpin for Output<T> {}

impl<T> Clone for Output<T> {
    /// Clones the handle; what the original's `futures::Sink` has collected stays there.
    fn clone(&self) -> Self {
        self.with_core(Arc::clone(&self.core))
    }
}

impl<T> fmt::Debug for Output<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("binding", &self.core.binding).finish_non_exhaustive()
    }
}
