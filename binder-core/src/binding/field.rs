//! What the fields of a binding can be.
//!
//! Generated code states each bound once, at the user's type; what else it does with a field goes through traits and types that have
//! none. So a wrong type is one error, not one for each use.

use std::fmt;

use super::{Binding, Declare, Open};
use crate::Result;
use crate::channel::{Input, Output, Sink, Source};
use crate::codec::{Decode, Encode};

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
    /// Makes the channel of the field.
    fn into_input(self) -> Input<Self::Payload>;
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
    /// Returns the channel in the field.
    fn as_output(&self) -> &Output<Self::Payload>;
}

impl<T> InputField for Input<T> {
    type Payload = T;

    fn from_input(input: Self) -> Self {
        input
    }

    fn into_input(self) -> Self {
        self
    }
}

impl<T> OutputField for Output<T> {
    type Payload = T;

    fn from_output(output: Self) -> Self {
        output
    }

    fn as_output(&self) -> &Self {
        self
    }
}

/// An [`InputField`] whose payload can be received: what a generic binding asks of its parameters.
///
/// It has no supertrait, because what a bound implies hides from rustc what the type is.
pub trait Receives {}

impl<T: Decode> Receives for Input<T> {}

/// An [`OutputField`] whose payload can be sent: what a generic binding asks of its parameters.
pub trait Sends {}

impl<T: Encode> Sends for Output<T> {}

/// How the channels of a nested binding are declared and opened.
pub struct Nested<B> {
    pub(super) declare: fn(&mut Declare),
    pub(super) open: fn(&mut Open<'_>) -> Result<B>,
}

impl<B> fmt::Debug for Nested<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nested").finish_non_exhaustive()
    }
}

/// Returns how the channels of `B` are declared and opened.
pub fn nested<B: Binding>() -> Nested<B> {
    Nested { declare: B::declare, open: B::open }
}

/// A struct with exactly one `#[output]`.
pub trait OneOutput {
    /// Type of the field.
    type Field;
    /// Returns the field.
    fn field(&self) -> &Self::Field;
}

#[diagnostic::do_not_recommend]
impl<S: OneOutput<Field: OutputField>> Source for S {
    type Output = <S::Field as OutputField>::Payload;

    fn output(&self) -> &Output<Self::Output> {
        self.field().as_output()
    }
}

/// A struct with exactly one `#[input]`.
pub trait OneInput {
    /// Type of the field.
    type Field;
    /// Returns the field and drops all else.
    fn into_field(self) -> Self::Field;
}

#[diagnostic::do_not_recommend]
impl<S: OneInput<Field: InputField>> Sink for S {
    type Input = <S::Field as InputField>::Payload;

    fn into_input(self) -> Input<Self::Input> {
        self.into_field().into_input()
    }
}
