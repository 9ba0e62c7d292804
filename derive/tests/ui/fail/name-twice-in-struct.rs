//! Two channels of one struct have two names.

use binder_core::{Binding, Input, Output};

#[derive(Binding)]
struct Channels {
    #[input]
    orders: Input<u8>,
    #[output("orders")]
    placed: Output<u8>,
    #[output("invoices")]
    billed: Output<u8>,
    #[output]
    invoices: Output<u8>,
}

fn main() {}
