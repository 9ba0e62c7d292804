//! Properties of Spring's Kafka binder.

use super::super::kafka::*;
use super::{Row, idle, key, made, only, refused};
use crate::config::spring::convert::Convert::{Millis, Number, OneOf};

const BEAN: &str = "names a bean of Java; say it in the handler, and leave it out here";
const TOPICS: &str = "topics that exist are used as they are; change them with the broker's tools";
const REPLICAS: &str = "the broker places replicas; create the topic with its tools";
const HEALTH: &str = "the health of the binder is that of its connections";
const ZOOKEEPER: &str = "brokers are not looked for in ZooKeeper; Spring does not read the key any more either";
const STREAMS: &str = "Kafka Streams is not in this library; write the processor with channels";

const COMPRESSIONS: &[(&str, &str)] = &[("none", "none"), ("gzip", "gzip"), ("snappy", "snappy"), ("lz4", "lz4")];

pub(super) const BINDER: &[Row] = &[
    made("brokers", "brokers, with `default-broker-port`", "kafka-1,kafka-2:9093", brokers),
    made("default-broker-port", "the port of `brokers` without one", "9092", |_, _, _| {}),
    made("configuration.*", "[settings of the client](#settings-of-the-kafka-client)", "100", configuration),
    made(
        "consumer-properties.*",
        "[settings of the client](#settings-of-the-kafka-client), of inputs",
        "100",
        consumer_settings,
    ),
    made(
        "producer-properties.*",
        "[settings of the client](#settings-of-the-kafka-client), of outputs",
        "100",
        producer_settings,
    ),
    idle("headers", "all headers travel, embedded ones too"),
    made("auto-create-topics", "default.provision: `create` or `check`", "true", auto_create_topics),
    only("auto-alter-topics", &["false"], TOPICS),
    only("auto-add-partitions", &["false"], TOPICS),
    idle("consider-down-when-any-partition-has-no-leader", HEALTH),
    only("required-acks", &["all", "-1"], "every send is confirmed by all in-sync replicas"),
    made("replication-factor", "replication-factor; -1 is the broker's", "3", replication_factor),
    key("min-partition-count", "min-partition-count", Number),
    idle("health-timeout", HEALTH),
    idle("health-indicator-consumer-group", HEALTH),
    made(
        "jaas.login-module",
        "sasl.mechanism, with `jaas.options`",
        "org.apache.kafka.common.security.plain.PlainLoginModule",
        jaas,
    ),
    idle("jaas.control-flag", "there is one login module"),
    made("jaas.options.*", "sasl.username, sasl.password", "u", jaas),
    refused("header-mapper-bean-name", BEAN),
    idle(
        "authorization-exception-retry-interval",
        "what the broker does not allow is tried again, and told by the health",
    ),
    refused("certificate-store-directory", "certificates are PEM files, named by `spring.kafka.ssl`"),
    idle("enable-observation", "tracing is always there"),
    idle("metrics.*", "metrics are measured by the application"),
    made(
        "transaction.transaction-id-prefix",
        "transactional-id-prefix and default.consumer.transactional",
        "orders-",
        transaction_prefix,
    ),
    refused("transaction.producer.*", "producers of transactions have the settings of all (`configuration`)"),
    idle("zk-nodes", ZOOKEEPER),
    idle("default-zk-port", ZOOKEEPER),
    idle("zk-session-timeout", ZOOKEEPER),
    idle("zk-connection-timeout", ZOOKEEPER),
    idle("offset-update-time-window", "Spring does not read the key any more either; see `ack-mode`"),
    idle("offset-update-count", "Spring does not read the key any more either; see `ack-mode`"),
];

