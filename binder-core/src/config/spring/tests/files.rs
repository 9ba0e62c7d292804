//! Files, documents, profiles, placeholders, spellings.

use proptest::prelude::*;

use super::*;

const BASE: &str = "spring.cloud.stream.default-binder: kafka\n";

fn group(config: &Config) -> Option<String> {
    value(config, "bindings/orders/group")
}

fn of(group: &str) -> String {
    format!("{BASE}spring.cloud.stream.bindings.orders.group: {group}\n")
}

#[test]
fn a_file_is_yaml_or_properties() {
    let texts = [
        (
            "application.yml",
            "spring: { cloud: { stream: { default-binder: kafka, bindings: { orders: { group: g } } } } }",
        ),
        ("application.yaml", "spring.cloud.stream:\n  defaultBinder: kafka\n  bindings.orders.group: g\n"),
        (
            "application.properties",
            "spring.cloud.stream.defaultBinder = kafka\nspring.cloud.stream.bindings.orders.group=\\\n  g \n",
        ),
    ];
    for (name, text) in texts {
        assert_eq!(group(&build(&[(name, text)], &[]).unwrap()).as_deref(), Some("g"), "{name}");
    }
    assert!(refused(build(&[("application.toml", "")], &[])).contains("ends in .yml, .yaml or .properties"));
    let missing = builder(&directory(&[]), "application.yml").build();
    assert!(refused(missing).starts_with("application.yml: can't be read"));
}

#[test]
fn later_documents_win_where_their_profile_is_active() {
    let text = format!(
        "{}---\nspring.config.activate.on-profile: prod\nspring.cloud.stream.bindings.orders.group: p\n",
        of("g")
    );
    let files = [("application.yml", text.as_str())];
    assert_eq!(group(&build(&files, &[]).unwrap()).as_deref(), Some("g"));
    assert_eq!(group(&build(&files, &[("SPRING_PROFILES_ACTIVE", "prod")]).unwrap()).as_deref(), Some("p"));
    let asked = builder(&directory(&files), "application.yml").profile("prod").build().unwrap();
    assert_eq!(group(&asked).as_deref(), Some("p"));
    let text = "spring.cloud.stream.default-binder=kafka\nspring.cloud.stream.bindings.orders.group=g\n#---\nspring.config.activate.on-profile=!prod\nspring.cloud.stream.bindings.orders.group=n\n";
    assert_eq!(group(&properties(text).unwrap()).as_deref(), Some("n"));
}

#[test]
fn files_of_active_profiles_win_and_the_last_profile_most() {
    let main = format!("{}spring.profiles.active: a,b\n", of("g"));
    let files = [
        ("application.yml", main.as_str()),
        ("application-a.yml", "spring.cloud.stream.bindings.orders: { group: a, destination: d }\n"),
        ("application-b.properties", "spring.cloud.stream.bindings.orders.group=b\n"),
        ("application-c.yml", "spring.cloud.stream.bindings.orders.group: c\n"),
    ];
    let config = build(&files, &[]).unwrap();
    has(&config, &[("bindings/orders/group", "b"), ("bindings/orders/destination", "d")]);
    assert_eq!(group(&build(&files, &[("SPRING_PROFILES_ACTIVE", "c")]).unwrap()).as_deref(), Some("c"));
    let unknown = build(&files, &[("SPRING_PROFILES_ACTIVE", "a,missing")]).unwrap();
    assert!(notes(&unknown).contains("the profile `missing` has neither a document nor a file"), "{}", notes(&unknown));
}

#[test]
fn groups_of_profiles_come_after_their_profile() {
    let main = format!("{}spring.profiles:\n  active: prod\n  group: {{ prod: [db, mq] }}\n", of("g"));
    let files = [
        ("application.yml", main.as_str()),
        ("application-prod.yml", "spring.cloud.stream.bindings.orders.group: prod\n"),
        ("application-mq.yml", "spring.cloud.stream.bindings.orders.group: mq\n"),
    ];
    assert_eq!(group(&build(&files, &[]).unwrap()).as_deref(), Some("mq"));
}

#[test]
fn a_later_list_replaces_an_earlier_one() {
    let text = "spring.cloud.stream.default-binder=rabbit\nspring.cloud.stream.bindings.out.producer.required-groups[0]=a\nspring.cloud.stream.bindings.out.producer.required-groups[1]=b\n#---\nspring.cloud.stream.bindings.out.producer.requiredGroups[0]=c\n";
    has(&properties(text).unwrap(), &[("bindings/out/producer/required-groups", "c")]);
    let gap = "spring.cloud.stream.bindings.out.producer.required-groups[1]=b\n";
    assert!(refused(properties(gap)).contains("the list has no [0]"));
}

