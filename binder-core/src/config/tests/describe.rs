//! The description of the resolved configuration.

use super::*;

const TEXT: &str = "stream:
  default: { consumer: { backoff: { jitter: 0 } } }
  binders:
    my rabbit: { type: rabbit, uri: 'amqp://me:hunter2@mq', password: hunter2, tls: { verify: true, empty: {} } }
  bindings:
    orders:
      group: '42'
      consumer: { rabbit: { max-length: 5, tags: ['a b', c, 'true'] } }
    invoices: { producer: { required-groups: [g] } }
";

fn text() -> String {
    resolved(yaml(TEXT).env(variables(&[("BINDINGS__ORDERS__DESTINATION", "o")]))).describe()
}

#[test]
fn every_property_of_a_binding_is_shown_with_its_origin() {
    let expected = "    orders:
      destination: o # environment variable STREAM__BINDINGS__ORDERS__DESTINATION
      group: \"42\" # inline yaml:7
      binder: \"my rabbit\"
      content-type: application/json
      provision: create
      auto-startup: true
      consumer:
        max-attempts: 3
        backoff:
          initial: 1s
          multiplier: 2.0
          max: 10s
          jitter: 0.0 # inline yaml:2
        handler-timeout: 5m
        permanent-errors: []
        retryable-errors: []
        breaker:
          failure-rate: 0.0
          calls: 20
          open: 10s
        retry: in-place
        ordering: partition
        concurrency: 1
        prefetch: null
        dead-letters: null
        on-exhausted: null
        start: null
        header-mode: headers
        content-type-from: header
        key: null
        partitioned: false
        transactional: false
        rabbit:
          max-length: 5 # inline yaml:8
          tags: [\"a b\", c, \"true\"] # inline yaml:8
";
    assert!(text().contains(expected), "{}", text());
}

#[test]
fn an_output_has_neither_group_nor_consumer() {
    let text = text();
    let invoices = text.split("    invoices:\n").nth(1).unwrap().split("    orders:\n").next().unwrap();
    assert!(!invoices.contains("group:") && !invoices.contains("consumer:"), "{invoices}");
    assert!(invoices.contains("        required-groups: [g] # inline yaml:9\n"), "{invoices}");
}

#[test]
fn secrets_are_masked() {
    let text = text();
    assert!(!text.contains("hunter2"), "{text}");
    assert!(text.contains("      uri: \"amqp://***@mq\" # inline yaml:4\n"), "{text}");
    assert!(text.contains("      password: \"***\" # inline yaml:4\n"), "{text}");
}

#[test]
fn the_description_is_itself_the_same_configuration() {
    let described = text();
    let again = resolved(yaml(&described));
    let without_origins = |text: String| -> Vec<String> {
        text.lines().map(|line| line.split(" # ").next().unwrap().to_owned()).collect()
    };
    assert_eq!(without_origins(again.describe()), without_origins(described));
}
