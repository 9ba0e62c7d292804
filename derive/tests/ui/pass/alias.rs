//! A field's type is known by what it is, not by how it is written.

use binder_core::binding::{Declare, Direction};
use binder_core::channel::Processor;
use binder_core::{Binding, Input as Output, Output as Input};

type Orders = Output<u8>;

#[derive(Binding)]
struct Channels {
    #[input]
    orders: Orders,
    #[output]
    invoices: Input<u16>,
}

fn is_processor<P: Processor<Input = u8, Output = u16>>() {}

fn main() {
    is_processor::<Channels>();
    assert_eq!(Declare::of::<Channels>()[0].1, Direction::Input);
    let _ = |channels: Channels| (channels.orders, channels.invoices);
}
