//! Connections, and what is of one kind of broker.

use super::*;

fn kafka(text: &str) -> Result<Config> {
    properties(&format!("spring.cloud.stream.default-binder=kafka\n{text}"))
}

fn rabbit(text: &str) -> Result<Config> {
    properties(&format!("spring.cloud.stream.default-binder=rabbit\n{text}"))
}

#[test]
fn users_of_kafka_come_from_either_place() {
    let config = kafka("spring.kafka.properties.security.protocol=SASL_SSL\nspring.kafka.properties.sasl.mechanism=SCRAM-SHA-512\nspring.kafka.properties.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required username=\"u\" password=\"p\";\nspring.kafka.ssl.trust-store-type=PEM\nspring.kafka.ssl.trust-store-location=file:/ca.pem\n").unwrap();
    has(
        &config,
        &[
            ("binders/kafka/sasl/mechanism", "scram-sha-512"),
            ("binders/kafka/sasl/username", "u"),
            ("binders/kafka/sasl/password", "p"),
            ("binders/kafka/tls/ca", "/ca.pem"),
        ],
    );
    assert!(config.describe().contains("password: \"***\""), "{}", config.describe());
    let config = kafka("spring.kafka.security.protocol=SASL_PLAINTEXT\nspring.cloud.stream.kafka.binder.jaas.login-module=org.apache.kafka.common.security.plain.PlainLoginModule\nspring.cloud.stream.kafka.binder.jaas.options.username=u\nspring.cloud.stream.kafka.binder.jaas.options.password=p\n").unwrap();
    has(&config, &[("binders/kafka/sasl/mechanism", "plain"), ("binders/kafka/sasl/password", "p")]);
}

#[test]
fn what_can_not_be_secured_is_refused_without_repeating_it() {
    let sasl = "spring.kafka.security.protocol=SASL_PLAINTEXT\n";
    assert!(refused(kafka(sasl)).contains("needs a `sasl.mechanism`"));
    let told = refused(kafka(&format!("{sasl}spring.kafka.properties.sasl.mechanism=GSSAPI\n")));
    assert!(told.contains("`GSSAPI` is refused"), "{told}");
    let told = refused(kafka(&format!(
        "{sasl}spring.kafka.properties.sasl.mechanism=PLAIN\nspring.kafka.properties.sasl.jaas.config=Other required password=\"hunter2\";\n"
    )));
    assert!(told.contains("only PlainLoginModule") && !told.contains("hunter2"), "{told}");
    let told =
        refused(kafka("spring.kafka.security.protocol=SSL\nspring.kafka.ssl.trust-store-location=file:/ca.jks\n"));
    assert!(told.contains("certificates are PEM files here"), "{told}");
    let told = refused(kafka("spring.kafka.ssl.trust-store-password=hunter2\n"));
    assert!(told.contains("trust-store-type: PEM") && !told.contains("hunter2"), "{told}");
}

#[test]
fn a_bundle_of_pem_serves_both() {
    let bundle = "spring.ssl.bundle.pem.main.truststore.certificate=file:ca.pem\nspring.ssl.bundle.pem.main.keystore.certificate=own.pem\nspring.ssl.bundle.pem.main.keystore.private-key=own.key\n";
    let config = kafka(&format!("{bundle}spring.kafka.security.protocol=SSL\nspring.kafka.ssl.bundle=main\n")).unwrap();
    has(&config, &[("binders/kafka/tls/ca", "ca.pem"), ("binders/kafka/tls/key", "own.key")]);
    let config = rabbit(&format!(
        "{bundle}spring.rabbitmq.ssl.bundle=main\nspring.rabbitmq.host=mq\nspring.rabbitmq.ssl.verify-hostname=false\n"
    ))
    .unwrap();
    has(
        &config,
        &[
            ("binders/rabbit/url", "amqps://guest:guest@mq:5671/%2f"),
            ("binders/rabbit/tls/certificate", "own.pem"),
            ("binders/rabbit/tls/verify-host-name", "false"),
        ],
    );
    assert!(
        refused(rabbit("spring.rabbitmq.ssl.bundle=other\n")).contains("there is no `spring.ssl.bundle.pem[other]`")
    );
}

