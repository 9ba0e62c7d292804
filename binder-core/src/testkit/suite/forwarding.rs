//! What stands before a consumer in the suite forwards every call. That none is left to a default of the trait is checked by clippy's
//! `missing_trait_methods`; here, that each call arrives.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use futures::FutureExt;
use futures::future::BoxFuture;

use super::faulty::{Fault, FaultyBinder};
use super::outage::Unsteady;
use super::world::lock;
use crate::Result;
use crate::binder::{
    Binder, BinderContext, BinderFactory, BinderHealth, Capability, CommitError, Consumer, ConsumerBinding,
    ConsumerTransaction, DeadLetterSink, DeadLetterStore, Delay, LaneId, Producer, ProducerBinding, Received, Seek,
    SeekTo, SharedBinder, Transactions,
};
use crate::config::Section;
use crate::memory::MemoryBinder;

type Calls = Arc<Mutex<BTreeSet<&'static str>>>;

/// A consumer that notes which of its methods is called.
#[derive(Debug)]
struct Recorder(Calls);

impl Recorder {
    fn note(&self, call: &'static str) {
        lock(&self.0).insert(call);
    }
}

#[deny(clippy::missing_trait_methods, reason = "a method that is not noted is not checked")]
impl Consumer for Recorder {
    fn try_recv_many(&mut self, _: usize) -> Result<Option<Received<'_>>> {
        self.note("try_recv_many");
        Ok(None)
    }

    fn recv_many(&mut self, _: usize) -> BoxFuture<'_, Result<Received<'_>>> {
        self.note("recv_many");
        Box::pin(async { Ok(Received::Lost(Vec::new())) })
    }

    /// The one call that is not forwarded: both wait by `recv_many`.
    fn poll_ready(&mut self, _: &mut Context<'_>, _: usize) -> Option<Poll<()>> {
        panic!("what stands before a consumer waits by `recv_many`")
    }

    fn settle(&mut self, _: LaneId, _: u64) -> Result<()> {
        self.note("settle");
        Ok(())
    }

    fn settle_apart(&mut self, _: LaneId, sequences: &[u64]) -> Result<bool> {
        assert_eq!(sequences, [3, 5]);
        self.note("settle_apart");
        Ok(true)
    }

    fn release<'a>(&'a mut self, _: &'a [LaneId]) -> BoxFuture<'a, Result<()>> {
        self.note("release");
        Box::pin(async { Ok(()) })
    }

    fn pause(&mut self) -> Result<()> {
        self.note("pause");
        Ok(())
    }

    fn resume(&mut self) -> Result<()> {
        self.note("resume");
        Ok(())
    }

    fn hold(&mut self, lanes: &[LaneId], hold: bool) -> Result<bool> {
        assert_eq!((lanes, hold), (&[LaneId(6)][..], true));
        self.note("hold");
        Ok(true)
    }

    fn seek(&mut self, partition: Option<u32>, to: SeekTo) -> Result<Vec<LaneId>> {
        assert_eq!((partition, to), (Some(1), SeekTo::Offset(7)));
        self.note("seek");
        Ok(vec![LaneId(4)])
    }

    fn commit<'a>(&'a mut self, transaction: ConsumerTransaction<'a>) -> BoxFuture<'a, Result<(), CommitError>> {
        assert_eq!(transaction.positions, [(LaneId(1), 2)]);
        self.note("commit");
        Box::pin(async { Ok(()) })
    }

    fn dead_letters(&self) -> Option<Arc<dyn DeadLetterSink>> {
        self.note("dead_letters");
        None
    }

    fn default_prefetch(&self) -> u32 {
        self.note("default_prefetch");
        77
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        self.note("close");
        Box::pin(async { Ok(()) })
    }
}

/// A binder whose consumers are recorders; the rest is memory's.
#[derive(Debug)]
struct Recording(MemoryBinder, Calls);

#[async_trait::async_trait]
impl Binder for Recording {
    fn capability(&self) -> Capability {
        self.0.capability()
    }

