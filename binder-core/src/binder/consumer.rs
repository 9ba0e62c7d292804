//! The receiving half of the contract.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;

use super::{CommitError, ConsumerTransaction, DeadLetterSink, Parcel, SeekTo};
use crate::message::{ContentType, HeaderValue, Headers};
use crate::{Error, ErrorKind, Result};

/// A sequence of deliveries that are settled in order: a Kafka partition in one assignment, an AMQP channel in one connection.
///
/// A binder never uses an id again: a partition that comes back, or a channel that is opened anew, gets a new one. So a late settlement
/// names a lane that is no more, and is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneId(pub u32);

/// Names a delivery: its lane, and its place there (offset, delivery tag), which grows within the lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// The lane.
    pub lane: LaneId,
    /// The place in the lane.
    pub sequence: u64,
}

/// What a binder keeps of a delivery beside what the contract names, so that its dead letter sink can pass on the original in full.
#[derive(Clone)]
pub struct Native(Arc<dyn Any + Send + Sync>);

impl Native {
    /// Keeps a value of the binder's own type.
    pub fn new(value: impl Any + Send + Sync) -> Self {
        Self(Arc::new(value))
    }

    /// Returns the value, if it is of this type.
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

impl fmt::Debug for Native {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Native")
    }
}

/// Where a delivery came from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Metadata {
    /// The destination, as the broker calls it.
    pub destination: Arc<str>,
    /// The partition; none where the broker has no partitions.
    pub partition: Option<u32>,
    /// The place within the partition, if the broker has one: Kafka's offset.
    pub offset: Option<u64>,
    /// When it was sent, if the message says so.
    pub timestamp: Option<SystemTime>,
    /// How often the broker had delivered it before, as far as it tells.
    pub redelivered: u32,
    /// The routing key on RabbitMQ.
    pub routing_key: Option<Arc<str>>,
    /// What only the binder understands; set where a delivery is [detached](BatchView::detach).
    pub native: Option<Native>,
}

impl Metadata {
    /// Creates metadata with a destination only.
    pub fn new(destination: impl Into<Arc<str>>) -> Self {
        Self {
            destination: destination.into(),
            partition: None,
            offset: None,
            timestamp: None,
            redelivered: 0,
            routing_key: None,
            native: None,
        }
    }
}

/// Deliveries that were received together, still in the client's memory.
///
/// An index is below [`len`](Self::len). Headers are read only when a method asks for them.
pub trait BatchView: Send + Sync {
    /// Returns how many there are, at least one.
    fn len(&self) -> usize;
    /// Returns the payload; `None` is a tombstone.
    fn payload(&self, index: usize) -> Option<&[u8]>;
    /// Returns the payload for one who keeps it: shared where the binder can, and then as long as this is kept so is what it shares with; else
    /// copied.
    fn payload_bytes(&self, index: usize) -> Option<Bytes> {
        self.payload(index).map(Bytes::copy_from_slice)
    }
    /// Returns the key; on a broker without keys the header that carries it.
    fn key(&self, index: usize) -> Option<&[u8]>;
    /// Returns what names this delivery. Within a lane sequences grow in the order of the indices.
    fn token(&self, index: usize) -> Token;
    /// Returns the content type, if the message has one.
    fn content_type(&self, index: usize) -> Option<ContentType>;
    /// Returns payload and content type by one call.
    fn body(&self, index: usize) -> (Option<&[u8]>, Option<ContentType>) {
        (self.payload(index), self.content_type(index))
    }
    /// Returns an index up to which all deliveries from `index` on are of one lane. The further, the less often core asks for tokens.
    fn run_end(&self, index: usize) -> usize {
        index + 1
    }
    /// Returns the last header of this name.
    fn header(&self, index: usize, name: &str) -> Option<HeaderValue>;
    /// Returns all headers of the application, without those that carry content type and key.
    fn headers(&self, index: usize) -> Headers;
    /// Returns where the delivery came from.
    fn metadata(&self, index: usize) -> Metadata;
    /// Returns which attempt this is, from 1: above 1 only what a [`DelaySink`](super::DelaySink) has handed back. Core asks only with
    /// `retry: delayed`.
    fn attempt(&self, _index: usize) -> u32 {
        1
    }