pub(super) const CONSUMER: &[Row] = &[
    only(
        "auto-rebalance-enabled",
        &["true"],
        "partitions are shared by the group; a fixed assignment is not in this library",
    ),
    made(
        "ack-mode",
        "`RECORD`: consumer.kafka.commit-count 1; `BATCH`: nothing; `COUNT`, `TIME`, `COUNT_TIME`: with spring.kafka.listener.ack-count, ack-time; `MANUAL` is refused",
        "BATCH",
        ack_mode,
    ),
    only(
        "auto-commit-on-error",
        &["false"],
        "what is not settled is delivered again; settle a pulled delivery in the code",
    ),
    key("start-offset", "consumer.start", OneOf(&[("earliest", "earliest"), ("latest", "latest")])),
    only("reset-offsets", &["false"], "no start moves a group; seek in the code, `app.control(channel).seek(…)`"),
    made("enable-dlq", "consumer.dead-letters", "true", enable_dlq),
    made(
        "dlq-name",
        "nothing, if it is `error.<destination>.<group>`; another name is refused",
        "error.orders.billing",
        dlq_name,
    ),
    refused("dlq-partitions", "a dead letter goes to the partition of its number; leave it out"),
    refused("dlq-producer-properties.*", "dead letters are sent with the binder's settings"),
    idle("trusted-packages", "no header is read into a class that its sender chose"),
    idle("standard-headers", "the time of a message is in its `Metadata`"),
    refused("converter-bean-name", BEAN),
    idle("idle-event-interval", "there are no events of idle inputs"),
    only("destination-is-pattern", &["false"], "a destination is a name; list the topics"),
    made("configuration.*", "[settings of the client](#settings-of-the-kafka-client)", "100", consumer_settings),
    made("topic.properties.*", "consumer.kafka.topic.properties", "1000", topic_properties),
    key("topic.replication-factor", "consumer.kafka.topic.replication-factor", Number),
    refused("topic.replicas-assignments.*", REPLICAS),
    idle("poll-timeout", "a pulled input waits as long as the code says"),
    refused("transaction-manager", BEAN),
    only("tx-commit-recovered", &["true"], "the offset of a dead letter is always committed with it"),
    refused("common-error-handler-bean-name", BEAN),
    only("reactive-auto-commit", &["false"], "every message is settled for itself"),
    only("reactive-at-most-once", &["false"], "delivery is at least once"),
    only("auto-commit-offset", &["true"], "settle in the code: pull the channel, and settle each delivery"),
    made("ack-each-record", "consumer.kafka.commit-count 1", "true", ack_each_record),
    refused("admin.*", "is called `topic` since Spring Cloud Stream 2.1"),
    refused("deserialization-exception-handler", STREAMS),
    refused("key-serde", STREAMS),
    refused("value-serde", STREAMS),
    refused("materialized-as", STREAMS),
    refused("application-id", STREAMS),
];

pub(super) const PRODUCER: &[Row] = &[
    made("buffer-size", "producer.kafka.configuration `batch.size`", "16384", buffer_size),
    key("batch-timeout", "producer.kafka.linger", Millis),
    key("compression-type", "producer.kafka.compression", OneOf(COMPRESSIONS)),
    idle("sync", "a send always waits for the broker, as with `sync: true`; many at once go through the window"),
    made("send-timeout-expression", "producer.send-timeout, if it is a number of milliseconds", "5000", send_timeout),
    made(
        "message-key-expression",
        "nothing, if it is `headers['kafka_messageKey']`; else say the key in the code, `#[output(key = \"…\")]` or `.key(…)`",
        "headers['kafka_messageKey']",
        message_key,
    ),
    only("header-patterns", &["*"], "all headers are written; leave headers out in the handler"),
    made("configuration.*", "[settings of the client](#settings-of-the-kafka-client)", "100", producer_settings),
    made("topic.properties.*", "producer.kafka.topic.properties", "1000", topic_properties),
    key("topic.replication-factor", "producer.kafka.topic.replication-factor", Number),
    refused("topic.replicas-assignments.*", REPLICAS),
    only("use-topic-header", &["false"], "a destination that is known only at run time is said in the code, `.to(…)`"),
    refused(
        "record-metadata-channel",
        "there is no channel of confirmations; a send returns when the broker has the message",
    ),
    refused("transaction-manager", BEAN),
    idle("allow-non-transactional", "what is sent outside of a transaction is always sent without one"),
    idle("close-timeout", "all outputs together are flushed within the `shutdown-timeout`"),
    refused("key-serde", STREAMS),
    refused("value-serde", STREAMS),
    refused("stream-partitioner-bean-name", STREAMS),
];
