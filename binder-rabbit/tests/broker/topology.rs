//! What is declared, and what is refused.

use binder_core::ErrorKind;
use binder_core::binder::{Binder, DeadLetter, ProducerBinding};
use binder_core::config::{ConsumerProperties, ProducerProperties, Provision, Section};
use binder_core::message::Headers;
use binder_core::{Error, binder::Outgoing};
use lapin::BasicProperties;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::json;

use crate::support::*;

pub(crate) fn cases() -> Vec<Case> {
    cases![
        required_groups_have_their_queues_before_the_first_consumer,
        a_queue_with_other_arguments_is_one_clear_permanent_error,
        an_exchange_of_another_type_is_a_permanent_error,
        a_queue_without_dead_letters_is_used_as_it_is,
        check_finds_what_is_missing,
        check_accepts_what_is_there,
        none_declares_nothing,
        dead_letters_keep_the_original_and_say_why,
        dead_letters_of_a_partition_go_to_the_groups_queue,
        without_dead_letters_the_queue_has_none,
        a_prefix_is_part_of_every_name,
        forbidden_names_are_refused_offline,
    ]
}

fn reason() -> Error {
    Error::new(ErrorKind::Handler, "no such customer").with_source(std::io::Error::other("row not found"))
}

async fn required_groups_have_their_queues_before_the_first_consumer(broker: Broker) {
    let binder = broker.binder();
    let destination = name("required");
    let mut binding = ProducerBinding::new(&*destination);
    binding.properties = ProducerProperties::default().required_groups(vec!["one".to_owned(), "two".to_owned()]);
    let producer = producer_of(&binder, &binding).await;
    send(&*producer, "early").await.expect("sent");
    for group in ["one", "two"] {
        let mut consumer = consumer(&binder, &destination, Some(group)).await;
        assert_eq!(texts(&receive(&mut *consumer, 1).await), ["early"]);
    }
    assert!(broker.raw().await.look(&format!("{destination}.two.dlq")).await.is_some());
}

async fn a_queue_with_other_arguments_is_one_clear_permanent_error(broker: Broker) {
    let destination = name("mismatch");
    let queue = format!("{destination}.g");
    let raw = broker.raw().await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(5));
    raw.declare(&queue, arguments).await;
    let binder = broker.binder();
    let error = binder.bind_consumer(&input(&destination, Some("g"))).await.expect_err("other arguments");
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(!error.is_retryable());
    let text = error.to_string();
    assert!(text.contains(&queue) && text.contains("`x-max-length` is 5, wanted is none"), "{text}");
    let wanted = format!("(in all: x-dead-letter-exchange=DLX, x-dead-letter-routing-key={queue})");
    assert!(text.contains(&wanted), "{text}");
}

async fn an_exchange_of_another_type_is_a_permanent_error(broker: Broker) {
    let destination = name("fanout");
    let raw = broker.raw().await;
    let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
    let fanout = lapin::ExchangeKind::Fanout;
    raw.channel
        .exchange_declare(destination.as_str().into(), fanout, options, FieldTable::default())
        .await
        .expect("declared");
    let binder = broker.binder();
    let error = binder.bind_producer(&ProducerBinding::new(&*destination)).await.expect_err("another type");
    assert!(!error.is_retryable() && error.to_string().contains(&destination), "{error}");
    assert!(error.to_string().contains("`type` is fanout, wanted is topic"), "{error}");
    let mut binding = ProducerBinding::new(&*destination);
    binding.section = Section::new("producer.rabbit", json!({ "exchange-type": "fanout" }));
    producer_of(&binder, &binding).await;
}

async fn a_queue_without_dead_letters_is_used_as_it_is(broker: Broker) {
    let destination = name("spring");
    let queue = format!("{destination}.g");
    let raw = broker.raw().await;
    raw.declare(&queue, FieldTable::default()).await;
    let binder = broker.binder();
    let mut consumer = consumer(&binder, &destination, Some("g")).await;
    let producer = producer(&binder, &destination).await;
    send(&*producer, "x").await.expect("sent");
    let received = receive(&mut *consumer, 1).await;
    let sink = consumer.dead_letters().expect("dead letters all the same");
    sink.send(DeadLetter::new(&received[0], &reason(), 3)).await.expect("confirmed");
    let letter = raw.get(&format!("{queue}.dlq")).await;
    assert_eq!((letter.exchange.as_str(), letter.routing_key.to_string()), ("", format!("{queue}.dlq")));
}

