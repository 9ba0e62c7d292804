//! Names on the broker, as Spring Cloud Stream chooses them, and what a name must not be.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use binder_core::{Error, ErrorKind, Result};

const LONGEST: usize = 255;

/// The queue of a group.
pub(crate) fn queue(prefix: &str, destination: &str, group: &str) -> String {
    format!("{prefix}{destination}.{group}")
}

/// A queue that nobody else has: 22 random characters.
pub(crate) fn anonymous_queue(prefix: &str, destination: &str) -> String {
    let random = URL_SAFE_NO_PAD.encode(uuid::Uuid::new_v4().as_bytes());
    format!("{prefix}{destination}.anonymous.{random}")
}

/// The queue, or the routing key, of a partition.
pub(crate) fn partition(base: &str, partition: u32) -> String {
    format!("{base}-{partition}")
}

/// The queue of dead letters.
pub(crate) fn dead_letter_queue(queue: &str) -> String {
    format!("{queue}.dlq")
}

/// The exchange of dead letters.
pub(crate) fn dead_letter_exchange(prefix: &str) -> String {
    format!("{prefix}DLX")
}

/// Refuses a name that the broker refuses or changes, and says which characters are wrong.
pub(crate) fn check(what: &str, name: &str) -> Result<()> {
    let refuse = |why: String| Err(Error::new(ErrorKind::Config, why));
    if name.is_empty() {
        return refuse(format!("the {what} has an empty name"));
    }
    let mut wrong: Vec<String> = Vec::new();
    for character in name.chars().filter(|character| character.is_control()) {
        let code = format!("U+{:04X}", u32::from(character));
        if !wrong.contains(&code) {
            wrong.push(code);
        }
    }
    if !wrong.is_empty() {
        let wrong = wrong.join(", ");
        return refuse(format!("the {what} `{}` contains control characters: {wrong}", name.escape_debug()));
    }
    if name.starts_with("amq.") {
        return refuse(format!("the {what} `{name}` starts with `amq.`, which is reserved for the broker"));
    }
    if name.len() > LONGEST {
        return refuse(format!("the {what} `{name}` has {} bytes, the broker takes {LONGEST}", name.len()));
    }
    Ok(())
}

/// Refuses a routing key that does not fit into the protocol.
pub(crate) fn check_key(key: &str) -> Result<()> {
    if key.len() > LONGEST {
        let text = format!("the routing key `{key}` has {} bytes, the protocol takes {LONGEST}", key.len());
        return Err(Error::new(ErrorKind::Config, text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_spring_cloud_stream() {
        assert_eq!(queue("", "orders", "billing"), "orders.billing");
        assert_eq!(partition(&queue("t-", "orders", "billing"), 3), "t-orders.billing-3");
        assert_eq!(dead_letter_queue("orders.billing"), "orders.billing.dlq");
        assert_eq!(dead_letter_exchange("t-"), "t-DLX");
        let anonymous = anonymous_queue("", "orders");
        let random = anonymous.strip_prefix("orders.anonymous.").expect("prefix");
        assert_eq!(random.len(), 22);
        assert_ne!(anonymous, anonymous_queue("", "orders"));
    }

    #[test]
    fn forbidden_names_are_refused_with_the_characters() {
        let message = |name: &str| check("exchange", name).expect_err("forbidden").to_string();
        assert!(message("a\nb\tc\nd").contains("U+000A, U+0009"), "{}", message("a\nb\tc\nd"));
        assert!(message("amq.topic").contains("`amq.`"));
        assert!(message("").contains("empty"));
        assert!(message(&"ž".repeat(128)).contains("256 bytes"));
        assert!(check("exchange", "Objednávky/2024 #1").is_ok());
        assert!(check("exchange", &"x".repeat(255)).is_ok());
    }
}
