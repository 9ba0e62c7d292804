//! An argument that nobody knows is named, with the one that was meant if that can be guessed.

use binder_core::{Binding, Input, Output};

#[derive(Binding)]
#[binding(krate = "binder_core", prefix = "all-")]
struct Channels {
    #[output(keey = "id")]
    placed: Output<u8>,
    #[output(partition = "id")]
    billed: Output<u8>,
    #[input(name = "orders")]
    orders: Input<u8>,
    #[input(group = "g")]
    changes: Input<u8>,
    #[binding("name", prefixx = "x-")]
    nested: Nested,
}

#[derive(Binding)]
struct Nested {
    #[output]
    output: Output<u8>,
}

fn main() {}
