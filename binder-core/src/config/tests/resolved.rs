//! Sources and levels: what wins, and what becomes of a channel.

use std::time::Duration;

use super::*;
use crate::config::{BindingProperties, Ordering, StreamProperties};

#[test]
fn without_configuration_everything_runs_on_memory_with_its_defaults() {
    let resolved = Config::empty().resolve(&declared()).unwrap();
    let orders = &resolved.bindings["orders"];
    assert!(resolved.implicit_memory);
    assert_eq!(resolved.binders.iter().map(|entry| entry.type_name.as_str()).collect::<Vec<_>>(), ["memory"]);
    assert_eq!((orders.binder.as_str(), &orders.destinations[..]), ("memory", &["orders".to_owned()][..]));
    assert_eq!(orders.properties.group, None);
    assert_eq!(orders.properties.consumer, Default::default());
    assert_eq!(resolved.stream, Default::default());
}

#[test]
fn a_channel_has_what_its_binding_says() {
    let orders = &resolved(yaml(
        "stream:
           bindings:
             orders: { destination: 'a, b', group: g, consumer: { max-attempts: 5, ordering: key, backoff: { max: 2s } } }",
    ))
    .bindings["orders"];
    assert_eq!(orders.destinations, ["a", "b"]);
    assert_eq!(orders.properties.group.as_deref(), Some("g"));
    assert_eq!(orders.properties.consumer.max_attempts, 5);
    assert_eq!(orders.properties.consumer.ordering, Ordering::Key);
    assert_eq!(orders.properties.consumer.backoff.max, Duration::from_secs(2));
    assert_eq!(orders.properties.consumer.backoff.initial, Duration::from_secs(1));
    assert_eq!(orders.place_of("consumer.max-attempts").as_deref(), Some("inline yaml:3"));
}

#[test]
fn a_nearer_level_wins() {
    let text = "stream:
      default: { content-type: text/plain, consumer: { max-attempts: 4, concurrency: 4, prefetch: 40 } }
      binders: { k: { type: kafka, default: { consumer: { max-attempts: 5, concurrency: 5 } } } }
      bindings: { orders: { consumer: { max-attempts: 6 } } }";
    let orders = &resolved(yaml(text)).bindings["orders"];
    let consumer = &orders.properties.consumer;
    assert_eq!((consumer.max_attempts, consumer.concurrency, consumer.prefetch), (6, 5, Some(40)));
    assert_eq!(orders.properties.content_type, "text/plain");
}

#[test]
fn the_default_of_a_binder_serves_its_own_channels_only() {
    let text = "stream:
      default-binder: r
      binders: { k: { type: kafka, default: { consumer: { max-attempts: 5 } } }, r: { type: rabbit } }";
    assert_eq!(resolved(yaml(text)).bindings["orders"].properties.consumer.max_attempts, 3);
}

#[test]
fn a_later_source_wins() {
    let key = "bindings.orders.group";
    let text = |group: &str| format!("stream: {{ bindings: {{ orders: {{ group: {group} }} }} }}");
    let group = |builder| resolved(builder).bindings["orders"].properties.group.clone().unwrap();
    let files = yaml(&text("first")).toml("[stream.bindings.orders]\ngroup = 'second'");
    assert_eq!(group(files), "second");
    let env = variables(&[("BINDINGS__ORDERS__GROUP", "third")]);
    assert_eq!(group(Config::builder().env(env.clone()).yaml(text("first"))), "third");
    assert_eq!(group(Config::builder().set(key, "fourth").env(env).yaml(text("first"))), "fourth");
    assert_eq!(group(Config::builder().set(key, "fourth").set(key, "fifth")), "fifth");
}

#[test]
fn a_list_is_replaced_and_a_map_is_merged() {
    let first = "stream: { bindings: { invoices: { producer: { required-groups: [a, b], window: 5 } } } }";
    let second = "stream: { bindings: { invoices: { producer: { required-groups: [c] } } } }";
    let producer = resolved(yaml(first).yaml(second)).bindings["invoices"].properties.producer.clone();
    assert_eq!((&producer.required_groups[..], producer.window), (&["c".to_owned()][..], 5));
}

