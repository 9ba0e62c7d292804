//! What the cases on a real broker share.

#![allow(dead_code, reason = "each test program uses a part")]

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use binder_core::binder::{
    Binder, BinderContext, BinderHealth, Consumer, ConsumerBinding, Outgoing, Parcel, Producer, ProducerBinding,
    Received, Status, TrySend,
};
use binder_core::config::Section;
use binder_core::message::{ContentType, Headers};
use binder_core::{Error, Result};
use binder_rabbit::RabbitBinder;
use bytes::BytesMut;
use futures::future::BoxFuture;
use lapin::options::{
    BasicAckOptions, BasicGetOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties};
use libtest_mimic::{Arguments, Trial};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

/// A case must not take longer.
const LIMIT: Duration = Duration::from_secs(180);

/// How long something may take that should happen at once.
pub(crate) const SOON: Duration = Duration::from_secs(15);

/// Long enough for what must not happen to happen.
pub(crate) const WHILE: Duration = Duration::from_millis(300);

pub(crate) type Case = (&'static str, fn(Broker) -> BoxFuture<'static, ()>);

pub(crate) fn case(name: &'static str, run: fn(Broker) -> BoxFuture<'static, ()>) -> Case {
    (name, run)
}

/// Lists cases: each is named as its function.
#[macro_export]
macro_rules! cases {
    ($($case:path),* $(,)?) => {
        vec![$($crate::support::case(stringify!($case), |broker| Box::pin($case(broker)))),*]
    };
}

/// Runs the cases; without a broker they show as ignored, on CI that is a failure.
pub(crate) fn run(needs: &[&str], cases: Vec<Case>) {
    run_with(Arguments::from_args(), true, needs, cases);
}

/// Runs the cases if the broker is of the kind that they are about, else they show as ignored.
pub(crate) fn run_if(fits: bool, needs: &[&str], cases: Vec<Case>) {
    run_with(Arguments::from_args(), fits, needs, cases);
}

/// Runs the cases one after the other, as [`run`] does.
pub(crate) fn run_in_turn(needs: &[&str], cases: Vec<Case>) {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    run_with(arguments, true, needs, cases);
}

fn run_with(arguments: Arguments, fits: bool, needs: &[&str], cases: Vec<Case>) {
    let missing: Vec<_> = needs.iter().filter(|name| std::env::var(name).is_err()).collect();
    assert!(missing.is_empty() || std::env::var("CI").is_err(), "{missing:?} must be set on CI");
    let present = missing.is_empty() && fits;
    let trial = |(name, case): Case| {
        let run = move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            let case = async { timeout(LIMIT, tokio::spawn(case(Broker::from_env()))).await };
            runtime.block_on(case).map_err(|_| "timed out")??;
            Ok(())
        };
        Trial::test(name.replace("::", " "), run).with_ignored_flag(!present)
    };
    let conclusion = libtest_mimic::run(&arguments, cases.into_iter().map(trial).collect());
    if present {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(clean_up());
    }
    conclusion.exit();
}

/// Deletes what the cases declared, as far as its names follow from theirs.
async fn clean_up() {
    let Raw { channel, connection } = Broker::from_env().raw().await;
    let names = std::mem::take(&mut *NAMES.lock().expect("no panic"));
    for destination in names.iter().flat_map(|name| [name.clone(), format!("t.{name}")]) {
        let groups = ["g", "one", "two", "g-0", "g-1", "g-2"];
        let queues = groups.iter().flat_map(|group| {
            ["", ".dlq", ".retry.300", ".retry.600"].map(|end| format!("{destination}.{group}{end}"))
        });
        for queue in queues.chain([destination.clone()]) {
            channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.expect("deleted");
        }
        channel.exchange_delete(destination.into(), ExchangeDeleteOptions::default()).await.expect("deleted");
    }
    connection.close(200, "done".into()).await.expect("closed");
}

static NAMES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The broker under test.
#[derive(Clone)]
pub(crate) struct Broker {
    pub(crate) url: String,
}

impl Broker {
    fn from_env() -> Self {
        Self { url: std::env::var("RABBIT_URL").expect("checked by run") }
    }

    /// `host:port`
    pub(crate) fn address(&self) -> String {
        let rest = self.url.split('@').next_back().expect("a host");
        rest.split('/').next().expect("a host").to_owned()
    }

    pub(crate) fn with_address(&self, address: &str) -> Self {
        Self { url: self.url.replace(&self.address(), address) }
    }

    pub(crate) fn binder(&self) -> RabbitBinder {
        self.binder_with(json!({}))
    }

