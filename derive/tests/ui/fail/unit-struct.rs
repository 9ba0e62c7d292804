//! A unit struct has no channels.

use binder_core::Binding;

#[derive(Binding)]
struct Channels;

fn main() {
    let _ = binder_core::binding::Declare::of::<Channels>();
}
