//! What channels a struct has, and how they are handed out.
//!
//! `#[derive(Binding)]` writes the implementation; nobody else needs this module's methods.

mod field;

pub use field::{InputField, Nested, OneInput, OneOutput, OutputField, Receives, Sends, nested};

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
    pub fn nested<B>(&mut self, prefix: &str, nested: &Nested<B>) {
        let outer = self.prefix.len();
        self.prefix.push_str(prefix);
        (nested.declare)(self);
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
    pub fn input<F, T>(&mut self, name: &str) -> Result<F>
    where
        F: InputField<Payload = T>,
        T: Decode,
    {
        self.generic_input(name)
    }

    /// Opens an input whose payload has parameters; that it [can be received](Receives) is a bound of the binding.
    pub fn generic_input<F, T>(&mut self, name: &str) -> Result<F>
    where
        F: InputField<Payload = T>,
    {
        let core = self.opener.input(&format!("{}{name}", self.prefix))?;
        Ok(F::from_input(Input::new(core)))
    }

    /// Opens an output whose messages take their key from the payload, if `key` is given.
    pub fn output<F, T>(&mut self, name: &str, key: Option<KeyOf<T>>) -> Result<F>
    where
        F: OutputField<Payload = T>,
        T: Encode,
    {
        self.generic_output(name, key)
    }

    /// Opens an output whose payload has parameters; that it [can be sent](Sends) is a bound of the binding.
    pub fn generic_output<F, T>(&mut self, name: &str, key: Option<KeyOf<T>>) -> Result<F>
    where
        F: OutputField<Payload = T>,
    {
        let core = self.opener.output(&format!("{}{name}", self.prefix))?;
        Ok(F::from_output(Output::new(core, key)))
    }

    /// Opens a nested binding.
    pub fn nested<B>(&mut self, prefix: &str, nested: &Nested<B>) -> Result<B> {
        let outer = self.prefix.len();
        self.prefix.push_str(prefix);
        let opened = (nested.open)(self);
        self.prefix.truncate(outer);
        opened
    }
}
