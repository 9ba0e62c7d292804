//! Dead letters that are sent back, failed messages that wait on the broker.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use binder_core::binder::{
    Binder, BinderContext, BinderFactory, DeadLetter, DeadLetterEntry, RETRY_ATTEMPT, SharedBinder,
};
use binder_core::channel::SinkBinding;
use binder_core::config::{Config, Ordering, Provision, RetryMode};
use binder_core::message::{ContentType, HeaderValue};
use binder_core::prelude::*;
use binder_core::{Error, ErrorKind};
use lapin::BasicProperties;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::support::*;

pub(crate) fn cases() -> Vec<Case> {
    cases![
        dead_letters_are_listed_and_stay,
        dead_letters_on_several_nodes_are_listed_as_often_as_one_likes,
        a_redrive_goes_to_the_failed_group_while_it_runs,
        a_filter_leaves_the_others_in_order,
        a_message_that_keeps_failing_stays_at_last,
        a_letter_whose_queue_is_gone_stays,
        letters_that_the_broker_does_not_bring_are_asked_for,
        a_dropped_redrive_sends_the_rest_the_next_time,
        all_groups_get_it_through_the_exchange,
        a_letter_goes_back_to_its_partition,
        delayed_attempts_are_counted_and_wait_their_time,
        what_waits_outlives_its_consumer,
        a_delayed_message_that_is_not_settled_comes_twice,
        a_rung_that_is_gone_takes_nothing,
        the_ladder_is_created_and_checked,
    ]
}

/// What a handler saw: payload, attempt, and when.
#[derive(Clone, Debug, Default)]
struct Seen(Arc<Mutex<Vec<(String, u32, Instant)>>>);

impl Seen {
    fn all(&self) -> Vec<(String, u32)> {
        self.0.lock().expect("no panic").iter().map(|(text, attempt, _)| (text.clone(), *attempt)).collect()
    }

    fn times(&self) -> Vec<Instant> {
        self.0.lock().expect("no panic").iter().map(|(_, _, when)| *when).collect()
    }

    async fn wait_for(&self, count: usize) -> Vec<(String, u32)> {
        let deadline = Instant::now() + SOON;
        while self.all().len() < count {
            assert!(Instant::now() < deadline, "{:?}", self.all());
            sleep(Duration::from_millis(10)).await;
        }
        self.all()
    }
}

/// Fails for ever with `f…`, once with `o…`, and not at all with the rest.
async fn handle(text: String, State(seen): State<Seen>, delivery: Delivery) -> Result<(), HandlerError> {
    seen.0.lock().expect("no panic").push((text.clone(), delivery.attempt, Instant::now()));
    if text.starts_with('f') || text.starts_with('o') && delivery.attempt == 1 {
        return Err(HandlerError::transient("not yet"));
    }
    Ok(())
}

/// Makes the binders of an application.
struct Made(Broker);

impl BinderFactory for Made {
    fn create(&self, _: &BinderContext) -> Result<SharedBinder, Error> {
        Ok(SharedBinder::new(self.0.binder()))
    }
}

async fn application(broker: &Broker, destination: &str, consumer: &str) -> (Application, SinkBinding<String>) {
    let text = format!(
        "stream: {{ bindings: {{ input: {{ destination: {destination}, group: g, content-type: text/plain, \
         consumer: {{ {consumer} }} }} }}, binders: {{ rabbit: {{ type: rabbit }} }} }}"
    );
    let config = Config::builder().yaml(text).build().expect("valid");
    let app = Application::builder().config(config).binder("rabbit", Made(broker.clone())).build().expect("it builds");
    let channels = app.bind::<SinkBinding<String>>().await.expect("it binds");
    (app, channels)
}

async fn run(broker: &Broker, destination: &str, consumer: &str) -> (Application, Seen) {
    let seen = Seen::default();
    let (app, channels) = application(broker, destination, consumer).await;
    app.handle(channels.input, handle.with_state(seen.clone())).await.expect("handled");
    app.start().await.expect("it starts");
    app.ready(SOON).await.expect("ready");
    (app, seen)
}

