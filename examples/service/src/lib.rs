//! What the example services share that is not messaging: HTTP answers, correlation, database, start and stop.
//!
//! A service is a library with `run(settings, config, binders)` and a thin `main`, which alone knows which binders are compiled in.

mod binders;
mod correlation;
#[cfg(feature = "database")]
pub mod database;
mod error;
mod extract;
mod health;
mod id;
mod main_fn;
mod server;
mod start;
mod uncancelled;

pub use binders::Binders;
pub use correlation::{CORRELATION_HEADER, CorrelationId, correlate};
pub use error::ApiError;
pub use extract::{Json, Path};
pub use health::health_routes;
pub use id::Id;
pub use main_fn::{Common, main};
pub use server::{Server, serve};
pub use start::{Running, StartError};
pub use uncancelled::uncancelled;
