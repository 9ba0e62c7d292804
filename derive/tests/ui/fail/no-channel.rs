//! A struct without channels is a mistake.

use binder_core::Binding;

#[derive(Binding)]
struct Channels {}

fn main() {
    let _ = binder_core::binding::Declare::of::<Channels>();
}