async fn check_finds_what_is_missing(broker: Broker) {
    let binder = broker.binder();
    let destination = name("check");
    let mut output = ProducerBinding::new(&*destination);
    output.provision = Provision::Check;
    let error = binder.bind_producer(&output).await.expect_err("no exchange");
    assert!(!error.is_retryable() && error.to_string().contains(&destination), "{error}");
    producer(&binder, &destination).await;
    let mut input = input(&destination, Some("g"));
    input.provision = Provision::Check;
    let error = binder.bind_consumer(&input).await.expect_err("no queue");
    assert!(!error.is_retryable() && error.to_string().contains(&format!("{destination}.g")), "{error}");
    assert!(broker.raw().await.look(&format!("{destination}.g")).await.is_none(), "nothing was made");
}

async fn check_accepts_what_is_there(broker: Broker) {
    let binder = broker.binder();
    let destination = name("checked");
    consumer(&binder, &destination, Some("g")).await.close().await.expect("closed");
    let mut input = input(&destination, Some("g"));
    input.provision = Provision::Check;
    let mut consumer = consumer_of(&binder, &input).await;
    let mut output = ProducerBinding::new(&*destination);
    output.provision = Provision::Check;
    let producer = producer_of(&binder, &output).await;
    send(&*producer, "x").await.expect("sent");
    assert_eq!(texts(&receive(&mut *consumer, 1).await), ["x"]);
}

async fn none_declares_nothing(broker: Broker) {
    let binder = broker.binder();
    let destination = name("none");
    let mut input = input(&destination, Some("g"));
    input.provision = Provision::None;
    let error = binder.bind_consumer(&input).await.expect_err("nothing to consume");
    assert!(error.to_string().contains("NOT_FOUND"), "{error}");
    let mut output = ProducerBinding::new(&*destination);
    output.provision = Provision::None;
    output.properties = ProducerProperties::default().send_timeout(std::time::Duration::from_secs(1));
    let producer = producer_of(&binder, &output).await;
    let error = send(&*producer, "x").await.expect_err("no exchange");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("NOT_FOUND"), "the reason is named: {error}");
}

async fn dead_letters_keep_the_original_and_say_why(broker: Broker) {
    let binder = broker.binder();
    let destination = name("dead");
    let queue = format!("{destination}.g");
    let mut consumer = consumer(&binder, &destination, Some("g")).await;
    let raw = broker.raw().await;
    let mut table = FieldTable::default();
    let items = vec![AMQPValue::LongString("a".into()), AMQPValue::LongInt(1)];
    table.insert("list".into(), AMQPValue::FieldArray(items.into()));
    table.insert("tenant".into(), AMQPValue::LongString("acme".into()));
    let properties = BasicProperties::default()
        .with_headers(table)
        .with_message_id("id-1".into())
        .with_correlation_id("correlation-1".into())
        .with_content_type("text/plain".into())
        .with_app_id("app".into())
        .with_user_id("guest".into())
        .with_expiration("60000".into())
        .with_timestamp(1_700_000_000);
    raw.channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
    let (exchange, key) = (destination.as_str().into(), "some.key".into());
    let published =
        raw.channel.basic_publish(exchange, key, BasicPublishOptions::default(), b"\xffbody", properties).await;
    published.expect("published").await.expect("confirmed");

    let received = receive(&mut *consumer, 1).await;
    let sink = consumer.dead_letters().expect("dead letters");
    sink.send(DeadLetter::new(&received[0], &reason(), 3)).await.expect("confirmed");
    let letter = raw.get(&format!("{queue}.dlq")).await;
    assert_eq!((letter.exchange.as_str(), letter.routing_key.to_string()), ("DLX", queue));
    assert_eq!(letter.data, b"\xffbody");
    let kept = &letter.properties;
    let short = |text: &str| Some(lapin::types::ShortString::from(text));
    assert_eq!(*kept.message_id(), short("id-1"));
    assert_eq!(*kept.correlation_id(), short("correlation-1"));
    assert_eq!(*kept.content_type(), short("text/plain"));
    assert_eq!(*kept.app_id(), short("app"));
    assert_eq!(*kept.timestamp(), Some(1_700_000_000));
    assert_eq!(*kept.delivery_mode(), Some(2));
    assert_eq!((kept.user_id(), kept.expiration()), (&None, &None));
    let headers = kept.headers().as_ref().expect("headers").inner();
    let long = |text: &str| Some(AMQPValue::LongString(text.into()));
    assert!(matches!(headers.get("list"), Some(AMQPValue::FieldArray(_))), "types are kept");
    assert_eq!(headers.get("tenant").cloned(), long("acme"));
    assert_eq!(headers.get("x-exception-message").cloned(), long("no such customer"));
    assert_eq!(headers.get("x-original-exchange").cloned(), long(&destination));
    assert_eq!(headers.get("x-original-routingKey").cloned(), long("some.key"));
    assert_eq!(headers.get("retry-count"), Some(&AMQPValue::LongLongInt(1)));
    let Some(AMQPValue::LongString(trace)) = headers.get("x-exception-stacktrace") else { panic!("{headers:?}") };
    assert!(trace.to_string().contains("caused by: row not found"), "{trace}");
}

