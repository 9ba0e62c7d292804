//! A handler has no parameters but its arguments.

use binder_core::check_handler;

#[check_handler]
async fn handle<'a, T, const N: usize>(_order: T, _name: impl ToString) {}

fn main() {}
