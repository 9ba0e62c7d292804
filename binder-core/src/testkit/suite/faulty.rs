//! Binders that are wrong in one known way, to show that the cases notice.

mod consumer;
mod producer;
mod services;

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::world::lock;
use crate::binder::{
    Binder, BinderContext, BinderFactory, BinderHealth, Capability, Consumer, ConsumerBinding, DeadLetter,
    DeadLetterSink, DeadLetterStore, Delay, Parcel, Producer, ProducerBinding, Seek, SharedBinder, Transactions,
};
use crate::config::{HeaderMode, Start};
use crate::message::Headers;
use crate::{Error, ErrorKind, Result};
use consumer::FaultyConsumer;
use producer::FaultyProducer;

macro_rules! faults {
    ($($(#[$doc:meta])+ $name:ident),* $(,)?) => {
        /// What is wrong with a binder.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Fault {
            $($(#[$doc])+ $name),*
        }

        impl Fault {
            /// All faults.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
        }
    };
}

faults! {
    /// Acknowledges what it receives, before it is handled.
    SettlesOnReceipt,
    /// Acknowledges everything that was received when one is settled.
    SettlesAll,
    /// Acknowledges what is unsettled when it is closed or dropped.
    SettlesOnClose,
    /// Never acknowledges anything.
    NeverSettles,
    /// Swaps neighbours.
    SwapsMessages,
    /// Loses the last message of every batch.
    LosesEndOfBatch,
    /// Loses the first message after an outage or a new start.
    LosesOnReconnect,
    /// Loses what a dropped receive had taken.
    LosesOnCancel,
    /// Delivers every message twice.
    DeliversTwice,
    /// Delivers what is settled again, without end.
    DeliversForever,
    /// Brings more than was asked for.
    IgnoresMax,
    /// Goes on to receive while paused.
    IgnoresPause,
    /// Stays paused.
    IgnoresResume,
    /// Does not ask the broker for more while something is unsettled.
    StopsPolling,
    /// Stops its intake as a whole or not at all.
    HoldsNoLanes,
    /// Never goes on with a lane that was held.
    HoldsForEver,
    /// Hands out tokens that go back.
    TokensGoBack,
    /// Fails when a lane is settled that is no more.
    FailsOnUnknownLane,
    /// Does not come back after an outage.
    StaysDeaf,
    /// Takes an outage for the end.
    StopsOnOutage,
    /// Does not say that it is not connected.
    HidesOutage,
    /// Starts only if the broker is there.
    NeedsBrokerAtStart,
    /// Publishes another payload as dead letter.
    AltersDeadLetters,
    /// Publishes dead letters without the message's headers.
    StripsDeadLetters,
    /// Publishes dead letters without a reason.
    HidesReason,
    /// Says that it has published dead letters.
    LosesDeadLetters,
    /// Publishes every dead letter twice.
    DoublesDeadLetters,
    /// Moves what is unsettled to the dead letters when it ends.
    DeadLettersOnClose,
    /// Makes text of all header values.
    TextHeaders,
    /// Loses all headers.
    LosesHeaders,
    /// Keeps one header of a name.
    OneHeaderOfAName,
    /// Finds headers by the start of their names.
    InventsHeaders,
    /// Loses keys.
    LosesKeys,
    /// Makes text of keys.
    TextKeys,
    /// Loses the content type.
    LosesContentType,
    /// Makes tombstones of empty payloads.
    EmptyIsTombstone,
    /// Makes empty payloads of tombstones.
    TombstoneIsEmpty,
    /// Cuts payloads at 64 KiB.
    CutsPayloads,
    /// Makes UTF-8 of payloads.
    TextPayloads,
    /// Reads and writes headers even if it is told not to.
    IgnoresHeaderMode,
    /// Starts anonymous groups at the oldest message.
    AnonymousAtEarliest,
    /// Starts named groups at the latest message.
    NamedAtLatest,
    /// Does not care for groups before they come.
    ForgetsRequiredGroups,
    /// Keeps anonymous groups.
    KeepsAnonymous,
    /// Takes all groups for one.
    OneGroup,
    /// Makes a group of every consumer.
    GroupOfEachConsumer,
    /// Reads the first of several destinations.
    OneDestination,
    /// Sends everything to one place.
    MixesDestinations,
    /// Sends to partitions in turn, whatever the key.
    ScattersKeys,
    /// Ignores a partition that was chosen.
    IgnoresPartition,
    /// Confirms before the broker has answered, whatever the answer.
    ConfirmsEarly,
    /// Confirms every seventh message without sending it.
    LosesSends,
    /// Sends every message twice.
    SendsTwice,
    /// Leaves receipts open.
    NeverConfirms,
    /// Confirms after it is closed.
    SendsWhenClosed,
    /// Takes every name.
    TakesEveryName,
    /// Can't be closed twice.
    ClosesOnce,
    /// Fails sends while the broker is away.
    ImpatientSends,
    /// Lets sends wait for ever while the broker is away.
    IgnoresSendTimeout,
    /// Fails dead letters for good.
    RefusesDeadLetters,
    /// Ends its consumers when it refuses another one.
    EndedByRefusal,
    /// Lets every failed message wait for the shortest of the binding's waits.
    HurriesDelayed,
    /// Gives messages back that have waited as if it were their first attempt.
    ForgetsAttempts,
    /// Takes whoever says so for a message that comes back.
    BelievesAttempts,
    /// Says that it has moved its group.
    IgnoresSeek,
    /// Sends dead letters back to all groups.
    RedrivesToAll,
    /// Says that it has sent dead letters back.
    LosesRedriven,
    /// Deletes dead letters of which nothing is said.
    GuessesDisposals,
    /// Deletes dead letters of which is said what it does not know.
    DiscardsUnknown,
    /// Deletes dead letters that are not resolved when more are taken.
    PassesUnresolved,
    /// Publishes the messages of a transaction one by one.
    SplitsTransactions,
    /// Publishes what a transactional input commits, and leaves its position to later.
    SplitsCommits,
}

/// Binders of a factory with one fault.
#[derive(Clone)]
pub struct FaultyBinder {
    factory: Arc<dyn BinderFactory>,
    fault: Fault,
    known: Arc<Mutex<HashSet<String>>>,
}

impl FaultyBinder {
    /// Puts the fault into the binders of a factory.
    pub fn new(factory: impl BinderFactory, fault: Fault) -> Self {
        Self::of(Arc::new(factory), fault)
    }

    pub(super) fn of(factory: Arc<dyn BinderFactory>, fault: Fault) -> Self {
        Self { factory, fault, known: Arc::default() }
    }
}

impl fmt::Debug for FaultyBinder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyBinder").field("fault", &self.fault).finish_non_exhaustive()
    }
}

impl BinderFactory for FaultyBinder {
    fn create(&self, context: &BinderContext) -> Result<SharedBinder> {
        let binder = self.factory.create(context)?;
        let (fault, known) = (self.fault, Arc::clone(&self.known));
        Ok(SharedBinder::new(Faulty {
            binder,
            fault,
            known,
            closed: AtomicBool::new(false),
            refused: watch::Sender::new(false),
        }))
    }
}

#[derive(Debug)]
struct Faulty {
    binder: SharedBinder,
    fault: Fault,
    /// Consumers that were bound before.
    known: Arc<Mutex<HashSet<String>>>,
    closed: AtomicBool,
    /// Tells consumers when another was refused, if that ends them.
    refused: watch::Sender<bool>,
}

impl Faulty {
    fn input(&self, binding: &ConsumerBinding) -> ConsumerBinding {
        let mut binding = binding.clone();
        let named = binding.group.is_some();
        match self.fault {
            Fault::AnonymousAtEarliest if !named => binding.properties.start = Some(Start::Earliest),
            Fault::NamedAtLatest | Fault::ForgetsRequiredGroups if named => {
                binding.properties.start = Some(Start::Latest)
            }
            Fault::KeepsAnonymous if !named => {
                binding.group = Some("anonymous".to_owned());
                binding.properties.dead_letters = Some(false);
                binding.properties.start = Some(Start::Latest);
            }
            Fault::OneGroup if named => binding.group = Some("all".to_owned()),
            Fault::GroupOfEachConsumer if named => {
                binding.group = binding.group.map(|group| format!("{group}.{:x}", fastrand::u32(..)));
            }
            Fault::OneDestination => binding.destinations.truncate(1),
            Fault::MixesDestinations => binding.destinations = vec!["all".to_owned()],
            Fault::IgnoresHeaderMode => binding.properties.header_mode = HeaderMode::Headers,
            _ => {}
        }
        if self.fault == Fault::HidesOutage {
            binding.status = crate::binder::Status::new();
        }
        binding
    }

    fn output(&self, binding: &ProducerBinding) -> ProducerBinding {
        let mut binding = binding.clone();
        match self.fault {
            Fault::MixesDestinations => "all".clone_into(&mut binding.destination),
            Fault::IgnoresHeaderMode => binding.properties.header_mode = HeaderMode::Headers,
            Fault::ForgetsRequiredGroups => binding.properties.required_groups.clear(),
            Fault::IgnoresSendTimeout => binding.properties.send_timeout *= 1000,
            Fault::ImpatientSends => binding.properties.send_timeout = std::time::Duration::from_millis(1),
            _ => {}
        }
        if self.fault == Fault::HidesOutage {
            binding.status = crate::binder::Status::new();
        }
        binding
    }
}

#[async_trait]
impl Binder for Faulty {
    fn capability(&self) -> Capability {
        self.binder.capability()
    }

    fn check_consumer(&self, binding: &ConsumerBinding) -> Result<()> {
        if self.fault == Fault::TakesEveryName { Ok(()) } else { self.binder.check_consumer(binding) }
    }

    fn check_producer(&self, binding: &ProducerBinding) -> Result<()> {
        if self.fault == Fault::TakesEveryName { Ok(()) } else { self.binder.check_producer(binding) }
    }

    async fn bind_consumer(&self, binding: &ConsumerBinding) -> Result<Box<dyn Consumer>> {
        let name = format!("{:?} {:?}", binding.destinations, binding.group);
        let again = !lock(&self.known).insert(name);
        let bound = self.binder.bind_consumer(&self.input(binding)).await;
        let consumer = bound.map_err(|error| {
            self.refused.send_replace(self.fault == Fault::EndedByRefusal);
            self.unreached(error)
        })?;
        binding.status.up();
        Ok(Box::new(FaultyConsumer::new(consumer, self.fault, again, self.refused.subscribe())))
    }

    async fn bind_producer(&self, binding: &ProducerBinding) -> Result<Arc<dyn Producer>> {
        let bound = self.binder.bind_producer(&self.output(binding)).await;
        let producer = bound.map_err(|error| self.unreached(error))?;
        binding.status.up();
        Ok(Arc::new(FaultyProducer::new(producer, self.fault, binding.properties.partition_count)))
    }

    fn health(&self) -> BinderHealth {
        self.binder.health()
    }

    async fn close(&self) -> Result<()> {
        if self.closed.swap(true, SeqCst) && self.fault == Fault::ClosesOnce {
            return Err(Error::new(ErrorKind::Closed, "closed already"));
        }
        self.binder.close().await
    }

    fn delay(&self) -> Option<&dyn Delay> {
        self.binder.delay().is_some().then_some(self)
    }

    fn seek(&self) -> Option<&dyn Seek> {
        self.binder.seek()
    }

    fn dead_letter_store(&self) -> Option<&dyn DeadLetterStore> {
        self.binder.dead_letter_store().is_some().then_some(self)
    }

    fn transactions(&self) -> Option<&dyn Transactions> {
        self.binder.transactions().is_some().then_some(self)
    }
}

impl Faulty {
    fn unreached(&self, error: Error) -> Error {
        if self.fault == Fault::NeedsBrokerAtStart { error.permanent() } else { error }
    }
}

/// A sink of dead letters with a fault.
#[derive(Debug)]
struct FaultySink {
    sink: Arc<dyn DeadLetterSink>,
    fault: Fault,
}

#[async_trait]
impl DeadLetterSink for FaultySink {
    async fn send(&self, letter: DeadLetter<'_>) -> Result<()> {
        let mut delivery: Parcel = letter.delivery.clone();
        match self.fault {
            Fault::AltersDeadLetters => delivery.payload = delivery.payload.map(|bytes| spoiled(&bytes)),
            Fault::StripsDeadLetters => delivery.headers = Headers::new(),
            Fault::LosesDeadLetters => return Ok(()),
            Fault::RefusesDeadLetters => return Err(Error::new(ErrorKind::Refused, "no dead letters today")),
            Fault::DoublesDeadLetters => {
                self.sink.send(DeadLetter::new(&delivery, letter.reason, letter.attempts)).await?;
            }
            Fault::HidesReason => {
                let nothing = Error::new(ErrorKind::Handler, "failed");
                return self.sink.send(DeadLetter::new(&delivery, &nothing, letter.attempts)).await;
            }
            _ => {}
        }
        self.sink.send(DeadLetter::new(&delivery, letter.reason, letter.attempts)).await
    }
}

/// Another payload that means the same to JSON.
fn spoiled(bytes: &[u8]) -> Bytes {
    let compact = bytes.iter().copied().filter(|byte| *byte != b' ');
    compact.collect()
}
