//! A channel's name is not empty.

use binder_core::{Binding, Input, Output};

#[derive(Binding)]
struct Channels {
    #[input("")]
    orders: Input<u8>,
    #[output("")]
    placed: Output<u8>,
}

fn main() {}