#[test]
fn placeholders_are_variables_or_properties() {
    let text = format!("{}app: {{ team: billing, group: \"${{app.team}}-${{ENV:dev}}\" }}\n", of("${app.group}"));
    let files = [("application.yml", text.as_str())];
    assert_eq!(group(&build(&files, &[]).unwrap()).as_deref(), Some("billing-dev"));
    assert_eq!(group(&build(&files, &[("ENV", "prod"), ("APP_TEAM", "shop")]).unwrap()).as_deref(), Some("shop-prod"));
    let told = refused(yaml(&of("${NONE}")));
    assert!(
        told.starts_with("application.yml:2: spring.cloud.stream.bindings.orders.group: nothing is called `NONE`"),
        "{told}"
    );
    let elsewhere = yaml(&format!("{}server.port: ${{PORT}}\n", of("g"))).unwrap();
    assert_eq!(group(&elsewhere).as_deref(), Some("g"), "what is not ours is left alone");
}

#[test]
fn variables_win_by_springs_rule() {
    let text = format!("{}spring.cloud.stream.kafka.binder.configuration.client.id: me\n", of("g"));
    let files = [("application.yml", text.as_str())];
    let variables = [
        ("SPRING_CLOUD_STREAM_BINDINGS_ORDERS_GROUP", "v"),
        ("SPRING_CLOUD_STREAM_BINDINGS_ORDERS_CONSUMER_MAXATTEMPTS", "7"),
        ("SPRING_CLOUD_STREAM_KAFKA_BINDINGS_ORDERS_CONSUMER_ENABLE_DLQ", "${DLQ:true}"),
        ("SPRING_CLOUD_STREAM_KAFKA_BINDER_CONFIGURATION_CLIENT_ID", "you"),
        ("SPRING_KAFKA_BOOTSTRAP_SERVERS", "a,b"),
        ("SPRING_KAFKA_PROPERTIES_SESSION_TIMEOUT_MS", "9000"),
        ("SPRING_KAFKA_OTHER", "left alone"),
        ("STREAM__BINDINGS__ORDERS__DESTINATION", "ours"),
    ];
    let config = build(&files, &variables).unwrap();
    has(
        &config,
        &[
            ("bindings/orders/group", "v"),
            ("bindings/orders/destination", "ours"),
            ("bindings/orders/consumer/max-attempts", "7"),
            ("bindings/orders/consumer/dead-letters", "true"),
            ("binders/kafka/configuration/client.id", "you"),
            ("binders/kafka/brokers", "a:9092 b:9092"),
            ("binders/kafka/default/consumer/kafka/configuration/session.timeout.ms", "9000"),
        ],
    );
    let told = refused(build(&files, &[("SPRING_CLOUD_STREAM_BINDINGS_OTHER_GROUP", "v")]));
    assert!(
        told.starts_with("environment variable SPRING_CLOUD_STREAM_BINDINGS_OTHER_GROUP: names no property"),
        "{told}"
    );
    let told = refused(build(&files, &[("SPRING_CLOUD_STREAM_BINDINGS_ORDERS_CONSUMER_CONCURRENCY", "x")]));
    assert!(
        told.starts_with("environment variable SPRING_CLOUD_STREAM_BINDINGS_ORDERS_CONSUMER_CONCURRENCY: stream."),
        "{told}"
    );
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let text = format!(
        "{}server: {{ port: 8080 }}\nlogging.level.org.springframework: debug\nmanagement: {{ 1: [{{ a: b }}] }}\nspring: {{ datasource: {{ url: x }}, application: {{ name: y }} }}\n",
        of("g")
    );
    let config = yaml(&text).unwrap();
    assert_eq!(notes(&config), "");
    assert_eq!(group(&config).as_deref(), Some("g"));
}

