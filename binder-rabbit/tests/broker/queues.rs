//! Kinds and limits of queues.

use std::time::Duration;

use binder_core::binder::{Binder, ConsumerBinding, ProducerBinding};
use binder_core::channel::SinkBinding;
use binder_core::config::{Config, ConsumerProperties, Ordering, ProducerProperties, Section};
use binder_core::{Application, BindingState, ErrorKind};
use lapin::BasicProperties;
use lapin::options::{BasicGetOptions, BasicNackOptions, BasicPublishOptions};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::support::*;

pub(crate) fn cases() -> Vec<Case> {
    cases![
        arguments_are_those_that_spring_declares,
        a_quorum_queue_without_a_limit_is_declared_as_spring_does,
        a_quorum_queue_hands_out_as_often_as_it_has_to,
        a_delivery_limit_moves_a_message_aside,
        one_active_consumer_is_followed_by_the_next,
        priorities_go_first,
        a_message_that_waits_too_long_is_a_dead_letter,
        a_queue_that_nobody_uses_expires,
        a_full_queue_of_a_required_group_refuses_at_once,
        an_anonymous_queue_has_its_limits,
        a_queue_with_another_limit_stops_the_binding,
        what_contradicts_itself_is_refused_offline,
    ]
}

/// The arguments of a queue of group `g` with dead letters, and more.
fn arguments(destination: &str, more: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    table.insert("x-dead-letter-exchange".into(), text_value("DLX"));
    table.insert("x-dead-letter-routing-key".into(), text_value(&format!("{destination}.g")));
    for (name, value) in more {
        table.insert((*name).into(), value.clone());
    }
    table
}

