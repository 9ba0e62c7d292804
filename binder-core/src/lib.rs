#![doc = include_str!("../../README.md")]

#[cfg(feature = "derive")]
extern crate self as binder_core;

pub mod binder;
pub mod binding;
pub mod channel;
pub mod codec;
pub mod config;
mod error;
pub mod handler;
pub mod memory;
pub mod message;
mod runtime;
#[cfg(feature = "testkit")]
pub mod testkit;

pub use binder::SeekTo;
#[cfg(feature = "derive")]
pub use binder_derive::{Binding, check_handler};
pub use binding::Binding;
pub use channel::{Input, Output};
pub use error::{Error, ErrorKind, Result};
pub use handler::HandlerError;
pub use message::Message;
pub use runtime::{
    Application, ApplicationBuilder, BindingControl, BindingHealth, BindingState, Health, Hooks, InputCounts,
    Transaction, every, shutdown_signal,
};

/// What goes around every handler and every send.
pub mod layer {
    pub use crate::runtime::{HandlerCall, Layer, Next, SendCall, SendNext};
}

/// Looking at dead letters, and sending them back.
pub mod dead_letters {
    pub use crate::binder::{DeadLetterEntry, DeadLetterSource};
    pub use crate::runtime::{DeadLetters, Redrive, RedriveReport, Refused};
}

/// Routing on one input.
pub mod route {
    pub use crate::runtime::{HeaderCondition, Matcher, Otherwise, Router, header, predicate};
}

/// What a service needs; `use binder_core::prelude::*;`.
///
/// `Source`, `Sink` and `Processor` are not in it: they collide with the names of the `futures` crate.
pub mod prelude {
    pub use serde::{Deserialize, Serialize};

    pub use crate::channel::{Input, Output};
    #[cfg(feature = "derive")]
    pub use crate::check_handler;
    pub use crate::config::Config;
    pub use crate::handler::{Batch, BatchOutcome, Delivery, HandlerError, HandlerExt, Header, State};
    pub use crate::header;
    pub use crate::message::{Headers, Message};
    pub use crate::route::Otherwise::{DeadLetter, Ignore};
    pub use crate::route::{header, predicate};
    pub use crate::{Application, Binding, Error, ErrorKind, Transaction, every, shutdown_signal};
}

/// What generated code refers to; not for people.
#[doc(hidden)]
pub mod __private {
    pub use crate::binding::{
        Binding, Declare, InputField, OneInput, OneOutput, Open, OutputField, Receives, Sends, nested,
    };
    pub use crate::channel::Key;
    pub use crate::error::Result;
    pub use crate::handler::HeaderType;
    pub use crate::handler::check;
    pub use std::option::Option;
    pub use std::unreachable;
}
