//! What channels a struct has, and how they are handed out.
//!
//! `#[derive(Binding)]` writes the implementation; nobody else needs this module's methods.

use crate::Result;
use crate::channel::{Input, KeyOf, Output};
use crate::codec::{Decode, Encode};

/// A set of named channels that [`Application::bind`](crate::Application::bind) hands out.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a set of channels",
    label = "has no `#[derive(Binding)]`",
    note = "put `#[derive(Binding)]` on the struct and `#[input]` or `#[output]` on its channels"
)]
pub trait Binding: Sized {
    /// Names the channels.
    fn declare(channels: &mut Declare);

    /// Opens the channels.
    fn open(channels: &mut Open<'_>) -> Result<Self>;
}

/// Direction of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It receives.
    Input,
    /// It sends.
    Output,
}

/// Collects the names of channels.
#[derive(Debug, Default)]
pub struct Declare {
    prefix: String,
    channels: Vec<(String, Direction)>,
}

impl Declare {
    /// Collects the channels of `B`.
    pub fn of<B: Binding>() -> Vec<(String, Direction)> {
        let mut declare = Self::default();
        B::declare(&mut declare);
        declare.channels
    }

    /// Names an input.
    pub fn input(&mut self, name: &str) {
        self.channels.push((format!("{}{name}", self.prefix), Direction::Input));
    }

    /// Names an output.
    pub fn output(&mut self, name: &str) {
        self.channels.push((format!("{}{name}", self.prefix), Direction::Output));
    }

    /// Names the channels of a nested binding, each with `prefix` before its name.
    pub fn nested<B: Binding>(&mut self, prefix: &str) {
        let outer = self.prefix.len();
        self.prefix.push_str(prefix);
        B::declare(self);
        self.prefix.truncate(outer);
    }
}

/// Opens channels by name.
#[derive(Debug)]
pub struct Open<'a> {
    prefix: String,
    opener: &'a dyn OpenChannel,
}

/// How the runtime opens a channel.
pub(crate) trait OpenChannel: std::fmt::Debug {
    fn input(&self, name: &str) -> Result<std::sync::Arc<crate::runtime::InputEntry>>;
    fn output(&self, name: &str) -> Result<std::sync::Arc<crate::channel::OutputCore>>;
}

impl<'a> Open<'a> {
    pub(crate) fn new(opener: &'a dyn OpenChannel) -> Self {
        Self { prefix: String::new(), opener }
    }

    /// Opens an input.
    pub fn input<F: InputField>(&mut self, name: &str) -> Result<F> {
        let core = self.opener.input(&format!("{}{name}", self.prefix))?;
        Ok(F::from_input(Input::new(core)))
    }

    /// Opens an output whose messages take their key from the payload, if `key` is given.
    pub fn output<F: OutputField>(&mut self, name: &str, key: Option<KeyOf<F::Payload>>) -> Result<F> {
        let core = self.opener.output(&format!("{}{name}", self.prefix))?;
        Ok(F::from_output(Output::new(core, key)))
    }

    /// Opens a nested binding.
    pub fn nested<B: Binding>(&mut self, prefix: &str) -> Result<B> {
        let outer = self.prefix.len();
        self.prefix.push_str(prefix);
        let nested = B::open(self);
        self.prefix.truncate(outer);
        nested
    }
}

/// A field type that `#[input]` may stand on: [`Input<T>`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an input channel",
    label = "expected `Input<T>`",
    note = "an `#[input]` receives: its type is `binder_core::Input<T>` with a `T` that implements `serde::Deserialize`"
)]
pub trait InputField {
    /// What arrives.
    type Payload;
    /// Makes the field of the channel.
    fn from_input(input: Input<Self::Payload>) -> Self;
}

/// A field type that `#[output]` may stand on: [`Output<T>`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an output channel",
    label = "expected `Output<T>`",
    note = "an `#[output]` sends: its type is `binder_core::Output<T>` with a `T` that implements `serde::Serialize`"
)]
pub trait OutputField {
    /// What is sent.
    type Payload;
    /// Makes the field of the channel.
    fn from_output(output: Output<Self::Payload>) -> Self;
}

impl<T: Decode> InputField for Input<T> {
    type Payload = T;

    fn from_input(input: Input<T>) -> Self {
        input
    }
}

impl<T: Encode> OutputField for Output<T> {
    type Payload = T;

    fn from_output(output: Output<T>) -> Self {
        output
    }
}
