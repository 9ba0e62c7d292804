//! Whole files, and Spring's defaults.

use super::*;
use crate::binding::Direction::{Input, Output};
use crate::config::{Declared, OnExhausted, Ordering, Provision, Unroutable};

fn declared() -> Declared {
    Declared {
        channels: vec![("process-in-0".to_owned(), Input), ("process-out-0".to_owned(), Output)],
        binder_types: ["memory", "kafka", "rabbit"].map(str::to_owned).to_vec(),
    }
}

const PROCESSOR: &str = "
spring:
  cloud:
    function.definition: process
    stream:
      bindings:
        process-in-0: { destination: orders, group: billing, consumer: { concurrency: 2 } }
        process-out-0: { destination: invoices, producer: { partition-key-expression: 'headers[''tenant'']', partition-count: 4 } }
";

#[test]
fn a_processor_on_kafka_is_springs() {
    let text =
        format!("{PROCESSOR}      kafka.binder: {{ brokers: [kafka-1, 'kafka-2:9093'], auto-create-topics: no }}\n");
    let config = yaml(&text).unwrap();
    let resolved = config.resolve(&declared()).unwrap();
    let input = &resolved.bindings["process-in-0"].properties;
    let consumer = &input.consumer;
    assert_eq!((input.group.as_deref(), input.provision), (Some("billing"), Provision::Check));
    assert_eq!((consumer.max_attempts, consumer.concurrency, consumer.ordering), (3, 2, Ordering::Partition));
    assert_eq!((consumer.backoff.jitter, consumer.backoff.max.as_secs()), (0.0, 10));
    assert_eq!((consumer.dead_letters, consumer.on_exhausted), (Some(false), Some(OnExhausted::Discard)));
    assert_eq!(consumer.prefetch, None, "Kafka polls as much as it likes");
    let output = &resolved.bindings["process-out-0"].properties.producer;
    assert_eq!((output.partition_key.as_deref(), output.partition_count), (Some("header.tenant"), 4));
    assert_eq!(output.copy_headers, ["*"]);
    has(
        &config,
        &[
            ("binders/kafka/brokers", "kafka-1:9092 kafka-2:9093"),
            ("binders/kafka/default/consumer/kafka/assignment", "eager"),
            ("binders/kafka/default/consumer/kafka/configuration/isolation.level", "read_uncommitted"),
        ],
    );
    assert!(
        notes(&config)
            .contains("spring.cloud.function.definition: has no effect: channels and their handlers are in the code")
    );
}

#[test]
fn a_processor_on_rabbitmq_is_springs() {
    let text = format!(
        "{PROCESSOR}      rabbit:\n        bindings.process-in-0.consumer: {{ auto-bind-dlq: true, prefetch: 5, ttl: 60000, quorum.enabled: true }}\n"
    );
    let config = yaml(&text).unwrap();
    let resolved = config.resolve(&declared()).unwrap();
    let input = &resolved.bindings["process-in-0"];
    let consumer = &input.properties.consumer;
    assert_eq!(consumer.dead_letters, Some(true));
    assert_eq!((consumer.prefetch, consumer.ordering), (Some(10), Ordering::None), "two consumers with five each");
    assert_eq!(resolved.bindings["process-out-0"].properties.producer.unroutable, Unroutable::Discard);
    has(
        &config,
        &[
            ("bindings/process-in-0/consumer/rabbit/ttl", "1m"),
            ("bindings/process-in-0/consumer/rabbit/quorum/enabled", "true"),
            ("binders/rabbit/default/consumer/prefetch", "1"),
            ("binders/rabbit/default/producer/rabbit/dead-letters", "false"),
        ],
    );
}

