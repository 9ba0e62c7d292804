//! A broker in trouble: one that loses its patience, one that is low on memory. `RABBIT_URL=amqp://…`, and `RABBIT_CTL` is a program that
//! runs `rabbitmqctl` against it.
//!
//! What is set here holds for the whole broker, so the cases are a program of their own, run one after the other, and set it back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use binder_core::binder::{Binder, BinderHealth, ProducerBinding, Purpose, TrySend};
use binder_core::channel::SinkBinding;
use binder_core::config::{Config, ProducerProperties};
use binder_core::{Application, BindingState, ErrorKind};
use lapin::BasicProperties;
use lapin::options::BasicPublishOptions;
use lapin::types::FieldTable;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::support::*;

#[path = "../support/mod.rs"]
#[macro_use]
mod support;

fn main() {
    support::run_in_turn(
        &["RABBIT_URL", "RABBIT_CTL"],
        cases![
            a_broker_that_loses_patience_delivers_again,
            a_handler_that_outlasts_the_broker_loses_nothing,
            sends_wait_while_the_broker_is_low_on_memory,
            a_thousand_sends_need_one_channel,
            dead_letters_that_go_back_late_are_waited_for,
        ],
    );
}

/// A broker looks for deliveries that are unsettled for too long every so often, by default each minute.
const TICK: &str = "application:set_env(rabbit, channel_tick_interval, 500).";
const USUAL_TICK: &str = "application:set_env(rabbit, channel_tick_interval, 60000).";
const IMPATIENT: &str = "application:set_env(rabbit, consumer_timeout, 1000).";
const PATIENT: &str = "application:set_env(rabbit, consumer_timeout, 1800000).";

