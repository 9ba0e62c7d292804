//! Properties of Spring's RabbitMQ binder.

use super::super::rabbit::*;
use super::{Row, idle, key, made, only, refused};
use crate::config::spring::convert::Convert::{Flag, Millis, Number, OneOf, Text};

const EXCHANGES: &[(&str, &str)] = &[("topic", "topic"), ("direct", "direct"), ("fanout", "fanout")];
const OVERFLOWS: &[(&str, &str)] =
    &[("drop-head", "drop-head"), ("reject-publish", "reject-publish"), ("reject-publish-dlx", "reject-publish-dlx")];
const DECLARED: &str = "exchanges, queues and what ties them are declared together; say `provision: check` in a stream.yaml beside this file";
const NAMES: &str =
    "names are `<destination>.<group>`, `<destination>.<group>.dlq` and `DLX`, which are Spring's defaults";
const ARGUMENTS: &str = "queues are bound without arguments";
const DLQ: &str = "the queue of dead letters has no settings but `dlq-quorum`";
const DELAY: &str = "a message waits on the broker by `retry: delayed` in a stream.yaml beside this file; a dead letter goes back when it is told to";
const STREAM: &str = "Spring reads streams by a protocol of their own, which is not in this library";
const TRANSACTED: &str = "publisher confirms say that a message is safe; there are no transactions of AMQP";
const HEADERS: &str = "all headers travel; leave headers out in the handler";
const SEND: &str = "a send returns when the broker has confirmed the message, or fails";
const BATCHES: &str = "a batch handler takes what is there";
const MANAGEMENT: &str = "the broker's management is not asked";
const MANUAL: &str = "settle in the code: pull the channel, and settle each delivery";

pub(super) const BINDER: &[Row] = &[
    idle("admin-addresses", MANAGEMENT),
    idle("nodes", MANAGEMENT),
    idle("compression-level", "gzip is written by its fastest level, which is Spring's default"),
    key("connection-name-prefix", "connection-name", Text),
];

pub(super) const CONSUMER: &[Row] = &[
    only("acknowledge-mode", &["auto"], MANUAL),
    only("transacted", &["false"], TRANSACTED),
    made("max-concurrency", "nothing, if it is not above `concurrency`; an input does not grow", "1", max_concurrency),
    made("prefetch", "consumer.prefetch, for each of `concurrency`", "10", prefetch),
    idle("batch-size", "what is settled is acknowledged together, a quarter of `prefetch` at a time"),
    idle("enable-batching", BATCHES),
    idle("receive-timeout", BATCHES),
    only(
        "durable-subscription",
        &["true"],
        "a group's queue is durable; an input without a `group` has one that ends with it",
    ),
    only(
        "republish-to-dlq",
        &["true"],
        "dead letters are always published by the service, with the reason in their headers",
    ),
    only("republish-delivey-mode", &["PERSISTENT"], "dead letters are persistent"),
    only(
        "requeue-rejected",
        &["false"],
        "a message that is rejected goes to the dead letters; requeued it would come again for ever",
    ),
    only("header-patterns", &["*"], HEADERS),
    idle("recovery-interval", "all inputs of a binder share a connection, which is opened again by itself"),
    only("exclusive", &["false"], "use `single-active-consumer`, which lets another take over"),
    only("missing-queues-fatal", &["false"], "a queue that has gone is declared again"),
    idle("queue-declaration-retries", "what can't be declared is tried again by itself"),
    idle("failed-declaration-retry-interval", "what can't be declared is tried again by itself"),
    idle("consumer-tag-prefix", "tags of consumers are the broker's"),
    idle("frame-max-headroom", "the reason of a dead letter is cut to what fits"),
    only("container-type", &["simple", "direct"], STREAM),
    only("anonymous-group-prefix", &["anonymous."], "queues without a group are `<destination>.anonymous.<random>`"),
    only("super-stream", &["false"], STREAM),
    only("consumer-priority", &["-1"], "consumers of a queue are served alike"),
    only("queue-max-priority", &["-1"], "say `max-priority`"),
    key("binding-routing-key", "consumer.rabbit.binding-routing-key", Text),
    made("auto-bind-dlq", "consumer.dead-letters", "true", auto_bind_dlq),
];

