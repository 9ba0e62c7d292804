//! Groups, destinations, partitions, and the traits of the contract themselves.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};

use super::basics::all_handle;
use super::cases;
use super::received::{Got, copied};
use super::sides::number;
use super::world::World;
use crate::ErrorKind;
use crate::binder::{Consumer, ConsumerBinding, LaneId, Parcel, Producer, ProducerBinding, Token, TrySend};
use crate::binder::{Outgoing, OutgoingBatch};
use crate::config::Provision;
use crate::message::{ContentType, Headers, Message};

cases!("contract":
    anonymous_group_starts_at_the_latest,
    anonymous_group_ends_with_its_consumer,
    anonymous_consumers_each_get_all,
    required_group_gets_what_was_sent_before_it,
    two_required_groups_get_what_was_sent_before_them,
    named_group_competes,
    key_stays_with_one_instance [Rebalance],
    chosen_partition_wins [Partitions, Rebalance],
    several_destinations_on_one_input,
    destination_known_at_run_time,
    names_that_no_broker_has_are_refused,
    a_refused_consumer_leaves_its_siblings_alone,
    a_batch_is_at_most_as_large_as_asked,
    tokens_grow_within_a_lane,
    a_dropped_receive_loses_nothing,
    settling_what_is_no_more_is_ignored,
    closing_a_consumer_leaves_what_is_unsettled,
    receipts_come_for_all_and_the_window_bounds,
    a_closed_producer_says_so,
);

async fn anonymous_group_starts_at_the_latest(world: World) {
    let source = world.plain_source().await;
    let watching = world.plain_sink("g").await;
    source.send_many(0..10).await;
    watching.handles(0..10).await;
    let sink = world.sink(None).open().await;
    source.send_many(10..20).await;
    sink.handles(10..20).await;
    assert_eq!(sink.ids(), (10..20).collect::<Vec<_>>());
}

async fn anonymous_group_ends_with_its_consumer(world: World) {
    let watching = world.plain_sink("g").await;
    let source = world.plain_source().await;
    let first = world.sink(None).open().await;
    source.send(0).await;
    first.handles(0..1).await;
    first.stop().await;
    source.send(1).await;
    watching.handles(0..2).await;
    let second = world.sink(None).open().await;
    source.send(2).await;
    second.handles(2..3).await;
    assert_eq!(second.ids(), [2], "what came while nobody was there is not for it");
}

async fn anonymous_consumers_each_get_all(world: World) {
    let sinks = join_all((0..3).map(|_| world.sink(None).open())).await;
    world.plain_source().await.send_many(0..20).await;
    for sink in &sinks {
        sink.handles(0..20).await;
        sink.stays_at(20).await;
    }
}

async fn required_group_gets_what_was_sent_before_it(world: World) {
    let source = world.source().for_groups(&["later"]).open().await;
    source.send_many(0..20).await;
    let sink = world.plain_sink("later").await;
    sink.handles(0..20).await;
    sink.stays_at(20).await;
}

async fn two_required_groups_get_what_was_sent_before_them(world: World) {
    let source = world.source().for_groups(&["one", "two"]).open().await;
    source.send_many(0..20).await;
    for group in ["one", "two"] {
        let sink = world.plain_sink(group).await;
        sink.handles(0..20).await;
        sink.stays_at(20).await;
    }
}

/// Members of a group share the messages: each is handled by one.
async fn named_group_competes(world: World) {
    let source = world.source().partitions(world.partitions(2)).open().await;
    let sinks = join_all((0..2).map(|_| world.plain_sink("g"))).await;
    source.send_keyed(0..100, |id| format!("k{id}")).await;
    all_handle(&world, &sinks, 100).await;
    world.look_on().await;
    let all: Vec<_> = sinks.iter().flat_map(|sink| sink.ids()).collect();
    assert_eq!(all.len(), 100, "each message once");
}

