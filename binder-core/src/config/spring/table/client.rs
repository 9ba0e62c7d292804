//! Settings of Java's Kafka client, which librdkafka knows by other names, or not at all.

use super::super::convert::Convert;
use super::super::convert::Convert::{Millis, OneOf, Text};

/// Whom a setting concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Side {
    Both,
    Consumer,
    Producer,
}

/// What becomes of a setting of the client.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Client {
    /// librdkafka has it, perhaps by another name.
    Passed(&'static str),
    /// It is a key of ours, below `default` or below the binding.
    Ours(&'static str, Convert),
    /// It belongs to `brokers`.
    Brokers,
    /// It says who we are and how that is hidden.
    Access,
    /// The class that makes bytes of keys or values.
    Bytes(&'static [&'static str], &'static str),
    Only(&'static [&'static str], &'static str),
    Idle(&'static str),
    Refused(&'static str),
}

use Client::{Access, Brokers, Bytes, Idle, Only, Ours, Passed, Refused};
use Side::{Both, Consumer, Producer};

const COMMITS: &str = "what is settled is committed, and Spring drops it too";
const CODEC: &str = "belongs to a class of Java that makes bytes; say the codec by `content-type` and in the code";
const CLASS: &str = "names a class of Java";
const METRICS: &str = "metrics are measured by the application";
const HANDLER: &str = "a handler says what it takes";

const ASSIGNORS: &[(&str, &str)] = &[
    ("org.apache.kafka.clients.consumer.CooperativeStickyAssignor", "cooperative"),
    ("org.apache.kafka.clients.consumer.RangeAssignor", "eager"),
    ("org.apache.kafka.clients.consumer.RoundRobinAssignor", "eager"),
    (
        "org.apache.kafka.clients.consumer.RangeAssignor,org.apache.kafka.clients.consumer.CooperativeStickyAssignor",
        "eager",
    ),
];
const COMPRESSIONS: &[(&str, &str)] = &[("none", "none"), ("gzip", "gzip"), ("snappy", "snappy"), ("lz4", "lz4")];
const KEYS: &[&str] = &["String", "ByteArray", "Bytes", "ByteBuffer"];
const VALUES: &[&str] = &["ByteArray", "Bytes", "ByteBuffer"];

/// Settings by name. One that is not here goes to librdkafka as it is, which refuses what it does not know.
pub(in super::super) const CLIENT: &[(&str, Side, Client)] = &[
    ("bootstrap.servers", Both, Brokers),
    ("security.protocol", Both, Access),
    ("sasl.mechanism", Both, Access),
    ("sasl.jaas.config", Both, Access),
    ("ssl.truststore.location", Both, Access),
    ("ssl.truststore.type", Both, Access),
    ("ssl.keystore.location", Both, Access),
    ("ssl.keystore.type", Both, Access),
    ("ssl.endpoint.identification.algorithm", Both, Access),
    ("ssl.key.password", Both, Access),
    ("ssl.truststore.password", Both, Refused("certificates are PEM files: `ssl.truststore.type=PEM`")),
    ("ssl.keystore.password", Both, Refused("certificates are PEM files: `ssl.keystore.type=PEM`")),
    ("ssl.truststore.certificates", Both, Refused("name a file: `ssl.truststore.location`")),
    ("ssl.keystore.certificate.chain", Both, Refused("name a file: `ssl.keystore.location`")),
    ("ssl.keystore.key", Both, Refused("name a file: `ssl.keystore.location`")),
    ("ssl.protocol", Both, Idle("the version of TLS is agreed with the broker")),
    ("ssl.enabled.protocols", Both, Idle("the version of TLS is agreed with the broker")),
    ("sasl.client.callback.handler.class", Both, Refused(CLASS)),
    ("sasl.login.callback.handler.class", Both, Refused(CLASS)),
    ("sasl.login.class", Both, Refused(CLASS)),
    ("client.id", Both, Passed("client.id")),
    ("client.rack", Consumer, Passed("client.rack")),
    ("client.dns.lookup", Both, Passed("client.dns.lookup")),
    ("metadata.max.age.ms", Both, Passed("metadata.max.age.ms")),
    ("reconnect.backoff.ms", Both, Passed("reconnect.backoff.ms")),
    ("reconnect.backoff.max.ms", Both, Passed("reconnect.backoff.max.ms")),
    ("retry.backoff.ms", Both, Passed("retry.backoff.ms")),
    ("retry.backoff.max.ms", Both, Passed("retry.backoff.max.ms")),
    ("connections.max.idle.ms", Both, Passed("connections.max.idle.ms")),
    ("socket.connection.setup.timeout.ms", Both, Passed("socket.connection.setup.timeout.ms")),
    ("send.buffer.bytes", Both, Passed("socket.send.buffer.bytes")),
    ("receive.buffer.bytes", Both, Passed("socket.receive.buffer.bytes")),
    ("request.timeout.ms", Both, Passed("socket.timeout.ms")),
    ("default.api.timeout.ms", Both, Idle("each call has its own limit")),
    ("interceptor.classes", Both, Refused("names classes of Java; use a layer, `Application::builder().layer(…)`")),
    ("metric.reporters", Both, Idle(METRICS)),
    ("metrics.num.samples", Both, Idle(METRICS)),
    ("metrics.recording.level", Both, Idle(METRICS)),
    ("metrics.sample.window.ms", Both, Idle(METRICS)),
    ("auto.include.jmx.reporter", Both, Idle(METRICS)),
    ("enable.metrics.push", Both, Idle(METRICS)),
    ("schema.registry.url", Both, Refused(CODEC)),
    ("specific.avro.reader", Both, Refused(CODEC)),
    ("auto.register.schemas", Both, Refused(CODEC)),
    ("spring.json.*", Both, Refused(CODEC)),
    ("group.id", Consumer, Idle("a group is the binding's, and Spring drops it too")),
    ("group.instance.id", Consumer, Ours("consumer.kafka.group-instance-id", Text)),
    (
        "group.protocol",
        Consumer,
        Ours("consumer.kafka.group-protocol", OneOf(&[("classic", "classic"), ("consumer", "consumer")])),
    ),
    ("group.remote.assignor", Consumer, Passed("group.remote.assignor")),
    ("partition.assignment.strategy", Consumer, Ours("consumer.kafka.assignment", OneOf(ASSIGNORS))),
    ("auto.offset.reset", Consumer, Ours("consumer.start", OneOf(&[("earliest", "earliest"), ("latest", "latest")]))),
    ("enable.auto.commit", Consumer, Idle(COMMITS)),
    ("auto.commit.interval.ms", Consumer, Idle(COMMITS)),
    ("session.timeout.ms", Consumer, Passed("session.timeout.ms")),
    ("heartbeat.interval.ms", Consumer, Passed("heartbeat.interval.ms")),
    ("max.poll.interval.ms", Consumer, Passed("max.poll.interval.ms")),
    ("max.poll.records", Consumer, Idle(HANDLER)),
    ("fetch.min.bytes", Consumer, Passed("fetch.min.bytes")),
    ("fetch.max.bytes", Consumer, Passed("fetch.max.bytes")),
    ("fetch.max.wait.ms", Consumer, Passed("fetch.wait.max.ms")),
    ("max.partition.fetch.bytes", Consumer, Passed("max.partition.fetch.bytes")),
    ("check.crcs", Consumer, Passed("check.crcs")),
    ("isolation.level", Consumer, Passed("isolation.level")),
    ("allow.auto.create.topics", Consumer, Idle("a binding creates its topics (`auto-create-topics`)")),
    ("exclude.internal.topics", Consumer, Idle("a destination is a name")),
    ("key.deserializer", Consumer, Bytes(KEYS, "a key is text or bytes")),
    (
        "value.deserializer",
        Consumer,
        Bytes(VALUES, "payloads are decoded by their content type; say the type by `content-type`"),
    ),
    ("acks", Producer, Only(&["all", "-1"], "every send is confirmed by all in-sync replicas")),
    ("enable.idempotence", Producer, Only(&["true"], "producers are idempotent")),
    ("batch.size", Producer, Passed("batch.size")),
    ("linger.ms", Producer, Ours("producer.kafka.linger", Millis)),
    ("compression.type", Producer, Ours("producer.kafka.compression", OneOf(COMPRESSIONS))),
    ("delivery.timeout.ms", Producer, Ours("producer.send-timeout", Millis)),
    ("max.block.ms", Producer, Idle("`delivery.timeout.ms` bounds a send as a whole")),
    ("max.in.flight.requests.per.connection", Producer, Passed("max.in.flight.requests.per.connection")),
    ("max.request.size", Producer, Passed("message.max.bytes")),
    ("retries", Producer, Passed("retries")),
    ("buffer.memory", Producer, Refused("the window bounds what is in flight; leave it out")),
    (
        "partitioner.class",
        Producer,
        Refused("the partition is chosen as Java's default does, or by `partition-key-expression`"),
    ),
    ("partitioner.ignore.keys", Producer, Only(&["false"], "the partition is chosen by the key")),
    ("transactional.id", Producer, Refused("say `spring.cloud.stream.kafka.binder.transaction.transaction-id-prefix`")),
    ("transaction.timeout.ms", Both, Passed("transaction.timeout.ms")),
    ("key.serializer", Producer, Bytes(KEYS, "a key is text or bytes")),
    (
        "value.serializer",
        Producer,
        Bytes(VALUES, "payloads are encoded by their content type; say the type by `content-type`"),
    ),
];
