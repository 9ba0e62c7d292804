//! What is refused, with its place and what was meant.

use super::*;

/// A binding of the input `orders` with something in it, and what is told about it.
fn in_orders(text: &str) -> String {
    refused(yaml(&format!("stream:\n  bindings:\n    orders: {{ {text} }}")))
}

#[test]
fn an_unknown_key_names_its_place_and_what_was_meant() {
    let text = "stream:\n  bindings:\n    orders:\n      gruop: g\n";
    let told = "inline yaml:4: stream.bindings.orders.gruop: unknown key; did you mean `group`?";
    assert_eq!(refused(yaml(text)), told);
}

#[test]
fn unknown_keys_are_found_at_every_depth() {
    for (text, told) in [
        ("stream: { shutdwn-timeout: 1s }", "stream.shutdwn-timeout: unknown key; did you mean `shutdown-timeout`?"),
        ("stream: { binding: {} }", "stream.binding: unknown key; did you mean `bindings`?"),
        (
            "stream: { default: { consumer: { backof: {} } } }",
            "stream.default.consumer.backof: unknown key; did you mean `backoff`?",
        ),
        (
            "stream: { bindings: { orders: { consumer: { backoff: { intial: 1s } } } } }",
            "stream.bindings.orders.consumer.backoff.intial: unknown key; did you mean `initial`?",
        ),
        (
            "stream: { binders: { k: { type: kafka, default: { producer: { windw: 1 } } } } }",
            "stream.binders.k.default.producer.windw: unknown key; did you mean `window`?",
        ),
    ] {
        assert_eq!(refused(yaml(text)), format!("inline yaml:1: {told}"));
    }
}

#[test]
fn without_a_near_key_the_known_ones_are_listed() {
    let told = in_orders("topic: t");
    assert!(told.ends_with(
        "orders.topic: unknown key; known keys: destination, group, binder, content-type, provision, auto-startup, consumer, producer"
    ), "{told}");
}

#[test]
fn kebab_case_is_the_spelling() {
    for spelling in ["maxAttempts", "max_attempts", "MAX-ATTEMPTS", "MaxAttempts"] {
        let told = in_orders(&format!("consumer: {{ {spelling}: 1 }}"));
        assert!(told.ends_with(&format!("consumer.{spelling}: unknown key; did you mean `max-attempts`?")), "{told}");
    }
}

#[test]
fn a_type_of_binder_that_is_misspelt_is_an_unknown_key() {
    assert!(in_orders("consumer: { kafak: { x: 1 } }").ends_with("unknown key; did you mean `kafka`?"));
    assert!(in_orders("consumer: { nats: { x: 1 } }").contains("consumer.nats: unknown key; known keys: max-attempts"));
    assert!(in_orders("consumer: { kafka: 1 }").ends_with("expected a map of keys: the settings of a type of binder"));
}

#[test]
fn a_wrong_type_says_what_was_given_and_what_is_meant() {
    for (text, told) in [
        (
            "consumer: { max-attempts: many }",
            "consumer.max-attempts: expected a whole number from 0 to 4294967295, found `many`",
        ),
        (
            "consumer: { max-attempts: -1 }",
            "consumer.max-attempts: expected a whole number from 0 to 4294967295, found `-1`",
        ),
        (
            "consumer: { max-attempts: 1.5 }",
            "consumer.max-attempts: expected a whole number from 0 to 4294967295, found `1.5`",
        ),
        (
            "consumer: { max-attempts: '3' }",
            "consumer.max-attempts: expected a whole number from 0 to 4294967295, found the text `\"3\"`",
        ),
        ("auto-startup: yes", "auto-startup: expected `true` or `false`, found `yes`"),
        ("group: [a]", "group: expected a text, found a list"),
        ("consumer: 5", "consumer: expected a map of keys, found `5`"),
        (
            "consumer: { backoff: { multiplier: { x: 1 } } }",
            "backoff.multiplier: expected a number, found a map of keys",
        ),
    ] {
        let refused = in_orders(text);
        assert!(refused.starts_with("inline yaml:3: stream.bindings.orders.") && refused.ends_with(told), "{refused}");
    }
    let list = refused(yaml("stream: { bindings: { invoices: { producer: { required-groups: g } } } }"));
    assert!(list.ends_with("required-groups: expected a list, found `g`"), "{list}");
}

#[test]
fn a_bad_duration_shows_a_good_one() {
    for given in ["5", "soon", "-1s", "2 parsecs"] {
        let told = in_orders(&format!("consumer: {{ backoff: {{ initial: {given} }} }}"));
        assert!(told.contains(&format!("`{given}` is not a duration such as `500ms` or `2s`")), "{told}");
    }
}