#[test]
fn the_books_files_are_accepted_with_their_blanks() {
    let text = "spring.cloud.stream.bindings.inboundOrgChanges.destination= orgChangeTopic \nspring.cloud.stream.bindings.inboundOrgChanges.content-type= application/json\nspring.cloud.stream.bindings.inboundOrgChanges.group= licensingGroup\nspring.cloud.stream.kafka.binder.zkNodes= kafka\nspring.cloud.stream.kafka.binder.brokers= kafka\nredis.server = redis\n";
    let config = properties(text).unwrap();
    has(
        &config,
        &[
            ("bindings/inboundOrgChanges/destination", "orgChangeTopic"),
            ("bindings/inboundOrgChanges/group", "licensingGroup"),
            ("binders/kafka/brokers", "kafka:9092"),
        ],
    );
    assert!(notes(&config).contains("kafka.binder.zkNodes: has no effect"), "{}", notes(&config));
}

/// Words of a name, and how it is spelt.
fn spelt(name: &str, how: u8) -> String {
    let words: Vec<&str> = name.split('-').collect();
    match how {
        0 => name.to_owned(),
        1 => words.concat(),
        2 => words.join("_"),
        3 => words.join("_").to_uppercase(),
        _ => words.iter().enumerate().fold(String::new(), |name, (index, word)| match index {
            0 => (*word).to_owned(),
            _ => format!("{name}{}{}", word[..1].to_uppercase(), &word[1..]),
        }),
    }
}

proptest! {
    #[test]
    fn spellings_of_a_property_agree(how in prop::collection::vec(0u8..5, 4)) {
        let text = format!(
            "spring.cloud.stream.{}=kafka\nspring.cloud.stream.bindings.orders.group=g\nspring.cloud.stream.bindings.orders.consumer.{}=7\nspring.cloud.stream.kafka.bindings.orders.consumer.{}=true\nspring.cloud.stream.kafka.binder.{}=5\n",
            spelt("default-binder", how[0]), spelt("max-attempts", how[1]), spelt("enable-dlq", how[2]), spelt("min-partition-count", how[3]),
        );
        let config = properties(&text).unwrap();
        prop_assert_eq!(value(&config, "bindings/orders/consumer/max-attempts"), Some("7".to_owned()));
        prop_assert_eq!(value(&config, "bindings/orders/consumer/dead-letters"), Some("true".to_owned()));
        prop_assert_eq!(value(&config, "binders/kafka/min-partition-count"), Some("5".to_owned()));
    }
}

#[test]
fn lists_come_from_variables_item_by_item() {
    let file = [("application.properties", "spring.cloud.stream.default-binder=kafka\n")];
    let variables = [("SPRING_KAFKA_BOOTSTRAPSERVERS_1", "b:2"), ("SPRING_KAFKA_BOOTSTRAPSERVERS_0_", "a:1")];
    has(&build(&file, &variables).unwrap(), &[("binders/kafka/brokers", "a:1 b:2")]);
    assert!(refused(build(&file, &variables[..1])).contains("the list has no [0]"));
}

#[test]
fn groups_of_profiles_may_have_groups() {
    let files = [
        (
            "application.yml",
            "spring: { profiles: { active: prod, group: { prod: [cluster], cluster: [far, prod] } }, cloud.stream: { default-binder: kafka, bindings: { a: { destination: near } } } }",
        ),
        ("application-far.yml", "spring.cloud.stream.bindings.a.destination: far"),
        ("application-more.yml", "spring.cloud.stream.bindings.a.group: more"),
    ];
    let config = build(&files, &[("SPRING_PROFILES_INCLUDE", "more")]).unwrap();
    has(&config, &[("bindings/a/destination", "far"), ("bindings/a/group", "more")]);
}

#[test]
fn what_has_no_quotes_is_read_as_yaml_1_1() {
    let text = |value: &str| {
        format!("spring.cloud.stream: {{ default-binder: kafka, bindings: {{ a: {{ group: {value} }} }} }}")
    };
    for (written, group) in [("1.10", "1.1"), ("on", "true"), ("'1.10'", "1.10"), ("010", "8"), ("v1.10", "v1.10")] {
        has(&yaml(&text(written)).unwrap(), &[("bindings/a/group", group)]);
    }
}

#[test]
fn a_truth_value_of_a_binder_has_all_its_names() {
    let text = |value: &str| {
        format!(
            "spring: {{ rabbitmq: {{ addresses: 'mq1:5672' }}, cloud.stream.binders.second: {{ type: rabbit, inherit-environment: {value}, environment.spring.rabbitmq: {{ host: mq2 }} }} }}"
        )
    };
    has(&yaml(&text("off")).unwrap(), &[("binders/second/url", "amqp://guest:guest@mq2:5672/%2f")]);
    assert!(refused(yaml(&text("maybe"))).contains("found `maybe`"));
}
