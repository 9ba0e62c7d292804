//! Spring Boot's own properties of connections.

use super::super::kafka::*;
use super::{Row, idle, key, made, only, refused};
use crate::config::spring::convert::Convert::Seconds;
use crate::config::spring::rabbit::connection_timeout;

const JKS: &str = "certificates are PEM files: say `trust-store-type: PEM` and `trust-store-location`, or a bundle of `spring.ssl.bundle.pem`";
const TEMPLATE: &str = "is read by Spring's template, not by the binder";
const LISTENER: &str = "is read by Spring's listeners, not by the binder";
const CONTAINER: &str = "is about a container of Java";
const STREAMS: &str = "Kafka Streams is not in this library";
const ADMIN: &str = "topics are looked for when a binding starts";
const SETTINGS: &str = "[settings of the client](#settings-of-the-kafka-client)";
const OF_INPUTS: &str = "[settings of the client](#settings-of-the-kafka-client), of inputs";
const OF_OUTPUTS: &str = "[settings of the client](#settings-of-the-kafka-client), of outputs";

pub(super) const KAFKA: &[Row] = &[
    made("bootstrap-servers", "brokers", "kafka:9092", boot_brokers),
    made("client-id", SETTINGS, "billing", boot_common),
    made("properties.*", SETTINGS, "100", configuration),
    made("security.protocol", "tls, sasl", "PLAINTEXT", boot_common),
    made("ssl.bundle", "tls, from `spring.ssl.bundle.pem.<name>`", "", bundle),
    made("ssl.trust-store-location", "tls.ca", "file:ca.pem", boot_ssl),
    made("ssl.trust-store-type", "`PEM`", "PEM", boot_ssl),
    made("ssl.key-store-location", "tls.certificate, tls.key", "file:store.pem", boot_ssl),
    made("ssl.key-store-type", "`PEM`", "PEM", boot_ssl),
    made("ssl.key-password", "configuration `ssl.key.password`", "secret", boot_ssl),
    refused("ssl.trust-store-password", JKS),
    refused("ssl.key-store-password", JKS),
    refused("ssl.trust-store-certificates", JKS),
    refused("ssl.key-store-certificate-chain", JKS),
    refused("ssl.key-store-key", JKS),
    idle("ssl.protocol", "the version of TLS is agreed with the broker"),
    made(
        "jaas.login-module",
        "sasl.mechanism, with `jaas.options`",
        "org.apache.kafka.common.security.plain.PlainLoginModule",
        jaas,
    ),
    made("jaas.options.*", "sasl.username, sasl.password", "u", jaas),
    idle("jaas.control-flag", "there is one login module"),
    idle("jaas.enabled", "`sasl` is there if there are `jaas.options`"),
    made("consumer.bootstrap-servers", "brokers, which all clients of a binder share", "kafka:9092", shared_brokers),
    made("producer.bootstrap-servers", "brokers, which all clients of a binder share", "kafka:9092", shared_brokers),
    made("consumer.auto-offset-reset", "default.consumer.start", "earliest", boot_consumer),
    made("consumer.client-id", OF_INPUTS, "billing", boot_consumer),
    made("consumer.enable-auto-commit", "nothing: what is settled is committed", "false", boot_consumer),
    made("consumer.auto-commit-interval", "nothing: what is settled is committed", "100", boot_consumer),
    made("consumer.fetch-max-wait", OF_INPUTS, "500", boot_consumer),
    made("consumer.fetch-min-size", OF_INPUTS, "1", boot_consumer),
    made("consumer.group-id", "nothing: a group is the binding's", "x", boot_consumer),
    made("consumer.heartbeat-interval", OF_INPUTS, "3000", boot_consumer),
    made("consumer.isolation-level", OF_INPUTS, "read_committed", boot_consumer),
    made(
        "consumer.key-deserializer",
        "text and bytes only",
        "org.apache.kafka.common.serialization.StringDeserializer",
        boot_consumer,
    ),
    made(
        "consumer.value-deserializer",
        "bytes only",
        "org.apache.kafka.common.serialization.ByteArrayDeserializer",
        boot_consumer,
    ),
    made("consumer.max-poll-records", "nothing: a handler says what it takes", "100", boot_consumer),
    made("consumer.max-poll-interval", OF_INPUTS, "300000", boot_consumer),
    made("consumer.properties.*", OF_INPUTS, "100", consumer_settings),
    refused("consumer.ssl.*", "all clients of a binder are secured alike; say `spring.kafka.ssl`"),
    refused("consumer.security.*", "all clients of a binder are secured alike; say `spring.kafka.security`"),
    made("producer.acks", "`all` only", "all", boot_producer),
    made("producer.batch-size", OF_OUTPUTS, "16384", boot_producer),
    made("producer.buffer-memory", "refused: the window bounds what is in flight", "", boot_producer),
    made("producer.client-id", OF_OUTPUTS, "billing", boot_producer),
    made("producer.compression-type", "producer.kafka.compression", "lz4", boot_producer),
    made(
        "producer.key-serializer",
        "text and bytes only",
        "org.apache.kafka.common.serialization.StringSerializer",
        boot_producer,
    ),
    made(
        "producer.value-serializer",
        "bytes only",
        "org.apache.kafka.common.serialization.ByteArraySerializer",
        boot_producer,
    ),
    made("producer.retries", OF_OUTPUTS, "10", boot_producer),
    made("producer.properties.*", OF_OUTPUTS, "100", producer_settings),
    refused("producer.ssl.*", "all clients of a binder are secured alike; say `spring.kafka.ssl`"),
    refused("producer.security.*", "all clients of a binder are secured alike; say `spring.kafka.security`"),
    refused(
        "producer.transaction-id-prefix",
        "say `spring.cloud.stream.kafka.binder.transaction.transaction-id-prefix`, which the binder reads",
    ),
    made("listener.ack-mode", "as `ack-mode` of each input", "BATCH", boot_ack_mode),
    made("listener.ack-count", "consumer.kafka.commit-count, with an `ack-mode` that counts", "100", |_, _, _| {}),
    made("listener.ack-time", "consumer.kafka.commit-interval, with an `ack-mode` of time", "1s", |_, _, _| {}),
    only("listener.async-acks", &["false"], "settle in the code: pull the channel, and settle each delivery"),
    idle("listener.*", CONTAINER),
    idle("admin.*", ADMIN),
    idle("template.*", TEMPLATE),
    idle("streams.*", STREAMS),
    idle("retry.*", "is read by Spring's listeners; see `max-attempts`"),
];