async fn ctl(arguments: &[&str]) -> String {
    let program = std::env::var("RABBIT_CTL").expect("checked by run");
    let done = Command::new(program).args(arguments).output().await.expect("the program is there");
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Runs a part of a case and sets the broker back, also if the part fails.
async fn between(before: &[&[&str]], part: impl Future<Output = ()> + Send + 'static, after: &[&[&str]]) {
    for arguments in before {
        ctl(arguments).await;
    }
    let ended = tokio::spawn(part).await;
    for arguments in after {
        ctl(arguments).await;
    }
    if let Err(failed) = ended {
        std::panic::resume_unwind(failed.into_panic());
    }
}

/// The broker asks for its limits when a channel is opened.
async fn while_impatient(part: impl Future<Output = ()> + Send + 'static) {
    let before: [&[&str]; 2] = [&["eval", TICK], &["eval", IMPATIENT]];
    between(&before, part, &[&["eval", PATIENT], &["eval", USUAL_TICK]]).await;
}

async fn a_broker_that_loses_patience_delivers_again(broker: Broker) {
    while_impatient(async move {
        let binder = broker.binder();
        let destination = name("patience");
        let binding = input(&destination, Some("g"));
        let mut consumer = consumer_of(&binder, &binding).await;
        let producer = producer(&binder, &destination).await;
        assert!(send_in_order(&*producer, &numbers(5)).await.iter().all(Result::is_ok));
        let old = receive(&mut *consumer, 5).await;
        settle(&mut *consumer, &old[1]);
        let new = receive(&mut *consumer, 3).await;
        assert_eq!(texts(&new), ["2", "3", "4"], "what was settled does not come again");
        assert!(new.iter().all(|parcel| parcel.metadata.redelivered > 0));
        assert_ne!(new[0].token.lane, old[0].token.lane);
        old.iter().for_each(|parcel| settle(&mut *consumer, parcel));
        assert!(pump(&mut *consumer, WHILE).await.is_empty());
        let queue = format!("{destination}.g");
        let raw = broker.raw().await;
        raw.wait_for(&queue, |seen| seen.is_some_and(|(_, consumers)| consumers == 1)).await;
        new.iter().for_each(|parcel| settle(&mut *consumer, parcel));
        assert_eq!(wait_status(&binding.status, |health| *health == BinderHealth::Up).await, BinderHealth::Up);
        consumer.close().await.expect("closed");
        raw.wait_for(&queue, |seen| seen == Some((0, 0))).await;
    })
    .await;
}

/// A whole application: its first handler of each message takes longer than the broker waits.
async fn a_handler_that_outlasts_the_broker_loses_nothing(broker: Broker) {
    while_impatient(async move {
        let destination = name("outlasts");
        let yaml = format!(
            "stream:
  bindings: {{ input: {{ destination: {destination}, group: g, consumer: {{ prefetch: 1 }} }} }}
  binders: {{ rabbit: {{ type: rabbit, url: \"{}\", reconnect: {{ initial: 50ms, max: 500ms }} }} }}",
            broker.url
        );
        let config = Config::builder().yaml(yaml).build().expect("valid");
        let app =
            Application::builder().config(config).binder("rabbit", binder_rabbit::factory()).build().expect("built");
        let channels = app.bind::<SinkBinding<u32>>().await.expect("bound");
        let (done_in, mut done) = mpsc::unbounded_channel();
        let started = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&started);
        let handler = move |number: u32| {
            let (done, started) = (done_in.clone(), Arc::clone(&counted));
            async move {
                if number == 1 && started.fetch_add(1, Ordering::SeqCst) == 0 {
                    tokio::time::sleep(Duration::from_secs(100)).await;
                }
                let _ = done.send(number);
            }
        };
        app.handle(channels.input, handler).await.expect("a handler");
        app.start().await.expect("started");
        app.ready(SOON).await.expect("ready");
        let binder = broker.binder();
        let producer = producer(&binder, &destination).await;
        assert!(send_in_order(&*producer, &numbers(4)).await.iter().all(Result::is_ok));
        for number in 0..4 {
            let next = timeout(SOON, done.recv()).await.unwrap_or_else(|_| panic!("no {number}"));
            assert_eq!(next, Some(number), "the old handler of 1 is gone, the new one goes first");
        }
        assert_eq!(started.load(Ordering::SeqCst), 2);
        let raw = broker.raw().await;
        raw.wait_for(&format!("{destination}.g"), |seen| seen.is_some_and(|(waiting, _)| waiting == 0)).await;
        timeout(SOON, async {
            while app.states()["input"] != BindingState::Running {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("it runs again");
        app.shutdown().await.expect("ended");
        raw.wait_for(&format!("{destination}.g"), |seen| seen == Some((0, 0))).await;
    })
    .await;
}

async fn sends_wait_while_the_broker_is_low_on_memory(broker: Broker) {
    const LOW: [&str; 3] = ["set_vm_memory_high_watermark", "absolute", "1MB"];
    const ENOUGH: [&str; 3] = ["set_vm_memory_high_watermark", "absolute", "2GB"];
    let binder = broker.binder();
    let destination = name("alarm");
    let mut consumer = consumer(&binder, &destination, Some("g")).await;
    let binding = ProducerBinding::new(&*destination);
    let patient = producer_of(&binder, &binding).await;
    let mut hurried = ProducerBinding::new(&*destination);
    hurried.properties = ProducerProperties::default().send_timeout(Duration::from_secs(2));
    let hurried = producer_of(&binder, &hurried).await;
    assert!(send_in_order(&*patient, &numbers(5)).await.iter().all(Result::is_ok));
    let before = receive(&mut *consumer, 3).await;

    let status = binding.status.clone();
    let (waiting, hurrying) = (Arc::clone(&patient), Arc::clone(&hurried));
    let binder = Arc::new(binder);
    let seen = Arc::clone(&binder);
    between(
        &[&LOW],
        async move {
            let TrySend::Sent(receipt) = waiting.try_send(message(b"waits")).expect("open") else { panic!("full") };
            // The broker says it when somebody publishes.
            let health = wait_status(&status, |health| *health != BinderHealth::Up).await;
            let BinderHealth::Connecting(reason) = health else { panic!("{health:?}") };
            assert!(reason.contains("holds back publishers") && reason.contains("memory"), "{reason}");
            assert_eq!(seen.health(), BinderHealth::Connecting(reason));
            let begin = Instant::now();
            let error = send(&*hurrying, "is late").await.expect_err("held back");
            assert_eq!(error.kind(), ErrorKind::Timeout);
            assert!(error.to_string().contains("holds back publishers"), "{error}");
            assert!(begin.elapsed() >= Duration::from_secs(2), "at its deadline: {:?}", begin.elapsed());
            // Consumers go on: what is there is delivered, what is settled is taken.
            before.iter().for_each(|parcel| settle(&mut *consumer, parcel));
            assert_eq!(texts(&receive(&mut *consumer, 2).await), ["3", "4"]);
            drop(receipt);
            consumer.close().await.expect("settlements are taken");
        },
        &[&ENOUGH],
    )
    .await;

    wait_status(&binding.status, |health| *health == BinderHealth::Up).await;
    assert_eq!(binder.health(), BinderHealth::Up);
    timeout(SOON, patient.flush()).await.expect("confirmed").expect("flushed");
    send(&*patient, "after").await.expect("sent");
    let mut consumer = support::consumer(&binder, &destination, Some("g")).await;
    // One that was given up had gone to the client before, so it comes as well.
    let received = texts(&receive(&mut *consumer, 5).await);
    let received = count(&received);
    assert!(["3", "4", "waits", "is late", "after"].iter().all(|text| received.contains_key(text)), "{received:?}");
}

async fn a_thousand_sends_need_one_channel(broker: Broker) {
    let own = name("connection");
    let binder = broker.binder_with(serde_json::json!({ "connection-name": own }));
    let destination = name("channel");
    let _taker = consumer(&binder, &destination, Some("g")).await;
    let producer = producer(&binder, &destination).await;
    let channels = || async {
        let listed = ctl(&["list_connections", "client_properties", "channels", "--quiet"]).await;
        let line =
            listed.lines().find(|line| line.contains(&format!("{own}.publish"))).expect("the connection").to_owned();
        line.rsplit('\t').next().map(str::to_owned)
    };
    let before = channels().await;
    assert!(send_all(&*producer, &numbers(1000)).await.iter().all(Result::is_ok));
    assert_eq!((before, channels().await), (Some("1".to_owned()), Some("1".to_owned())));
}

/// The queue sleeps. It hears that the channel is closed when it wakes, and is asked before that how many letters it has: that goes first.
async fn dead_letters_that_go_back_late_are_waited_for(broker: Broker) {
    let destination = name("late");
    let queue = format!("{destination}.g.dlq");
    let raw = broker.raw().await;
    raw.declare(&queue, FieldTable::default()).await;
    let channel = raw.new_channel().await;
    for number in numbers(5) {
        let properties = BasicProperties::default();
        let sent = channel.basic_publish(
            "".into(),
            queue.as_str().into(),
            BasicPublishOptions::default(),
            number.as_bytes(),
            properties,
        );
        sent.await.expect("sent").await.expect("taken");
    }
    raw.wait_for(&queue, |seen| seen == Some((5, 0))).await;

    let binder = broker.binder();
    let (store, binding) = (binder.dead_letter_store().expect("it has letters"), input(&destination, Some("g")));
    let mut pass = store.open(&binding, Purpose::Look).await.expect("open");
    assert_eq!(pass.take(10).await.expect("taken").len(), 5);
    let sleep = format!(
        "{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"/\">>, queue, <<\"{queue}\">>)), \
         P = amqqueue:get_pid(Q), ok = sys:suspend(P), timer:apply_after(4000, sys, resume, [P])."
    );
    ctl(&["eval", &sleep]).await;
    timeout(SOON, pass.close()).await.expect("in time").expect("closed");
    let mut pass = store.open(&binding, Purpose::Look).await.expect("open");
    assert_eq!(pass.take(10).await.expect("taken").len(), 5);
    pass.close().await.expect("closed");
}
