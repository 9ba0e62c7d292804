//! Every field is a channel or a nested binding.

use binder_core::{Binding, Input, Output};

#[derive(Binding)]
struct Channels {
    #[input]
    orders: Input<u8>,
    placed: Output<u8>,
}

fn main() {
    let _ = binder_core::binding::Declare::of::<Channels>();
}
