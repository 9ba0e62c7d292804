//! A name stands between parentheses.

use binder_core::{Binding, Input, Output};

#[derive(Binding)]
struct Channels {
    #[input = "orders"]
    orders: Input<u8>,
    #[output = 1]
    placed: Output<u8>,
}

fn main() {}