/// Sends texts, each with a header and a key.
async fn send_texts(broker: &Broker, destination: &str, texts: &[&str]) {
    let producer = producer(&broker.binder(), destination).await;
    let headers = Headers::new().with("tenant", "acme");
    for text in texts {
        let mut message = message(text.as_bytes());
        (message.headers, message.key, message.content_type) = (&headers, Some(&b"k"[..]), &ContentType::TEXT);
        send_message(&*producer, message).await.expect("sent");
    }
    producer.close().await.expect("closed");
}

/// Leaves texts in the dead letters.
async fn dead(broker: &Broker, destination: &str, texts: &[&str]) {
    let (app, seen) = run(broker, destination, "max-attempts: 1").await;
    send_texts(broker, destination, texts).await;
    seen.wait_for(texts.len()).await;
    let raw = broker.raw().await;
    raw.wait_for(&format!("{destination}.g.dlq"), |seen| seen == Some((texts.len() as u32, 0))).await;
    app.shutdown().await.expect("a clean end");
}

async fn left(app: &Application) -> Vec<String> {
    let letters = app.dead_letters("input").expect("it has some").list(1000).await.expect("listed");
    letters.iter().map(|letter| String::from_utf8_lossy(letter.payload.as_deref().unwrap_or_default()).into()).collect()
}

async fn dead_letters_are_listed_and_stay(broker: Broker) {
    let destination = name("listed");
    dead(&broker, &destination, &["f1", "f2"]).await;
    let (app, _) = application(&broker, &destination, "").await;
    let letters = app.dead_letters("input").expect("it has some");
    for _ in 0..3 {
        assert_eq!(letters.count().await.expect("counted"), 2);
        assert_eq!(left(&app).await, ["f1", "f2"]);
    }
    let letter = letters.list(1).await.expect("listed").remove(0);
    assert_eq!((letter.destination(), letter.group()), (destination.as_str(), "g"));
    assert_eq!((letter.attempts, letter.redriven, letter.key.as_deref()), (Some(1), 0, Some(&b"k"[..])));
    assert_eq!(letter.reason().as_deref(), Some("the handler failed: not yet"));
    assert_eq!(letter.headers().get("tenant"), Some(&HeaderValue::from("acme")));
    assert!(letter.headers().get("x-exception-message").is_none() && letter.timestamp.is_some());
    let missing = application(&broker, &name("none"), "").await.0;
    assert_eq!(missing.dead_letters("input").expect("on").count().await.expect("counted"), 0);
}

/// A quorum queue counts how often a message was given back.
async fn dead_letters_on_several_nodes_are_listed_as_often_as_one_likes(broker: Broker) {
    let destination = name("quorum-dead");
    let settings = "max-attempts: 1, rabbit: { dlq-quorum: { enabled: true, initial-group-size: 1 } }";
    let (app, seen) = run(&broker, &destination, settings).await;
    send_texts(&broker, &destination, &["f1", "f2"]).await;
    seen.wait_for(2).await;
    let raw = broker.raw().await;
    let letters = format!("{destination}.g.dlq");
    raw.wait_for(&letters, |seen| seen == Some((2, 0))).await;
    let mut quorum = FieldTable::default();
    quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    quorum.insert("x-quorum-initial-group-size".into(), AMQPValue::LongInt(1));
    raw.declare(&letters, quorum).await;
    for _ in 0..25 {
        assert_eq!(left(&app).await, ["f1", "f2"]);
    }
    let report = app.dead_letters("input").expect("it has some").redrive().run().await.expect("sent back");
    assert_eq!(report.sent, 2, "{report:?}");
    assert_eq!(seen.wait_for(4).await.len(), 4);
    app.shutdown().await.expect("a clean end");
}

