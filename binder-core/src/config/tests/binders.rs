//! Which binder a channel has, and what it is given.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;
use crate::config::Section;

const TWO: &str = "binders: { k: { type: kafka }, r: { type: rabbit } }";

fn binder_of_orders(text: &str) -> String {
    resolved(yaml(&format!("stream: {{ {text} }}"))).bindings["orders"].binder.clone()
}

#[test]
fn the_binder_is_the_own_one_else_the_default_else_the_only_one() {
    let own = format!("default-binder: k, {TWO}, bindings: {{ orders: {{ binder: r }} }}");
    assert_eq!(binder_of_orders(&own), "r");
    assert_eq!(binder_of_orders(&format!("default-binder: k, {TWO}")), "k");
    assert_eq!(binder_of_orders("binders: { k: { type: kafka } }"), "k");
}

#[test]
fn memory_is_implicit_only_if_nothing_names_a_binder() {
    for (text, implicit) in
        [("{}", true), ("{ default-binder: memory }", false), ("{ binders: { m: { type: memory } } }", false)]
    {
        let resolved = resolved(yaml(&format!("stream: {text}")));
        assert_eq!(resolved.implicit_memory, implicit, "{text}");
        assert_eq!(resolved.binders[0].type_name, "memory");
    }
}

#[test]
fn several_binders_and_no_default_is_an_error() {
    let told = refused(yaml(&format!("stream: {{ {TWO}, bindings: {{ orders: {{}} }} }}")));
    let expected =
        "inline yaml:1: stream.bindings.orders.binder: is missing; name one of k, r here or as `stream.default-binder`";
    assert!(told.contains(expected), "{told}");
}

#[test]
fn an_unknown_binder_is_an_error() {
    let told =
        refused(yaml(&format!("stream: {{ {TWO}, default-binder: k, bindings: {{ orders: {{ binder: kafka }} }} }}")));
    assert_eq!(told, "inline yaml:1: stream.bindings.orders.binder: there is no binder `kafka`; binders: k, r");
    let told = refused(yaml("stream: { default-binder: kakfa, binders: { kafka: { type: kafka } } }"));
    assert_eq!(
        told,
        "inline yaml:1: stream.default-binder: there is no binder `kakfa`; did you mean `kafka`? Binders: kafka"
    );
}

#[test]
fn a_type_that_is_not_registered_is_an_error_where_it_is_used() {
    let memory_only = Declared { binder_types: vec!["memory".into(), "rabbit".into()], ..declared() };
    let told = refused_for(yaml("stream: { binders: { k: { type: kafka } } }"), &memory_only);
    let expected = "inline yaml:1: stream.binders.k.type: binder type `kafka` is not registered; registered: memory, rabbit. \
                    Enable the cargo feature or call `.binder(\"kafka\", …)`";
    assert_eq!(told, expected);
    let unused = yaml("stream: { default-binder: memory, binders: { k: { type: kafka } } }");
    unused.build().unwrap().resolve(&memory_only).unwrap();
}

#[test]
fn a_type_is_needed_and_a_near_one_is_suggested() {
    let told = refused(yaml("stream: { binders: { k: { brokers: b } } }"));
    assert_eq!(told, "inline yaml:1: stream.binders.k.type: is missing; one of: kafka, memory, rabbit");
    let told = refused(yaml("stream: { binders: { k: { type: kafak } } }"));
    assert!(told.contains("`kafak` is not registered; did you mean `kafka`? Registered: "), "{told}");
}

#[test]
fn only_binders_that_are_used_are_resolved() {
    let resolved = resolved(yaml(&format!("stream: {{ default-binder: k, {TWO} }}")));
    assert_eq!(resolved.binders.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["k"]);
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct Kafka {
    brokers: String,
    fetch: Fetch,
    configuration: BTreeMap<String, String>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct Fetch {
    max_wait: Option<u32>,
    topics: Vec<String>,
}

#[test]
fn a_binder_gets_its_entry_without_type_and_default() {
    let text = "stream: { binders: { k: { type: kafka, default: { provision: none }, brokers: b, configuration: { linger.ms: 5 } } } }";
    let kafka: Kafka = resolved(yaml(text)).binders[0].section.read().unwrap();
    assert_eq!((kafka.brokers.as_str(), kafka.configuration["linger.ms"].as_str()), ("b", "5"));
}

#[test]
fn the_settings_of_a_type_are_merged_over_the_levels() {
    let text = "stream:
      default: { consumer: { kafka: { configuration: { a: 1, b: 1, c: 1 } } } }
      binders: { k: { type: kafka, default: { consumer: { kafka: { configuration: { b: 2, c: 2 } } } } } }
      bindings: { orders: { consumer: { kafka: { configuration: { c: 3 } }, rabbit: { other: 1 } } } }";
    let section = &resolved(yaml(text)).bindings["orders"].consumer_section;
    let kafka: Kafka = section.read().unwrap();
    assert_eq!(kafka.configuration.into_values().collect::<Vec<_>>(), ["1", "2", "3"]);
    assert_eq!(section.path(), "stream.bindings.orders.consumer.kafka");
    assert_eq!(section.place_of("configuration.c").as_deref(), Some("inline yaml:4"));
}

fn section(text: &str) -> Section {
    resolved(yaml(text)).bindings["orders"].consumer_section.clone()
}

#[test]
fn a_section_tells_all_its_mistakes_with_their_places() {
    let text = "stream:\n  default: { consumer: { kafka: { brkers: b } } }\n  binders: { k: { type: kafka } }\n  bindings:\n    orders:\n      consumer:\n        kafka:\n          fetch: { max-wait: soon, topcs: [] }\n";
    let error = section(text).read::<Kafka>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let expected = "inline yaml:2: stream.default.consumer.kafka.brkers: unknown key; did you mean `brokers`?\n\
        inline yaml:8: stream.bindings.orders.consumer.kafka.fetch.max-wait: expected a whole number from 0 to 4294967295, found `soon`\n\
        inline yaml:8: stream.bindings.orders.consumer.kafka.fetch.topcs: unknown key; did you mean `topics`?";
    assert_eq!(error.message(), expected);
}

#[test]
fn a_section_refuses_what_a_struct_would_ignore() {
    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Lax {
        brokers: String,
    }
    let error = Section::new("kafka", serde_json::json!({ "brokers": "b", "brokres": "c" })).read::<Lax>().unwrap_err();
    assert_eq!(error.message(), "set in code: kafka.brokres: unknown key; did you mean `brokers`?");
    assert_eq!(Section::new("kafka", serde_json::json!({ "brokers": "b" })).read::<Lax>().unwrap().brokers, "b");
}

#[test]
fn an_empty_section_is_the_default() {
    assert_eq!(Section::default().read::<Kafka>().unwrap(), Kafka::default());
    assert_eq!(Section::new("x", serde_json::Value::Null).read::<Kafka>().unwrap(), Kafka::default());
}

#[test]
fn a_section_shows_no_values() {
    let section = Section::new("kafka", serde_json::json!({ "user": "visible" }));
    assert!(!format!("{section:?}").contains("visible"));
}
