//! A wrong type of the only output is one mistake, though `Source` stands on it too.

use binder_core::{Binding, Input};

#[derive(Binding)]
struct Channels {
    #[output(key = "id")]
    placed: Input<u8>,
}

fn main() {}
