//! A key is a field of the payload; rustc says which there are.

use binder_core::{Binding, Output};

#[derive(serde::Serialize)]
struct Order {
    id: u64,
    customer: Customer,
}

#[derive(serde::Serialize)]
struct Customer {
    name: String,
}

#[derive(Binding)]
struct Channels {
    #[output(key = "idd")]
    placed: Output<Order>,
    #[output(key = "customer.nam")]
    billed: Output<Order>,
}

fn main() {}
