//! A handler names what it returns.

use binder_core::check_handler;

#[check_handler]
async fn handle(_order: u8) -> impl ToString {
    _order
}

fn main() {}