    pub(crate) fn binder_with(&self, more: Value) -> RabbitBinder {
        let mut settings = json!({ "url": self.url, "reconnect": { "initial": "50ms", "max": "500ms" } });
        for (key, value) in more.as_object().expect("an object") {
            settings[key] = value.clone();
        }
        let section = Section::new("binders.rabbit", settings);
        RabbitBinder::new(&BinderContext::new("rabbit", section)).expect("valid settings")
    }

    /// The same cluster with another node first.
    pub(crate) fn reordered(&self, first: usize) -> Self {
        let address = self.address();
        let mut nodes: Vec<_> = address.split(',').collect();
        nodes.rotate_left(first);
        self.with_address(&nodes.join(","))
    }

    /// The URL with the first node of a cluster alone.
    fn first(&self) -> String {
        match (self.url.find(','), self.url.rfind('/')) {
            (Some(end), Some(path)) => format!("{}{}", &self.url[..end], &self.url[path..]),
            _ => self.url.clone(),
        }
    }

    /// A plain connection to look behind the scenes, and to disturb.
    pub(crate) async fn raw(&self) -> Raw {
        let connection = Connection::connect(&self.first(), ConnectionProperties::default()).await.expect("a broker");
        Raw { channel: connection.create_channel().await.expect("a channel"), connection }
    }
}

pub(crate) struct Raw {
    pub(crate) connection: Connection,
    pub(crate) channel: Channel,
}

impl Raw {
    pub(crate) async fn new_channel(&self) -> Channel {
        self.connection.create_channel().await.expect("a channel")
    }

    /// Messages and consumers of a queue, if there is one.
    pub(crate) async fn look(&self, queue: &str) -> Option<(u32, u32)> {
        let channel = self.new_channel().await;
        let passive = QueueDeclareOptions { passive: true, ..Default::default() };
        let found = channel.queue_declare(queue.into(), passive, FieldTable::default()).await.ok()?;
        Some((found.message_count(), found.consumer_count()))
    }

    pub(crate) async fn declare(&self, queue: &str, arguments: FieldTable) {
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        self.channel.queue_declare(queue.into(), options, arguments).await.expect("declared");
    }

    pub(crate) async fn bind(&self, queue: &str, exchange: &str) {
        let options = QueueBindOptions::default();
        let bound = self.channel.queue_bind(queue.into(), exchange.into(), "#".into(), options, FieldTable::default());
        bound.await.expect("bound");
    }

