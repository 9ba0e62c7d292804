//! The message: JSON like that of the demonstration, with owned fields.

use serde::{Deserialize, Serialize};

use super::watchdog;

/// Bytes of a message without text; a smaller one has nothing but filling.
pub const WHOLE: usize = 130;

/// How many organisations there are.
const ORGANIZATIONS: usize = 1000;

/// How much of memory the different messages may take together.
const ROOM: usize = 8 << 20;

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[cfg_attr(feature = "ruststream", derive(ruststream::Outgoing))]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// The organisation, where the broker has keys; no part of the JSON.
    #[serde(skip)]
    pub key: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub action: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub organization_id: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub correlation_id: String,
    /// Fills what is larger than [`WHOLE`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// Fills what is smaller.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub t: String,
}

impl Change {
    fn new(number: usize, size: usize) -> Self {
        let organization = number % ORGANIZATIONS;
        let id = format!("{organization:08x}-2f1c-4b7e-9a60-{organization:012x}");
        let filling = "x".repeat(filling(size).unwrap_or_default());
        if size < WHOLE {
            return Self { key: id, t: filling, ..Self::default() };
        }
        Self {
            key: id.clone(),
            action: "UPDATE".to_owned(),
            organization_id: id,
            correlation_id: format!("{:08x}-7d3a-4c15-8e42-{number:012x}", organization * 7919),
            text: filling,
            t: String::new(),
        }
    }

    /// Which message this is.
    pub fn number(&self) -> Option<usize> {
        usize::from_str_radix(self.correlation_id.rsplit('-').next()?, 16).ok()
    }

    pub fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings are JSON")
    }
}

/// How many bytes the filling of a message has; none for a size that can't be.
fn filling(size: usize) -> Option<usize> {
    let around = if size < WHOLE { r#"{"t":""}"#.len() } else { WHOLE + r#","text":"""#.len() };
    if size == WHOLE { Some(0) } else { size.checked_sub(around).filter(|filling| *filling > 0) }
}

/// Why there is no message of this size.
pub fn refuses(size: usize) -> Option<String> {
    filling(size).is_none().then(|| "a message has 9 to 130 bytes, or more than 140".to_owned())
}

/// The messages of a measurement, over and over: one of each organisation, or as many as there is room for.
#[derive(Clone, Copy, Debug)]
pub struct Changes {
    all: &'static [Change],
    size: usize,
}

/// So many messages that are to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    changes: Changes,
    count: usize,
}

impl Changes {
    pub fn new(size: usize) -> Self {
        let count = (ROOM / size.max(1)).clamp(8, ORGANIZATIONS);
        Self { all: (0..count).map(|number| Change::new(number, size)).collect::<Vec<_>>().leak(), size }
    }

    /// One that tells its number.
    pub fn numbered(self, number: usize) -> Change {
        Change::new(number, self.size)
    }

    /// So many of them.
    pub fn take(self, count: usize) -> Load {
        Load { changes: self, count }
    }
}

impl Load {
    pub fn one_by_one(self) -> impl Iterator<Item = &'static Change> + Send + 'static {
        self.changes.all.iter().cycle().take(self.count).inspect(|_| watchdog::step())
    }

    /// In batches of at most so many.
    pub fn batches(self, size: usize) -> impl Iterator<Item = &'static [Change]> + Send + 'static {
        let mut left = self.count;
        self.changes.all.chunks(size).cycle().map_while(move |batch| {
            watchdog::step();
            let batch = &batch[..batch.len().min(left)];
            left -= batch.len();
            (!batch.is_empty()).then_some(batch)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_as_many_bytes_as_it_should() {
        for size in [9, 28, 129, 130, 141, 1000, 1 << 20] {
            assert_eq!(refuses(size), None);
            assert!(Changes::new(size).take(9).one_by_one().all(|change| change.json().len() == size), "{size}");
        }
        assert_eq!([8, 131, 140].map(|size| refuses(size).is_some()), [true; 3]);
    }

    #[test]
    fn batches_are_all_that_was_asked_for() {
        let load = Changes::new(130).take(2750);
        let sizes: Vec<usize> = load.batches(300).map(<[Change]>::len).collect();
        assert_eq!(sizes, [300, 300, 300, 100, 300, 300, 300, 100, 300, 300, 150]);
        assert!(load.batches(300).flatten().eq(load.one_by_one()));
    }

    #[test]
    fn a_message_tells_its_number_after_the_journey() {
        let sent = Changes::new(130).numbered(4321);
        let read: Change = serde_json::from_slice(&sent.json()).expect("it is a change");
        assert_eq!((read.number(), &read.organization_id), (Some(4321), &sent.key));
    }
}
