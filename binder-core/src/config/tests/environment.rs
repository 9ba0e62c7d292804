//! Variables: how their names are matched and their values read.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;

fn env(pairs: &[(&str, &str)]) -> ConfigBuilder {
    Config::builder().env(variables(pairs))
}

#[test]
fn a_name_is_matched_without_case_and_punctuation() {
    for name in ["inboundOrgChanges", "inbound-org-changes", "inbound.org_changes", "INBOUND_ORG_CHANGES"] {
        for variable in [
            "STREAM__BINDINGS__INBOUNDORGCHANGES__CONSUMER__MAX_ATTEMPTS",
            "stream__bindings__inbound_org_changes__consumer__maxAttempts",
        ] {
            let config = Config::builder().env([(variable.to_owned(), "5".to_owned())]).build().unwrap();
            let resolved = config.resolve(&channels(&[(name, Input)])).unwrap();
            assert_eq!(resolved.bindings[name].properties.consumer.max_attempts, 5, "{name} {variable}");
        }
    }
}

#[test]
fn a_channel_may_hold_two_underscores() {
    let config = env(&[("BINDINGS__A__B__GROUP", "g")]).build().unwrap();
    let resolved = config.resolve(&channels(&[("a__b", Input), ("a", Input)])).unwrap();
    assert_eq!(resolved.bindings["a__b"].properties.group.as_deref(), Some("g"));
}

#[test]
fn a_value_is_read_as_the_type_that_is_asked_for() {
    let resolved = resolved(env(&[
        ("BINDINGS__ORDERS__GROUP", "42"),
        ("BINDINGS__ORDERS__AUTO_STARTUP", "false"),
        ("BINDINGS__ORDERS__CONSUMER__BACKOFF__MULTIPLIER", "1.5"),
        ("BINDINGS__ORDERS__CONSUMER__ORDERING", "key"),
        ("BINDINGS__INVOICES__PRODUCER__REQUIRED_GROUPS", "a, b"),
        ("BINDINGS__INVOICES__PRODUCER__SEND_TIMEOUT", "2s"),
    ]));
    let (orders, invoices) = (&resolved.bindings["orders"].properties, &resolved.bindings["invoices"].properties);
    assert_eq!((orders.group.as_deref(), orders.auto_startup), (Some("42"), false));
    assert_eq!((orders.consumer.backoff.multiplier, orders.consumer.ordering), (1.5, crate::config::Ordering::Key));
    assert_eq!(invoices.producer.required_groups, ["a", "b"]);
    assert_eq!(invoices.producer.send_timeout.as_secs(), 2);
}

#[test]
fn a_bad_value_names_the_variable() {
    let told = refused(env(&[("BINDINGS__ORDERS__CONSUMER__CONCURRENCY", "many")]));
    let expected = "environment variable STREAM__BINDINGS__ORDERS__CONSUMER__CONCURRENCY: \
        stream.bindings.orders.consumer.concurrency: expected a whole number from 0 to 4294967295, found `many`";
    assert_eq!(told, expected);
}

#[test]
fn a_name_that_matches_nothing_is_refused_with_what_was_meant() {
    for (name, told) in [
        ("BINDINGS__ORDERS__GRUOP", "`GRUOP` is no key of `stream.bindings.orders`; did you mean `GROUP`?"),
        ("BINDNGS__ORDERS__GROUP", "`BINDNGS` is no key of `stream`; did you mean `BINDINGS`?"),
        (
            "BINDINGS__ORDERS__CONSUMER__MAX_ATEMPTS",
            "`MAX_ATEMPTS` is no key of `stream.bindings.orders.consumer`; did you mean `MAX_ATTEMPTS`?",
        ),
        (
            "BINDINGS__ORDERS__CONSUMER__KAFAK__X",
            "`KAFAK` is no key of `stream.bindings.orders.consumer`; did you mean `KAFKA`?",
        ),
        ("BINDINGS__ORDERS__GROUP__X", "`X` is no key of `stream.bindings.orders.group`; known keys: none"),
        ("DEFAULT__GROUP", "`GROUP` belongs to one channel: STREAM__BINDINGS__…"),
        (
            "BINDERS__KAFAK__BROKERS",
            "no binder is called `KAFAK`; binders: none; a new binder needs STREAM__BINDERS__KAFAK__TYPE",
        ),
        ("BINDINGS", "names no channel"),
        (
            "",
            "`` is no key of `stream`; known keys: DEFAULT_BINDER, INSTANCE_COUNT, INSTANCE_INDEX, SHUTDOWN_TIMEOUT, BINDINGS, BINDERS, DEFAULT",
        ),
        (
            "BINDINGS__ORDR__GROUP",
            "no binding declares a channel `ORDR`; did you mean `orders`? Declared: orders, invoices",
        ),
    ] {
        assert_eq!(refused(env(&[(name, "x")])), format!("environment variable STREAM__{name}: {told}"));
    }
}

