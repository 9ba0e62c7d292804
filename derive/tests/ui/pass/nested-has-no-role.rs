//! The channels of a nested binding can't be counted, so the struct is no source.

use binder_core::channel::Source;
use binder_core::{Binding, Output};

#[derive(Binding)]
struct Outer {
    #[output]
    own: Output<u8>,
    #[binding]
    inner: Inner,
}

#[derive(Binding)]
struct Inner {
    #[output]
    other: Output<u8>,
}

struct Probe<T>(std::marker::PhantomData<T>);

impl<T: Source> Probe<T> {
    const IS_SOURCE: bool = true;
}

trait NoSource {
    const IS_SOURCE: bool = false;
}

impl<T> NoSource for Probe<T> {}

fn main() {
    assert!(!Probe::<Outer>::IS_SOURCE);
    assert!(Probe::<Inner>::IS_SOURCE);
    let _ = |outer: Outer| (outer.own, outer.inner.other);
}
