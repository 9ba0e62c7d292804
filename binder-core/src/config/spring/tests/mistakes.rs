//! What is refused, and how it is told.

use super::*;

#[test]
fn a_slip_is_told_with_its_place_and_what_was_meant() {
    for (line, told) in [
        ("spring.cloud.stream.binding.orders.group=g", "binding.orders.group: unknown key; did you mean `bindings`?"),
        ("spring.cloud.stream.bindings.orders.gruop=g", "orders.gruop: unknown key; did you mean `group`?"),
        ("spring.cloud.stream.bindings.orders.consumer.maxAttempt=1", "did you mean `max-attempts`?"),
        ("spring.cloud.stream.kafka.bindings.orders.consumer.enabledlq2=true", "did you mean `enable-dlq`?"),
        (
            "spring.cloud.stream.rabbit.bindings.orders.consumer.republishDeliveryMode=PERSISTENT",
            "did you mean `republish-delivey-mode`?",
        ),
        ("spring.kafka.boostrap-servers=x", "did you mean `bootstrap-servers`?"),
        (
            "spring.cloud.function.configuration.process.input-header-mapping-expression.key=payload",
            "is refused: headers are mapped in the handler",
        ),
        ("spring.cloud.stream.whatever=1", "unknown key; the guide lists those of `spring.cloud.stream`"),
        ("spring.cloud.stream.kafka.streams.binder.brokers=x", "Kafka Streams is not in this library"),
    ] {
        let text = refused(properties(&format!(
            "# first\nspring.cloud.stream.binders.k.type=kafka\nspring.cloud.stream.binders.mq.type=rabbit\n{line}\n"
        )));
        assert!(text.starts_with("application.properties:4: spring.") && text.contains(told), "{line}: {text}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let text = refused(yaml(
        "spring.cloud.stream:\n  default-binder: kafka\n  bindings:\n    in:\n      grop: g\n      error-handler-definition: h\n      consumer.max-attempts: ${NONE}\n",
    ));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(
        lines[0].starts_with("application.yml:5: ") && lines[1].contains("is refused: ") && lines[2].contains("NONE"),
        "{text}"
    );
}

#[test]
fn bad_values_are_told_by_the_schema_with_springs_place() {
    let text = refused(yaml(
        "spring.cloud.stream:\n  default-binder: kafka\n  bindings.in.consumer:\n    max-attempts: often\n    concurrency: 0\n",
    ));
    assert_eq!(
        text,
        "application.yml:4: stream.bindings.in.consumer.max-attempts: expected a whole number from 0 to 4294967295, found `often`\n\
         application.yml:5: stream.bindings.in.consumer.concurrency: expected at least 1, found `0`"
    );
}

#[test]
fn a_file_that_names_no_binder_is_refused() {
    let text = refused(yaml("spring.cloud.stream.bindings.output.destination: x\n"));
    assert!(text.starts_with("spring.cloud.stream.default-binder: is missing"), "{text}");
    assert!(yaml("server.port: 1\n").is_ok());
    let memory = yaml("spring.cloud.stream:\n  default-binder: memory\n  bindings.output.destination: x\n");
    has(&memory.unwrap(), &[("default-binder", "memory")]);
}

#[test]
fn broken_files_and_conditions_name_the_line() {
    assert!(refused(yaml("a: [\n")).starts_with("application.yml:2: not valid YAML"));
    let text = refused(yaml("spring.config.activate.on-profile: a & b | c\nx: y\n"));
    assert!(
        text.starts_with("application.yml:1: spring.config.activate.on-profile: `a & b | c` is no expression"),
        "{text}"
    );
    assert!(refused(yaml("spring.config.activate.on-cloud-platform: kubernetes\n")).contains("is not known here"));
}

#[test]
fn an_output_has_no_group_and_a_default_no_switch_for_one_side() {
    let config = yaml("spring.cloud.stream:\n  default-binder: kafka\n  bindings.process-out-0.group: g\n").unwrap();
    assert!(notes(&config).contains("an output has no group"));
    assert_eq!(value(&config, "bindings/process-out-0/group"), None);
    let text = refused(yaml("spring.cloud.stream:\n  default-binder: kafka\n  default.consumer.auto-startup: false\n"));
    assert!(text.contains("say it for each binding"), "{text}");
}

#[test]
fn a_name_that_spring_would_change_is_told() {
    let note = |name: &str| {
        notes(
            &properties(&format!(
                "spring.cloud.stream.default-binder=kafka\nspring.cloud.stream.bindings{name}.destination=d\n"
            ))
            .unwrap(),
        )
    };
    assert!(note(".my_orders").contains("takes the `_` out of `my_orders`"), "{}", note(".my_orders"));
    assert_eq!(note("[my_orders]"), "");
}

#[test]
fn imports_are_told() {
    let config =
        yaml("spring.config.import: 'optional:configserver:'\nspring.cloud.stream.default-binder: kafka\n").unwrap();
    assert!(notes(&config).contains("application.yml:1: spring.config.import: is not read"), "{}", notes(&config));
}
