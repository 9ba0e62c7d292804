//! Secrets stay secret.

use serde::{Deserialize, Deserializer, de};

use super::*;
use crate::config::Section;

const PASSWORD: &str = "hunter2hunter2";

/// Refuses every text, and repeats it.
#[derive(Debug, Default)]
struct Never;

impl<'de> Deserialize<'de> for Never {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Err(de::Error::custom(format!("`{text}` is no good")))
    }
}

/// Refuses every address, and repeats its end, as a parser of addresses may.
#[derive(Debug, Default)]
struct BadPort;

impl<'de> Deserialize<'de> for BadPort {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let end = text.rsplit(':').next().unwrap_or_default();
        Err(de::Error::custom(format!("`{end}` is no port")))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Login {
    password: u32,
    token: Never,
    uri: Never,
    url: BadPort,
    port: u32,
    ordering: crate::config::Ordering,
}

#[test]
fn no_message_repeats_a_secret() {
    let section = Section::new(
        "rabbit",
        serde_json::json!({
            "password": PASSWORD,
            "token": PASSWORD,
            "uri": format!("amqp://me:{PASSWORD}@mq"),
            "url": format!("amqp://me:{PASSWORD}@mq"),
            "port": format!("amqp://me:{PASSWORD}@mq"),
            "ordering": format!("x?password={PASSWORD}"),
        }),
    );
    let told = section.read::<Login>().unwrap_err().message().to_owned();
    assert_eq!(told.lines().count(), 6, "{told}");
    assert!(!told.contains(PASSWORD), "{told}");
    assert!(told.contains("rabbit.uri: `amqp://***@mq` is no good"), "{told}");
    assert!(told.contains("rabbit.url: the value is not accepted"), "{told}");
    assert!(told.contains("rabbit.token: the value is not accepted"), "{told}");
}

#[test]
fn nothing_prints_the_values_of_a_configuration() {
    let builder = || Config::builder().set("binders.r", serde_json::json!({ "type": "rabbit", "uri": PASSWORD }));
    let builder = || builder().env(variables(&[("BINDERS__R__PASSWORD", PASSWORD)]));
    let config = builder().build().unwrap();
    let resolved = config.resolve(&declared()).unwrap();
    for printed in [format!("{:?}", builder()), format!("{config:?}"), format!("{resolved:?}")] {
        assert!(!printed.contains(PASSWORD), "{printed}");
    }
}
