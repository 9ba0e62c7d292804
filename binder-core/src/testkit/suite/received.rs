//! What a consumer brings, copied out of the client's memory.

use std::collections::HashMap;

use bytes::BytesMut;

use crate::binder::{Assignment, LaneId, Parcel, Received, Token};

/// What was received.
pub(super) enum Got {
    Parcels(Vec<Parcel>),
    Assigned(Vec<Assignment>),
    Revoked(Vec<LaneId>),
    Lost(Vec<LaneId>),
}

/// Returns the attempts of deliveries that have waited on the broker for another one.
pub(super) fn attempts(received: &Received<'_>) -> HashMap<Token, u32> {
    let Received::Batch(view) = received else { return HashMap::new() };
    let attempts = (0..view.len()).map(|index| (view.token(index), view.attempt(index)));
    attempts.filter(|(_, attempt)| *attempt > 1).collect()
}

pub(super) fn copied(received: Received<'_>) -> Got {
    match received {
        Received::Batch(view) => {
            let mut arena = BytesMut::new();
            Got::Parcels((0..view.len()).map(|index| view.detach(index, &mut arena)).collect())
        }
        Received::Assigned(lanes) => Got::Assigned(lanes),
        Received::Revoked(lanes) => Got::Revoked(lanes),
        Received::Lost(lanes) => Got::Lost(lanes),
    }
}