#[test]
fn addresses_of_rabbitmq_win_over_its_host() {
    let config = rabbit("spring.rabbitmq.addresses=amqps://joe:secret@mq1/shop, mq2:5673\nspring.rabbitmq.host=other\nspring.rabbitmq.requested-heartbeat=20\n").unwrap();
    has(
        &config,
        &[("binders/rabbit/url", "amqps://joe:secret@mq1:5671,mq2:5673/shop"), ("binders/rabbit/heartbeat", "20s")],
    );
    assert!(notes(&config).contains("spring.rabbitmq.host: has no effect: `spring.rabbitmq.addresses` wins"));
    assert!(!config.describe().contains("secret"), "{}", config.describe());
}

#[test]
fn settings_of_the_client_go_where_they_act() {
    let path = "spring.cloud.stream.kafka.binder";
    let config = kafka(&format!("{path}.configuration.session.timeout.ms=9000\n{path}.configuration[client.id]=me\n{path}.consumer-properties.fetch.max.wait.ms=100\n{path}.producer-properties.linger.ms=5\n{path}.configuration.max.request.size=2000000\n{path}.consumerProperties.auto.offset.reset=latest\nspring.cloud.stream.kafka.bindings.orders.consumer.configuration.max.poll.records=10\nspring.cloud.stream.kafka.bindings.orders.consumer.configuration.partition.assignment.strategy=org.apache.kafka.clients.consumer.CooperativeStickyAssignor\nspring.kafka.consumer.fetch-min-size=1KB\n")).unwrap();
    let consumer = "binders/kafka/default/consumer";
    has(
        &config,
        &[
            ("binders/kafka/configuration/client.id", "me"),
            (&format!("{consumer}/kafka/configuration/session.timeout.ms"), "9000"),
            (&format!("{consumer}/kafka/configuration/fetch.wait.max.ms"), "100"),
            (&format!("{consumer}/kafka/configuration/fetch.min.bytes"), "1024"),
            (&format!("{consumer}/start"), "latest"),
            ("binders/kafka/default/producer/kafka/linger", "5ms"),
            ("binders/kafka/default/producer/kafka/configuration/message.max.bytes", "2000000"),
            ("bindings/orders/consumer/kafka/assignment", "cooperative"),
        ],
    );
    assert!(
        notes(&config).contains("max.poll.records: has no effect: a handler says what it takes"),
        "{}",
        notes(&config)
    );
    for (setting, told) in [
        ("acks=1", "confirmed by all in-sync replicas"),
        ("value.serializer=io.confluent.kafka.serializers.KafkaAvroSerializer", "encoded by their content type"),
        ("interceptor.classes=x.Y", "names classes of Java"),
        ("enable.idempotence=false", "producers are idempotent"),
    ] {
        let text = refused(kafka(&format!("{path}.configuration.{setting}\n")));
        assert!(text.contains(told), "{setting}: {text}");
    }
    let told = refused(kafka("spring.cloud.stream.kafka.bindings.orders.consumer.configuration.bootstrap.servers=x\n"));
    assert!(told.contains("connections are the binder's"), "{told}");
}

#[test]
fn a_transactional_binder_reads_what_is_committed() {
    let config = kafka("spring.cloud.stream.kafka.binder.transaction.transaction-id-prefix=tx-\n").unwrap();
    has(
        &config,
        &[("binders/kafka/transactional-id-prefix", "tx-"), ("binders/kafka/default/consumer/transactional", "true")],
    );
    assert_eq!(value(&config, "binders/kafka/default/consumer/kafka/configuration"), None);
}

#[test]
fn where_the_broker_assigns_no_strategy_is_named() {
    let own = kafka("spring.cloud.stream.kafka.bindings.in.consumer.configuration.group.protocol=consumer\n").unwrap();
    has(
        &own,
        &[("bindings/in/consumer/kafka/assignment", ""), ("binders/kafka/default/consumer/kafka/assignment", "eager")],
    );
    let all = kafka("spring.kafka.consumer.properties.group.protocol=consumer\n").unwrap();
    assert_eq!(value(&all, "binders/kafka/default/consumer/kafka/assignment"), None);
    let classic = kafka("spring.kafka.consumer.properties.group.protocol=classic\n").unwrap();
    has(&classic, &[("binders/kafka/default/consumer/kafka/assignment", "eager")]);
}

#[test]
fn acknowledgements_become_commits() {
    let mode = |mode: &str| {
        kafka(&format!(
            "spring.cloud.stream.kafka.bindings.orders.consumer.ack-mode={mode}\nspring.kafka.listener.ack-count=50\nspring.kafka.listener.ack-time=2s\n"
        ))
    };
    has(&mode("record").unwrap(), &[("bindings/orders/consumer/kafka/commit-count", "1")]);
    has(
        &mode("COUNT_TIME").unwrap(),
        &[
            ("bindings/orders/consumer/kafka/commit-count", "50"),
            ("bindings/orders/consumer/kafka/commit-interval", "2s"),
        ],
    );
    assert_eq!(value(&mode("batch").unwrap(), "bindings/orders"), None);
    assert!(refused(mode("MANUAL")).contains("settle in the code"));
}

