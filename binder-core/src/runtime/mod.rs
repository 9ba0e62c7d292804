//! The application: what runs the channels.
//!
//! The way of a message in: `runner` takes a batch from the binder's consumer; `work` calls the handler straight from it, and gives a lane to
//! what does not succeed at once; `window` says up to where it is settled.

mod application;
mod aside;
mod assigned;
mod backoff;
mod batch;
mod breaker;
mod common;
mod connect;
mod counts;
mod dead_letters;
mod delayed;
mod handling;
mod hooks;
mod inherit;
mod input;
mod keys;
mod lanes;
mod layer;
mod opener;
mod retry;
mod route;
mod runner;
mod seek;
mod signal;
mod slots;
mod spread;
mod state;
mod supply;
mod transaction;
mod window;
mod work;

pub use application::{Application, ApplicationBuilder, BindingControl};
pub(crate) use common::Common;
pub(crate) use connect::{bind_waits, connect};
pub use counts::InputCounts;
pub use dead_letters::{DeadLetters, Redrive, RedriveReport, Refused};
pub use hooks::Hooks;
pub(crate) use input::InputEntry;
pub(crate) use layer::Layers;
pub use layer::{HandlerCall, Layer, Next, SendCall, SendNext};
pub use route::{HeaderCondition, Matcher, Otherwise, Router, header, predicate};
pub use signal::shutdown_signal;
pub use state::{BindingHealth, BindingState, Health};
pub(crate) use state::{Command, StateCell};
pub use supply::every;
pub(crate) use transaction::Buffer;
pub use transaction::Transaction;

#[cfg(test)]
mod tests;
