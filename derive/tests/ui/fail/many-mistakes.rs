//! All mistakes of a struct are told in one compile, and its uses are not one more.

use binder_core::channel::Source;
use binder_core::{Binding, Input, Output};

#[derive(Binding)]
#[input]
struct Channels {
    #[input("")]
    orders: Input<u8>,
    #[output(keey = "id")]
    placed: Output<u8>,
    #[input(key = "id")]
    #[output]
    changes: Input<u8>,
    #[binding]
    nested: u8,
    #[input]
    wrong: Output<u8>,
    forgotten: Input<u8>,
}

#[derive(Binding)]
struct Publisher<T> {
    #[output("changes", key = "")]
    changes: Output<T>,
}

fn publish<S: Source<Output = u8>>(source: &S) {
    source.output().name();
}

fn uses(publisher: &Publisher<u8>) {
    publish(publisher);
}

fn main() {
    let _ = binder_core::binding::Declare::of::<Channels>();
    let _ = binder_core::binding::Declare::of::<Publisher<u8>>();
}
