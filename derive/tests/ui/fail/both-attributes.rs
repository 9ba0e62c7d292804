//! A channel has one direction.

use binder_core::{Binding, Input, Output};

#[derive(Binding)]
struct Channels {
    #[input]
    #[output]
    orders: Input<u8>,
    #[output]
    #[binding]
    placed: Output<u8>,
}

fn main() {}