#[test]
fn names_of_dead_letters_are_springs() {
    let dlq = |name: &str| {
        kafka(&format!(
            "spring.cloud.stream.bindings.in.destination=orders\nspring.cloud.stream.bindings.in.group=billing\nspring.cloud.stream.kafka.bindings.in.consumer.enable-dlq=true\nspring.cloud.stream.kafka.bindings.in.consumer.dlq-name={name}\n"
        ))
    };
    has(&dlq("error.orders.billing").unwrap(), &[("bindings/in/consumer/dead-letters", "true")]);
    assert!(refused(dlq("orders-dlq")).contains("`error.<destination>.<group>`"));
}

#[test]
fn one_attempt_is_told_where_spring_makes_ten() {
    let one = "spring.cloud.stream.bindings.in.group=g\nspring.cloud.stream.bindings.in.consumer.max-attempts=1\n";
    assert!(notes(&kafka(one).unwrap()).contains("nine more"));
    let letters = format!("{one}spring.cloud.stream.kafka.bindings.in.consumer.enable-dlq=true\n");
    assert_eq!(notes(&kafka(&letters).unwrap()), "");
    assert_eq!(notes(&rabbit(one).unwrap()), "");
}

#[test]
fn order_on_rabbitmq_is_kept_where_spring_keeps_it() {
    let ordering = |text: &str| {
        let config = rabbit(text).unwrap();
        value(&config, "bindings/in/consumer/ordering")
            .or_else(|| value(&config, "binders/rabbit/default/consumer/ordering"))
    };
    let common = "spring.cloud.stream.bindings.in.consumer";
    let of_rabbit = "spring.cloud.stream.rabbit.bindings.in.consumer";
    for (text, expected) in [
        (String::new(), "partition"),
        (format!("{common}.concurrency=2\n"), "none"),
        (format!("{common}.concurrency=2\n{of_rabbit}.single-active-consumer=true\n"), "partition"),
        (format!("{common}.partitioned=true\nspring.cloud.stream.instance-count=2\n"), "partition"),
        ("spring.cloud.stream.instance-count=2\n".to_owned(), "none"),
        (format!("{of_rabbit}.max-priority=5\n"), "none"),
    ] {
        assert_eq!(ordering(&text).as_deref(), Some(expected), "{text}");
    }
    has(&rabbit(&format!("{common}.concurrency=3\n")).unwrap(), &[("bindings/in/consumer/prefetch", "3")]);
    has(
        &rabbit("spring.cloud.stream.default.consumer.concurrency=3\n").unwrap(),
        &[("binders/rabbit/default/consumer/prefetch", "3")],
    );
}

#[test]
fn an_error_channel_makes_an_unroutable_message_an_error() {
    let config = rabbit("spring.cloud.stream.bindings.out.producer.error-channel-enabled=true\n").unwrap();
    has(
        &config,
        &[("bindings/out/producer/unroutable", "error"), ("binders/rabbit/default/producer/unroutable", "discard")],
    );
    let config = rabbit("spring.cloud.stream.default.producer.errorChannelEnabled=true\n").unwrap();
    has(&config, &[("default/producer/unroutable", "error")]);
    assert_eq!(value(&config, "binders/rabbit/default/producer/unroutable"), None);
}

#[test]
fn embedded_headers_and_packed_bodies_are_of_one_broker_each() {
    let modes = "spring.cloud.stream.bindings.a.consumer.header-mode=embeddedHeaders\nspring.cloud.stream.bindings.b.producer.headerMode=embeddedHeaders\n";
    let modes_are = [("bindings/a/consumer/header-mode", "embedded"), ("bindings/b/producer/header-mode", "embedded")];
    has(&kafka(modes).unwrap(), &modes_are);
    let told = refused(rabbit(modes));
    assert!(told.contains("`embeddedHeaders` is refused: RabbitMQ carries headers by itself"), "{told}");
    let config = rabbit("spring.cloud.stream.rabbit.bindings.b.producer.compress=true\n").unwrap();
    has(&config, &[("bindings/b/producer/rabbit/compress", "true")]);
}

