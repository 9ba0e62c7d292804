//! Each row of the table is what it says.

use std::collections::BTreeSet;

use super::super::names::uniform;
use super::super::table::{Area, CLIENT, Fate, Row};
use super::*;

/// The whole name of a row's property.
fn name(area: Area, row: &Row) -> String {
    let own = match row.name {
        "jaas.options.*" => "jaas.options.username".to_owned(),
        "topic.properties.*" => "topic.properties.retention.ms".to_owned(),
        "configuration.*" if area == Area::Function => "configuration.process.copy-input-headers".to_owned(),
        "configuration.*" | "consumer-properties.*" | "properties.*" | "consumer.properties.*"
            if area != Area::KafkaProducer =>
        {
            row.name.replace('*', "session.timeout.ms")
        }
        "configuration.*" | "producer-properties.*" | "producer.properties.*" => row.name.replace('*', "linger.ms"),
        other => other.replace('*', "some"),
    };
    let prefix = area.prefix().replace("<binding>", "in").replace("<binder>", "main");
    format!("{prefix}.{own}")
}

fn file(area: Area, row: &Row, value: &str) -> Result<Config> {
    let context = match area {
        Area::RabbitBinder | Area::RabbitConsumer | Area::RabbitProducer | Area::BootRabbit => "default-binder=rabbit",
        Area::Binder => "binders.main.environment.spring.kafka.client-id=x",
        _ => "default-binder=kafka",
    };
    let destination =
        "spring.cloud.stream.bindings.in.destination=orders\nspring.cloud.stream.bindings.in.group=billing";
    let type_of =
        if area == Area::Binder && row.name != "type" { "spring.cloud.stream.binders.main.type=kafka\n" } else { "" };
    let service = if row.name == "default-binder" { "spring.cloud.stream.binders.some.type=kafka\n" } else { "" };
    let context = if row.name == "default-binder" { "instance-count=1" } else { context };
    let count = if row.name == "instance-index" { "spring.cloud.stream.instance-count=9\n" } else { "" };
    let bundle = "spring.ssl.bundle.pem.main.truststore.certificate=ca.pem";
    let own = if ["destination", "group"].contains(&row.name) && area == Area::Binding { "" } else { destination };
    // The last of two lines with one name wins.
    properties(&format!(
        "spring.cloud.stream.{context}\n{service}{type_of}{count}{own}\n{bundle}\n{}={value}\n",
        name(area, row)
    ))
}

fn told_of(config: &Config, area: Area, row: &Row) -> bool {
    notes(config).contains(&format!("{}: has no effect: ", name(area, row)))
}

fn rows() -> impl Iterator<Item = (Area, &'static Row)> {
    Area::ALL.into_iter().flat_map(|area| area.rows().map(move |row| (area, row)))
}

#[test]
fn names_are_in_kebab_case_and_each_once() {
    for area in Area::ALL {
        let mut seen = BTreeSet::new();
        for row in area.rows() {
            assert!(seen.insert(uniform(row.name)), "{area:?} {}", row.name);
            let is_kebab = |c: char| c.is_ascii_lowercase() || matches!(c, '-' | '.' | '*');
            assert!(row.name.chars().all(is_kebab), "{}", row.name);
        }
        assert!(seen.len() > 3, "{area:?}");
    }
    let names: BTreeSet<&str> = CLIENT.iter().map(|(name, _, _)| *name).collect();
    assert_eq!(names.len(), CLIENT.len());
}

#[test]
fn reasons_are_given_and_read_as_parts_of_a_sentence() {
    for (area, row) in rows() {
        if let Fate::Only(_, why) | Fate::Idle(why) | Fate::Refused(why) = row.fate {
            assert!(why.len() > 15 && !why.ends_with('.'), "{area:?} {}: {why}", row.name);
        }
    }
}

#[test]
fn what_becomes_a_key_is_accepted_by_the_schema() {
    for (area, row) in rows() {
        let Fate::Key(key, convert) = row.fate else { continue };
        let sample = match row.name {
            "partitioned" => "false",
            _ => convert.sample(),
        };
        let config = file(area, row, sample).unwrap_or_else(|error| panic!("{area:?} {}: {error}", row.name));
        let base = match area {
            Area::Service => String::new(),
            Area::KafkaBinder | Area::BootKafka => "binders/kafka/".to_owned(),
            Area::RabbitBinder | Area::BootRabbit => "binders/rabbit/".to_owned(),
            _ => "bindings/in/".to_owned(),
        };
        let path = format!("{base}{}", key.replace('.', "/"));
        assert!(value(&config, &path).is_some(), "{area:?} {}: {path}\n{}", row.name, config.describe());
        assert!(!told_of(&config, area, row), "{area:?} {}", row.name);
    }
}

#[test]
fn what_is_made_by_a_function_is_accepted() {
    for (area, row) in rows() {
        let Fate::Made(made) = row.fate else { continue };
        let sample = if row.name == "ssl.bundle" { "main" } else { made.sample };
        if let Err(error) = file(area, row, sample) {
            panic!("{area:?} {}: {error}", row.name);
        }
    }
}

#[test]
fn only_what_is_possible_is_accepted() {
    for (area, row) in rows() {
        let Fate::Only(values, why) = row.fate else { continue };
        for value in values.iter().chain([&""]) {
            let config = file(area, row, value).unwrap_or_else(|error| panic!("{area:?} {}: {error}", row.name));
            assert!(!told_of(&config, area, row), "{area:?} {}", row.name);
        }
        let text = refused(file(area, row, "elsewise"));
        assert!(
            text.contains(&format!("{}: `elsewise` is refused: {why}", name(area, row))),
            "{area:?} {}: {text}",
            row.name
        );
    }
}

#[test]
fn what_has_no_effect_is_accepted_and_told_once() {
    for (area, row) in rows() {
        let Fate::Idle(why) = row.fate else { continue };
        let config = file(area, row, "1").unwrap_or_else(|error| panic!("{area:?} {}: {error}", row.name));
        let text = format!("{}: has no effect: {why}\n", name(area, row));
        assert_eq!(notes(&config).matches(&text).count(), 1, "{area:?} {}: {}", row.name, notes(&config));
    }
}

#[test]
fn what_is_refused_is_an_error_that_says_why() {
    for (area, row) in rows() {
        let Fate::Refused(why) = row.fate else { continue };
        let text = refused(file(area, row, "1"));
        assert!(text.contains(&format!("{}: is refused: {why}", name(area, row))), "{area:?} {}: {text}", row.name);
    }
}