#[test]
fn other_variables_are_not_ours() {
    let others = ["STREAM_PROFILE", "STREAMS__X", "PATH", "XSTREAM__Y"].map(|name| (name.to_owned(), "x".to_owned()));
    assert!(resolved(Config::builder().env(others)).implicit_memory);
}

#[test]
fn two_variables_for_one_key_are_refused() {
    let told = refused(env(&[("BINDINGS__ORDERS__GROUP", "a"), ("BINDINGS__orders__Group", "b")]));
    let expected = "environment variable STREAM__BINDINGS__orders__Group: means the same key as STREAM__BINDINGS__ORDERS__GROUP; keep one";
    assert_eq!(told, expected);
}

#[test]
fn a_value_where_keys_are_expected_is_refused() {
    for pairs in [
        [("BINDINGS__ORDERS__CONSUMER", "5"), ("BINDINGS__ORDERS__CONSUMER__PREFETCH", "5")],
        [("DEFAULT__CONSUMER__PREFETCH", "5"), ("BINDINGS__ORDERS__CONSUMER", "5")],
    ] {
        assert!(refused(env(&pairs)).contains("stream.bindings.orders.consumer: expected a map of keys, found `5`"));
    }
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct Kafka {
    brokers: String,
    max_wait: u32,
    topics: Vec<String>,
    any: Option<serde_json::Value>,
    configuration: BTreeMap<String, String>,
}

#[test]
fn below_a_binder_a_key_is_an_existing_one_or_is_made() {
    let text = "stream: { binders: { my-kafka: { type: kafka, configuration: { ssl.CA-location: x } } } }";
    let builder = yaml(text).env(variables(&[
        ("BINDERS__MYKAFKA__BROKERS", "b:9092"),
        ("BINDERS__MY_KAFKA__MAX_WAIT", "5"),
        ("BINDERS__MY_KAFKA__TOPICS", "a,b"),
        ("BINDERS__MY_KAFKA__ANY", "1.10"),
        ("BINDERS__MY_KAFKA__CONFIGURATION__LINGER_MS", "7"),
        ("BINDERS__MY_KAFKA__CONFIGURATION__SSL_CA_LOCATION", "/ca"),
    ]));
    let kafka: Kafka = resolved(builder).binders[0].section.read().unwrap();
    let configuration =
        [("linger.ms", "7"), ("ssl.CA-location", "/ca")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let expected = Kafka {
        brokers: "b:9092".into(),
        max_wait: 5,
        topics: vec!["a".into(), "b".into()],
        any: Some("1.10".into()),
        configuration: configuration.into(),
    };
    assert_eq!(kafka, expected);
}

#[test]
fn the_settings_of_a_type_in_a_binding_can_be_set() {
    let builder = yaml("stream: { binders: { k: { type: kafka } } }").env(variables(&[
        ("BINDINGS__ORDERS__CONSUMER__KAFKA__MAX_WAIT", "5"),
        ("DEFAULT__CONSUMER__KAFKA__BROKERS", "b"),
    ]));
    let kafka: Kafka = resolved(builder).bindings["orders"].consumer_section.read().unwrap();
    assert_eq!((kafka.max_wait, kafka.brokers.as_str()), (5, "b"));
}

#[test]
fn a_binder_may_exist_in_the_environment_only() {
    let resolved = resolved(env(&[("BINDERS__MY_KAFKA__TYPE", "kafka"), ("BINDERS__MY_KAFKA__BROKERS", "b")]));
    assert_eq!((resolved.binders[0].name.as_str(), resolved.binders[0].type_name.as_str()), ("my-kafka", "kafka"));
    assert_eq!(resolved.binders[0].section.read::<Kafka>().unwrap().brokers, "b");
}

#[test]
fn a_variable_for_the_application_is_read_without_channels() {
    let stream = env(&[("DEFAULT_BINDER", "memory"), ("SHUTDOWNTIMEOUT", "5s")]).build().unwrap().stream().unwrap();
    assert_eq!((stream.default_binder.as_deref(), stream.shutdown_timeout.as_secs()), (Some("memory"), 5));
}
