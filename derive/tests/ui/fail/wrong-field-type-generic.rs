//! A wrong type is told where it stands, also if a parameter is in it.

use binder_core::{Binding, Output};

#[derive(Binding)]
struct Channels<T> {
    #[input]
    orders: Output<T>,
    #[output]
    placed: Vec<T>,
}

fn main() {}
