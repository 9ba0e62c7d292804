//! What is handed to a producer.

use crate::message::{ContentType, Headers};

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

/// Messages that are sent together and confirmed together; their bytes lie in one buffer.
#[derive(Debug, Default)]
pub struct OutgoingBatch {
    bytes: Vec<u8>,
    items: Vec<Item>,
}

#[derive(Debug)]
struct Item {
    start: usize,
    payload: usize,
    end: usize,
    has_key: bool,
    has_payload: bool,
    content_type: ContentType,
    headers: Headers,
    partition: Option<u32>,
}

static NO_HEADERS: Headers = Headers::new();

impl OutgoingBatch {
    /// Creates an empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a message whose payload `write` puts behind what is in the buffer already. If it fails, nothing was appended.
    pub fn push_with<E>(
        &mut self,
        key: Option<&[u8]>,
        headers: Headers,
        partition: Option<u32>,
        write: impl FnOnce(&mut Vec<u8>) -> Result<Option<ContentType>, E>,
    ) -> Result<(), E> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key.unwrap_or_default());
        let payload = self.bytes.len();
        match write(&mut self.bytes) {
            Ok(content_type) => {
                let has_payload = content_type.is_some();
                let content_type = content_type.unwrap_or(ContentType::JSON);
                let end = self.bytes.len();
                let has_key = key.is_some();
                self.items.push(Item { start, payload, end, has_key, has_payload, content_type, headers, partition });
                Ok(())
            }
            Err(error) => {
                self.bytes.truncate(start);
                Err(error)
            }
        }
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
    pub fn get(&self, index: usize) -> Outgoing<'_> {
        let item = &self.items[index];
        Outgoing {
            payload: item.has_payload.then(|| &self.bytes[item.payload..item.end]),
            key: item.has_key.then(|| &self.bytes[item.start..item.payload]),
            content_type: &item.content_type,
            headers: if item.headers.is_empty() { &NO_HEADERS } else { &item.headers },
            partition: item.partition,
        }
    }

    /// Returns the messages in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Outgoing<'_>> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Forgets the messages and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.items.clear();
    }
}