async fn dead_letters_of_a_partition_go_to_the_groups_queue(broker: Broker) {
    let binder = broker.binder();
    let destination = name("dead-partition");
    let mut input = input(&destination, Some("g"));
    input.properties = ConsumerProperties::default().partitioned(true);
    let mut consumer = consumer_of(&binder, &input).await;
    let producer = producer(&binder, &destination).await;
    let headers = Headers::new().with("retry-count", 4_i64);
    let message = Outgoing { partition: Some(0), headers: &headers, ..message(b"x") };
    send_message(&*producer, message).await.expect("sent");
    let received = receive(&mut *consumer, 1).await;
    let sink = consumer.dead_letters().expect("dead letters");
    sink.send(DeadLetter::new(&received[0], &reason(), 3)).await.expect("confirmed");
    let letter = broker.raw().await.get(&format!("{destination}.g.dlq")).await;
    assert_eq!(letter.routing_key.to_string(), format!("{destination}.g-0"));
    let headers = letter.properties.headers().clone().expect("headers");
    assert_eq!(headers.inner().get("retry-count"), Some(&AMQPValue::LongLongInt(5)));
}

async fn without_dead_letters_the_queue_has_none(broker: Broker) {
    let binder = broker.binder();
    let destination = name("no-dead");
    let mut input = input(&destination, Some("g"));
    input.properties = ConsumerProperties::default().dead_letters(false);
    let consumer = consumer_of(&binder, &input).await;
    assert!(consumer.dead_letters().is_none());
    let raw = broker.raw().await;
    assert!(raw.look(&format!("{destination}.g.dlq")).await.is_none());
    raw.declare(&format!("{destination}.g"), FieldTable::default()).await;
}

async fn a_prefix_is_part_of_every_name(broker: Broker) {
    let binder = broker.binder();
    let destination = name("prefixed");
    let mut input = input(&destination, Some("g"));
    input.section = Section::new("consumer.rabbit", json!({ "prefix": "t." }));
    let mut consumer = consumer_of(&binder, &input).await;
    let mut output = ProducerBinding::new(&*destination);
    output.section = Section::new("producer.rabbit", json!({ "prefix": "t." }));
    let producer = producer_of(&binder, &output).await;
    send(&*producer, "x").await.expect("sent");
    let received = receive(&mut *consumer, 1).await;
    assert_eq!(received[0].metadata.routing_key.as_deref(), Some(&*destination), "the key has no prefix");
    assert!(broker.raw().await.look(&format!("t.{destination}.g")).await.is_some());
}

async fn forbidden_names_are_refused_offline(broker: Broker) {
    let binder = broker.with_address("nowhere.invalid:1").binder();
    let long = "x".repeat(250);
    let wrong = ["", "amq.mine", "with\nbreak", &long];
    for destination in wrong {
        let binding = input(destination, Some("group"));
        let error = binder.check_consumer(&binding).expect_err(destination);
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    }
    let error = binder.check_producer(&ProducerBinding::new("tab\there")).expect_err("a control character");
    assert!(error.to_string().contains("U+0009"), "{error}");
    let error = binder.check_consumer(&input("fine", Some(""))).expect_err("an empty group");
    assert!(error.to_string().contains("group"), "{error}");
}
