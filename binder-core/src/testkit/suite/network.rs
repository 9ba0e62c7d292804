//! A network that fails between binders and a broker that is well.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::cases;
use super::log::assert_order_of_keys;
use super::sides::{Sink, Source, number};
use super::world::World;
use crate::ErrorKind;
use crate::message::Message;
use crate::testkit::{Network, Way};

cases!("network":
    a_cut_loses_nothing [Network],
    a_black_hole_is_noticed_and_loses_nothing [Network],
    half_open_to_the_broker_loses_nothing [Network],
    half_open_from_the_broker_loses_nothing [Network],
    a_delay_costs_time_only [Network],
    a_slow_reader_gets_all [Network],
    a_send_into_a_black_hole_fails_at_its_deadline [Network],
);

/// Tasks that send, each with a key of its own.
const SENDERS: u64 = 4;

/// Unconfirmed messages of an output in these cases: they may be sent again after a fault.
const WINDOW: usize = 50;

/// Unsettled deliveries of each partition of an input in these cases: they are delivered again after a fault.
const PREFETCH: usize = 50;

/// Messages that flow from an output to an input while something happens to their network.
struct Flow {
    world: World,
    source: Arc<Source>,
    sink: Sink,
    stop: Arc<AtomicBool>,
    /// Each returns what was acknowledged.
    senders: Vec<JoinHandle<Vec<u64>>>,
}

impl Flow {
    async fn open(world: &World) -> Self {
        let ordered = json!({ world.harness().type_name: world.harness().ordered.clone() });
        let sink = world.sink("g").consumer(ordered).consumer(json!({ "prefetch": PREFETCH })).open().await;
        let settings = json!({ "send-timeout": "100s", "window": WINDOW });
        let source = Arc::new(world.source().partitions(world.partitions(4)).producer(settings).open().await);
        let stop = Arc::new(AtomicBool::new(false));
        let senders = (0..SENDERS).map(|sender| tokio::spawn(send(sender, Arc::clone(&source), Arc::clone(&stop))));
        let senders = senders.collect();
        let flow = Self { world: world.clone(), source, sink, stop, senders };
        flow.goes_on("at first").await;
        flow
    }

    /// Waits until more messages are handled.
    async fn goes_on(&self, when: &str) {
        let before = self.sink.done().len();
        self.sink.until(&format!("messages flow {when}"), |log| log.done().len() > before + 50).await;
    }

    /// Waits until input and output say that they are there, or that they are not.
    async fn is_ready(&self, ready: bool) {
        let both = || [self.sink.app.health().is_ready(), self.source.app.health().is_ready()];
        self.sink.until(&format!("both say ready: {ready}"), |_| both() == [ready, ready]).await;
    }

    /// Ends the senders and checks what came of so many faults.
    async fn ends_whole_after(self, faults: usize) {
        self.stop.store(true, SeqCst);
        let sent = self.world.wait("the senders to end", join_all(self.senders)).await;
        let acknowledged: BTreeSet<u64> = sent.into_iter().flat_map(|sent| sent.expect("no panic")).collect();
        let all = |log: &super::log::Log| log.done().is_superset(&acknowledged);
        self.sink.until("all that was acknowledged is handled", all).await;
        assert_order_of_keys(&self.sink.firsts());
        let lanes = self.world.partitions(4) as usize;
        let bound = faults * (WINDOW + PREFETCH * lanes);
        assert!(self.sink.duplicates() <= bound, "more than {bound} came twice; {}", self.sink.summary());
    }
}

