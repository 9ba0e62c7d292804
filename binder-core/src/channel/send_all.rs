//! Many sends with one answer.

use std::borrow::Borrow;
use std::fmt;

use super::output::{Around, Output};
use crate::binder::{Envelope, OutgoingBatch, Producer, Receipt, TrySend};
use crate::codec::Encode;
use crate::message::Message;
use crate::{Error, ErrorKind, Result};

/// Messages that are handed to the binder at once.
const CHUNK: usize = 128;

/// The messages of a [`send_all`](Output::send_all) that failed, each with its index.
#[derive(Debug)]
pub struct SendAllError {
    failures: Vec<(usize, Error)>,
}

impl SendAllError {
    /// Returns index and error of each failure, in the order of the indices. What is not named was taken by the broker.
    pub fn failures(&self) -> &[(usize, Error)] {
        &self.failures
    }
}

impl fmt::Display for SendAllError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.failures.len();
        match self.failures.first() {
            Some((index, error)) => write!(f, "{count} messages were not sent, the first is number {index}: {error}"),
            None => f.write_str("no message failed"),
        }
    }
}

impl std::error::Error for SendAllError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.failures.first().map(|(_, error)| error as _)
    }
}

impl From<SendAllError> for Error {
    /// Keeps kind and retryability of the first failure.
    fn from(error: SendAllError) -> Self {
        let kind = error.failures.first().map_or(ErrorKind::Unexpected, |(_, first)| first.kind());
        let retryable = error.failures.iter().all(|(_, failure)| failure.is_retryable());
        let whole = Self::new(kind, error.to_string()).with_source(error);
        if retryable { whole.retryable() } else { whole }
    }
}

pub(super) async fn payloads<T, I>(output: &Output<T>, payloads: I) -> Result<(), SendAllError>
where
    T: Encode,
    I: Iterator<Item: Borrow<T> + Send> + Send,
{
    if output.has_layers() {
        let mut failures = Vec::new();
        for (index, payload) in payloads.enumerate() {
            if let Err(error) = output.send(payload.borrow()).await {
                failures.push((index, error));
            }
        }
        return answer(failures);
    }
    let mut pipeline = match Pipeline::new(output).await {
        Ok(pipeline) => pipeline,
        Err(error) => return none_sent(output, payloads.count(), &error),
    };
    for payload in payloads {
        pipeline.push(Some(payload.borrow()), Around::NOTHING);
        drop(payload);
        if pipeline.is_full() {
            pipeline.send_chunk().await;
        }
    }
    pipeline.finish().await
}

pub(super) async fn messages<T, I>(output: &Output<T>, messages: I) -> Result<(), SendAllError>
where
    T: Encode + Send,
    I: Iterator<Item: Borrow<Message<T>> + Send> + Send,
{
    if output.has_layers() {
        let mut failures = Vec::new();
        for (index, message) in messages.enumerate() {
            let message = message.borrow();
            if let Err(error) = output.transmit(message.payload(), Around::of(message)).await {
                failures.push((index, error));
            }
        }
        return answer(failures);
    }
    let mut pipeline = match Pipeline::new(output).await {
        Ok(pipeline) => pipeline,
        Err(error) => return none_sent(output, messages.count(), &error),
    };
    for message in messages {
        let borrowed = message.borrow();
        pipeline.push(borrowed.payload(), Around::of(borrowed));
        drop(message);
        if pipeline.is_full() {
            pipeline.send_chunk().await;
        }
    }
    pipeline.finish().await
}

/// Names each of so many messages: there is nobody to hand them to.
#[cold]
fn none_sent<T>(output: &Output<T>, count: usize, error: &Error) -> Result<(), SendAllError> {
    answer((0..count).map(|index| (index, output.core().in_context(copy(error)))).collect())
}

/// Makes the same error for another message.
fn copy(error: &Error) -> Error {
    let copy = Error::new(error.kind(), error.message().to_owned());
    if error.is_retryable() { copy.retryable() } else { copy }
}

fn answer(failures: Vec<(usize, Error)>) -> Result<(), SendAllError> {
    if failures.is_empty() { Ok(()) } else { Err(SendAllError { failures }) }
}

/// Chunks on their way to the broker, in order.
struct Pipeline<'a, T> {
    output: &'a Output<T>,
    producer: &'a dyn Producer,
    batch: OutgoingBatch,
    chunk: Chunk,
    limit: usize,
    receipts: Vec<(Chunk, Receipt<'a>)>,
    failures: Vec<(usize, Error)>,
}

