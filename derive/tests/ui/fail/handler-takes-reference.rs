//! A handler owns its arguments.

use binder_core::check_handler;

#[check_handler]
async fn handle(_order: &str, _count: &mut u8) {}

fn main() {}
