//! Headers that a processor's output takes over from its input.

use std::sync::Arc;

use crate::handler::DeliveryRef;
use crate::message::{Headers, Message, names};

/// Headers that tie messages of one flow together: correlation, W3C trace context, B3.
const ALWAYS: [&str; 5] = [names::CORRELATION_ID, "traceparent", "tracestate", "baggage", "b3"];

/// Which headers are taken over.
#[derive(Clone, Debug)]
pub(super) struct Inherited {
    more: Arc<[String]>,
}

impl Inherited {
    pub(super) fn new(copy_headers: &[String]) -> Self {
        Self { more: copy_headers.into() }
    }

    /// Returns the headers that a delivery passes on.
    pub(super) fn of(&self, delivery: &DeliveryRef<'_>) -> Passed {
        let headers = delivery.headers().into_iter().filter(|(name, _)| self.takes(name)).collect();
        Passed(headers)
    }

    fn takes(&self, name: &str) -> bool {
        ALWAYS.contains(&name)
            || name.starts_with("X-B3-")
            || self.more.iter().any(|known| known == "*" || known == name)
    }
}

/// Headers that one delivery passes on.
#[derive(Clone, Debug)]
pub(super) struct Passed(Headers);

impl Passed {
    /// Puts the headers before the message's own; a name that the message has itself is not passed on.
    pub(super) fn onto<U>(self, mut message: Message<U>) -> Message<U> {
        if self.0.is_empty() {
            return message;
        }
        let own = std::mem::take(message.headers_mut());
        let mut all: Headers = self.0.into_iter().filter(|(name, _)| own.get(name).is_none()).collect();
        for (name, value) in own {
            all.append(name, value);
        }
        *message.headers_mut() = all;
        message
    }
}
