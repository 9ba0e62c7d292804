//! Channels: the named, typed ends that an application holds.
//!
//! A [`Source`] *publishes*, as in Spring Cloud Stream: it has an output. (`futures::Sink` means the opposite.)

mod core;
mod input;
mod key;
mod key_source;
mod output;
mod partition;
mod ready_made;
mod send_all;
mod transactional;

pub(crate) use self::core::OutputCore;
pub use input::{Input, Pulled};
pub use key::{Key, KeyOf};
pub(crate) use key_source::KeySource;
pub use output::{Draft, Output};
pub(crate) use partition::hash_at;
pub use ready_made::{ProcessorBinding, SinkBinding, SourceBinding};
pub use send_all::SendAllError;

/// A set of channels with exactly one output. `#[derive(Binding)]` implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a source",
    label = "has not exactly one output",
    note = "`#[derive(Binding)]` makes a source of a struct with exactly one `#[output]` and no nested `#[binding]`"
)]
pub trait Source {
    /// What is sent.
    type Output;
    /// Returns the output.
    fn output(&self) -> &Output<Self::Output>;
}

/// A set of channels with exactly one input. `#[derive(Binding)]` implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a sink",
    label = "has not exactly one input",
    note = "`#[derive(Binding)]` makes a sink of a struct with exactly one `#[input]` and no nested `#[binding]`"
)]
pub trait Sink {
    /// What arrives.
    type Input;
    /// Returns the input and drops all else.
    fn into_input(self) -> Input<Self::Input>;
}

/// A set of channels with exactly one input and one output: what is both a [`Sink`] and a [`Source`].
pub trait Processor: Source + Sink {
    /// Returns both ends.
    fn into_channels(self) -> (Input<Self::Input>, Output<<Self as Source>::Output>);
}

impl<P: Source + Sink> Processor for P {
    fn into_channels(self) -> (Input<Self::Input>, Output<<Self as Source>::Output>) {
        let output = self.output().clone();
        (self.into_input(), output)
    }
}
