//! Configuration: properties, loading, checking.
//!
//! What a channel is bound to is said in a file, in variables of the environment or in code, never where the channel is used. With
//! nothing said everything runs on memory.
//!
//! ```yaml
//! stream:                                   # stream.yaml
//!   default:                                # of all channels
//!     consumer: { max-attempts: 5 }
//!   binders:
//!     events: { type: kafka, brokers: "localhost:9092", default: { consumer: { concurrency: 4 } } }
//!   bindings:
//!     inboundOrgChanges:                    # a channel
//!       destination: orgChangeTopic
//!       group: licensingGroup
//!       consumer: { ordering: key, kafka: { configuration: { fetch.wait.max.ms: 50 } } }
//! ```
//!
//! **Sources**, later wins: the defaults, the file, the file of the profile, the environment, code. Maps are merged key by key, lists are
//! replaced, a key without a value takes an earlier value back. **Levels**, nearer wins: `default`, `binders.<name>.default`,
//! `bindings.<channel>`.
//!
//! **Keys** are spelt in kebab-case. A key that is not known, a value of the wrong type or one that makes no sense is an error that
//! names the line; all mistakes are told at once. In **variables** (`STREAM__BINDINGS__INBOUNDORGCHANGES__CONSUMER__MAX_ATTEMPTS=5`)
//! names are matched without case, `-`, `_` and `.`, so channels must differ in more than these. Below a binder's own keys a name that
//! no other source has becomes lower case with `-` for `_`, under `configuration` with `.`: `..._CONFIGURATION__LINGER_MS` is `linger.ms`.
//!
//! The files of a Spring Boot application are a source too: [`Config::from_spring`].
//!
//! What belongs to one type of binder stands under its name and is read by it as a [`Section`]. Values of keys that look secret are never
//! shown.
//!
//! ```
//! use binder_core::config::Config;
//!
//! let config = Config::builder()
//!     .yaml("stream: { bindings: { orders: { group: billing } } }")
//!     .env([("STREAM__SHUTDOWN_TIMEOUT".to_owned(), "5s".to_owned())])
//!     .set("bindings.orders.consumer.max-attempts", 5)
//!     .build()?;
//! assert_eq!(config.stream()?.shutdown_timeout.as_secs(), 5);
//!
//! let mistyped = Config::builder().yaml("stream: { bindings: { orders: { gruop: billing } } }").build();
//! let told = "inline yaml:1: stream.bindings.orders.gruop: unknown key; did you mean `group`?";
//! assert_eq!(mistyped.unwrap_err().message(), told);
//! # Ok::<(), binder_core::Error>(())
//! ```

mod builder;
mod check;
mod describe;
mod duration;
mod fault;
mod level;
mod place;
mod plan;
mod properties;
mod read;
mod resolve;
mod secret;
mod section;
mod shape;
mod sources;
mod spring;
mod suggest;
#[cfg(test)]
mod tests;
mod toml;
mod tree;
mod variables;
mod yaml;

pub use builder::ConfigBuilder;
pub use properties::{
    Backoff, BindingProperties, BreakerProperties, ConsumerProperties, ContentTypeFrom, HeaderMode, OnExhausted,
    Ordering, ProducerProperties, Provision, RetryMode, Start, StreamProperties, Unroutable,
};
pub(crate) use resolve::{BinderEntry, Declared, Resolved, ResolvedBinding};
pub use secret::Secret;
pub use section::Section;
pub use sources::Config;
pub use spring::SpringNote;
#[doc(hidden)]
pub use spring::spring_guide;
