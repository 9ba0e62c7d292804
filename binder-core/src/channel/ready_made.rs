//! Bindings for services with one channel.

use super::{Input, Output, Sink, Source};
use crate::Result;
use crate::binding::{Binding, Declare, Open};
use crate::codec::{Decode, Encode};

/// One output, called `output`.
#[derive(Debug)]
pub struct SourceBinding<T> {
    /// The channel `output`.
    pub output: Output<T>,
}

/// One input, called `input`.
#[derive(Debug)]
pub struct SinkBinding<T> {
    /// The channel `input`.
    pub input: Input<T>,
}

/// An input called `input` and an output called `output`.
#[derive(Debug)]
pub struct ProcessorBinding<I, O> {
    /// The channel `input`.
    pub input: Input<I>,
    /// The channel `output`.
    pub output: Output<O>,
}

impl<T: Encode> Binding for SourceBinding<T> {
    fn declare(channels: &mut Declare) {
        channels.output("output");
    }

    fn open(channels: &mut Open<'_>) -> Result<Self> {
        Ok(Self { output: channels.output("output", None)? })
    }
}

impl<T: Decode> Binding for SinkBinding<T> {
    fn declare(channels: &mut Declare) {
        channels.input("input");
    }

    fn open(channels: &mut Open<'_>) -> Result<Self> {
        Ok(Self { input: channels.input("input")? })
    }
}

impl<I: Decode, O: Encode> Binding for ProcessorBinding<I, O> {
    fn declare(channels: &mut Declare) {
        channels.input("input");
        channels.output("output");
    }

    fn open(channels: &mut Open<'_>) -> Result<Self> {
        Ok(Self { input: channels.input("input")?, output: channels.output("output", None)? })
    }
}

impl<T> Source for SourceBinding<T> {
    type Output = T;

    fn output(&self) -> &Output<T> {
        &self.output
    }
}

impl<T> Sink for SinkBinding<T> {
    type Input = T;

    fn into_input(self) -> Input<T> {
        self.input
    }
}

impl<I, O> Source for ProcessorBinding<I, O> {
    type Output = O;

    fn output(&self) -> &Output<O> {
        &self.output
    }
}

impl<I, O> Sink for ProcessorBinding<I, O> {
    type Input = I;

    fn into_input(self) -> Input<I> {
        self.input
    }
}
