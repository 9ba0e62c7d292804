//! Names, settings, factories.

use serde_json::json;

use super::*;
use crate::binder::{BinderContext, BinderFactory, BinderHealth, SharedBinder};
use crate::config::{Provision, RetryMode, Section};
use crate::memory::factory;

fn context(section: serde_json::Value) -> BinderContext {
    BinderContext::new("main", Section::new("binders.main", section))
}

fn refused(result: crate::Result<()>) -> String {
    let error = result.expect_err("it is refused");
    assert_eq!(error.kind(), ErrorKind::Config);
    error.to_string()
}

#[test]
fn a_name_says_which_characters_are_wrong() {
    let binder = MemoryBinder::new();
    let text = refused(binder.check_consumer(&binding("or/ders!", Some("billing"))));
    assert_eq!(text, "destination `or/ders!` contains ['/', '!']: only letters, digits, `.`, `_` and `-` are allowed");
    assert!(refused(binder.check_consumer(&binding("orders", Some("bil ling")))).starts_with("group `bil ling`"));
    assert!(refused(binder.check_producer(&ProducerBinding::new("or ders"))).starts_with("destination `or ders`"));
    let mut required = ProducerBinding::new("orders");
    required.properties.required_groups = vec!["ä".to_owned()];
    assert!(refused(binder.check_producer(&required)).starts_with("group `ä`"));
}

#[test]
fn names_that_kafka_refuses_are_refused() {
    let binder = MemoryBinder::new();
    let long = "x".repeat(250);
    for name in ["", ".", "..", long.as_str()] {
        refused(binder.check_consumer(&binding(name, None)));
        refused(binder.check_producer(&ProducerBinding::new(name)));
    }
    refused(binder.check_consumer(&binding(&long[..240], Some("billing"))));
    binder.check_consumer(&binding("aZ09._-", Some("aZ09._-"))).unwrap();
}

#[test]
fn an_input_has_destinations_and_each_once() {
    let binder = MemoryBinder::new();
    let mut none = binding("orders", None);
    none.destinations.clear();
    refused(binder.check_consumer(&none));
    none.destinations = vec!["orders".to_owned(), "orders".to_owned()];
    assert_eq!(refused(binder.check_consumer(&none)), "destination `orders` is named twice");
}

#[test]
fn the_number_of_partitions_is_checked() {
    let binder = MemoryBinder::new();
    let mut none = ProducerBinding::new("orders");
    none.properties.partition_count = 0;
    assert!(refused(binder.check_producer(&none)).starts_with("`partition-count` is 0"));
    let mut many = binding("orders", None);
    many.properties.concurrency = 70_000;
    refused(binder.check_consumer(&many));
}

#[test]
fn what_the_binder_says_of_its_traits_is_so() {
    assert_eq!(MemoryBinder::new().capability(), MemoryBinder::CAPABILITY);
}

#[test]
fn the_places_where_messages_wait_are_not_created_when_they_are_to_be_there() {
    let binder = MemoryBinder::new();
    let mut delayed = binding("orders", Some("billing"));
    (delayed.properties.retry, delayed.properties.max_attempts) = (RetryMode::Delayed, 2);
    binder.publish("orders", Message::new("a")).unwrap();
    delayed.provision = Provision::Check;
    let error = binder.bind_consumer(&delayed).now_or_never().unwrap().unwrap_err();
    assert!(error.to_string().contains("`retry.orders.billing.1000`"), "{error}");
    delayed.provision = Provision::Create;
    binder.bind_consumer(&delayed).now_or_never().unwrap().unwrap();
}

#[test]
fn unknown_keys_are_refused() {
    let binder = MemoryBinder::new();
    let mut consumer = binding("orders", None);
    consumer.section = Section::new("consumer.memory", json!({ "retention": 1 }));
    assert!(refused(binder.check_consumer(&consumer)).contains("retention"));
    let mut producer = ProducerBinding::new("orders");
    producer.section = Section::new("producer.memory", json!({ "x": 1 }));
    refused(binder.check_producer(&producer));
    let text = refused(factory().create(&context(json!({ "retentoin": 1 }))).map(|_| ()));
    assert!(text.contains("retention"), "{text}");
    refused(factory().create(&context(json!({ "retention": 0 }))).map(|_| ()));
}

