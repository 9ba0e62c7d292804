//! Messages whose attempts are used up, published aside as Spring Cloud Stream does.
//!
//! A dead letter is the original with its body, headers and properties, except user id and expiration, and a few headers more.

use std::sync::Arc;

use async_trait::async_trait;
use binder_core::Result;
use binder_core::binder::{ATTEMPTS, DeadLetter, DeadLetterSink, Outgoing, Parcel};
use binder_core::message::ContentType;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::courier::Courier;
use crate::envelope::{self, Envelope, Properties, Route};
use crate::headers;
use crate::link::Link;
use crate::view::Original;

const EXCEPTION_MESSAGE: &str = "x-exception-message";
const EXCEPTION_STACKTRACE: &str = "x-exception-stacktrace";
pub(crate) const ORIGINAL_EXCHANGE: &str = "x-original-exchange";
pub(crate) const ORIGINAL_ROUTING_KEY: &str = "x-original-routingKey";
const RETRY_COUNT: &str = "retry-count";

const LONGEST_MESSAGE: usize = 4096;

/// Room in the frame beside the stack trace, for what the broker adds later.
const HEADROOM: usize = 20_000;

/// Headers that make a message a dead letter.
pub(crate) const FAILURE: [&str; 5] =
    [EXCEPTION_MESSAGE, EXCEPTION_STACKTRACE, ORIGINAL_EXCHANGE, ORIGINAL_ROUTING_KEY, ATTEMPTS];

/// Publishes the dead letters of one input.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    courier: Courier,
    /// For a delivery that was not detached by this binder.
    fallback: Arc<Route>,
}

impl DeadLetters {
    pub(crate) fn new(link: Arc<Link>, fallback: Arc<Route>) -> Self {
        Self { courier: Courier::new(link), fallback }
    }

    fn envelope(&self, letter: &DeadLetter<'_>) -> Result<Envelope> {
        let delivery = letter.delivery;
        let original = delivery.metadata.native.as_ref().and_then(|native| native.get::<Original>());
        let (properties, exchange, key, route) = match original {
            Some(original) => (
                carried(&original.properties),
                original.exchange.to_string(),
                original.routing_key.to_string(),
                original.dead_letters.clone(),
            ),
            None => (
                properties_of(delivery)?,
                delivery.metadata.destination.to_string(),
                delivery.metadata.routing_key.as_deref().unwrap_or_default().to_owned(),
                None,
            ),
        };
        let properties = with_id(properties);
        let room = self.courier.frame_max().saturating_sub(headers::encoded_len(&properties));
        let mut table = properties.headers().clone().unwrap_or_default();
        add_reason(&mut table, letter, exchange, key, room);
        let properties = properties.with_headers(table).with_delivery_mode(2);
        let body = match original {
            Some(original) => original.body(delivery),
            None => delivery.payload.clone().unwrap_or_default(),
        };
        let route = route.unwrap_or_else(|| Arc::clone(&self.fallback));
        Ok(Envelope { route, body, properties: Properties::Whole(Box::new(properties)) })
    }
}

/// Copies the properties that a dead letter keeps: all but two. The broker closes the channel on the user id of somebody else, and an
/// expiration would let the dead letter vanish.
pub(crate) fn carried(original: &BasicProperties) -> BasicProperties {
    let mut carried = BasicProperties::default();
    macro_rules! carry {
        ($($get:ident => $set:ident),* $(,)?) => {
            $(if let Some(value) = original.$get().clone() {
                carried = carried.$set(value);
            })*
        };
    }
    carry!(
        content_type => with_content_type, content_encoding => with_content_encoding, headers => with_headers,
        priority => with_priority, correlation_id => with_correlation_id, reply_to => with_reply_to,
        message_id => with_message_id, timestamp => with_timestamp, kind => with_type, app_id => with_app_id,
        cluster_id => with_cluster_id,
    );
    carried
}

/// A message without an id gets one: the broker's answers are told apart by it.
pub(crate) fn with_id(properties: BasicProperties) -> BasicProperties {
    if properties.message_id().is_some() { properties } else { properties.with_message_id(envelope::new_id()) }
}

pub(crate) fn properties_of(delivery: &Parcel) -> Result<BasicProperties> {
    let content_type = delivery.content_type.clone().unwrap_or(ContentType::BYTES);
    let message = Outgoing {
        payload: delivery.payload.as_deref(),
        key: delivery.key.as_deref(),
        content_type: &content_type,
        headers: &delivery.headers,
        partition: None,
    };
    envelope::properties(&message, true, 2)
}

fn add_reason(table: &mut FieldTable, letter: &DeadLetter<'_>, exchange: String, key: String, room: usize) {
    let message = cut(letter.reason.to_string(), LONGEST_MESSAGE);
    let names = 200 + exchange.len() + key.len() + message.len();
    let trace = cut(format!("{:?}", letter.reason), room.saturating_sub(HEADROOM + names));
    let mut insert = |name: &str, value: AMQPValue| {
        table.insert(ShortString::from(name), value);
    };
    let text = |text: String| AMQPValue::LongString(text.into());
    insert(ORIGINAL_EXCHANGE, text(exchange));
    insert(ORIGINAL_ROUTING_KEY, text(key));
    insert(ATTEMPTS, AMQPValue::LongLongInt(letter.attempts.into()));
    if room > names {
        insert(EXCEPTION_MESSAGE, text(message));
        insert(EXCEPTION_STACKTRACE, text(trace));
    }
    let before = table.inner().get(RETRY_COUNT).map(headers::from_amqp).and_then(|count| count.as_i64());
    let count = before.unwrap_or(0).saturating_add(1);
    table.insert(RETRY_COUNT.into(), AMQPValue::LongLongInt(count));
}

/// Shortens a text to so many bytes, between two characters.
fn cut(mut text: String, most: usize) -> String {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

#[async_trait]
impl DeadLetterSink for DeadLetters {
    async fn send(&self, letter: DeadLetter<'_>) -> Result<()> {
        let envelope = self.envelope(&letter)?;
        self.courier.send(envelope, "the dead letter").await
    }
}

#[cfg(test)]
mod tests {
    use binder_core::{Error, ErrorKind};

    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("žluť".to_owned(), 3), "žl");
        assert_eq!(cut("žluť".to_owned(), 1), "");
        assert_eq!(cut("ab".to_owned(), 9), "ab");
    }

    #[test]
    fn the_reason_fits_into_the_frame() {
        let reason = Error::new(ErrorKind::Handler, "x".repeat(500_000));
        let token = binder_core::binder::Token { lane: binder_core::binder::LaneId(1), sequence: 1 };
        let delivery = Parcel {
            payload: Some(bytes::Bytes::new()),
            key: None,
            token,
            content_type: None,
            headers: binder_core::message::Headers::new(),
            metadata: binder_core::binder::Metadata::new("orders"),
        };
        let letter = DeadLetter::new(&delivery, &reason, 3);
        let mut table = FieldTable::default();
        add_reason(&mut table, &letter, "orders".to_owned(), "orders".to_owned(), 131_072);
        let length = headers::encoded_len(&BasicProperties::default().with_headers(table));
        assert!(length > 100_000 && length < 131_072 - HEADROOM / 2, "{length}");
    }
}
