//! What is received implements `Deserialize`, what is sent `Serialize`.

use binder_core::{Binding, Input, Output};

struct Order;

#[derive(Binding)]
struct Channels {
    #[input]
    orders: Input<Order>,
    #[output]
    placed: Output<Order>,
}

fn main() {}
