//! What `#[check_handler]` asks rustc about a function, one question for each argument.

use std::future::Future;

use super::{Batch, FromDelivery, Plain, WholeMessage};
use crate::codec::Decode;
use crate::message::Message;

/// A type that a handler may take as its first argument; `M` only keeps the implementations apart.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not what a handler handles",
    label = "not a payload, nor messages of one",
    note = "the first argument of a handler is a payload that implements `serde::Deserialize`, `Message` of it or `Batch` of it; what is taken from the delivery beside it, as `State<S>`, comes after"
)]
pub trait FirstArgument<M> {}

#[diagnostic::do_not_recommend]
impl<T: Decode> FirstArgument<Plain> for T {}

#[diagnostic::do_not_recommend]
impl<T: Decode> FirstArgument<WholeMessage> for Message<T> {}

#[diagnostic::do_not_recommend]
impl<T: Decode> FirstArgument<Batch<()>> for Batch<T> {}

/// Compiles for a first argument.
pub fn first<F: FirstArgument<M>, M>() {}

/// Compiles for an argument after it, in a handler with the state `S`.
pub fn extractor<E: FromDelivery<S>, S>() {}

/// Stands for an argument; never called.
pub fn argument<T>() -> T {
    unreachable!("checks are compiled, not run")
}

/// Compiles for the call of a handler, which may move between threads.
pub fn is_send<F: Future + Send>(_: F) {}