fn send_two(binder: &SharedBinder) -> bool {
    let sender = binder.bind_producer(&ProducerBinding::new("orders")).now_or_never().unwrap().unwrap();
    drop(binder.bind_consumer(&binding("orders", Some("billing"))).now_or_never().unwrap().unwrap());
    drop(sent(sender.try_send(outgoing(b"a"))));
    is_full(sender.try_send(outgoing(b"b")))
}

#[test]
fn retention_is_a_setting_of_the_binder() {
    assert!(send_two(&factory().create(&context(json!({ "retention": 1 }))).unwrap()));
    assert!(!send_two(&factory().create(&context(json!({ "retention": 2 }))).unwrap()));
}

#[test]
fn a_shared_binder_has_one_retention() {
    let shared = MemoryBinder::with_retention(7);
    shared.create(&context(json!({ "retention": 7 }))).unwrap();
    refused(shared.create(&context(json!({ "retention": 8 }))).map(|_| ()));
}

#[test]
fn the_free_factory_makes_binders_that_share_nothing() {
    let (one, other) = (factory().create(&context(json!(null))), factory().create(&context(json!(null))));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert!(!send_two(&one));
    let mut group = other.bind_consumer(&binding("orders", Some("billing"))).now_or_never().unwrap().unwrap();
    assert!(drain(&mut *group).is_empty());
}

#[test]
fn a_binder_that_is_a_factory_shares_its_destinations() {
    let shared = MemoryBinder::new();
    assert!(!send_two(&shared.create(&context(json!(null))).unwrap()));
    assert_eq!(payloads(&shared.messages("orders")), [b"a", b"b"]);
}

#[test]
fn applications_that_share_a_binder_close_it_for_themselves() {
    let shared = MemoryBinder::new();
    let (one, other) = (shared.create(&context(json!(null))).unwrap(), shared.create(&context(json!(null))).unwrap());
    one.close().now_or_never().unwrap().unwrap();
    assert_eq!(
        kind(one.bind_producer(&ProducerBinding::new("orders")).now_or_never().unwrap()),
        Some(ErrorKind::Closed)
    );
    assert!(!send_two(&other));
    drop(consumer(&shared, "orders", "billing"));
}

#[test]
fn provision_check_creates_nothing() {
    let binder = MemoryBinder::new();
    let mut input = binding("orders", Some("billing"));
    input.provision = Provision::Check;
    let mut output = ProducerBinding::new("orders");
    output.provision = Provision::Check;
    assert_eq!(kind(binder.bind_consumer(&input).now_or_never().unwrap()), Some(ErrorKind::Refused));
    assert_eq!(kind(binder.bind_producer(&output).now_or_never().unwrap()), Some(ErrorKind::Refused));
    assert_eq!(binder.partitions("orders"), 0);
    publish(&binder, "orders", 0, &["a"]);
    input.properties.concurrency = 3;
    assert_eq!(texts(&drain(&mut *bind(&binder, &input))), ["a"]);
    assert_eq!(binder.partitions("orders"), 1, "nor does it add partitions");
}

#[test]
fn a_binding_is_up_when_it_is_bound() {
    let binder = MemoryBinder::new();
    let input = binding("orders", None);
    let _consumer = bind(&binder, &input);
    assert_eq!(input.status.get(), BinderHealth::Up);
    let output = ProducerBinding::new("orders");
    binder.bind_producer(&output).now_or_never().unwrap().unwrap();
    assert_eq!(output.status.get(), BinderHealth::Up);
}

#[test]
fn a_destination_has_the_partitions_that_were_wanted_most() {
    let binder = MemoryBinder::new();
    let mut input = binding("orders", None);
    input.properties.concurrency = 2;
    input.instance.count = 2;
    let _consumer = bind(&binder, &input);
    assert_eq!(binder.partitions("orders"), 4);
    producer(&binder, "orders", 3);
    assert_eq!(binder.partitions("orders"), 4);
    producer(&binder, "orders", 5);
    assert_eq!(binder.partitions("orders"), 5);
}