    /// Copies the delivery out, headers included, so that it outlives the batch. Bytes that must be copied go to `arena`, which
    /// the caller keeps from call to call.
    fn detach(&self, index: usize, arena: &mut BytesMut) -> Parcel;
    /// Returns whether there are none; never true.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A lane that a consumer was given, and what it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Assignment {
    /// The lane.
    pub lane: LaneId,
    /// The destination, as the broker calls it.
    pub destination: Arc<str>,
    /// The partition; none where the broker has no partitions.
    pub partition: Option<u32>,
}

impl Assignment {
    /// Creates an assignment.
    pub fn new(lane: LaneId, destination: impl Into<Arc<str>>, partition: Option<u32>) -> Self {
        Self { lane, destination: destination.into(), partition }
    }
}

/// What [`Consumer::recv_many`] brings.
#[non_exhaustive]
pub enum Received<'a> {
    /// Deliveries.
    Batch(Box<dyn BatchView + 'a>),
    /// These lanes are the consumer's from now on. Told before the first of their deliveries, if the binding
    /// [asks for it](super::ConsumerBinding::tells_assignments).
    Assigned(Vec<Assignment>),
    /// The broker wants these lanes back. Core starts no more of their deliveries, lets the running ones finish, settles, and then calls
    /// [`Consumer::release`]; `recv_many` is called on meanwhile.
    Revoked(Vec<LaneId>),
    /// These lanes are gone already: settling them has no effect any more. Nothing is to be released.
    Lost(Vec<LaneId>),
}

impl fmt::Debug for Received<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Batch(view) => f.debug_tuple("Batch").field(&view.len()).finish(),
            Self::Assigned(lanes) => f.debug_tuple("Assigned").field(lanes).finish(),
            Self::Revoked(lanes) => f.debug_tuple("Revoked").field(lanes).finish(),
            Self::Lost(lanes) => f.debug_tuple("Lost").field(lanes).finish(),
        }
    }
}