#[test]
fn a_bad_name_lists_the_allowed_ones() {
    let told = in_orders("consumer: { ordering: keys }");
    assert!(
        told.ends_with("ordering: expected one of `partition`, `key`, `none`, found `keys`; did you mean `key`?"),
        "{told}"
    );
    assert!(in_orders("consumer: { retry: inPlace }").ends_with("did you mean `in-place`?"));
    assert!(in_orders("provision: perhaps").ends_with("expected one of `create`, `check`, `none`, found `perhaps`"));
}

#[test]
fn a_number_that_makes_no_sense_is_refused() {
    for (text, told) in [
        ("consumer: { max-attempts: 0 }", "max-attempts: expected at least 1, which is one attempt, found `0`"),
        ("consumer: { concurrency: 0 }", "concurrency: expected at least 1, found `0`"),
        ("consumer: { prefetch: 0 }", "prefetch: expected at least 1, found `0`"),
        ("consumer: { backoff: { multiplier: 0.5 } }", "multiplier: expected a number that is at least 1, found `0.5`"),
        (
            "consumer: { backoff: { multiplier: .nan } }",
            "multiplier: expected a number that is at least 1, found `.nan`",
        ),
        (
            "consumer: { backoff: { multiplier: .inf } }",
            "multiplier: expected a number that is at least 1, found `.inf`",
        ),
        ("consumer: { backoff: { jitter: 1.5 } }", "jitter: expected a number from 0 to 1, found `1.5`"),
        ("consumer: { key: payload }", "key: expected `header.<name>` or `payload.<field>`, found `payload`"),
        ("group: ''", "group: expected a name, or no `group` for an anonymous subscription, found the text `\"\"`"),
        ("destination: ''", "destination: expected a name, found the text `\"\"`"),
    ] {
        assert!(in_orders(text).ends_with(told), "{}", in_orders(text));
    }
    for key in ["window", "partition-count"] {
        let told = refused(yaml(&format!("stream: {{ bindings: {{ invoices: {{ producer: {{ {key}: 0 }} }} }} }}")));
        assert!(told.ends_with(&format!("producer.{key}: expected at least 1, found `0`")), "{told}");
    }
    let index = refused(yaml("stream: { instance-count: 2, instance-index: 2 }"));
    assert!(
        index.ends_with("instance-index: expected less than `instance-count` (2): instances count from 0, found `2`")
    );
    assert!(refused(yaml("stream: { instance-count: 0 }")).ends_with("instance-count: expected at least 1, found `0`"));
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    for (text, told) in [
        (
            "consumer: { prefetch: 3, concurrency: 4 }",
            "prefetch: 3 is less than `concurrency` (4): so many handlers would never run at once",
        ),
        (
            "group: g, consumer: { dead-letters: false }",
            "without dead letters `on-exhausted` must say what becomes of an exhausted message: `discard` or `stop`",
        ),
        (
            "content-type: text/plain, consumer: { key: payload.id, content-type-from: binding }",
            "orders.consumer.key: `payload.id` is looked for in JSON, but all payloads of `stream.bindings.orders` are `text/plain` (`content-type`)",
        ),
        (
            "consumer: { dead-letters: true }",
            "an anonymous subscription has no dead letters; give the binding a `group`",
        ),
    ] {
        assert!(in_orders(text).ends_with(told), "{}", in_orders(text));
    }
}

#[test]
fn what_is_wrong_in_itself_is_refused_before_channels_are_known() {
    for text in ["consumer: { prefetch: 3, concurrency: 4 }", "consumer: { max-attempts: 0 }", "gruop: g"] {
        let built = yaml(&format!("stream: {{ bindings: {{ orders: {{ {text} }} }} }}")).build();
        assert_eq!(built.unwrap_err().kind(), ErrorKind::Config, "{text}");
    }
}

#[test]
fn settings_that_only_look_contradictory_are_accepted() {
    for text in [
        "bindings: { orders: { group: g, consumer: { dead-letters: false, on-exhausted: stop } } }",
        "bindings: { orders: { consumer: { dead-letters: false } } }",
        "bindings: { orders: { consumer: { prefetch: 4, concurrency: 4 } } }",
        "bindings: { orders: { group: g, consumer: { retry: delayed, ordering: none } } }",
        "default: { consumer: { dead-letters: true } }",
        "default: { consumer: { key: payload.id, header-mode: none } }, bindings: { invoices: { content-type: text/plain } }",
        "default: { consumer: { concurrency: 4 }, producer: { window: 4 } }",
    ] {
        resolved(yaml(&format!("stream: {{ {text} }}")));
    }
}