pub(super) const PRODUCER: &[Row] = &[
    key(
        "delivery-mode",
        "producer.rabbit.delivery-mode",
        OneOf(&[("PERSISTENT", "persistent"), ("NON_PERSISTENT", "non-persistent")]),
    ),
    only("transacted", &["false"], TRANSACTED),
    only("header-patterns", &["*"], HEADERS),
    key("compress", "producer.rabbit.compress", Flag),
    only("batching-enabled", &["false"], "each message is one of AMQP; many at once go through the window"),
    idle("batch-size", "nothing is batched (`batching-enabled` is refused)"),
    idle("batch-buffer-limit", "nothing is batched (`batching-enabled` is refused)"),
    idle("batch-timeout", "nothing is batched (`batching-enabled` is refused)"),
    refused("batching-strategy-bean-name", "names a bean of Java; nothing is batched"),
    refused(
        "routing-key",
        "a message is published with its destination as the routing key, `<destination>-<partition>` if it has a partition",
    ),
    refused(
        "routing-key-expression",
        "a message is published with its destination as the routing key, `<destination>-<partition>` if it has a partition",
    ),
    refused("delay-expression", "there is no exchange that delays; see `retry: delayed`"),
    refused("confirm-ack-channel", SEND),
    only("use-confirm-header", &["false"], SEND),
    only("producer-type", &["amqp"], STREAM),
    refused("stream-message-converter-bean-name", STREAM),
    only("super-stream", &["false"], STREAM),
    refused(
        "alternate-exchange.*",
        "a message that no queue takes fails its send (`error-channel-enabled: true`), or is dropped; give the exchange another by a policy",
    ),
    only(
        "binding-routing-key",
        &["#"],
        "queues of `required-groups` are bound with `#`, those of partitions with their own key",
    ),
    key("auto-bind-dlq", "producer.rabbit.dead-letters", Flag),
];

macro_rules! queue {
    ($name:ident, $side:literal) => {
        /// What is said of queues on this side.
        pub(super) const $name: &[Row] = &[
            key("exchange-type", concat!($side, ".rabbit.exchange-type"), OneOf(EXCHANGES)),
            only("declare-exchange", &["true"], DECLARED),
            only("exchange-durable", &["true"], "exchanges are durable"),
            only("exchange-auto-delete", &["false"], "an exchange stays when its last queue has gone"),
            only("delayed-exchange", &["false"], DELAY),
            only("queue-name-group-only", &["false"], NAMES),
            only("bind-queue", &["true"], DECLARED),
            refused("binding-routing-key-delimiter", "a queue is bound with one key"),
            refused("queue-binding-arguments.*", ARGUMENTS),
            refused("dlq-binding-arguments.*", ARGUMENTS),
            key("ttl", concat!($side, ".rabbit.ttl"), Millis),
            refused("dlq-ttl", DLQ),
            key("expires", concat!($side, ".rabbit.expires"), Millis),
            refused("dlq-expires", DLQ),
            key("max-length", concat!($side, ".rabbit.max-length"), Number),
            refused("dlq-max-length", DLQ),
            key("max-length-bytes", concat!($side, ".rabbit.max-length-bytes"), Number),
            refused("dlq-max-length-bytes", DLQ),
            key("max-priority", concat!($side, ".rabbit.max-priority"), Number),
            refused("dlq-max-priority", DLQ),
            key("overflow-behavior", concat!($side, ".rabbit.overflow-behavior"), OneOf(OVERFLOWS)),
            refused("dlq-overflow-behavior", DLQ),
            key("lazy", concat!($side, ".rabbit.lazy"), Flag),
            only("dlq-lazy", &["false"], DLQ),
            key("quorum.enabled", concat!($side, ".rabbit.quorum.enabled"), Flag),
            key("quorum.initial-group-size", concat!($side, ".rabbit.quorum.initial-group-size"), Number),
            key("quorum.delivery-limit", concat!($side, ".rabbit.quorum.delivery-limit"), Number),
            key("dlq-quorum.enabled", concat!($side, ".rabbit.dlq-quorum.enabled"), Flag),
            key("dlq-quorum.initial-group-size", concat!($side, ".rabbit.dlq-quorum.initial-group-size"), Number),
            refused(
                "dlq-quorum.delivery-limit",
                "who lists dead letters takes them and gives them back, so that with a limit they would be lost",
            ),
            key("single-active-consumer", concat!($side, ".rabbit.single-active-consumer"), Flag),
            only("dlq-single-active-consumer", &["false"], DLQ),
            refused("dead-letter-queue-name", NAMES),
            made(
                "dead-letter-exchange",
                "nothing, if it is `DLX` behind the prefix; another name is refused",
                "DLX",
                dead_letter_exchange,
            ),
            only("dead-letter-exchange-type", &["direct"], "the exchange of dead letters is direct"),
            only("declare-dlx", &["true"], DECLARED),
            refused("dead-letter-routing-key", NAMES),
            refused("dlq-dead-letter-exchange", DELAY),
            refused("dlq-dead-letter-routing-key", DELAY),
            key("prefix", concat!($side, ".rabbit.prefix"), Text),
            refused("stream-stream-message-converter-bean-name", STREAM),
        ];
    };
}

queue!(CONSUMER_QUEUE, "consumer");
queue!(PRODUCER_QUEUE, "producer");
