//! A plain `async fn` as a handler.
//!
//! The first argument is the payload, or [`Message<T>`] with key and headers. Up to six more are *extractors*: [`State`], [`Headers`],
//! [`Header<N>`], [`Delivery`], or an `Option` of a header. What it returns says how it went: nothing, or a `Result` with any error; in a
//! processor also the value to be published.
//!
//! ```
//! use binder_core::prelude::*;
//!
//! header!(Tenant: String = "tenant");
//!
//! async fn store(order: String, State(prefix): State<&'static str>, tenant: Option<Header<Tenant>>) -> Result<(), std::io::Error> {
//!     println!("{prefix} {order} {:?}", tenant.map(|header| header.0));
//!     Ok(())
//! }
//! # let _ = store.with_state("got");
//! ```
//!
//! [`Message<T>`]: crate::message::Message
//! [`Headers`]: crate::message::Headers

mod batch;
#[doc(hidden)]
pub mod check;
mod error;
mod extract;
mod handlers;
mod outcome;

pub use batch::{Batch, BatchHandler, BatchOutcome, IntoBatchOutcome};
pub use error::HandlerError;
pub(crate) use error::Verdict;
pub use extract::{Delivery, DeliveryRef, FromDelivery, Header, HeaderType, NamedHeader, State};
pub use handlers::{Handler, HandlerExt, Plain, WholeMessage, WithState};
pub use outcome::{Fallible, IntoOutcome, IntoReplies, One, Optional, Several, Whole};
