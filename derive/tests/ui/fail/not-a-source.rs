//! A struct with two outputs is no source.

use binder_core::channel::Source;
use binder_core::{Binding, Output};

#[derive(Binding)]
struct Channels {
    #[output]
    placed: Output<u8>,
    #[output]
    billed: Output<u8>,
}

fn publish(_: &impl Source<Output = u8>) {}

fn two(channels: &Channels) {
    publish(channels);
}

fn main() {}
