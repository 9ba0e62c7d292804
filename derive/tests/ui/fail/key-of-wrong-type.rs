//! A key is text, a number, a boolean or bytes.

use binder_core::{Binding, Output};

#[derive(serde::Serialize)]
struct Order {
    price: f64,
}

#[derive(Binding)]
struct Channels {
    #[output(key = "price")]
    placed: Output<Order>,
}

fn main() {}
