//! A nested binding adds its channels, with a prefix if one is given; prefixes add up.

use binder_core::binding::Declare;
use binder_core::{Binding, Input, Output};

#[derive(Binding)]
struct Outer {
    #[binding]
    plain: Middle,
    #[binding(prefix = "eu-")]
    prefixed: Middle,
    #[output]
    own: Output<u8>,
}

#[derive(Binding)]
struct Middle {
    #[binding(prefix = "billing-")]
    inner: Inner,
}

#[derive(Binding)]
struct Inner {
    #[input]
    orders: Input<u8>,
}

fn main() {
    let names: Vec<_> = Declare::of::<Outer>().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["billing-orders", "eu-billing-orders", "own"]);
    let _ = |outer: Outer| (outer.plain.inner.orders, outer.prefixed, outer.own);
}
