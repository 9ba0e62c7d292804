//! The message: JSON like that of the demonstration, with owned fields.

use serde::{Deserialize, Serialize};

use super::watchdog;

/// Bytes of a message without text.
pub const SMALLEST: usize = 130;

/// What `,"text":""` adds.
const TEXT: usize = 10;

/// How many organisations there are.
const ORGANIZATIONS: usize = 1000;

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(feature = "ruststream", derive(ruststream::Outgoing))]
#[serde(rename_all = "camelCase")]
pub struct Change {
    pub action: String,
    pub organization_id: String,
    pub correlation_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl Change {
    fn new(number: usize, size: usize) -> Self {
        let organization = number % ORGANIZATIONS;
        Self {
            action: "UPDATE".to_owned(),
            organization_id: format!("{organization:08x}-2f1c-4b7e-9a60-{organization:012x}"),
            correlation_id: format!("{:08x}-7d3a-4c15-8e42-{number:012x}", number * 7919 % 0xffff_ffff),
            text: size.checked_sub(SMALLEST + TEXT).map(|length| "x".repeat(length)),
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

/// The messages of a measurement, over and over; as many of them are different as there are organisations, at least.
#[derive(Clone, Copy, Debug)]
pub struct Changes(&'static [Change]);

/// So many messages that are to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    changes: Changes,
    count: usize,
}

impl Changes {
    /// As many as there are organisations.
    pub fn new(size: usize) -> Self {
        Self::numbered(ORGANIZATIONS, size)
    }

    /// So many different ones.
    pub fn numbered(count: usize, size: usize) -> Self {
        Self((0..count).map(|number| Change::new(number, size)).collect::<Vec<_>>().leak())
    }

    /// One of them.
    pub fn get(self, number: usize) -> &'static Change {
        &self.0[number % self.0.len()]
    }

    /// So many of them.
    pub fn take(self, count: usize) -> Load {
        Load { changes: self, count }
    }
}

impl Load {
    pub fn one_by_one(self) -> impl Iterator<Item = &'static Change> + Send + 'static {
        self.changes.0.iter().cycle().take(self.count).inspect(|_| watchdog::step())
    }

    /// In batches of at most so many.
    pub fn batches(self, size: usize) -> impl Iterator<Item = &'static [Change]> + Send + 'static {
        let mut left = self.count;
        self.changes.0.chunks(size).cycle().map_while(move |batch| {
            watchdog::step();
            let batch = &batch[..batch.len().min(left)];
            left -= batch.len();
            (!batch.is_empty()).then_some(batch)
        })
    }
}

/// Why there is no message of this size.
pub fn refuses(size: usize) -> Option<String> {
    let possible = size == SMALLEST || size >= SMALLEST + TEXT;
    (!possible).then(|| format!("a message has {SMALLEST} bytes, or {} and more", SMALLEST + TEXT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_as_many_bytes_as_it_should() {
        for size in [130, 140, 1000] {
            assert!(Changes::new(size).take(1000).one_by_one().all(|change| change.json().len() == size), "{size}");
        }
        assert_eq!([129, 131, 139].map(|size| refuses(size).is_some()), [true; 3]);
        assert_eq!([130, 140, 65_536].map(refuses), [None, None, None]);
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
        let sent = Changes::numbered(5000, 130).get(4321);
        let read: Change = serde_json::from_slice(&sent.json()).expect("it is a change");
        assert_eq!((read.number(), &read), (Some(4321), sent));
    }
}