/// Which messages a batch holds.
#[derive(Debug, Default)]
struct Chunk {
    /// Index of its first message.
    first: usize,
    /// Index behind its last message.
    end: usize,
    /// Those between that could not be encoded.
    skipped: Vec<usize>,
}

impl Chunk {
    /// Returns the indices of the messages in the batch, in order.
    fn indices(&self) -> impl Iterator<Item = usize> {
        (self.first..self.end).filter(|index| !self.skipped.contains(index))
    }
}

impl<'a, T: Encode> Pipeline<'a, T> {
    async fn new(output: &'a Output<T>) -> Result<Self> {
        let core = output.core();
        let producer = match core.bound() {
            Some(producer) => producer,
            None => core.wait_bound(core.deadline()).await?,
        };
        Ok(Self {
            output,
            producer,
            batch: core.take_batch(),
            chunk: Chunk::default(),
            limit: CHUNK.min(core.binding.properties.window as usize).max(1),
            receipts: Vec::new(),
            failures: Vec::new(),
        })
    }

    // always: a program that also sends whole messages would pay 45 instructions more for each payload
    #[inline(always)]
    fn push(&mut self, payload: Option<&T>, around: Around<'_>) {
        let pushed = if around.is_plain() && !self.output.has_key() && !self.output.chooses_partition(&around) {
            let core = self.output.core();
            self.batch.push(around.key, |out| core.write(payload, &core.binding.content_type, out))
        } else {
            self.push_around(payload, around)
        };
        if let Err(error) = pushed {
            self.chunk.skipped.push(self.chunk.end);
            self.fail(self.chunk.end, error);
        }
        self.chunk.end += 1;
    }

    fn push_around(&mut self, payload: Option<&T>, around: Around<'_>) -> Result<(), Error> {
        let core = self.output.core();
        let content_type = around.content_type.unwrap_or(&core.binding.content_type);
        super::core::with_buffers(|_, buffer| {
            let key = self.output.key(payload, around.key, buffer);
            let partition = if self.output.chooses_partition(&around) {
                Some(self.output.choose_partition(self.producer, payload, Around { key, ..around })?)
            } else {
                around.partition
            };
            let envelope = Envelope {
                key,
                headers: around.headers.clone(),
                content_type: around.content_type.filter(|own| **own != core.binding.content_type).cloned(),
                partition,
            };
            self.batch.push_with(envelope, |out| core.write(payload, content_type, out))
        })
    }

    fn fail(&mut self, index: usize, error: Error) {
        self.failures.push((index, self.output.core().in_context(error)));
    }

    fn is_full(&self) -> bool {
        self.batch.len() >= self.limit
    }

    async fn send_chunk(&mut self) {
        let mut deadline = None;
        let end = self.chunk.end;
        let chunk = std::mem::replace(&mut self.chunk, Chunk { first: end, end, skipped: Vec::new() });
        let sent = loop {
            match self.producer.try_send_batch(&self.batch) {
                Ok(TrySend::Sent(receipt)) => break Ok(receipt),
                Ok(TrySend::Full) => {
                    let deadline = *deadline.get_or_insert_with(|| self.output.core().deadline());
                    if let Err(error) = self.output.core().wait_room(self.producer, deadline).await {
                        break Err(error);
                    }
                }
                Err(error) => break Err(error),
            }
        };
        self.batch.clear();
        match sent {
            Ok(receipt) => self.receipts.push((chunk, receipt)),
            Err(error) => self.fail_all(&chunk, &error),
        }
    }

    #[cold]
    fn fail_all(&mut self, chunk: &Chunk, error: &Error) {
        for index in chunk.indices() {
            self.fail(index, copy(error));
        }
    }

    async fn finish(mut self) -> Result<(), SendAllError> {
        if !self.batch.is_empty() {
            self.send_chunk().await;
        }
        for (chunk, receipt) in std::mem::take(&mut self.receipts) {
            if let Err(failures) = receipt.await {
                for (place, error) in failures.into_vec() {
                    let index = chunk.indices().nth(place as usize).unwrap_or(chunk.first);
                    self.fail(index, error);
                }
            }
        }
        self.failures.sort_by_key(|(index, _)| *index);
        self.output.core().keep_batch(std::mem::take(&mut self.batch));
        answer(self.failures)
    }
}
