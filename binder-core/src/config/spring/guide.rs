//! The table as a page of the guide.

use std::fmt::Write;

use super::convert::Convert;
use super::table::{Area, CLIENT, Client, Fate, Row, Side};

const HEAD: &str = include_str!("guide.md");

/// Writes the page of the guide about Spring's properties. For the project's own tools.
#[doc(hidden)]
pub fn spring_guide() -> String {
    let mut page = HEAD.to_owned();
    for area in Area::ALL {
        let _ = write!(page, "\n## {}\n\n", title(area));
        let _ = write!(
            page,
            "Below `{}.`; ours below {}.\n\n| property | becomes |\n|---|---|\n",
            area.prefix(),
            ours(area)
        );
        for row in area.rows() {
            let _ = writeln!(page, "| `{}` | {} |", row.name, cell(row));
        }
    }
    page.push_str(
        "\n## Settings of the Kafka client\n\nWhat is not in this table goes to librdkafka as it is, which refuses what it does not know. Ours are below the \
         binder, those of one side below its `default` or below the binding.\n\n| setting | of | becomes |\n|---|---|---|\n",
    );
    for (name, side, client) in CLIENT {
        let of = match side {
            Side::Both => "all",
            Side::Consumer => "inputs",
            Side::Producer => "outputs",
        };
        let _ = writeln!(page, "| `{name}` | {of} | {} |", client_cell(*client));
    }
    page
}

fn title(area: Area) -> &'static str {
    match area {
        Area::Service => "The service",
        Area::Binding => "A binding",
        Area::Consumer => "An input",
        Area::Producer => "An output",
        Area::Binder => "Binders",
        Area::KafkaBinder => "Kafka: the binder",
        Area::KafkaConsumer => "Kafka: an input",
        Area::KafkaProducer => "Kafka: an output",
        Area::RabbitBinder => "RabbitMQ: the binder",
        Area::RabbitConsumer => "RabbitMQ: an input",
        Area::RabbitProducer => "RabbitMQ: an output",
        Area::Function => "Functions",
        Area::BootKafka => "Kafka: Spring Boot",
        Area::BootRabbit => "RabbitMQ: Spring Boot",
    }
}

fn ours(area: Area) -> &'static str {
    match area {
        Area::Service | Area::Function => "`stream.`",
        Area::Binder | Area::KafkaBinder | Area::RabbitBinder | Area::BootKafka | Area::BootRabbit => {
            "`stream.binders.<binder>.`"
        }
        _ => "`stream.bindings.<binding>.`",
    }
}

fn cell(row: &Row) -> String {
    match row.fate {
        Fate::Key(key, convert) => with_words(key, convert),
        Fate::Made(made) => keys(made.to),
        Fate::Only([], why) => format!("refused: {why}"),
        Fate::Only(values, why) => format!("only {}: {why}", alternatives(values)),
        Fate::Idle(why) => format!("no effect: {why}"),
        Fate::Refused(why) => format!("refused: {why}"),
    }
}

fn client_cell(client: Client) -> String {
    match client {
        Client::Passed(name) => format!("configuration `{name}`"),
        Client::Ours(key, convert) => with_words(key, convert),
        Client::Brokers => "`brokers`".to_owned(),
        Client::Access => "`tls`, `sasl`".to_owned(),
        Client::Bytes(classes, why) => format!("only the classes {}: {why}", alternatives(classes)),
        Client::Only(values, why) => format!("only {}: {why}", alternatives(values)),
        Client::Idle(why) => format!("no effect: {why}"),
        Client::Refused(why) => format!("refused: {why}"),
    }
}

fn with_words(key: &str, convert: Convert) -> String {
    match convert.words() {
        words if words.is_empty() => format!("`{key}`"),
        words => format!("`{key}`: {words}"),
    }
}

fn alternatives(values: &[&str]) -> String {
    values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ")
}

/// Marks what is nothing but our keys.
fn keys(to: &str) -> String {
    let is_key = |part: &str| part.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '.' | '-'));
    let parts: Vec<&str> = to.split(", ").collect();
    match parts.iter().all(|part| is_key(part)) {
        true => alternatives(&parts),
        false => to.to_owned(),
    }
}
