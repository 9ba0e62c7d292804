//! The key of a received message is not taken from its payload by the macro.

use binder_core::{Binding, Input, Output};

#[derive(Binding)]
struct Channels {
    #[input("orders", key = "id")]
    orders: Input<u8>,
    #[output]
    placed: Output<u8>,
}

fn main() {}
