//! An enum has no channels.

use binder_core::Binding;

#[derive(Binding)]
enum Channels {
    Orders,
}

fn main() {
    let _ = binder_core::binding::Declare::of::<Channels>();
}