    fn check_consumer(&self, _: &ConsumerBinding) -> Result<()> {
        Ok(())
    }

    fn check_producer(&self, _: &ProducerBinding) -> Result<()> {
        Ok(())
    }

    async fn bind_consumer(&self, _: &ConsumerBinding) -> Result<Box<dyn Consumer>> {
        Ok(Box::new(Recorder(Arc::clone(&self.1))))
    }

    async fn bind_producer(&self, binding: &ProducerBinding) -> Result<Arc<dyn Producer>> {
        self.0.bind_producer(binding).await
    }

    fn health(&self) -> BinderHealth {
        self.0.health()
    }

    async fn close(&self) -> Result<()> {
        self.0.close().await
    }

    fn delay(&self) -> Option<&dyn Delay> {
        self.0.delay()
    }

    fn seek(&self) -> Option<&dyn Seek> {
        self.0.seek()
    }

    fn dead_letter_store(&self) -> Option<&dyn DeadLetterStore> {
        self.0.dead_letter_store()
    }

    fn transactions(&self) -> Option<&dyn Transactions> {
        self.0.transactions()
    }
}

fn recording(calls: &Calls) -> impl BinderFactory + use<> {
    let calls = Arc::clone(calls);
    move |_: &BinderContext| Ok(SharedBinder::new(Recording(MemoryBinder::new(), Arc::clone(&calls))))
}

fn consumer(factory: impl BinderFactory) -> Box<dyn Consumer> {
    let context = BinderContext::new("memory", Section::new("binders.memory", serde_json::json!({})));
    let binder = factory.create(&context).expect("a binder");
    let mut binding = ConsumerBinding::new("in");
    binding.destinations = vec!["orders".to_owned()];
    binder.bind_consumer(&binding).now_or_never().expect("at once").expect("bound")
}

/// Calls every method of the contract and returns which arrived.
fn arrived(mut consumer: Box<dyn Consumer>, calls: &Calls) -> BTreeSet<&'static str> {
    assert!(consumer.try_recv_many(1).expect("received").is_none());
    assert!(consumer.recv_many(1).now_or_never().expect("at once").is_ok());
    assert!(consumer.poll_ready(&mut Context::from_waker(Waker::noop()), 1).is_none());
    consumer.settle(LaneId(1), 2).expect("settled");
    assert!(consumer.settle_apart(LaneId(1), &[3, 5]).expect("settled"), "the answer comes back");
    consumer.release(&[]).now_or_never().expect("at once").expect("released");
    consumer.pause().expect("paused");
    consumer.resume().expect("resumed");
    assert!(consumer.hold(&[LaneId(6)], true).expect("held"), "the answer comes back");
    assert_eq!(consumer.seek(Some(1), SeekTo::Offset(7)).expect("moved"), [LaneId(4)]);
    let transaction = ConsumerTransaction::new(&[], &[], &[(LaneId(1), 2)]);
    consumer.commit(transaction).now_or_never().expect("at once").expect("committed");
    assert!(consumer.dead_letters().is_none());
    assert_eq!(consumer.default_prefetch(), 77);
    consumer.close().now_or_never().expect("at once").expect("closed");
    lock(calls).clone()
}

const ALL: [&str; 13] = [
    "close",
    "commit",
    "dead_letters",
    "default_prefetch",
    "hold",
    "pause",
    "recv_many",
    "release",
    "resume",
    "seek",
    "settle",
    "settle_apart",
    "try_recv_many",
];

#[tokio::test]
async fn a_faulty_consumer_forwards_every_call() {
    let calls = Calls::default();
    let faulty = FaultyBinder::new(recording(&calls), Fault::TakesEveryName);
    assert_eq!(arrived(consumer(faulty), &calls), BTreeSet::from(ALL));
}

#[tokio::test]
async fn an_unsteady_consumer_forwards_every_call() {
    let calls = Calls::default();
    assert_eq!(arrived(consumer(Unsteady::new(recording(&calls))), &calls), BTreeSet::from(ALL));
}
