//! What goes wrong, and what it is called.

use std::time::{Duration, Instant};

use binder_core::ErrorKind;
use binder_core::binder::BinderHealth;
use binder_core::config::Provision;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::support::*;

pub(crate) fn cases(ready: bool) -> Vec<Trial> {
    vec![
        case("an_absent_broker_is_worth_a_retry", ready, an_absent_broker_is_worth_a_retry),
        case("an_unknown_host_is_named", ready, an_unknown_host_is_named),
        case(
            "forbidden_names_are_refused_without_a_connection",
            ready,
            forbidden_names_are_refused_without_a_connection,
        ),
        case("settings_of_ours_are_refused", ready, settings_of_ours_are_refused),
        case("create_makes_topics_as_wanted", ready, create_makes_topics_as_wanted),
        case("check_creates_nothing", ready, check_creates_nothing),
        case("none_looks_at_nothing", ready, none_looks_at_nothing),
        case("a_larger_topic_is_used_as_it_is", ready, a_larger_topic_is_used_as_it_is),
        case("binds_that_race_for_a_topic_all_succeed", ready, binds_that_race_for_a_topic_all_succeed),
    ]
}

async fn unreached(brokers: &str) -> String {
    let binder = binder_with(json!({ "brokers": brokers })).unwrap();
    let binding = input(&unique("nowhere"), Some("g"));
    let begun = Instant::now();
    let error = binder.bind_consumer(&binding).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Connection, true), "{error:?}");
    assert_eq!(error.context("binder"), Some("kafka"));
    let error = binder.bind_producer(&output(&unique("nowhere"))).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Connection, true), "{error:?}");
    let BinderHealth::Connecting(reason) = binder.health() else { panic!("up?") };
    assert_eq!(reason, error.message());
    reason
}

async fn an_absent_broker_is_worth_a_retry() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let reason = unreached(&address).await;
    assert!(reason.contains(&address) && reason.contains("refused"), "{reason}");
}

async fn an_unknown_host_is_named() {
    let reason = unreached("nohost.invalid").await;
    assert!(reason.contains("Failed to resolve 'nohost.invalid:9092'"), "{reason}");
}

async fn forbidden_names_are_refused_without_a_connection() {
    let binder = binder();
    for name in ["a b", "a/b", "ž", ".", "..", &"a".repeat(250)] {
        let error = binder.check_producer(&output(name)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{name}");
        assert_eq!(binder.check_consumer(&input(name, None)).unwrap_err().kind(), ErrorKind::Config, "{name}");
    }
    let error = binder.check_producer(&output("a b/b")).unwrap_err();
    assert!(error.to_string().contains("' ', '/'"), "{error}");
    let long = "a".repeat(245);
    assert!(binder.check_consumer(&input(&long, None)).is_ok());
    assert!(binder.check_consumer(&input(&long, Some("g"))).is_err(), "its dead letter topic is too long");
}

async fn settings_of_ours_are_refused() {
    let refused = |value: Value| binder_with(json!({ "configuration": value })).unwrap_err();
    assert_eq!(refused(json!({ "group.id": "x" })).kind(), ErrorKind::Config);
    assert_eq!(refused(json!({ "nosuch": "x" })).kind(), ErrorKind::Config);
    let mut binding = input("a", None);
    for (key, value) in [("bootstrap.servers", "x"), ("enable.auto.commit", "true"), ("no.such", "1")] {
        binding.section = section(json!({ "configuration": { key: value } }));
        let error = binder().check_consumer(&binding).unwrap_err();
        assert!(error.kind() == ErrorKind::Config && error.to_string().contains(key), "{error}");
    }
    binding.section = section(json!({ "commit-intervall": "1s" }));
    assert!(binder().check_consumer(&binding).unwrap_err().to_string().contains("commit-interval"));
}

async fn create_makes_topics_as_wanted() {
    let (binder, topic, other) = (binder(), unique("create"), unique("create"));
    let mut binding = input(&topic, Some(&topic));
    binding.properties.concurrency = 2;
    binding.instance.count = 3;
    binding.section =
        section(json!({ "topic": { "replication-factor": 1, "properties": { "retention.ms": 1000000 } } }));
    drop(binder.bind_consumer(&binding).await.unwrap());
    assert_eq!((partitions(&topic).await, partitions(&format!("error.{topic}.{topic}")).await), (Some(6), Some(6)));
    drop(producer(&binder, &other, 3).await);
    assert_eq!((partitions(&other).await, partitions(&format!("error.{other}.{topic}")).await), (Some(3), None));
    let mut binding = input(&other, Some("quiet"));
    binding.properties.dead_letters = Some(false);
    let receiver = binder.bind_consumer(&binding).await.unwrap();
    assert!(receiver.dead_letters().is_none());
    assert_eq!(partitions(&format!("error.{other}.quiet")).await, None);
    binding.destinations = vec![unique("create")];
    binding.section = section(json!({ "topic": { "properties": { "retention.ms": "soon" } } }));
    let error = binder.bind_consumer(&binding).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Refused, false), "{error:?}");
}

async fn check_creates_nothing() {
    let (binder, topic) = (binder(), unique("check"));
    let mut binding = output(&topic);
    binding.provision = Provision::Check;
    let error = binder.bind_producer(&binding).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Refused, false), "{error:?}");
    assert!(error.to_string().contains(&topic), "{error}");
    assert_eq!(partitions(&topic).await, None);
    drop(producer(&binder, &topic, 2).await);
    binder.bind_producer(&binding).await.unwrap();
    let mut binding = input(&topic, Some(&topic));
    binding.provision = Provision::Check;
    let error = binder.bind_consumer(&binding).await.unwrap_err();
    assert!(error.to_string().contains(&format!("error.{topic}.{topic}")), "{error}");
}

async fn none_looks_at_nothing() {
    let (binder, topic) = (binder(), unique("none"));
    let mut binding = input(&topic, Some(&topic));
    binding.provision = Provision::None;
    let mut receiver = binder.bind_consumer(&binding).await.unwrap();
    assert_eq!(partitions(&topic).await, None);
    send_all(&*producer(&binder, &topic, 1).await, ["x".to_owned()]).await;
    assert_eq!(payloads(&receive(&mut receiver, 1).await), ["x"], "it may come later");
}

async fn a_larger_topic_is_used_as_it_is() {
    let (binder, topic) = (binder(), unique("larger"));
    drop(producer(&binder, &topic, 4).await);
    drop(producer(&binder, &topic, 2).await);
    drop(consumer(&binder, &topic, Some(&topic)).await);
    assert_eq!((partitions(&topic).await, partitions(&format!("error.{topic}.{topic}")).await), (Some(4), Some(4)));
}

async fn binds_that_race_for_a_topic_all_succeed() {
    let (binder, topic) = (binder(), unique("race"));
    let bind = || producer(&binder, &topic, 3);
    tokio::join!(bind(), bind(), bind(), bind());
    assert_eq!(partitions(&topic).await, Some(3));
}