    /// Takes a message off a queue, waiting for it.
    pub(crate) async fn get(&self, queue: &str) -> lapin::message::Delivery {
        let deadline = Instant::now() + SOON;
        loop {
            let got = self.channel.basic_get(queue.into(), BasicGetOptions::default()).await.expect("a queue");
            if let Some(got) = got {
                got.ack(BasicAckOptions::default()).await.expect("acked");
                return got.delivery;
            }
            assert!(Instant::now() < deadline, "no message in {queue}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a queue looks like this.
    pub(crate) async fn wait_for(&self, queue: &str, what: impl Fn(Option<(u32, u32)>) -> bool) {
        let deadline = Instant::now() + SOON;
        loop {
            let seen = self.look(queue).await;
            if what(seen) {
                return;
            }
            assert!(Instant::now() < deadline, "queue {queue} is {seen:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A name that no other case uses.
pub(crate) fn name(stem: &str) -> String {
    let name = format!("{stem}-{:012x}", fastrand::u64(..) >> 16);
    NAMES.lock().expect("no panic").push(name.clone());
    name
}

pub(crate) fn input(destination: &str, group: Option<&str>) -> ConsumerBinding {
    let mut binding = ConsumerBinding::new(destination);
    binding.group = group.map(str::to_owned);
    binding
}

/// An input with settings of the binder's own.
pub(crate) fn input_with(destination: &str, group: Option<&str>, settings: Value) -> ConsumerBinding {
    let mut binding = input(destination, group);
    binding.section = Section::new("consumer.rabbit", settings);
    binding
}

pub(crate) async fn producer(binder: &RabbitBinder, destination: &str) -> Arc<dyn Producer> {
    producer_of(binder, &ProducerBinding::new(destination)).await
}

pub(crate) async fn producer_of(binder: &RabbitBinder, binding: &ProducerBinding) -> Arc<dyn Producer> {
    binder.check_producer(binding).expect("valid");
    binder.bind_producer(binding).await.expect("bound")
}

pub(crate) async fn consumer(binder: &RabbitBinder, destination: &str, group: Option<&str>) -> Box<dyn Consumer> {
    consumer_of(binder, &input(destination, group)).await
}

pub(crate) async fn consumer_of(binder: &RabbitBinder, binding: &ConsumerBinding) -> Box<dyn Consumer> {
    binder.check_consumer(binding).expect("valid");
    binder.bind_consumer(binding).await.expect("bound")
}

static NO_HEADERS: Headers = Headers::new();

pub(crate) fn message(payload: &[u8]) -> Outgoing<'_> {
    const JSON: ContentType = ContentType::JSON;
    Outgoing { payload: Some(payload), key: None, content_type: &JSON, headers: &NO_HEADERS, partition: None }
}

/// Hands over a message, waiting for room, and returns the broker's answer.
pub(crate) async fn send_message(producer: &dyn Producer, message: Outgoing<'_>) -> Result<()> {
    loop {
        match producer.try_send(message)? {
            TrySend::Sent(receipt) => return receipt.await.map_err(|failures| failures.into_first()),
            TrySend::Full => poll_fn(|context| producer.poll_ready(context)).await?,
        }
    }
}

pub(crate) async fn send(producer: &dyn Producer, payload: impl AsRef<[u8]>) -> Result<()> {
    send_message(producer, message(payload.as_ref())).await
}

/// Sends many at once and waits for all.
pub(crate) async fn send_all(producer: &dyn Producer, payloads: &[String]) -> Vec<Result<(), Error>> {
    futures::future::join_all(payloads.iter().map(|payload| send(producer, payload))).await
}

/// Sends one after the other without waiting for answers, then waits for all.
pub(crate) async fn send_in_order(producer: &dyn Producer, payloads: &[String]) -> Vec<Result<()>> {
    let mut receipts = Vec::new();
    for payload in payloads {
        loop {
            match producer.try_send(message(payload.as_bytes())).expect("open") {
                TrySend::Sent(receipt) => break receipts.push(receipt),
                TrySend::Full => poll_fn(|context| producer.poll_ready(context)).await.expect("open"),
            }
        }
    }
    let answers = futures::future::join_all(receipts).await;
    answers.into_iter().map(|answer| answer.map_err(|failures| failures.into_first())).collect()
}

pub(crate) fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

/// Receives so many deliveries; lost lanes are passed over.
pub(crate) async fn receive(consumer: &mut dyn Consumer, count: usize) -> Vec<Parcel> {
    let mut parcels = Vec::new();
    let mut arena = BytesMut::new();
    while parcels.len() < count {
        let received = timeout(SOON, consumer.recv_many(count - parcels.len())).await;
        match received.unwrap_or_else(|_| panic!("{} of {count} deliveries", parcels.len())).expect("received") {
            Received::Batch(view) => parcels.extend((0..view.len()).map(|index| view.detach(index, &mut arena))),
            Received::Lost(_) => {}
            other => panic!("{other:?}"),
        }
    }
    parcels
}

/// Keeps the consumer going, as the runtime does, for so long; what arrives is returned.
pub(crate) async fn pump(consumer: &mut dyn Consumer, time: Duration) -> Vec<Parcel> {
    let mut parcels = Vec::new();
    let mut arena = BytesMut::new();
    let deadline = Instant::now() + time;
    while let Ok(received) = tokio::time::timeout_at(deadline, consumer.recv_many(100)).await {
        match received.expect("received") {
            Received::Batch(view) => parcels.extend((0..view.len()).map(|index| view.detach(index, &mut arena))),
            Received::Lost(_) => {}
            other => panic!("{other:?}"),
        }
    }
    parcels
}

pub(crate) fn texts(parcels: &[Parcel]) -> Vec<String> {
    parcels.iter().map(text).collect()
}

pub(crate) fn text(parcel: &Parcel) -> String {
    String::from_utf8_lossy(parcel.payload.as_deref().expect("a payload")).into_owned()
}

pub(crate) fn settle(consumer: &mut dyn Consumer, parcel: &Parcel) {
    consumer.settle(parcel.token.lane, parcel.token.sequence).expect("settled");
}

/// How often each text occurs.
pub(crate) fn count(texts: &[String]) -> BTreeMap<&str, usize> {
    let mut counted = BTreeMap::new();
    for text in texts {
        *counted.entry(text.as_str()).or_default() += 1;
    }
    counted
}

pub(crate) async fn wait_status(status: &Status, what: fn(&BinderHealth) -> bool) -> BinderHealth {
    let mut watch = status.watch();
    let seen = timeout(SOON, watch.wait_for(what)).await;
    seen.unwrap_or_else(|_| panic!("status is {:?}", status.get())).expect("the status lives").clone()
}
