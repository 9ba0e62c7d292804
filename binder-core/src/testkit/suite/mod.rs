//! The conformance suite: what every binder must show, as cases that its author runs.
//!
//! A binder's crate has a test without harness, whose `main` says how to make a binder; each case has a destination of its own, a deadline,
//! and a name that `cargo test -- <name>` filters by. Most cases drive an [`Application`](crate::Application), so binder and core are tested together.
//!
//! ```no_run
//! // tests/conformance.rs; in Cargo.toml: [[test]] name = "conformance", harness = false
//! use binder_core::memory::MemoryBinder;
//! use binder_core::testkit::suite::{Broker, Harness};
//!
//! fn main() {
//!     Harness::new("memory", || Broker::new(MemoryBinder::new())).paused_clock().main()
//! }
//! ```
//!
//! What a binder can't do is said by its [`Capability`](crate::binder::Capability), or by [`Harness::lacks`] with a reason. A case that needs it shows as
//! *ignored* with this reason, never as passed.

mod basics;
mod contract;
mod errors;
mod faults;
mod faulty;
#[cfg(test)]
mod forwarding;
mod harness;
mod lives;
mod load;
mod log;
mod membership;
mod network;
mod outage;
mod received;
mod roundtrip;
mod seen;
mod settlement;
mod sides;
mod transactions;
mod world;

pub use faulty::{Fault, FaultyBinder};
pub use harness::{Broker, Feature, Harness, Outcome, Place, Verb, program};
pub use outage::Unsteady;
pub use seen::{Wrong, none_is_missing, seen_failing};

use futures::future::BoxFuture;
use world::World;

/// One case: what it is called, what it needs, and what it does.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    needs: &'static [Feature],
    /// Whether it stops the broker, so that no other case may run meanwhile.
    alone: bool,
    run: fn(World) -> BoxFuture<'static, ()>,
}

/// Lists the cases of a module, each named as its function.
macro_rules! cases {
    ($group:literal: $($case:ident $([$($need:ident),*])? $(alone $alone:literal)?),* $(,)?) => {
        /// The cases of this group.
        pub(super) const CASES: &[super::Case] = &[$(super::Case {
            name: concat!($group, "::", stringify!($case)),
            needs: &[$($(super::Feature::$need),*)?],
            alone: cases!(@alone $($alone)?),
            run: |world| Box::pin($case(world)),
        }),*];
    };
    (@alone) => { false };
    (@alone $alone:literal) => { $alone };
}
use cases;

/// Returns all cases, in the order of the documentation.
fn all() -> impl Iterator<Item = &'static Case> {
    let groups = [
        basics::CASES,
        lives::CASES,
        roundtrip::CASES,
        contract::CASES,
        errors::CASES,
        transactions::CASES,
        settlement::CASES,
        membership::CASES,
        faults::CASES,
        network::CASES,
        load::CASES,
    ];
    groups.into_iter().flatten()
}
