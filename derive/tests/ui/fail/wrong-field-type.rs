//! An input is an `Input<T>`, an output an `Output<T>`, a nested binding a `Binding`.

use binder_core::{Binding, Output};

#[derive(Binding)]
struct Channels {
    #[input]
    orders: Output<u32>,
    #[output]
    placed: Vec<u8>,
    #[binding]
    nested: String,
}

fn main() {
    let _ = binder_core::binding::Declare::of::<Channels>();
}
