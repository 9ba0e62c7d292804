//! One output makes a source, one input a sink, one of each a processor.

use binder_core::channel::{Processor, Sink, Source};
use binder_core::{Binding, Input, Output};

#[derive(Binding)]
struct Out<T> {
    #[output]
    changes: Output<T>,
}

#[derive(Binding)]
struct In {
    #[input]
    changes: Input<u8>,
}

#[derive(Binding)]
struct Both<T: Clone> {
    #[input]
    orders: Input<T>,
    #[output]
    invoices: Output<u64>,
}

#[derive(Binding)]
struct TwoInputs {
    #[input]
    left: Input<u8>,
    #[input]
    right: Input<u8>,
    #[output]
    joined: Output<u16>,
}

fn source<S: Source<Output = O>, O>() {}
fn sink<S: Sink<Input = I>, I>() {}
fn processor<P: Processor<Input = I, Output = O>, I, O>() {}

/// Tells whether a type is a sink without asking for it.
struct Probe<T>(std::marker::PhantomData<T>);

impl<T: Sink> Probe<T> {
    const IS_SINK: bool = true;
}

trait NoSink {
    const IS_SINK: bool = false;
}

impl<T> NoSink for Probe<T> {}

fn main() {
    source::<Out<String>, String>();
    sink::<In, u8>();
    source::<Both<u8>, u64>();
    sink::<Both<u8>, u8>();
    processor::<Both<u8>, u8, u64>();
    source::<TwoInputs, u16>();
    assert!(Probe::<In>::IS_SINK);
    assert!(!Probe::<TwoInputs>::IS_SINK);
    let _ = |two: TwoInputs| (two.left, two.right);
}