#[test]
fn the_text_that_is_written_is_a_configuration_that_says_the_same() {
    let text = format!("{PROCESSOR}      kafka.binder.brokers: k\n");
    let config = yaml(&text).unwrap();
    let again = Config::builder().yaml(config.describe()).build().unwrap();
    let strip =
        |text: String| text.lines().map(|line| line.split(" # ").next().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(strip(again.describe()), strip(config.describe()));
    assert!(config.describe().contains("max-attempts: 3 # Spring's default"), "{}", config.describe());
    assert!(config.describe().contains("group: billing # application.yml:7"), "{}", config.describe());
}

#[test]
fn a_stream_yaml_after_it_wins() {
    let directory = directory(&[
        ("application.yml", PROCESSOR),
        ("stream.yaml", "stream: { default-binder: memory, default: { consumer: { handler-timeout: 1m } } }\n"),
    ]);
    let told = refused(builder(&directory, "application.yml").build());
    assert!(told.contains("spring.cloud.stream.default-binder: is missing"), "{told}");
    let spring = format!("{PROCESSOR}      default-binder: kafka\n");
    fs::write(directory.path().join("application.yml"), spring).unwrap();
    let config =
        Config::builder().spring(directory.path().join("application.yml")).file(directory.path().join("stream.yaml"));
    has(&config.build().unwrap(), &[("default/consumer/handler-timeout", "1m"), ("default-binder", "memory")]);
}

#[test]
fn a_function_is_renamed() {
    let text = "spring.cloud.stream:\n  default-binder: kafka\n  function.bindings: { process-in-0: orders }\n  bindings.orders.group: g\n";
    has(&yaml(text).unwrap(), &[("bindings", "orders"), ("bindings/orders/group", "g")]);
    let told = refused(yaml(&format!("{text}  bindings.process-in-0.group: g\n")));
    assert!(told.contains("renames `process-in-0`, so its settings stand under `bindings.orders`"), "{told}");
}

#[test]
fn binders_have_environments_of_their_own() {
    let text = "
spring:
  kafka.bootstrap-servers: shared
  cloud.stream:
    bindings: { a: { binder: one }, b: { binder: two, group: g }, c: { binder: mq } }
    kafka.binder.min-partition-count: 3
    kafka.bindings: { c.consumer.enable-dlq: true }
    binders:
      one: { type: kafka, environment: { spring.kafka.bootstrap-servers: own, spring.main.sources: x } }
      two: { type: kafka, inheritEnvironment: false, environment: { spring: { cloud.stream.kafka.binder.brokers: two } } }
      mq: { type: rabbit, default-candidate: false, environment.spring.rabbitmq: { host: mq, username: joe, password: 'p@ss', virtual-host: shop } }
";
    let config = yaml(text).unwrap();
    has(
        &config,
        &[
            ("binders/one/brokers", "own:9092"),
            ("binders/one/min-partition-count", "3"),
            ("binders/two/brokers", "two:9092"),
            ("binders/mq/url", "amqp://joe:p%40ss@mq:5672/shop"),
        ],
    );
    assert_eq!(value(&config, "binders/two/min-partition-count"), None, "it does not inherit");
    let told = notes(&config);
    assert!(told.contains("environment.spring.main.sources: has no effect"), "{told}");
    assert!(told.contains("kafka.bindings.c.consumer.enable-dlq: has no effect: the binding is on rabbit"), "{told}");
    assert!(!config.describe().contains("p%40ss"), "{}", config.describe());
}

#[test]
fn the_only_candidate_is_the_default() {
    let text = "spring.cloud.stream.binders: { a: { type: kafka }, b: { type: rabbit, default-candidate: false } }\n";
    has(&yaml(text).unwrap(), &[("default-binder", "a")]);
}

#[test]
fn the_instance_is_the_platforms_if_the_file_says_none() {
    let text = [("application.yml", "spring.cloud.stream: { default-binder: kafka, instance-count: 3 }\n")];
    has(&build(&text, &[("INSTANCE_INDEX", "2")]).unwrap(), &[("instance-index", "2")]);
    has(&build(&text, &[("CF_INSTANCE_INDEX", "1")]).unwrap(), &[("instance-index", "1")]);
}
