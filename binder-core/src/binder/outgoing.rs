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
    content_type: ContentType,
}

/// Where the bytes of a message lie: key, then payload.
#[derive(Debug)]
struct Item {
    start: u32,
    payload: u32,
    end: u32,
    has_key: bool,
    has_payload: bool,
    more: Option<Box<More>>,
}

/// What most messages of a batch do not have.
#[derive(Debug, Default)]
struct More {
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
        Self { bytes: Vec::new(), items: Vec::new(), content_type }
    }

    /// Appends a message whose payload `write` puts behind what is in the buffer already; it answers whether there is a payload. If it
    /// fails, nothing was appended.
    #[inline]
    pub fn push_with<E: From<Error>>(
        &mut self,
        envelope: Envelope<'_>,
        write: impl FnOnce(&mut Vec<u8>) -> Result<bool, E>,
    ) -> Result<(), E> {
        let start = self.bytes.len();
        if let Some(key) = envelope.key {
            self.bytes.extend_from_slice(key);
        }
        let payload = self.bytes.len();
        let written = write(&mut self.bytes);
        let end = self.bytes.len();
        let (Ok(has_payload), true) = (&written, end <= u32::MAX as usize) else {
            self.bytes.truncate(start);
            return Err(written.err().unwrap_or_else(|| batch_too_large().into()));
        };
        let plain = envelope.headers.is_empty() && envelope.content_type.is_none() && envelope.partition.is_none();
        let Envelope { key, headers, content_type, partition } = envelope;
        self.items.push(Item {
            start: start as u32,
            payload: payload as u32,
            end: end as u32,
            has_key: key.is_some(),
            has_payload: *has_payload,
            more: if plain { None } else { Some(Box::new(More { content_type, headers, partition })) },
        });
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
        self.outgoing(&self.items[index])
    }

    #[inline]
    fn outgoing<'a>(&'a self, item: &'a Item) -> Outgoing<'a> {
        let more = item.more.as_deref();
        let payload = item.payload as usize;
        Outgoing {
            payload: item.has_payload.then(|| &self.bytes[payload..item.end as usize]),
            key: item.has_key.then(|| &self.bytes[item.start as usize..payload]),
            content_type: more.and_then(|more| more.content_type.as_ref()).unwrap_or(&self.content_type),
            headers: more.map_or(&NO_HEADERS, |more| &more.headers),
            partition: more.and_then(|more| more.partition),
        }
    }

    /// Returns the messages in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Outgoing<'_>> {
        self.items.iter().map(|item| self.outgoing(item))
    }

    /// Forgets the messages and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.items.clear();
    }
}

#[cold]
fn batch_too_large() -> Error {
    Error::new(ErrorKind::TooLarge, "the batch is larger than 4 GiB")
}