#[test]
fn a_key_without_a_value_takes_back_what_an_earlier_source_said() {
    let text = "stream: { bindings: { orders: { group: g, consumer: { max-attempts: 5 } } } }";
    let orders =
        &resolved(yaml(text).yaml("stream: { bindings: { orders: { group: , consumer: } } }")).bindings["orders"];
    assert_eq!(orders.properties.group, None);
    assert_eq!(orders.properties.consumer.max_attempts, 5);
}

#[test]
fn what_was_set_in_code_may_be_a_map_and_a_name_may_hold_dots() {
    let builder = Config::builder()
        .set("stream.bindings.\"orders.eu\"", serde_json::json!({ "group": "g", "consumer": { "max-attempts": 7 } }));
    let config = builder.build().unwrap();
    let resolved = config.resolve(&channels(&[("orders.eu", Input)])).unwrap();
    assert_eq!(resolved.bindings["orders.eu"].properties.consumer.max_attempts, 7);
}

#[test]
fn channels_may_be_declared_bit_by_bit() {
    let config = yaml("stream: { bindings: { orders: { group: g }, invoices: {} } }")
        .env(variables(&[("BINDINGS__INVOICES__DESTINATION", "i")]))
        .build()
        .unwrap();
    config.resolve(&channels(&[("orders", Input)])).unwrap();
    let all = config.resolve(&declared()).unwrap();
    assert_eq!(all.bindings["invoices"].destinations, ["i"]);
    config.check_undeclared(&declared()).unwrap();
}

#[test]
fn the_settings_of_the_application_are_read() {
    let text = "stream: { default-binder: memory, instance-count: 3, instance-index: 2, shutdown-timeout: 1m 30s }";
    let stream = yaml(text).build().unwrap().stream().unwrap();
    assert_eq!((stream.instance_count, stream.instance_index), (3, 2));
    assert_eq!(stream.shutdown_timeout, Duration::from_secs(90));
}

#[test]
fn a_key_without_a_value_in_a_nearer_level_is_the_built_in_default() {
    let text =
        "stream: { default: { consumer: { max-attempts: 5 } }, bindings: { orders: { consumer: { max-attempts: } } } }";
    assert_eq!(resolved(yaml(text)).bindings["orders"].properties.consumer.max_attempts, 3);
}

#[test]
fn defaults_of_the_other_side_do_not_reach_a_channel() {
    let text = "stream: { default: { consumer: { concurrency: 4 }, producer: { window: 4 } } }";
    let resolved = resolved(yaml(text));
    assert_eq!(resolved.bindings["orders"].properties.producer.window, 1000);
    assert_eq!(resolved.bindings["invoices"].properties.consumer.concurrency, 1);
    assert_eq!(resolved.bindings["orders"].properties.consumer.concurrency, 4);
}

/// Every key that core knows is in the guide's table of settings.
#[test]
fn the_guide_has_every_key() {
    use serde_json::{Value, to_value};
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/src/properties.md");
    let guide = std::fs::read_to_string(guide).expect("the guide");
    let stream = to_value(StreamProperties::default()).expect("JSON");
    let binding = to_value(BindingProperties::default()).expect("JSON");
    let sections = [&stream, &binding, &binding["consumer"], &binding["producer"]];
    let mut count = 0;
    for (key, value) in sections.iter().flat_map(|section| section.as_object().expect("a section")) {
        count += 1;
        match value {
            Value::Object(_) if ["consumer", "producer"].contains(&key.as_str()) => {}
            Value::Object(parts) => {
                assert!(guide.contains(&format!("`{key}.")), "{key}");
                parts.keys().for_each(|part| assert!(guide.contains(&format!(".{part}`")), "{key}.{part}"));
            }
            _ => assert!(guide.contains(&format!("`{key}`")), "{key}"),
        }
    }
    assert!(count > 30, "{count}");
}
