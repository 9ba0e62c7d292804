//! A struct that is used as a binding says how it becomes one.

struct Channels;

fn main() {
    let _ = binder_core::binding::Declare::of::<Channels>();
}
