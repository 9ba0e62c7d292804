//! What handlers have done and no broker knows yet.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use super::Part;
use crate::Error;
use crate::binder::{LaneId, Parcel};

/// What becomes known with the settlement of some messages.
pub(super) struct Done {
    /// The messages, each with its attempt.
    pub(super) items: Vec<(Parcel, u32)>,
    pub(super) what: What,
}

pub(super) enum What {
    /// A call has succeeded and sent this.
    Sent(Vec<Part>),
    /// It is a dead letter, for this reason.
    Letter(Error),
}

/// What waits for its transaction, in the order in which it was done.
#[derive(Default)]
pub(crate) struct Collected(Mutex<Vec<Done>>);

impl Collected {
    fn all(&self) -> std::sync::MutexGuard<'_, Vec<Done>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add_sent(&self, items: Vec<(Parcel, u32)>, parts: Vec<Part>) {
        if !parts.is_empty() && !items.is_empty() {
            self.all().push(Done { items, what: What::Sent(parts) });
        }
    }

    pub(crate) fn add_letter(&self, parcel: Parcel, reason: Error, attempts: u32) {
        self.all().push(Done { items: vec![(parcel, attempts)], what: What::Letter(reason) });
    }

    /// Takes what belongs to the messages up to these positions.
    pub(super) fn take_up_to(&self, positions: &[(LaneId, u64)]) -> Vec<Done> {
        let is_within = |(parcel, _): &(Parcel, u32)| {
            let known = positions.iter().find(|(lane, _)| *lane == parcel.token.lane);
            known.is_some_and(|(_, sequence)| parcel.token.sequence <= *sequence)
        };
        self.all().extract_if(.., |done| done.items.iter().all(is_within)).collect()
    }

    /// Puts back what was taken.
    pub(super) fn put_back(&self, taken: Vec<Done>) {
        self.all().splice(0..0, taken);
    }

    /// Drops what belongs to lanes that are no more. Returns false if it belongs to other lanes too.
    pub(super) fn forget(&self, lanes: &[LaneId]) -> bool {
        let is_gone = |(parcel, _): &(Parcel, u32)| lanes.contains(&parcel.token.lane);
        let gone: Vec<_> = self.all().extract_if(.., |done| done.items.iter().any(is_gone)).collect();
        gone.iter().all(|done| done.items.iter().all(is_gone))
    }
}

impl fmt::Debug for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Collected").field(&self.all().len()).finish()
    }
}
