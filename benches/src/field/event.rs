//! The message of the field: a JSON object of any size.

use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedReceiver;

use super::progress;

/// From this size on a message is that of the demonstration.
pub const WHOLE: usize = 130;

/// How much of memory the different messages may take together.
const ROOM: usize = 8 << 20;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// The organization's id, where the broker has keys; no part of the payload.
    #[serde(skip)]
    pub key: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub action: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub organization_id: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub correlation_id: String,
    /// Fills a message of more than [`WHOLE`] bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// All that a message of less than [`WHOLE`] bytes has.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub t: String,
}

impl Event {
    /// Message `number`, with `size` bytes as JSON.
    ///
    /// # Errors
    /// There is no message of that size.
    pub fn new(number: usize, size: usize) -> Result<Self, String> {
        let organization = number % 1000;
        let id = format!("{organization:08x}-2f1c-4b7e-9a60-{organization:012x}");
        if size < WHOLE {
            let fill = size.checked_sub(br#"{"t":""}"#.len()).filter(|fill| *fill > 0);
            let fill = fill.ok_or("a message has 9 bytes at least")?;
            return Ok(Self { key: id, t: "x".repeat(fill), ..Self::default() });
        }
        let fill = match size - WHOLE {
            0 => 0,
            more => {
                more.checked_sub(br#","text":"""#.len()).filter(|fill| *fill > 0).ok_or("131 to 140 bytes can't be")?
            }
        };
        Ok(Self {
            key: id.clone(),
            action: "UPDATE".to_owned(),
            organization_id: id,
            correlation_id: format!("{:08x}-7d3a-4c15-8e42-{number:012x}", number % 1000 * 7919),
            text: "x".repeat(fill),
            t: String::new(),
        })
    }

    /// The number of a whole message.
    pub fn number(&self) -> Option<usize> {
        usize::from_str_radix(self.correlation_id.rsplit('-').next()?, 16).ok()
    }
}

/// A thousand messages of a size; of large ones so many as there is [`ROOM`] for.
pub fn events(size: usize) -> Result<&'static [Event], String> {
    numbered((ROOM / size.max(1)).clamp(8, 1000), size)
}

/// So many messages, all different. They live as long as the process, which measures once.
pub fn numbered(count: usize, size: usize) -> Result<&'static [Event], String> {
    let made = (0..count).map(|number| Event::new(number, size)).collect::<Result<Vec<_>, _>>()?;
    Ok(made.leak())
}

/// A message to send.
pub struct Next(&'static Event);

impl Deref for Next {
    type Target = Event;

    fn deref(&self) -> &Event {
        self.0
    }
}

/// Messages to send.
pub enum Source {
    /// So many as fast as they are taken, over and over.
    Ready { events: &'static [Event], next: usize, end: usize },
    /// Each when its number comes, which it carries.
    Paced { events: &'static [Event], due: UnboundedReceiver<usize> },
}

impl Source {
    pub fn ready(events: &'static [Event], count: usize) -> Self {
        Self::Ready { events, next: 0, end: count }
    }
}

impl Stream for Source {
    type Item = Next;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Next>> {
        match self.get_mut() {
            Self::Ready { next, end, .. } if next == end => Poll::Ready(None),
            Self::Ready { events, next, .. } => {
                let number = *next;
                *next += 1;
                progress::note(number);
                Poll::Ready(Some(Next(&events[number % events.len()])))
            }
            Self::Paced { events, due } => due.poll_recv(context).map(|number| {
                let number = number?;
                progress::note(number);
                Some(Next(&events[number]))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    #[test]
    fn an_event_has_as_many_bytes_as_it_is_asked_for() {
        for size in [10, 100, 130, 141, 1024, 10_240] {
            for number in [0, 999, 123_456] {
                let event = Event::new(number, size).expect("it can be");
                assert_eq!(serde_json::to_vec(&event).expect("JSON").len(), size);
            }
        }
        assert!(Event::new(0, 8).is_err() && Event::new(0, 140).is_err());
    }

    #[test]
    fn an_event_knows_its_number_when_it_is_read() {
        let event = Event::new(123_456, 1024).expect("it can be");
        let text = serde_json::to_vec(&event).expect("JSON");
        let read: Event = serde_json::from_slice(&text).expect("it is one");
        assert_eq!((read.number(), read.key.as_str()), (Some(123_456), ""));
        assert_eq!(event.key, event.organization_id);
    }

    #[tokio::test]
    async fn a_paced_source_gives_each_message_its_number() {
        let (to, due) = tokio::sync::mpsc::unbounded_channel();
        for number in [0, 1, 1_234] {
            to.send(number).expect("open");
        }
        drop(to);
        let source = Source::Paced { events: numbered(1_235, 130).expect("they can be"), due };
        let numbers: Vec<_> = source.map(|event| event.number()).collect().await;
        assert_eq!(numbers, [Some(0), Some(1), Some(1_234)]);
    }
}
