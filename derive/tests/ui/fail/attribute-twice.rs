//! An attribute is given once.

use binder_core::{Binding, Input, Output};

#[derive(Binding)]
struct Channels {
    #[input]
    #[input("orders")]
    orders: Input<u8>,
    #[output]
    placed: Output<u8>,
}

fn main() {}