#[test]
fn a_number_is_not_another_one_without_its_sign() {
    for key in ["instance-index", "instance-count"] {
        let told = refused(rabbit(&format!("spring.cloud.stream.bindings.a.consumer.{key}=1\n")));
        assert!(told.contains("`1` is refused"), "{told}");
    }
}

#[test]
fn required_groups_have_queues_of_partitions_where_spring_makes_them() {
    let groups = "spring.cloud.stream.bindings.a.producer.required-groups=g\n";
    let count = "spring.cloud.stream.bindings.a.producer.partition-count=3\n";
    let key = "spring.cloud.stream.default.producer.partition-key-expression=headers['t']\n";
    for text in [groups.to_owned(), format!("{groups}{count}{key}")] {
        rabbit(&text).unwrap();
    }
    for text in [format!("{groups}{count}"), format!("{groups}{key}")] {
        assert!(refused(rabbit(&text)).contains("say both, or neither"));
    }
    kafka(&format!("{groups}{count}")).unwrap();
}

#[test]
fn what_is_said_for_one_side_wins_in_springs_order() {
    let config =
        kafka("spring.kafka.properties.auto.offset.reset=latest\nspring.kafka.consumer.auto-offset-reset=earliest\n")
            .unwrap();
    has(&config, &[("binders/kafka/default/consumer/start", "earliest")]);
    let two = "spring.kafka.security.protocol=SASL_PLAINTEXT\nspring.kafka.consumer.properties.sasl.mechanism=PLAIN\nspring.kafka.producer.properties.sasl.mechanism=SCRAM-SHA-256\n";
    assert!(refused(kafka(two)).contains("secured alike"));
}

#[test]
fn an_exchange_of_dead_letters_is_behind_the_prefix_of_its_own_side() {
    let producer = "spring.cloud.stream.rabbit.bindings.a.producer.";
    let is = |exchange: &str| rabbit(&format!("{producer}prefix=p.\n{producer}dead-letter-exchange={exchange}\n"));
    is("p.DLX").unwrap();
    assert!(refused(is("DLX")).contains("behind the prefix"));
    let shared = "spring.cloud.stream.rabbit.default.consumer.dead-letter-exchange=DLX\n";
    rabbit(shared).unwrap();
    let own = "spring.cloud.stream.rabbit.bindings.a.consumer.prefix=p.\n";
    assert!(refused(rabbit(&format!("{shared}{own}"))).contains("say it for each binding"));
}

#[test]
fn a_binding_takes_back_what_is_said_for_all() {
    let config = rabbit("spring.cloud.stream.default.producer.error-channel-enabled=true\nspring.cloud.stream.bindings.a.producer.error-channel-enabled=false\n").unwrap();
    has(&config, &[("bindings/a/producer/unroutable", "discard")]);
    let config = kafka("spring.kafka.listener.ack-mode=RECORD\nspring.cloud.stream.kafka.bindings.a.consumer.ack-mode=BATCH\nspring.cloud.stream.bindings.a.group=g\n").unwrap();
    has(&config, &[("binders/kafka/default/consumer/kafka/commit-count", "1")]);
    let path = ["bindings", "a", "consumer", "kafka", "commit-count"];
    assert!(root(&config).at(&path).is_some_and(|node| matches!(node.data, Data::Null)));
}

#[test]
fn an_address_ends_in_the_root_and_waits_are_not_for_ever() {
    let config =
        rabbit("spring.rabbitmq.addresses=amqp://u:p@mq:5672/\nspring.rabbitmq.connection-timeout=0\n").unwrap();
    has(&config, &[("binders/rabbit/url", "amqp://u:p@mq:5672/%2f")]);
    assert_eq!(value(&config, "binders/rabbit/connect-timeout"), None);
    assert!(notes(&config).contains("no wait is for ever here"));
}

#[test]
fn settings_of_a_topic_go_to_their_side_whatever_the_binding_is_called() {
    let config = kafka("spring.cloud.stream.kafka.bindings.producer.consumer.topic.properties.retention.ms=1\nspring.cloud.stream.kafka.default.producer.topic.properties.retention.ms=2\n").unwrap();
    let said = config.describe();
    assert!(said.contains("retention.ms"), "{said}");
    let path = ["bindings", "producer", "consumer", "kafka", "topic", "properties", "retention.ms"];
    assert_eq!(root(&config).at(&path).and_then(|node| node.as_text().map(str::to_owned)).as_deref(), Some("1"));
}