pub(super) const RABBIT: &[Row] = &[
    made("host", "url", "mq", |_, _, _| {}),
    made("port", "url", "5672", |_, _, _| {}),
    made("addresses", "url; host and port are of no account then", "mq1:5672,mq2:5672", |_, _, _| {}),
    made("username", "url", "u", |_, _, _| {}),
    made("password", "url", "p", |_, _, _| {}),
    made("virtual-host", "url", "shop", |_, _, _| {}),
    made("ssl.enabled", "url (`amqps`)", "true", |_, _, _| {}),
    made("ssl.bundle", "tls, from `spring.ssl.bundle.pem.<name>`, and url (`amqps`)", "", bundle),
    made("ssl.verify-hostname", "tls.verify-host-name, if TLS is on", "true", |_, _, _| {}),
    only("ssl.validate-server-certificate", &["true"], "the broker's certificate is always checked"),
    idle("ssl.algorithm", "the version of TLS is agreed with the broker"),
    refused("ssl.key-store", JKS_RABBIT),
    refused("ssl.trust-store", JKS_RABBIT),
    idle("ssl.*", "certificates are PEM files, of a bundle of `spring.ssl.bundle.pem`"),
    key("requested-heartbeat", "heartbeat", Seconds),
    made("connection-timeout", "connect-timeout; a bare number is milliseconds", "1500", connection_timeout),
    idle("publisher-confirm-type", "a send always waits for the broker's confirm"),
    idle("publisher-returns", "what no queue takes is always returned; see `error-channel-enabled`"),
    idle("template.*", TEMPLATE),
    idle("listener.*", LISTENER),
    idle("cache.*", "a binder has two connections"),
    idle("requested-channel-max", "a binder has few channels"),
    idle("channel-rpc-timeout", "each call has its own limit"),
    idle("max-inbound-message-body-size", "the broker bounds what it sends"),
    idle("address-shuffle-mode", "nodes are tried in turn, the one that was reached last first"),
    idle("dynamic", "bindings declare what they need"),
    idle("stream.*", "streams are not read by their own protocol"),
];

const JKS_RABBIT: &str =
    "certificates are PEM files: name a bundle of `spring.ssl.bundle.pem` by `spring.rabbitmq.ssl.bundle`";
