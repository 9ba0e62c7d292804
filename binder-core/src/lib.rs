//! Typed, named channels that configuration binds to Kafka, RabbitMQ or memory.

pub mod binder;
pub mod binding;
pub mod channel;
pub mod codec;
pub mod config;
mod error;
pub mod memory;
pub mod message;
mod runtime;

pub use channel::{Input, Output};
pub use error::{Error, ErrorKind, Result};
pub use runtime::Application;

/// What generated code refers to; not for people.
#[doc(hidden)]
pub mod __private {
    pub use crate::binding::{Binding, Declare, InputField, Open, OutputField};
    pub use crate::channel::{Input, Key, KeyOf, Output, Processor, Sink, Source};
    pub use crate::error::Result;
    pub use std::option::Option;
}
