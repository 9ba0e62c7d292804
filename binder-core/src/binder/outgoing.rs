//! What is handed to a producer.

use crate::message::{ContentType, Headers};
use crate::{Error, ErrorKind};

/// A message to be sent; all borrowed, because a client copies it anyway.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The payload; `None` is a tombstone.
    pub payload: Option<&'a [u8]>,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// MIME type of the payload.
    pub content_type: &'a ContentType,
    /// Headers of the application.
    pub headers: &'a Headers,
    /// The partition, if it was chosen already.
    pub partition: Option<u32>,
}

/// Messages that are sent together and confirmed together; their bytes lie in one buffer, at most 4 GiB.
#[derive(Debug)]
pub struct OutgoingBatch {
    bytes: Vec<u8>,
    items: Vec<Item>,
    /// What few messages have, in their order.
    extras: Vec<Extra>,
    content_type: ContentType,
}

/// Where the bytes of a message lie: key, then payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    pub(crate) start: u32,
    pub(crate) payload: u32,
    pub(crate) end: u32,
    pub(crate) has_key: bool,
    pub(crate) has_payload: bool,
}

/// What most messages of a batch do not have.
#[derive(Debug)]
struct Extra {
    index: u32,
    content_type: Option<ContentType>,
    headers: Headers,
    partition: Option<u32>,
}

static NO_HEADERS: Headers = Headers::new();

/// A message without its payload, to be [pushed](OutgoingBatch::push_with).
#[derive(Debug, Default)]
pub struct Envelope<'a> {
    /// The key.
    pub key: Option<&'a [u8]>,
    /// Headers of the application.
    pub headers: Headers,
    /// The content type, if it differs from the batch's.
    pub content_type: Option<ContentType>,
    /// The partition, if it was chosen already.
    pub partition: Option<u32>,
}

impl Default for OutgoingBatch {
    fn default() -> Self {
        Self::new(ContentType::JSON)
    }
}

impl OutgoingBatch {
    /// Creates an empty batch whose messages have this content type unless they have their own.
    pub fn new(content_type: ContentType) -> Self {
        Self { bytes: Vec::new(), items: Vec::new(), extras: Vec::new(), content_type }
    }

    /// Appends a message without headers, in the batch's content type. `write` puts its payload behind what is in the buffer already, and
    /// answers whether there is a payload. If it fails, nothing was appended.
    #[inline]
    pub fn push<E: From<Error>>(
        &mut self,
        key: Option<&[u8]>,
        write: impl FnOnce(&mut Vec<u8>) -> Result<bool, E>,
    ) -> Result<(), E> {
        let start = self.bytes.len();
        if let Some(key) = key {
            self.bytes.extend_from_slice(key);
        }
        let payload = self.bytes.len();
        let written = write(&mut self.bytes);
        let end = self.bytes.len();
        let (Ok(has_payload), true) = (&written, end <= u32::MAX as usize) else {
            self.bytes.truncate(start);
            return Err(written.err().unwrap_or_else(|| batch_too_large().into()));
        };
        self.items.push(Item {
            start: start as u32,
            payload: payload as u32,
            end: end as u32,
            has_key: key.is_some(),
            has_payload: *has_payload,
        });
        Ok(())
    }

    /// Appends a message as [`push`](Self::push) does, with all that a message may have.
    pub fn push_with<E: From<Error>>(
        &mut self,
        envelope: Envelope<'_>,
        write: impl FnOnce(&mut Vec<u8>) -> Result<bool, E>,
    ) -> Result<(), E> {
        let Envelope { key, headers, content_type, partition } = envelope;
        let index = self.items.len() as u32;
        self.push(key, write)?;
        if !headers.is_empty() || content_type.is_some() || partition.is_some() {
            self.extras.push(Extra { index, content_type, headers, partition });
        }
        Ok(())
    }

    /// Returns how many messages there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns message `index`.
    #[inline]
    pub fn get(&self, index: usize) -> Outgoing<'_> {
        let item = &self.items[index];
        let extra = if self.extras.is_empty() { None } else { self.extra(index) };
        let payload = item.payload as usize;
        Outgoing {
            payload: item.has_payload.then(|| &self.bytes[payload..item.end as usize]),
            key: item.has_key.then(|| &self.bytes[item.start as usize..payload]),
            content_type: extra.and_then(|extra| extra.content_type.as_ref()).unwrap_or(&self.content_type),
            headers: extra.map_or(&NO_HEADERS, |extra| &extra.headers),
            partition: extra.and_then(|extra| extra.partition),
        }
    }

    fn extra(&self, index: usize) -> Option<&Extra> {
        let place = self.extras.binary_search_by_key(&(index as u32), |extra| extra.index).ok()?;
        self.extras.get(place)
    }

    /// Returns the messages in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Outgoing<'_>> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Returns the content type of the messages that have none of their own.
    pub(crate) fn content_type(&self) -> &ContentType {
        &self.content_type
    }

    /// Returns keys and payloads of all messages, one behind the other.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns where keys and payloads lie in [`bytes`](Self::bytes).
    pub(crate) fn items(&self) -> &[Item] {
        &self.items
    }

    /// Returns whether every message has the batch's content type, no headers and no partition.
    pub(crate) fn is_plain(&self) -> bool {
        self.extras.is_empty()
    }

    /// Forgets the messages and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.items.clear();
        self.extras.clear();
    }
}

#[cold]
fn batch_too_large() -> Error {
    Error::new(ErrorKind::TooLarge, "the batch is larger than 4 GiB")
}
