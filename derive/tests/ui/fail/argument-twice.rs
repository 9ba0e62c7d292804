//! A name and each argument are given once.

use binder_core::{Binding, Input, Output};

#[derive(serde::Serialize)]
struct Order {
    id: u8,
}

#[derive(Binding)]
struct Channels {
    #[input("orders", "more-orders")]
    orders: Input<u8>,
    #[output(key = "id", key = "id")]
    placed: Output<Order>,
}

fn main() {}
