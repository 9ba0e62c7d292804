//! A handler is an `async fn`.

use binder_core::check_handler;

#[check_handler]
fn handle(_order: u8) {}

#[check_handler]
fn returns_a_future(_order: u8) -> impl Future<Output = ()> {
    async {}
}

fn main() {}
