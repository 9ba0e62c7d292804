//! A channel needs a name.

use binder_core::{Binding, Input};

#[derive(Binding)]
struct Channels(#[input("orders")] Input<u8>);

fn main() {
    let _ = binder_core::binding::Declare::of::<Channels>();
}