async fn a_redrive_goes_to_the_failed_group_while_it_runs(broker: Broker) {
    let destination = name("redriven");
    let mut other = consumer(&broker.binder(), &destination, Some("one")).await;
    dead(&broker, &destination, &["f1", "f2"]).await;
    let first = receive(&mut *other, 2).await;
    let ids: Vec<_> = first.iter().map(|parcel| parcel.payload.clone()).collect();
    let raw = broker.raw().await;
    let (app, seen) = run(&broker, &destination, "max-attempts: 2, backoff: { initial: 10ms }").await;
    let report = app.dead_letters("input").expect("it has some").redrive().run().await.expect("sent");
    assert_eq!((report.sent, report.kept, report.refused.len()), (2, 0, 0));
    let queue = format!("{destination}.g.dlq");
    raw.wait_for(&queue, |seen| seen == Some((2, 0))).await;
    assert_eq!(seen.all().len(), 4, "each was tried twice");
    assert_eq!((ids.len(), pump(&mut *other, WHILE).await.len()), (2, 0), "the other group saw each once");
    let letter = raw.get(&queue).await;
    let header = |name: &str| letter.properties.headers().as_ref().and_then(|table| table.inner().get(name).cloned());
    let text = |text: &str| lapin::types::AMQPValue::LongString(text.into());
    assert_eq!(header("x-original-exchange"), Some(text(&destination)), "it still says where it came from");
    assert_eq!(header("x-original-routingKey"), Some(text(&destination)));
    assert_eq!(header("x-redrive-count"), Some(lapin::types::AMQPValue::LongLongInt(1)));
    assert_eq!((header("x-retry-exchange"), header("x-retry-routing-key")), (None, None));
    app.shutdown().await.expect("a clean end");
}

