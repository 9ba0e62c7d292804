//! Properties that are of no kind of broker.

use super::super::common::*;
use super::{Row, idle, key, made, only, refused};
use crate::config::spring::convert::Convert::{Flag, Millis, Names, Number, Text};

const IN_CODE: &str = "channels and their handlers are in the code";
const BEAN: &str = "names a bean of Java; say it in the handler, and leave it out here";

pub(super) const SERVICE: &[Row] = &[
    key("instance-index", "instance-index", Number),
    only("instance-index-list", &[], "one process is one instance; start a process for each index"),
    key("instance-count", "instance-count", Number),
    key("default-binder", "default-binder", Text),
    idle("dynamic-destination-cache-size", "destinations of `.to(…)` are kept, and no binding is ever closed for them"),
    made(
        "binding-retry-interval",
        "what can't be bound is tried again by itself; 0 is refused",
        "30",
        binding_retry_interval,
    ),
    idle("input-bindings", IN_CODE),
    idle("output-bindings", IN_CODE),
    idle("source", IN_CODE),
    idle(
        "dynamic-destinations",
        "a destination of `.to(…)` needs no permission; Spring does not read the key any more",
    ),
    idle("override-cloud-connectors", "there is no Cloud Foundry connector"),
    idle("pollable-source", "an input is pulled where the code says so"),
    idle("function.definition", IN_CODE),
    made("function.bindings.*", "the channel has the name that stands here", "orders", rename),
    idle("function.autodetect", IN_CODE),
    only(
        "function.routing.enabled",
        &["false"],
        "there is no routing function; route in the code, `app.route(channel)`",
    ),
    idle("function.reactive.*", IN_CODE),
    idle("function.batch-mode", "a handler takes a `Batch<T>` or it does not"),
    only("function.compose-to", &[], "functions are composed in the code"),
    only("function.compose-from", &[], "functions are composed in the code"),
    only(
        "integration.message-handler-not-propagated-headers",
        &["contentType"],
        "an output inherits all headers but the content type (`copy-headers: [\"*\"]`); leave headers out in the handler",
    ),
    idle("poller.*", "the code says when a supplier is asked: `every(…)`"),
    idle("sendto.destination", "it is the name of a header; the code says `.to(…)`"),
    idle("metrics.*", "metrics are measured by the application"),
    refused(
        "schema.*",
        "there is no client of a schema registry that is configured here; say it to the codec in the code",
    ),
    refused(
        "schema-registry-client.*",
        "there is no client of a schema registry that is configured here; say it to the codec in the code",
    ),
    refused(
        "schema-registry.*",
        "there is no client of a schema registry that is configured here; say it to the codec in the code",
    ),
    refused("pulsar.*", "there is no binder of Pulsar here"),
];

pub(super) const BINDING: &[Row] = &[
    key("destination", "destination", Text),
    made("group", "group", "billing", group),
    key("content-type", "content-type", Text),
    key("binder", "binder", Text),
    refused(
        "error-handler-definition",
        "a handler's errors are retried and dead-lettered by the configuration; handle others in the handler, or in a hook",
    ),
];

pub(super) const CONSUMER: &[Row] = &[
    made("auto-startup", "auto-startup", "true", auto_startup),
    key("concurrency", "consumer.concurrency", Number),
    key("partitioned", "consumer.partitioned", Flag),
    only("instance-count", &["-1"], "all inputs of a service have its `spring.cloud.stream.instance-count`"),
    only("instance-index", &["-1"], "all inputs of a service have its `spring.cloud.stream.instance-index`"),
    only("instance-index-list", &[], "one process is one instance; start a process for each index"),
    key("max-attempts", "consumer.max-attempts", Number),
    key("back-off-initial-interval", "consumer.backoff.initial", Millis),
    key("back-off-max-interval", "consumer.backoff.max", Millis),
    key("back-off-multiplier", "consumer.backoff.multiplier", Number),
    only(
        "default-retryable",
        &["true"],
        "an error says itself that no retry helps: `HandlerError::permanent`, or `retryable-errors` in a stream.yaml beside this file",
    ),
    refused(
        "retryable-exceptions.*",
        "names a class of Java; say it in the code, `HandlerError::permanent`, or by the names of Rust types, `permanent-errors` and `retryable-errors` in a stream.yaml beside this file",
    ),
    refused("retry-template-name", BEAN),
    made(
        "header-mode",
        "consumer.header-mode; `embeddedHeaders` is `embedded`, on Kafka only",
        "headers",
        header_mode_of_consumer,
    ),
    only(
        "use-native-decoding",
        &["false"],
        "payloads are decoded by their content type; say the type by `content-type`",
    ),
    idle("multiplex", "an input reads all its destinations with one consumer"),
    idle("batch-mode", "a handler takes a `Batch<T>` or it does not; its failed items are retried one by one"),
];

pub(super) const PRODUCER: &[Row] = &[
    made("auto-startup", "auto-startup", "true", auto_startup),
    made(
        "partition-key-expression",
        "producer.partition-key: `payload`, `payload.x.y`, `headers['x']`, `headers.x`; all else is refused",
        "headers['tenant']",
        partition_key,
    ),
    refused("partition-key-extractor-name", "names a bean of Java; say the key in the code, `.partition_key(…)`"),
    refused("partition-selector-expression", "the partition is chosen by Spring's formula over the key"),
    refused("partition-selector-name", "the partition is chosen by Spring's formula over the key"),
    key("partition-count", "producer.partition-count", Number),
    key("required-groups", "producer.required-groups", Names),
    made(
        "header-mode",
        "producer.header-mode; `embeddedHeaders` is `embedded`, on Kafka only",
        "headers",
        header_mode_of_producer,
    ),
    only(
        "use-native-encoding",
        &["false"],
        "payloads are encoded by their content type; say the type by `content-type`",
    ),
    made("error-channel-enabled", "producer.unroutable: error", "true", error_channel),
    idle("poller.*", "the code says when a supplier is asked: `every(…)`"),
    only(
        "dynamic-partition-updates-enabled",
        &["false"],
        "the number of partitions is that of the start; restart the service after it grew",
    ),
];

pub(super) const BINDER: &[Row] = &[
    made("type", "type; those of Kafka Streams are refused", "kafka", |_, _, _| {}),
    made("environment.*", "as if it stood in the file, for this binder", "", |_, _, _| {}),
    made("inherit-environment", "whether the binder has what the file says outside of `environment`", "true", truth),
    made("default-candidate", "default-binder, if one candidate is left", "true", truth),
];

pub(super) const FUNCTION: &[Row] = &[
    idle("definition", IN_CODE),
    refused("routing-expression", "there is no routing function; route in the code, `app.route(channel)`"),
    idle("ineligible-definitions", IN_CODE),
    refused("expected-content-type", "an output has its `content-type`; say it there"),
    made(
        "configuration.*",
        "`copy-input-headers` has no effect: an output inherits all headers; expressions are refused",
        "true",
        function_configuration,
    ),
];
