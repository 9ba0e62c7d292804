//! A union has no channels.

use binder_core::Binding;

#[derive(Binding)]
union Channels {
    orders: u8,
}

fn main() {
    let _ = binder_core::binding::Declare::of::<Channels>();
}