async fn key_stays_with_one_instance(world: World) {
    let source = world.source().partitions(4).open().await;
    let sinks = join_all((0..2).map(|_| world.plain_sink("g"))).await;
    source.send_keyed(0..200, |id| format!("k{}", id % 20)).await;
    all_handle(&world, &sinks, 200).await;
    let mut owners = BTreeMap::new();
    for (instance, sink) in sinks.iter().enumerate() {
        for seen in sink.seen() {
            let owner = *owners.entry(seen.key().expect("a key").to_owned()).or_insert(instance);
            assert_eq!(owner, instance, "key {:?} is at both", seen.key());
        }
    }
    assert_eq!(owners.len(), 20);
}

async fn chosen_partition_wins(world: World) {
    let source = world.source().partitions(4).open().await;
    let sink = world.plain_sink("g").await;
    for id in 0..8_u64 {
        source.message(Message::new(number(id)).with_key("same").with_partition((id % 4) as u32)).await;
    }
    sink.handles(0..8).await;
    for seen in sink.seen() {
        assert_eq!(seen.delivery.partition.map(u64::from), seen.id.map(|id| id % 4));
    }
}

async fn several_destinations_on_one_input(world: World) {
    let names = [world.other("a"), world.other("b"), world.other("c")];
    let sink = world.sink("g").destination(&names.join(",")).open().await;
    for (id, name) in (0..).zip(&names) {
        world.source().destination(name).open().await.send(id).await;
    }
    sink.handles(0..3).await;
    for seen in sink.seen() {
        let name = &names[seen.id.expect("a number") as usize];
        assert_eq!(&*seen.delivery.destination, name.as_str());
    }
}

async fn destination_known_at_run_time(world: World) {
    let (name, source) = (world.other("dynamic"), world.plain_source().await);
    let elsewhere = world.sink("g").destination(&name).open().await;
    let here = world.plain_sink("g").await;
    let sent = world.wait("a send", source.output.to(&name).send(&number(7))).await;
    sent.expect("sent");
    elsewhere.handles(7..8).await;
    here.stays_at(0).await;
}

async fn names_that_no_broker_has_are_refused(world: World) {
    let binder = world.binder();
    for name in ["", "a\u{7}b", &"x".repeat(300)] {
        let mut input = ConsumerBinding::new("in");
        input.destinations = vec![name.to_owned()];
        let refused = binder.check_consumer(&input).expect_err(name);
        assert_eq!(refused.kind(), ErrorKind::Config, "{refused:?}");
        let mut output = ProducerBinding::new("out");
        output.destination = name.to_owned();
        let refused = binder.check_producer(&output).expect_err(name);
        assert_eq!(refused.kind(), ErrorKind::Config, "{refused:?}");
    }
}

/// A refusal may cost a channel of the connection, and no more than that.
async fn a_refused_consumer_leaves_its_siblings_alone(world: World) {
    let binder = world.binder();
    let input = |destination: String| {
        let mut input = ConsumerBinding::new("in");
        input.destinations = vec![destination];
        input.group = Some(world.group("g"));
        input.properties.dead_letters = Some(false);
        input
    };
    let bound = world.wait("a consumer", binder.bind_consumer(&input(world.destination().to_owned()))).await;
    let mut output = ProducerBinding::new("out");
    output.destination = world.destination().to_owned();
    let producer = world.wait("a producer", binder.bind_producer(&output)).await.expect("bound");
    let mut halves = Halves { world: world.clone(), consumer: bound.expect("bound"), producer };
    halves.send(3).await;
    let before = halves.receive(3, 10).await;
    for _ in 0..2 {
        let mut missing = input(world.other("missing"));
        missing.provision = Provision::Check;
        let refused = world.wait("a refusal", binder.bind_consumer(&missing)).await.expect_err("it is not there");
        assert!(!refused.is_retryable(), "{refused:?}");
    }
    halves.send(3).await;
    let after = halves.receive(3, 10).await;
    assert_eq!(texts(&after), numbers(3), "what came before does not come again");
    assert_eq!(after[0].token.lane, before[0].token.lane, "the lane was lost");
}

/// The two halves of the contract on one destination.
struct Halves {
    world: World,
    consumer: Box<dyn Consumer>,
    producer: Arc<dyn Producer>,
}

static NO_HEADERS: Headers = Headers::new();