/// Receives from one binding. One task owns it.
///
/// # Contract
/// A delivery that was returned is not returned again within its lane; what was not settled when the lane ended is delivered again, here
/// or elsewhere. A broker that goes away is the binder's matter: `recv_many` waits, reconnects and reports by
/// [`Status`](super::Status); it fails only with what waiting can't mend.
pub trait Consumer: fmt::Debug + Send + 'static {
    /// Takes what is there, at most `max` deliveries, without waiting; `None` if there is nothing.
    ///
    /// Exists beside [`recv_many`](Self::recv_many) because a busy consumer never needs the boxed future.
    fn try_recv_many(&mut self, max: usize) -> Result<Option<Received<'_>>>;

    /// Waits until there is something, then takes at most `max` deliveries.
    ///
    /// Core calls this for as long as the consumer lives, also while paused: a client that must be polled is polled here.
    ///
    /// # Cancel safety
    /// Dropping the future loses no delivery.
    fn recv_many(&mut self, max: usize) -> BoxFuture<'_, Result<Received<'_>>>;

    /// Waits without a future that would be boxed: ready when [`try_recv_many`](Self::try_recv_many) is worth a call, which may still bring
    /// nothing, or fail; until then the task is woken when that changes, however often this is called and whatever is called between. As
    /// `recv_many`, core calls this also while paused.
    ///
    /// `None`, the default, always: the binder can't, and core waits by `recv_many`.
    fn poll_ready(&mut self, context: &mut Context<'_>, max: usize) -> Option<Poll<()>> {
        let _ = (context, max);
        None
    }

    /// Says that every delivery of the lane up to and including `sequence` is done. Cheap; the binder tells the broker at its own pace.
    /// A lane that is no more is ignored.
    fn settle(&mut self, lane: LaneId, sequence: u64) -> Result<()>;

    /// Says that these deliveries of the lane are done, though one before them is not. Returns whether the broker can be told so; if it
    /// knows only up to where all is done, nothing happens. Cheap, like [`settle`](Self::settle), which names none of them any more.
    ///
    /// Core asks when a delivery has held up its lane for more than a second, and after the first `false` not again.
    fn settle_apart(&mut self, lane: LaneId, sequences: &[u64]) -> Result<bool>;

    /// Gives revoked lanes back after what is settled there was told to the broker.
    fn release<'a>(&'a mut self, lanes: &'a [LaneId]) -> BoxFuture<'a, Result<()>>;

    /// Stops the intake without leaving the group; what is on its way may still come.
    fn pause(&mut self) -> Result<()>;

    /// Takes up the intake again.
    fn resume(&mut self) -> Result<()>;

    /// Brings nothing more of these lanes, or goes on with them; the others are not concerned. Returns whether the binder can.
    ///
    /// A lane is held while as much of it is unsettled as `prefetch` allows, so that one stuck message does not use up what the others need.
    /// What is on its way may still come. [`resume`](Self::resume) leaves held lanes held; a lane that is no more is ignored, and its
    /// partition, if it comes back, is not held. After the first `false`, the default, core bounds what is unsettled of all lanes together, by
    /// [`pause`](Self::pause).
    fn hold(&mut self, lanes: &[LaneId], hold: bool) -> Result<bool> {
        let _ = (lanes, hold);
        Ok(false)
    }

    /// Moves the group on one partition, or on all, that this consumer holds, and returns the lanes that ended by it.
    ///
    /// Nothing of these lanes is received any more and settling them has no effect; what lies at the new position comes in new lanes. Does
    /// not wait: what needs the broker is done by the receives that follow, which also commit the position before they bring anything from
    /// there, or at the latest by `close`. A consumer that holds nothing yet keeps the seek for its first assignment. Works while paused.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) unless the binder says otherwise by [`Binder::seek`](super::Binder::seek);
    /// [`Refused`](ErrorKind::Refused) if the consumer holds partitions, but not this one.
    fn seek(&mut self, partition: Option<u32>, to: SeekTo) -> Result<Vec<LaneId>> {
        let _ = (partition, to);
        Err(Error::new(ErrorKind::Unsupported, "the binder can't move a group's position"))
    }

    /// Publishes messages and dead letters and moves the lanes' positions, all of it or nothing. Called instead of
    /// [`settle`](Self::settle) if the binding is `transactional`. Returns when it is decided.
    ///
    /// A lane that is no more makes the transaction fail as [aborted](CommitError::Aborted); a lane that is revoked is still the consumer's
    /// until it is released. After [`Unknown`](CommitError::Unknown) core drops the consumer: the position that its successor finds says
    /// what came of it.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the transaction is committed.
    fn commit<'a>(&'a mut self, transaction: ConsumerTransaction<'a>) -> BoxFuture<'a, Result<(), CommitError>> {
        let _ = transaction;
        let error = Error::new(ErrorKind::Unsupported, "the binder has no transactions");
        Box::pin(std::future::ready(Err(CommitError::Aborted(error))))
    }

    /// Returns where this binding's dead letters go; `None` if it has none.
    fn dead_letters(&self) -> Option<Arc<dyn DeadLetterSink>>;

    /// Returns how many deliveries of a lane may be unsettled at once unless the configuration says it.
    fn default_prefetch(&self) -> u32;

    /// Tells the broker what is settled, waits until it knows, and leaves. What is unsettled is delivered again, at once where the broker can.
    fn close(self: Box<Self>) -> BoxFuture<'static, Result<()>>;
}
