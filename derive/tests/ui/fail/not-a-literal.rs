//! Names are string literals, because they are declared before anything runs.

use binder_core::{Binding, Input, Output};

const NAME: &str = "orders";

#[derive(Binding)]
struct Channels {
    #[input(NAME)]
    orders: Input<u8>,
    #[input(concat!("a", "b"))]
    both: Input<u8>,
    #[output(1)]
    one: Output<u8>,
    #[output(key = id)]
    placed: Output<u8>,
    #[output("a" "b")]
    billed: Output<u8>,
}

fn main() {}