fn outgoing(payload: &[u8]) -> Outgoing<'_> {
    Outgoing {
        payload: Some(payload),
        key: None,
        content_type: &ContentType::TEXT,
        headers: &NO_HEADERS,
        partition: None,
    }
}

impl Halves {
    async fn open(world: &World) -> Self {
        Self::with_window(world, 1000).await
    }

    async fn with_window(world: &World, window: u32) -> Self {
        let binder = world.binder();
        let mut input = ConsumerBinding::new("in");
        input.destinations = vec![world.destination().to_owned()];
        input.group = Some(world.group("g"));
        let mut output = ProducerBinding::new("out");
        output.destination = world.destination().to_owned();
        output.properties.window = window;
        let consumer = world.wait("a consumer", binder.bind_consumer(&input)).await.expect("bound");
        let producer = world.wait("a producer", binder.bind_producer(&output)).await.expect("bound");
        Self { world: world.clone(), consumer, producer }
    }

    fn send(&self, count: usize) -> BoxFuture<'static, ()> {
        let (world, producer) = (self.world.clone(), Arc::clone(&self.producer));
        Box::pin(async move {
            for number in 0..count {
                let text = number.to_string();
                match producer.try_send(outgoing(text.as_bytes())).expect("open") {
                    TrySend::Sent(receipt) => world.wait("a receipt", receipt).await.expect("confirmed"),
                    TrySend::Full => panic!("nothing is in flight"),
                }
            }
        })
    }

    /// Receives so many, in batches of at most `max`.
    async fn receive(&mut self, count: usize, max: usize) -> Vec<Parcel> {
        let world = self.world.clone();
        let mut parcels = Vec::new();
        while parcels.len() < count {
            let what = format!("{count} deliveries, {} are there", parcels.len());
            match world.wait(what, async { self.consumer.recv_many(max).await.map(copied) }).await.expect("received") {
                Got::Parcels(got) => {
                    assert!((1..=max).contains(&got.len()), "a batch of {} where {max} were asked for", got.len());
                    parcels.extend(got);
                }
                Got::Revoked(lanes) => world.wait("a release", self.consumer.release(&lanes)).await.expect("released"),
                Got::Lost(_) | Got::Assigned(_) => {}
            }
        }
        parcels
    }
}