fn text_value(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

/// Declaring what is there with the same arguments succeeds, with any others it fails.
async fn arguments_are_those_that_spring_declares(broker: Broker) {
    let binder = broker.binder();
    let destination = name("arguments");
    let mut binding = input_with(
        &destination,
        Some("g"),
        json!({
            "ttl": "60s", "expires": "10m", "max-length": 1000, "max-length-bytes": 50_000, "max-priority": 5,
            "overflow-behavior": "reject-publish", "lazy": true, "single-active-consumer": true,
        }),
    );
    binding.properties = ConsumerProperties::default().ordering(Ordering::None);
    let mut consumer = consumer_of(&binder, &binding).await;
    let more = [
        ("x-message-ttl", AMQPValue::LongInt(60_000)),
        ("x-expires", AMQPValue::LongInt(600_000)),
        ("x-max-length", AMQPValue::LongInt(1000)),
        ("x-max-length-bytes", AMQPValue::LongInt(50_000)),
        ("x-max-priority", AMQPValue::LongInt(5)),
        ("x-overflow", text_value("reject-publish")),
        ("x-queue-mode", text_value("lazy")),
        ("x-single-active-consumer", AMQPValue::Boolean(true)),
    ];
    broker.raw().await.declare(&format!("{destination}.g"), arguments(&destination, &more)).await;
    let producer = producer(&binder, &destination).await;
    send(&*producer, "x").await.expect("sent");
    assert_eq!(texts(&receive(&mut *consumer, 1).await), ["x"]);
}

/// This is a RabbitMQ below 4.0, or its management would say so: there `x-delivery-limit` is -1.
async fn a_quorum_queue_without_a_limit_is_declared_as_spring_does(broker: Broker) {
    let binder = broker.binder();
    let destination = name("quorum");
    let settings = json!({ "quorum": { "enabled": true, "initial-group-size": 1 } });
    let mut consumer = consumer_of(&binder, &input_with(&destination, Some("g"), settings)).await;
    let more = [("x-queue-type", text_value("quorum")), ("x-quorum-initial-group-size", AMQPValue::LongInt(1))];
    broker.raw().await.declare(&format!("{destination}.g"), arguments(&destination, &more)).await;
    let producer = producer(&binder, &destination).await;
    let sent = numbers(100);
    assert!(send_all(&*producer, &sent).await.iter().all(Result::is_ok));
    let received = receive(&mut *consumer, 100).await;
    assert_eq!(count(&texts(&received)).len(), 100);
    received.iter().for_each(|parcel| settle(&mut *consumer, parcel));
    consumer.close().await.expect("closed");
    broker.raw().await.wait_for(&format!("{destination}.g"), |seen| seen == Some((0, 0))).await;
}

/// Takes the only message of a queue and gives it back, so often.
async fn return_message(broker: &Broker, queue: &str, times: usize) {
    let raw = broker.raw().await;
    for time in 0..times {
        let deadline = Instant::now() + SOON;
        let got = loop {
            let got = raw.channel.basic_get(queue.into(), BasicGetOptions::default()).await.expect("a queue");
            if let Some(got) = got {
                break got;
            }
            assert!(Instant::now() < deadline, "gone after {time} returns");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        got.nack(BasicNackOptions { multiple: false, requeue: true }).await.expect("returned");
    }
}

async fn a_quorum_queue_hands_out_as_often_as_it_has_to(broker: Broker) {
    let binder = broker.binder();
    let destination = name("returned");
    let settings = json!({ "quorum": { "enabled": true } });
    let binding = input_with(&destination, Some("g"), settings);
    consumer_of(&binder, &binding).await.close().await.expect("closed");
    send(&*producer(&binder, &destination).await, "x").await.expect("sent");
    return_message(&broker, &format!("{destination}.g"), 30).await;
    let mut consumer = consumer_of(&binder, &binding).await;
    assert_eq!(receive(&mut *consumer, 1).await[0].metadata.redelivered, 30);
}

async fn a_delivery_limit_moves_a_message_aside(broker: Broker) {
    let binder = broker.binder();
    let destination = name("limited");
    let settings = json!({ "quorum": { "enabled": true, "delivery-limit": 3 } });
    let binding = input_with(&destination, Some("g"), settings);
    consumer_of(&binder, &binding).await.close().await.expect("closed");
    send(&*producer(&binder, &destination).await, "x").await.expect("sent");
    return_message(&broker, &format!("{destination}.g"), 4).await;
    let letter = broker.raw().await.get(&format!("{destination}.g.dlq")).await;
    assert_eq!(letter.data, b"x");
}

async fn one_active_consumer_is_followed_by_the_next(broker: Broker) {
    let binder = broker.binder();
    let destination = name("active");
    let mut binding = input_with(&destination, Some("g"), json!({ "single-active-consumer": true }));
    binding.instance.count = 2;
    let mut first = consumer_of(&binder, &binding).await;
    let mut second = consumer_of(&binder, &binding).await;
    let producer = producer(&binder, &destination).await;
    let sent = numbers(20);
    assert!(send_in_order(&*producer, &sent).await.iter().all(Result::is_ok));
    let received = receive(&mut *first, 20).await;
    assert_eq!(texts(&received), sent, "in their order");
    assert!(pump(&mut *second, WHILE).await.is_empty(), "the other waits");
    received[..5].iter().for_each(|parcel| settle(&mut *first, parcel));
    first.close().await.expect("closed");
    assert_eq!(texts(&receive(&mut *second, 15).await), sent[5..], "and goes on where the first left off");
}

async fn priorities_go_first(broker: Broker) {
    let binder = broker.binder();
    let destination = name("priorities");
    let mut binding = input_with(&destination, Some("g"), json!({ "max-priority": 5 }));
    binding.properties = ConsumerProperties::default().ordering(Ordering::None);
    consumer_of(&binder, &binding).await.close().await.expect("closed");
    let raw = broker.raw().await;
    for priority in [1_u8, 5, 3] {
        let properties = BasicProperties::default().with_priority(priority);
        let (exchange, key) = (destination.as_str().into(), "x".into());
        let payload = priority.to_string();
        let options = BasicPublishOptions::default();
        raw.channel.basic_publish(exchange, key, options, payload.as_bytes(), properties).await.expect("published");
    }
    raw.wait_for(&format!("{destination}.g"), |seen| seen == Some((3, 0))).await;
    let mut consumer = consumer_of(&binder, &binding).await;
    assert_eq!(texts(&receive(&mut *consumer, 3).await), ["5", "3", "1"]);
}

async fn a_message_that_waits_too_long_is_a_dead_letter(broker: Broker) {
    let binder = broker.binder();
    let destination = name("late");
    let binding = input_with(&destination, Some("g"), json!({ "ttl": "100ms" }));
    consumer_of(&binder, &binding).await.close().await.expect("closed");
    send(&*producer(&binder, &destination).await, "x").await.expect("sent");
    let letter = broker.raw().await.get(&format!("{destination}.g.dlq")).await;
    assert_eq!(letter.data, b"x");
}

async fn a_queue_that_nobody_uses_expires(broker: Broker) {
    let binder = broker.binder();
    let destination = name("unused");
    let queue = format!("{destination}.g");
    let consumer = consumer_of(&binder, &input_with(&destination, Some("g"), json!({ "expires": "500ms" }))).await;
    let raw = broker.raw().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(raw.look(&queue).await.is_some(), "it is in use");
    consumer.close().await.expect("closed");
    // Looking at it would count as a use.
    let deadline = Instant::now() + SOON;
    tokio::time::sleep(Duration::from_secs(1)).await;
    while raw.look(&queue).await.is_some() {
        assert!(Instant::now() < deadline, "still there");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn a_full_queue_of_a_required_group_refuses_at_once(broker: Broker) {
    let binder = broker.binder();
    for quorum in [false, true] {
        let destination = name("full");
        let mut binding = ProducerBinding::new(&*destination);
        binding.properties = ProducerProperties::default().required_groups(vec!["g".to_owned()]);
        let settings =
            json!({ "max-length": 3, "overflow-behavior": "reject-publish", "quorum": { "enabled": quorum } });
        binding.section = Section::new("producer.rabbit", settings.clone());
        let producer = producer_of(&binder, &binding).await;
        let begin = Instant::now();
        // A quorum queue notices a little later that it is full.
        let refused = loop {
            if let Err(error) = send(&*producer, "x").await {
                break error;
            }
            assert!(begin.elapsed() < SOON, "it is never full");
        };
        assert_eq!(refused.kind(), ErrorKind::Refused, "{refused}");
        assert!(begin.elapsed() < SOON, "long before the deadline");
        let mut consumer = consumer_of(&binder, &input_with(&destination, Some("g"), settings)).await;
        let received = receive(&mut *consumer, 3).await;
        received.iter().for_each(|parcel| settle(&mut *consumer, parcel));
        consumer.close().await.expect("told");
        timeout(SOON, async { while send(&*producer, "y").await.is_err() {} }).await.expect("there is room again");
    }
}

async fn an_anonymous_queue_has_its_limits(broker: Broker) {
    let binder = broker.binder();
    let destination = name("own");
    let settings = json!({ "max-length": 1, "overflow-behavior": "reject-publish" });
    let mut binding = input_with(&destination, None, settings);
    binding.properties = ConsumerProperties::default().prefetch(Some(1));
    let _consumer = consumer_of(&binder, &binding).await;
    let producer = producer(&binder, &destination).await;
    let answers = send_in_order(&*producer, &numbers(10)).await;
    let refused = answers.iter().filter_map(|answer| answer.as_ref().err()).collect::<Vec<_>>();
    assert!(!refused.is_empty(), "one is handed out, one waits");
    assert!(refused.iter().all(|error| error.kind() == ErrorKind::Refused), "{refused:?}");
}

async fn a_queue_with_another_limit_stops_the_binding(broker: Broker) {
    let destination = name("differs");
    let queue = format!("{destination}.g");
    let more = [("x-max-length", AMQPValue::LongInt(5))];
    broker.raw().await.declare(&queue, arguments(&destination, &more)).await;
    let yaml = format!(
        "stream:
  bindings: {{ input: {{ destination: {destination}, group: g, consumer: {{ rabbit: {{ max-length: 9 }} }} }} }}
  binders: {{ rabbit: {{ type: rabbit, url: \"{}\" }} }}",
        broker.url
    );
    let config = Config::builder().yaml(yaml).build().expect("valid");
    let app = Application::builder().config(config).binder("rabbit", binder_rabbit::factory()).build().expect("built");
    let channels = app.bind::<SinkBinding<String>>().await.expect("nothing is opened yet");
    app.handle(channels.input, async |_: String| {}).await.expect("a handler");
    app.start().await.expect("started");
    let error = app.ready(SOON).await.expect_err("it will never be");
    assert_eq!(error.kind(), ErrorKind::Refused);
    let BindingState::Stopped(reason) = app.states()["input"].clone() else { panic!("{:?}", app.states()) };
    assert!(reason.contains(&queue) && reason.contains("`x-max-length` is 5, wanted is 9"), "{reason}");
    let wanted = format!("x-dead-letter-exchange=DLX, x-dead-letter-routing-key={queue}, x-max-length=9");
    assert!(reason.contains(&wanted), "{reason}");
    app.shutdown().await.expect("ended");
}

async fn what_contradicts_itself_is_refused_offline(broker: Broker) {
    let binder = broker.with_address("nowhere.invalid:1").binder_with(json!({ "consumer-timeout": "10m" }));
    let refused = |binding: &ConsumerBinding| {
        let error = binder.check_consumer(binding).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Config);
        error.to_string()
    };
    let text = refused(&input("fine", Some("g")));
    assert!(text.contains("5m × 3") && text.contains("15m 3s 600ms in all") && text.contains("10m"), "{text}");
    let quick = ConsumerProperties::default().handler_timeout(Duration::from_secs(60));
    let with = |settings| {
        let mut binding = input_with("fine", Some("g"), settings);
        binding.properties = quick.clone();
        binding
    };
    let text = refused(&with(json!({ "quorum": { "enabled": true, "delivery-limit": 1 } })));
    assert!(text.contains("`max-attempts` (3)"), "{text}");
    let text = refused(&with(json!({ "dlq-quorum": { "enabled": true, "delivery-limit": 20 } })));
    assert!(text.contains("`rabbit.dlq-quorum.delivery-limit`"), "{text}");
    let mut several = with(json!({}));
    binder.check_consumer(&several).expect("valid");
    several.instance.count = 2;
    assert!(refused(&several).contains("`instance-count` is 2"));
    let mut output = ProducerBinding::new("fine");
    output.section = Section::new("producer.rabbit", json!({ "quorum": { "delivery-limit": 1 } }));
    let error = binder.check_producer(&output).expect_err("refused");
    assert!(error.to_string().contains("`rabbit.quorum.enabled: true`"), "{error}");
    output.section =
        Section::new("producer.rabbit", json!({ "dead-letters": false, "dlq-quorum": { "enabled": true } }));
    let error = binder.check_producer(&output).expect_err("refused");
    assert!(error.to_string().contains("`rabbit.dlq-quorum.enabled: true`"), "{error}");
}