/// Sends one message after the other, with one key.
async fn send(sender: u64, source: Arc<Source>, stop: Arc<AtomicBool>) -> Vec<u64> {
    let mut acknowledged = Vec::new();
    for round in 0..100_000 {
        if stop.load(SeqCst) {
            break;
        }
        let id = round * SENDERS + sender;
        let message = Message::new(number(id)).with_key(format!("k{sender}"));
        if source.output.send_message(message).await.is_ok() {
            acknowledged.push(id);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    acknowledged
}

async fn a_cut_loses_nothing(world: World) {
    let flow = Flow::open(&world).await;
    for cut in 1..=2 {
        world.network(Network::Cut);
        flow.is_ready(false).await;
        world.network(Network::Clear);
        flow.is_ready(true).await;
        flow.goes_on(&format!("after cut {cut}")).await;
    }
    flow.ends_whole_after(2).await;
}

/// What happens while bytes vanish: both sides say so, though nobody tells them, and go on afterwards.
async fn silence(world: World, network: Network) {
    let flow = Flow::open(&world).await;
    world.network(network);
    flow.is_ready(false).await;
    world.network(Network::Clear);
    flow.is_ready(true).await;
    flow.goes_on("afterwards").await;
    flow.ends_whole_after(1).await;
}

async fn a_black_hole_is_noticed_and_loses_nothing(world: World) {
    silence(world, Network::BlackHole).await;
}

async fn half_open_to_the_broker_loses_nothing(world: World) {
    silence(world, Network::HalfOpen(Way::ToBroker)).await;
}

async fn half_open_from_the_broker_loses_nothing(world: World) {
    silence(world, Network::HalfOpen(Way::FromBroker)).await;
}

/// A network that is slow to answer is no outage: nothing is sent or delivered twice.
async fn a_delay_costs_time_only(world: World) {
    const DELAY: Duration = Duration::from_millis(200);
    let flow = Flow::open(&world).await;
    world.network(Network::Delayed(DELAY));
    let begun = Instant::now();
    world.wait("a send", flow.source.output.send(&number(1_000_000))).await.expect("sent");
    assert!(begun.elapsed() >= DELAY, "the network was not delayed");
    flow.goes_on("late").await;
    world.network(Network::Clear);
    flow.goes_on("afterwards").await;
    flow.ends_whole_after(0).await;
}

/// Where bytes come slowly whoever is faster waits, and gives up nothing.
async fn a_slow_reader_gets_all(world: World) {
    const RATE: u32 = 2_000_000;
    const SIZE: usize = 16_000;
    let sink = world.sink("g").consumer(json!({ "prefetch": PREFETCH })).open().await;
    let source = world.source().producer(json!({ "send-timeout": "100s", "window": WINDOW })).open().await;
    source.send(0).await;
    sink.handles(0..1).await;
    world.network(Network::Slow(RATE));
    let begun = Instant::now();
    // a number is read with any number of zeros
    let messages = (1..300_u64).map(|id| Message::new(Bytes::from(format!("{id:0SIZE$}"))));
    let sent = world.wait("all is sent", source.output.send_all_messages(messages.collect::<Vec<_>>())).await;
    sent.expect("sent");
    sink.handles(0..300).await;
    let least = Duration::from_secs_f64(300.0 * SIZE as f64 / f64::from(RATE)) / 2;
    assert!(begun.elapsed() >= least, "the network was not slow: {:?}", begun.elapsed());
    assert!(sink.ids() == (0..300).collect::<Vec<_>>(), "once each and in order; {}", sink.summary());
}

async fn a_send_into_a_black_hole_fails_at_its_deadline(world: World) {
    let source = world.source().for_groups(&["g"]).producer(json!({ "send-timeout": "3s" })).open().await;
    source.send(0).await;
    world.network(Network::BlackHole);
    let begun = Instant::now();
    let error = world.wait("a send to fail", source.try_send(1)).await.expect_err("nobody answers");
    let waited = begun.elapsed();
    world.network(Network::Clear);
    assert!((Duration::from_secs(2)..Duration::from_secs(5)).contains(&waited), "{waited:?}");
    assert!(matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Connection), "{error:?}");
    assert!(error.is_retryable(), "{error:?}");
    let sink = world.plain_sink("g").await;
    let again = async {
        while let Err(error) = source.try_send(2).await {
            assert!(error.is_retryable(), "{error:?}");
        }
    };
    world.wait("a send that comes through", again).await;
    sink.until("what was acknowledged is handled", |log| log.done().is_superset(&BTreeSet::from([0, 2]))).await;
}
