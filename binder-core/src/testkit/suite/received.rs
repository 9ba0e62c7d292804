//! What a consumer brings, copied out of the client's memory.

use bytes::BytesMut;

use crate::binder::{Assignment, LaneId, Parcel, Received};

/// What was received.
pub(super) enum Got {
    Parcels(Vec<Parcel>),
    Assigned(Vec<Assignment>),
    Revoked(Vec<LaneId>),
    Lost(Vec<LaneId>),
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
