//! What few messages of a log have: headers, and a content type that is no [`Kind`] of its own.
//!
//! The headers of a dead letter, and of one that goes back, are made when somebody reads them: most go back unread.

use std::sync::{Arc, OnceLock};

use super::dead_letters::{FAILURE, Failure};
use super::item::Kind;
use super::returns::Origin;
use crate::binder::{ATTEMPTS, DeadLetter, DeadLetterDetails, REDRIVE_COUNT};
use crate::message::{ContentType, HeaderValue, Headers};

pub(super) static NO_HEADERS: Headers = Headers::new();

/// What few messages have; cheap to clone.
#[derive(Clone, Debug)]
pub(super) enum Extra {
    Sent(Arc<Sent>),
    Letter(Arc<Letter>),
    /// A dead letter that has gone back to its group.
    Returned(Arc<Letter>),
}

impl Extra {
    /// Creates what is kept of these headers, and of the content type if that is no [`Kind`] of its own.
    pub(super) fn new(content_type: Option<&ContentType>, headers: Headers) -> Self {
        Self::Sent(Arc::new(Sent { content_type: other(content_type), headers }))
    }

    /// Creates what is kept of a dead letter beside its bytes.
    pub(super) fn letter(letter: &DeadLetter<'_>) -> Self {
        let (sent, failure) = (letter.delivery.headers.clone(), Failure::of(letter));
        let redriven = sent.get(REDRIVE_COUNT).and_then(small).unwrap_or(0);
        let told = Told { origin: Origin::of(&letter.delivery.metadata), attempts: Some(letter.attempts), redriven };
        let content_type = other(letter.delivery.content_type.as_ref());
        Self::Letter(Arc::new(Letter {
            told,
            content_type,
            sent,
            failure,
            headers: OnceLock::new(),
            returned: OnceLock::new(),
        }))
    }

    /// Returns what is kept of a dead letter that goes back, without what made it one: to its group, which then knows where it came from at
    /// first, or to all.
    pub(super) fn returned(self, to_group: bool) -> Self {
        match self {
            Self::Letter(letter) if to_group => Self::Returned(letter),
            _ => {
                let headers = returned(self.sent(), &self.told(), to_group);
                Self::Sent(Arc::new(Sent { content_type: self.content_type().cloned(), headers }))
            }
        }
    }

    /// Returns the content type, if it is no [`Kind`] of its own.
    pub(super) fn content_type(&self) -> Option<&ContentType> {
        match self {
            Self::Sent(sent) => sent.content_type.as_ref(),
            Self::Letter(letter) | Self::Returned(letter) => letter.content_type.as_ref(),
        }
    }

    /// Returns the headers.
    pub(super) fn headers(&self) -> &Headers {
        match self {
            Self::Sent(sent) => &sent.headers,
            Self::Letter(letter) => letter.headers.get_or_init(|| letter.compose()),
            Self::Returned(letter) => letter.returned.get_or_init(|| returned(&letter.sent, &letter.told, true)),
        }
    }

    /// Returns what a dead letter says.
    pub(super) fn told(&self) -> Told {
        match self {
            Self::Letter(letter) => letter.told,
            _ => Told::by(self.headers()),
        }
    }

    /// Returns what of a dead letter is read only when somebody asks.
    pub(super) fn details(&self) -> Arc<dyn DeadLetterDetails> {
        match self {
            Self::Letter(letter) => Arc::clone(letter) as _,
            Self::Sent(sent) => Arc::clone(sent) as _,
            Self::Returned(_) => Arc::new(Sent { content_type: None, headers: self.headers().clone() }),
        }
    }

    /// Returns headers that hold all that a dead letter's message was sent with.
    fn sent(&self) -> &Headers {
        match self {
            Self::Letter(letter) => &letter.sent,
            _ => self.headers(),
        }
    }
}

fn other(content_type: Option<&ContentType>) -> Option<ContentType> {
    content_type.filter(|known| Kind::of(known) == Kind::Other).cloned()
}

/// What a producer was handed.
#[derive(Debug)]
pub(super) struct Sent {
    content_type: Option<ContentType>,
    headers: Headers,
}

impl DeadLetterDetails for Sent {
    fn reason(&self) -> Option<String> {
        self.headers.get("x-exception-message").map(HeaderValue::to_text)
    }

    fn headers(&self) -> Headers {
        without_failure(&self.headers)
    }
}

fn without_failure(from: &Headers) -> Headers {
    let mut headers = Headers::new();
    headers.append_some(from, |name| !FAILURE.contains(&name));
    headers
}

/// A dead letter: the headers of its message, and what went wrong. What is read of each comes first, so that it lies beside the counts of its
/// [`Arc`]: to fetch more from memory would take longer than to send the letter back.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Letter {
    told: Told,
    content_type: Option<ContentType>,
    sent: Headers,
    failure: Failure,
    headers: OnceLock<Headers>,
    /// The headers of what goes back to the group.
    returned: OnceLock<Headers>,
}

impl Letter {
    fn compose(&self) -> Headers {
        let mut headers = Headers::with_capacity(self.sent.len() + FAILURE.len());
        headers.append_some(&self.sent, |_| true);
        self.failure.append_to(&self.told, &mut headers);
        headers
    }
}

impl DeadLetterDetails for Letter {
    fn reason(&self) -> Option<String> {
        Some(self.failure.message().to_owned())
    }

    fn headers(&self) -> Headers {
        without_failure(&self.sent)
    }
}

/// Returns the headers of a dead letter that goes back.
fn returned(sent: &Headers, told: &Told, to_group: bool) -> Headers {
    let mut headers = Headers::with_capacity(sent.len() + 1 + Origin::HEADERS);
    headers.append_some(sent, |name| name != REDRIVE_COUNT && !FAILURE.contains(&name));
    headers.append(REDRIVE_COUNT, HeaderValue::I64(i64::from(told.redriven) + 1));
    if to_group {
        told.origin.append_to(&mut headers);
    }
    headers
}

/// What a dead letter says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    pub(super) origin: Origin,
    pub(super) attempts: Option<u32>,
    pub(super) redriven: u32,
}

impl Told {
    /// Reads headers; of two of one name the last counts.
    fn by(headers: &Headers) -> Self {
        let mut told = Self::default();
        for (name, value) in headers.iter() {
            match name {
                "x-original-partition" => told.origin.partition = small(value),
                "x-original-offset" => told.origin.offset = value.as_i64().and_then(|number| number.try_into().ok()),
                "x-original-timestamp" => told.origin.timestamp = value.as_i64().filter(|number| *number >= 0),
                ATTEMPTS => told.attempts = small(value),
                REDRIVE_COUNT => told.redriven = small(value).unwrap_or(0),
                _ => {}
            }
        }
        told
    }
}

fn small(value: &HeaderValue) -> Option<u32> {
    value.as_i64().and_then(|number| number.try_into().ok())
}
