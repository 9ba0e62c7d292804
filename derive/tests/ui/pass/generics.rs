//! A generic struct asks of its parameters what its channels ask, and nothing else.

use std::fmt::Debug;

use binder_core::binding::Declare;
use binder_core::codec::{Decode, Encode};
use binder_core::{Binding, Input, Output};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Event<T>(T);

#[derive(Serialize)]
struct OnlySent;

#[derive(Deserialize)]
struct OnlyReceived;

#[derive(Binding)]
struct Channels<I, O, B = Plain, const N: usize = 2>
where
    I: Debug,
    [u8; N]: Sized,
{
    #[input]
    events: Input<Event<I>>,
    #[output]
    results: Output<Vec<O>>,
    #[output]
    array: Output<[u8; N]>,
    #[binding(prefix = "b-")]
    nested: B,
}

#[derive(Binding)]
struct Plain {
    #[output]
    plain: Output<u8>,
}

#[derive(Debug, Deserialize)]
struct Received;

/// What the macro asks for is what can be asked for here.
fn declared<I: Decode + Debug, O: Encode, B: Binding>() -> usize
where
    Channels<I, O, B>: Binding,
{
    Declare::of::<Channels<I, O, B>>().len()
}

fn main() {
    assert_eq!(Declare::of::<Channels<Received, OnlySent>>().len(), 4);
    assert_eq!(declared::<u8, u8, Plain>(), 4);
    let _ = |c: Channels<u8, u8>| (c.events, c.results, c.array, c.nested.plain);
    let _ = OnlyReceived;
}