#[test]
fn levels_are_checked_together_and_the_level_that_is_wrong_is_named() {
    let told = refused(yaml(
        "stream:\n  default: { consumer: { prefetch: 3 } }\n  bindings: { orders: { consumer: { concurrency: 4 } } }",
    ));
    assert!(told.starts_with("inline yaml:2: stream.default.consumer.prefetch: 3 is less"), "{told}");
    let told = refused(yaml(
        "stream:\n  default: { consumer: { max-attempts: 0 } }\n  bindings: { orders: {}, invoices: {} }",
    ));
    assert_eq!(told.lines().count(), 1, "{told}");
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_their_places() {
    let builder = yaml("stream:\n  bindings:\n    orders:\n      gruop: g\n      consumer: { max-attempts: x, jitter: 1 }\n  instance-count: 0\n")
        .env(variables(&[("SHUTDOWN_TIMEOUT", "soon")]))
        .set("bindings.orders.provision", "never");
    let told = refused(builder);
    let places: Vec<&str> = told.lines().map(|line| line.split(": ").next().unwrap()).collect();
    let expected = [
        "inline yaml:4",
        "inline yaml:5",
        "inline yaml:5",
        "inline yaml:6",
        "environment variable STREAM__SHUTDOWN_TIMEOUT",
        "set in code",
    ];
    assert_eq!(places, expected, "{told}");
}

#[test]
fn a_channel_that_nobody_declares_is_refused_at_start() {
    let told = refused(yaml("stream:\n  bindings:\n    order:\n      group: g\n"));
    let expected = "inline yaml:3: stream.bindings.order: no binding declares this channel; did you mean `orders`? Declared: orders, invoices";
    assert_eq!(told, expected);
}

#[test]
fn a_channel_takes_only_what_its_direction_has() {
    for (text, told) in [
        ("orders: { producer: { window: 1 } }", "orders.producer: the channel is an input, which has no `producer`"),
        ("orders: { producer: { kafka: {} } }", "orders.producer: the channel is an input, which has no `producer`"),
        (
            "invoices: { consumer: { concurrency: 1 } }",
            "invoices.consumer: the channel is an output, which has no `consumer`",
        ),
        ("invoices: { group: g }", "invoices.group: the channel is an output, which has no `group`"),
        (
            "invoices: { destination: 'a,b' }",
            "invoices.destination: an output has one destination; for more, send `.to(…)`",
        ),
        ("orders: { destination: 'a,,b' }", "orders.destination: expected names between the commas"),
    ] {
        let refused = refused(yaml(&format!("stream: {{ bindings: {{ {text} }} }}")));
        assert_eq!(refused, format!("inline yaml:1: stream.bindings.{told}"));
    }
    resolved(yaml("stream: { bindings: { orders: { producer: {} }, invoices: { consumer: , group: } } }"));
}

#[test]
fn what_belongs_to_one_channel_is_no_default() {
    for (level, key) in [("default", "group"), ("default", "destination"), ("default", "binder")] {
        let told = refused(yaml(&format!("stream: {{ {level}: {{ {key}: x }} }}")));
        assert!(
            told.starts_with(&format!("inline yaml:1: stream.default.{key}: can't be a default; set it at")),
            "{told}"
        );
    }
    let told = refused(yaml("stream: { binders: { k: { type: kafka, default: { group: x } } } }"));
    assert!(told.contains("stream.binders.k.default.group: can't be a default"), "{told}");
}

#[test]
fn channels_that_a_variable_can_not_tell_apart_are_refused() {
    let alike = refused_for(Config::builder(), &channels(&[("orders-in", Input), ("ordersIn", Input)]));
    assert_eq!(alike, "the channels `orders-in` and `ordersIn` differ only in case, `-`, `_` or `.`");
    let twice = refused_for(Config::builder(), &channels(&[("orders", Input), ("orders", Output)]));
    assert_eq!(twice, "the channel `orders` is declared twice");
}

#[test]
fn a_part_that_is_no_map_is_refused() {
    for (text, told) in [
        ("bindings: 5", "stream.bindings: expected a map of names"),
        ("bindings: { orders: 5 }", "stream.bindings.orders: expected a map of keys, found `5`"),
        ("binders: [a]", "stream.binders: expected a map of names"),
        ("binders: { k: kafka }", "stream.binders.k: expected a map of keys with `type`"),
        ("default: 5", "stream.default: expected a map of keys, found `5`"),
    ] {
        assert_eq!(refused(yaml(&format!("stream: {{ {text} }}"))), format!("inline yaml:1: {told}"));
    }
}

#[test]
fn a_path_in_code_is_checked() {
    for path in ["", "bindings..group", "bindings.orders.", "bindings.\"orders.group", "a\"b"] {
        assert!(refused(Config::builder().set(path, 1)).contains("is no path such as"), "{path}");
    }
    let told = refused(Config::builder().set("bindings.orders.gruop", "g"));
    assert_eq!(told, "set in code: stream.bindings.orders.gruop: unknown key; did you mean `group`?");
}