async fn a_filter_leaves_the_others_in_order(broker: Broker) {
    let destination = name("filtered");
    let numbers: Vec<String> = (0..120).map(|number| format!("f{number}")).collect();
    dead(&broker, &destination, &numbers.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let (app, _) = application(&broker, &destination, "").await;
    let letters = app.dead_letters("input").expect("it has some");
    let chosen = |letter: &binder_core::dead_letters::DeadLetterEntry| {
        letter.payload.as_ref().is_some_and(|text| text.ends_with(b"7"))
    };
    let report = letters.redrive().only(chosen).run().await.expect("sent");
    assert_eq!((report.sent, report.kept), (12, 108));
    let kept: Vec<_> = numbers.iter().filter(|number| !number.ends_with('7')).cloned().collect();
    assert_eq!(left(&app).await, kept);
    let report = letters.discard(|letter| letter.payload.as_deref() != Some(b"f5")).await.expect("deleted");
    assert_eq!((report.discarded, report.kept), (107, 1));
    assert_eq!(left(&app).await, ["f5"]);
}

async fn a_message_that_keeps_failing_stays_at_last(broker: Broker) {
    let destination = name("loop");
    dead(&broker, &destination, &["f"]).await;
    let raw = broker.raw().await;
    let (app, seen) = run(&broker, &destination, "max-attempts: 1").await;
    let letters = app.dead_letters("input").expect("it has some");
    for round in 1..=3 {
        assert_eq!(letters.redrive().run().await.expect("sent").sent, 1);
        seen.wait_for(round).await;
        raw.wait_for(&format!("{destination}.g.dlq"), |seen| seen == Some((1, 0))).await;
    }
    let report = letters.redrive().run().await.expect("refused");
    assert_eq!((report.sent, report.refused.len(), report.refused[0].letter.redriven), (0, 1, 3));
    assert_eq!(left(&app).await, ["f"]);
    app.shutdown().await.expect("a clean end");
}

async fn a_letter_whose_queue_is_gone_stays(broker: Broker) {
    let destination = name("gone");
    dead(&broker, &destination, &["f1", "f2"]).await;
    let raw = broker.raw().await;
    let queue = format!("{destination}.g");
    raw.channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.expect("deleted");
    let (app, _) = application(&broker, &destination, "").await;
    let report = app.dead_letters("input").expect("it has some").redrive().run().await.expect("refused");
    assert_eq!((report.sent, report.refused.len()), (0, 2));
    assert_eq!(report.refused[0].reason.kind(), ErrorKind::Unroutable, "{:?}", report.refused);
    assert_eq!(left(&app).await, ["f1", "f2"]);
}

/// A queue with one active consumer brings nothing to a second one.
async fn letters_that_the_broker_does_not_bring_are_asked_for(broker: Broker) {
    let destination = name("asked");
    let (app, _) = application(&broker, &destination, "").await;
    let (raw, letters) = (broker.raw().await, format!("{destination}.g.dlq"));
    let mut arguments = FieldTable::default();
    arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
    raw.declare(&letters, arguments).await;
    let channel = raw.new_channel().await;
    channel.basic_qos(1, BasicQosOptions::default()).await.expect("set");
    let options = BasicConsumeOptions::default();
    let _active = channel.basic_consume(letters.as_str().into(), "".into(), options, FieldTable::default()).await;
    for text in ["f1", "f2", "f3", "f4"] {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let published =
            raw.channel.basic_publish("".into(), letters.as_str().into(), options, text.as_bytes(), properties).await;
        published.expect("published");
    }
    raw.wait_for(&letters, |seen| seen == Some((3, 1))).await;
    assert_eq!(left(&app).await, ["f2", "f3", "f4"]);
}

async fn a_dropped_redrive_sends_the_rest_the_next_time(broker: Broker) {
    let destination = name("halfway");
    let numbers: Vec<String> = (0..400).map(|number| format!("f{number}")).collect();
    dead(&broker, &destination, &numbers.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let raw = broker.raw().await;
    let (queue, letters) = (format!("{destination}.g"), format!("{destination}.g.dlq"));
    let (app, _) = application(&broker, &destination, "").await;
    // two batches are sent, the third begins to be, the fourth is not looked at
    let (seen, third) = (AtomicUsize::new(0), Arc::<Notify>::default());
    let begun = Arc::clone(&third);
    let tell = move |_: &DeadLetterEntry| {
        if seen.fetch_add(1, SeqCst) == 200 {
            begun.notify_one();
        }
        true
    };
    let redriving = app.dead_letters("input").expect("it has some").batch_size(100).redrive().only(tell).run();
    tokio::select! {
        biased;
        report = redriving => panic!("it came to its end: {report:?}"),
        () = third.notified() => {}
    }
    raw.wait_for(&letters, |seen| seen.is_some_and(|(count, _)| count > 0)).await;
    raw.wait_for(&queue, |seen| seen.is_some_and(|(count, _)| count >= 200)).await;
    let sent = raw.look(&queue).await.expect("there").0;
    assert!(sent <= 300, "{sent} were sent before the drop");
    let report = app.dead_letters("input").expect("it has some").redrive().run().await.expect("sent");
    assert!(report.sent > 0 && report.refused.is_empty(), "{report:?}");
    raw.wait_for(&letters, |seen| seen == Some((0, 0))).await;
    let mut received = Vec::new();
    for _ in 0..raw.look(&queue).await.expect("there").0 {
        received.push(String::from_utf8_lossy(&raw.get(&queue).await.data).into_owned());
    }
    assert_eq!(count(&received).len(), 400, "all came, some twice");
}

async fn all_groups_get_it_through_the_exchange(broker: Broker) {
    let destination = name("all");
    let mut other = consumer(&broker.binder(), &destination, Some("one")).await;
    dead(&broker, &destination, &["f"]).await;
    receive(&mut *other, 1).await;
    let (app, _) = application(&broker, &destination, "").await;
    let redrive = app.dead_letters("input").expect("it has some").redrive().all_groups();
    assert_eq!(redrive.run().await.expect("sent").sent, 1);
    assert_eq!(texts(&receive(&mut *other, 1).await), ["f"]);
    let raw = broker.raw().await;
    raw.wait_for(&format!("{destination}.g"), |seen| seen == Some((1, 0))).await;
}

async fn a_letter_goes_back_to_its_partition(broker: Broker) {
    let destination = name("partitioned");
    let binder = broker.binder();
    let mut binding = input(&destination, Some("g"));
    binding.properties.partitioned = true;
    binding.section = binder_core::config::Section::new("rabbit", serde_json::json!({ "partitions": 2 }));
    let mut reader = consumer_of(&binder, &binding).await;
    let mut out = binder_core::binder::ProducerBinding::new(destination.as_str());
    out.properties.partition_count = 2;
    let producer = producer_of(&binder, &out).await;
    let mut sent = message(b"p1");
    sent.partition = Some(1);
    send_message(&*producer, sent).await.expect("sent");
    let parcel = receive(&mut *reader, 1).await.remove(0);
    assert_eq!(parcel.metadata.partition, Some(1));
    let reason = Error::new(ErrorKind::Handler, "no");
    reader.dead_letters().expect("on").send(DeadLetter::new(&parcel, &reason, 1)).await.expect("taken");
    settle(&mut *reader, &parcel);
    let store = binder.dead_letter_store().expect("it has one");
    let resolve = binder_core::binder::Purpose::Resolve { all_groups: false };
    let mut pass = store.open(&binding, resolve).await.expect("open");
    let letters = pass.take(9).await.expect("taken");
    assert_eq!((letters.len(), letters[0].partition), (1, Some(1)));
    let answers = pass.resolve(&[binder_core::binder::Disposal::Send]).await.expect("resolved");
    assert!(answers.iter().all(Option::is_none), "{answers:?}");
    pass.close().await.expect("closed");
    let again = receive(&mut *reader, 1).await.remove(0);
    assert_eq!((text(&again), again.metadata.partition), ("p1".to_owned(), Some(1)));
}

const DELAYED: &str =
    "retry: delayed, ordering: none, concurrency: 4, max-attempts: 3, backoff: { initial: 300ms, multiplier: 2 }";

async fn delayed_attempts_are_counted_and_wait_their_time(broker: Broker) {
    let destination = name("delayed");
    let mut other = consumer(&broker.binder(), &destination, Some("one")).await;
    let (app, seen) = run(&broker, &destination, DELAYED).await;
    send_texts(&broker, &destination, &["f", "once"]).await;
    let raw = broker.raw().await;
    let letters = format!("{destination}.g.dlq");
    raw.wait_for(&letters, |seen| seen == Some((1, 0))).await;
    let all = seen.all();
    let attempts =
        |wanted: &str| all.iter().filter(|(text, _)| text == wanted).map(|(_, attempt)| *attempt).collect::<Vec<_>>();
    assert_eq!((attempts("f"), attempts("once")), (vec![1, 2, 3], vec![1, 2]));
    let times: Vec<_> =
        all.iter().zip(seen.times()).filter(|((text, _), _)| text == "f").map(|(_, when)| when).collect();
    let waits: Vec<_> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
    assert!(waits[0] >= 300 && waits[1] >= 600, "{waits:?}");
    assert_eq!(
        receive(&mut *other, 2).await.len() + pump(&mut *other, WHILE).await.len(),
        2,
        "the other group sees each once"
    );
    let letter = raw.get(&letters).await;
    let headers = letter.properties.headers().clone().expect("headers");
    let names: Vec<_> = headers.inner().keys().map(|name| name.as_str()).collect();
    let expected = [
        "messageKey",
        "retry-count",
        "tenant",
        "x-attempts",
        "x-exception-message",
        "x-exception-stacktrace",
        "x-original-exchange",
        "x-original-routingKey",
    ];
    assert_eq!(names, expected);
    let text = lapin::types::AMQPValue::LongString(destination.as_str().into());
    assert_eq!(headers.inner().get("x-original-exchange"), Some(&text));
    app.shutdown().await.expect("a clean end");
}

async fn what_waits_outlives_its_consumer(broker: Broker) {
    let destination = name("outlives");
    let (app, seen) = run(&broker, &destination, DELAYED).await;
    send_texts(&broker, &destination, &["once1", "once2", "a"]).await;
    seen.wait_for(3).await;
    let raw = broker.raw().await;
    raw.wait_for(&format!("{destination}.g"), |seen| seen == Some((0, 1))).await;
    app.abort();
    let (app, again) = run(&broker, &destination, DELAYED).await;
    again.wait_for(2).await;
    let all = again.all();
    let texts: std::collections::BTreeSet<_> = all.iter().map(|(text, _)| text.as_str()).collect();
    assert!(texts.contains("once1") && texts.contains("once2"), "{all:?}");
    app.shutdown().await.expect("a clean end");
}

/// A binding that waits on the broker, for the bare contract.
fn waiting(destination: &str) -> binder_core::binder::ConsumerBinding {
    let mut binding = input(destination, Some("g"));
    (binding.properties.retry, binding.properties.ordering) = (RetryMode::Delayed, Ordering::None);
    binding.properties.backoff = binding.properties.backoff.initial(Duration::from_millis(300));
    binding.properties.max_attempts = 2;
    binding
}

async fn a_delayed_message_that_is_not_settled_comes_twice(broker: Broker) {
    let (destination, binder) = (name("twice"), broker.binder());
    let binding = waiting(&destination);
    let mut first = consumer_of(&binder, &binding).await;
    send_texts(&broker, &destination, &["a"]).await;
    let parcel = receive(&mut *first, 1).await.remove(0);
    let sink = binder.delay().expect("it has one").sink(&binding).expect("a sink");
    sink.send(&parcel, 2, Duration::from_millis(300)).await.expect("taken");
    drop(first);
    let mut second = consumer_of(&binder, &binding).await;
    let received = receive(&mut *second, 2).await;
    assert_eq!(texts(&received), ["a", "a"]);
    for parcel in &received {
        assert!(parcel.headers.get(RETRY_ATTEMPT).is_none());
        assert_eq!(parcel.metadata.routing_key.as_deref(), Some(destination.as_str()));
    }
}

async fn a_rung_that_is_gone_takes_nothing(broker: Broker) {
    let (destination, binder) = (name("full"), broker.binder());
    let binding = waiting(&destination);
    let mut reader = consumer_of(&binder, &binding).await;
    send_texts(&broker, &destination, &["a"]).await;
    let parcel = receive(&mut *reader, 1).await.remove(0);
    let raw = broker.raw().await;
    raw.channel
        .queue_delete(format!("{destination}.g.retry.300").into(), QueueDeleteOptions::default())
        .await
        .expect("deleted");
    let sink = binder.delay().expect("it has one").sink(&binding).expect("a sink");
    let refused = sink.send(&parcel, 2, Duration::from_millis(300)).await.expect_err("nobody has it");
    assert!(refused.kind() == ErrorKind::Unroutable && refused.is_retryable(), "{refused:?}");
}

async fn the_ladder_is_created_and_checked(broker: Broker) {
    let (destination, binder) = (name("ladder"), broker.binder());
    let mut plain = input(&destination, Some("g"));
    consumer_of(&binder, &plain).await.close().await.expect("closed");
    plain.provision = Provision::Check;
    consumer_of(&binder, &plain).await.close().await.expect("closed");
    let mut binding = waiting(&destination);
    binding.provision = Provision::Check;
    let error = binder.bind_consumer(&binding).await.expect_err("not there");
    assert!(!error.is_retryable() && error.to_string().contains(".retry.300"), "{error}");
    binding.provision = Provision::Create;
    consumer_of(&binder, &binding).await.close().await.expect("closed");
    binding.provision = Provision::Check;
    consumer_of(&binder, &binding).await.close().await.expect("closed");
}