fn texts(parcels: &[Parcel]) -> Vec<String> {
    let text = |parcel: &Parcel| {
        parcel.payload.as_ref().map_or_else(String::new, |bytes| String::from_utf8_lossy(bytes).into())
    };
    parcels.iter().map(text).collect()
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

async fn a_batch_is_at_most_as_large_as_asked(world: World) {
    let mut halves = Halves::open(&world).await;
    halves.send(40).await;
    let mut parcels = halves.receive(10, 3).await;
    parcels.extend(halves.receive(10, 1).await);
    let rest = 40 - parcels.len();
    parcels.extend(halves.receive(rest, 100).await);
    assert_eq!(texts(&parcels), numbers(40));
}

async fn tokens_grow_within_a_lane(world: World) {
    let mut halves = Halves::open(&world).await;
    halves.send(50).await;
    let parcels = halves.receive(50, 7).await;
    let mut last: BTreeMap<LaneId, u64> = BTreeMap::new();
    for Parcel { token: Token { lane, sequence }, .. } in &parcels {
        let before = last.insert(*lane, *sequence);
        assert!(before.is_none_or(|before| before < *sequence), "{sequence} came after {before:?} in {lane:?}");
    }
}

async fn a_dropped_receive_loses_nothing(world: World) {
    let mut halves = Halves::open(&world).await;
    let producer = Arc::clone(&halves.producer);
    let sending = tokio::spawn(async move {
        for number in 0..60 {
            let text = number.to_string();
            match producer.try_send(outgoing(text.as_bytes())).expect("open") {
                TrySend::Sent(receipt) => receipt.await.expect("confirmed"),
                TrySend::Full => panic!("the window is larger"),
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    let mut parcels = Vec::new();
    let receiving = async {
        while parcels.len() < 60 {
            let received = if parcels.len() % 2 == 0 {
                halves.consumer.recv_many(2).now_or_never()
            } else {
                tokio::time::timeout(Duration::from_millis(1), halves.consumer.recv_many(2)).await.ok()
            };
            match received {
                None => tokio::time::sleep(Duration::from_millis(1)).await,
                Some(received) => {
                    if let Got::Parcels(got) = copied(received.expect("received")) {
                        parcels.extend(got);
                    }
                }
            }
        }
    };
    world.wait("60 deliveries", receiving).await;
    sending.await.expect("all is sent");
    assert_eq!(texts(&parcels), numbers(60));
}

async fn settling_what_is_no_more_is_ignored(world: World) {
    let mut halves = Halves::open(&world).await;
    halves.send(3).await;
    let parcels = halves.receive(3, 10).await;
    halves.consumer.settle(LaneId(u32::MAX), 7).expect("an unknown lane is ignored");
    let unknown = [LaneId(u32::MAX - 1)];
    world.wait("a release", halves.consumer.release(&unknown)).await.expect("an unknown lane is ignored");
    let Token { lane, sequence } = parcels[2].token;
    halves.consumer.settle(lane, sequence).expect("settled");
    halves.consumer.settle(lane, sequence).expect("settled again");
    halves.consumer.settle(lane, parcels[0].token.sequence).expect("an older one is settled already");
    halves.send(1).await;
    assert_eq!(texts(&halves.receive(1, 10).await), ["0"]);
}

async fn closing_a_consumer_leaves_what_is_unsettled(world: World) {
    let mut halves = Halves::open(&world).await;
    halves.send(10).await;
    let parcels = halves.receive(10, 100).await;
    halves.consumer.settle(parcels[3].token.lane, parcels[3].token.sequence).expect("settled");
    let Halves { consumer, producer, .. } = halves;
    world.wait("the consumer to close", consumer.close()).await.expect("closed");
    drop(producer);
    let mut again = Halves::open(&world).await;
    assert_eq!(texts(&again.receive(6, 100).await), numbers(10)[4..]);
}

/// Every receipt of many sends resolves, no more are in flight than the window says, and a batch larger than it passes too.
async fn receipts_come_for_all_and_the_window_bounds(world: World) {
    let mut halves = Halves::with_window(&world, 8).await;
    let producer = Arc::clone(&halves.producer);
    let text = |number: usize| number.to_string();
    let mut receipts = Vec::new();
    for number in 0..100 {
        let text = text(number);
        loop {
            match producer.try_send(outgoing(text.as_bytes())).expect("open") {
                TrySend::Sent(receipt) => break receipts.push(receipt),
                TrySend::Full => world.wait("room", poll_fn(|cx| producer.poll_ready(cx))).await.expect("open"),
            }
        }
    }
    for receipt in receipts {
        world.wait("a receipt", receipt).await.expect("confirmed");
    }
    world.wait("a flush", producer.flush()).await.expect("flushed");
    let mut batch = OutgoingBatch::new(ContentType::TEXT);
    for number in 100..130 {
        let push = batch.push::<crate::Error>(None, |out| {
            out.extend_from_slice(text(number).as_bytes());
            Ok(true)
        });
        push.expect("appended");
    }
    match producer.try_send_batch(&batch).expect("open") {
        TrySend::Sent(receipt) => world.wait("the receipt of a batch", receipt).await.expect("confirmed"),
        TrySend::Full => panic!("the window is empty, so a larger batch is taken"),
    }
    assert_eq!(texts(&halves.receive(130, 100).await), numbers(130));
}

async fn a_closed_producer_says_so(world: World) {
    let halves = Halves::open(&world).await;
    let producer = Arc::clone(&halves.producer);
    halves.send(1).await;
    world.wait("the producer to close", producer.close()).await.expect("closed");
    let error = match producer.try_send(outgoing(b"late")) {
        Err(error) => error,
        Ok(TrySend::Full) => panic!("a closed producer is not full"),
        Ok(TrySend::Sent(receipt)) => {
            world.wait("a receipt", receipt).await.expect_err("nothing is sent any more").into_first()
        }
    };
    assert_eq!(error.kind(), ErrorKind::Closed, "{error:?}");
}
