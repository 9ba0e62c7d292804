//! A key is a path of fields, nothing else.

use binder_core::{Binding, Output};

#[derive(Binding)]
struct Channels {
    #[output(key = "")]
    placed: Output<u8>,
    #[output(key = "customer name")]
    billed: Output<u8>,
    #[output(key = "id()")]
    paid: Output<u8>,
}

fn main() {}
