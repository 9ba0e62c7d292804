//! The keys by which an input keeps its deliveries in order.

use std::borrow::Cow;
use std::sync::Arc;

use super::input::Decoder;
use crate::binder::BatchView;
use crate::channel::KeySource;
use crate::codec::key_at;
use crate::message::HeaderValue;

/// Where the key of a delivery is found: `consumer.key`.
#[derive(Clone, Debug)]
pub(crate) enum KeyPlace {
    /// The record's own.
    Record,
    /// A header.
    Header(Arc<str>),
    /// A field of the payload, if that is JSON.
    Payload(Arc<[String]>, Decoder),
}

impl KeyPlace {
    pub(super) fn new(source: Option<KeySource>, decoder: impl FnOnce() -> Decoder) -> Self {
        match source {
            None | Some(KeySource::Key) => Self::Record,
            Some(KeySource::Header(name)) => Self::Header(name.into()),
            Some(KeySource::Payload(path)) => Self::Payload(path.into(), decoder()),
        }
    }

    /// Finds the keys of a batch. What has to be searched for is searched for once.
    pub(super) fn of<'v>(&self, view: &'v dyn BatchView) -> Keys<'v> {
        match self {
            Self::Record => Keys::Records(view),
            Self::Header(name) => {
                Keys::find(view, |index| view.header(index, name).map(|value| Cow::Owned(bytes_of(value))))
            }
            Self::Payload(path, decoder) => Keys::find(view, |index| key_at(decoder.json(view, index)?, path)),
        }
    }
}

fn bytes_of(value: HeaderValue) -> Vec<u8> {
    match value {
        HeaderValue::String(text) => text.into_bytes(),
        HeaderValue::Bytes(bytes) => bytes.into(),
        other => other.to_text().into_bytes(),
    }
}

/// The keys of a batch.
pub(super) enum Keys<'v> {
    /// Nobody asks for them.
    Unused,
    /// Those of the records.
    Records(&'v dyn BatchView),
    /// Those that were looked for, by index.
    Found(Vec<Option<Cow<'v, [u8]>>>),
}

impl<'v> Keys<'v> {
    fn find(view: &'v dyn BatchView, key_of: impl Fn(usize) -> Option<Cow<'v, [u8]>>) -> Self {
        Self::Found((0..view.len()).map(key_of).collect())
    }

    pub(super) fn get(&self, index: usize) -> Option<&[u8]> {
        match self {
            Self::Unused => None,
            Self::Records(view) => view.key(index),
            Self::Found(keys) => keys.get(index)?.as_deref(),
        }
    }

    /// Returns how many deliveries have no key, where keys are asked for.
    pub(super) fn missing(&self) -> usize {
        match self {
            Self::Unused => 0,
            Self::Records(view) => (0..view.len()).filter(|index| view.key(*index).is_none()).count(),
            Self::Found(keys) => keys.iter().filter(|key| key.is_none()).count(),
        }
    }
}
