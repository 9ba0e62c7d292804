//! The message, and what becomes of it.

use serde::{Deserialize, Serialize};

/// A message: the `number`th of its key. Numbers of a key grow, also over the lives of its producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) key: u32,
    pub(crate) number: u64,
}

/// What its handler does with a message; the same in every process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is handled.
    Handled,
    /// It is handled after some milliseconds.
    Slowly(u64),
    /// The first attempt fails.
    OnceFailed,
    /// No attempt succeeds.
    Dead,
}

impl Order {
    pub(crate) fn fate(self) -> Fate {
        let mut random = fastrand::Rng::with_seed(u64::from(self.key) << 40 ^ self.number.wrapping_mul(0x9E37_79B9));
        match random.u32(..1000) {
            0 => Fate::Dead,
            1..=5 => Fate::OnceFailed,
            6..=105 => Fate::Slowly(random.u64(1..10)),
            _ => Fate::Handled,
        }
    }
}
