//! A channel is a field.

use binder_core::{Binding, Input, Output};

#[derive(Binding)]
#[input]
#[output("placed")]
struct Channels {
    #[output]
    placed: Output<u8>,
    #[input]
    orders: Input<u8>,
}

fn main() {}
