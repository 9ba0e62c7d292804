//! `#[check_handler]` is for functions.

use binder_core::check_handler;

#[check_handler]
struct Handler;

#[check_handler(strict)]
async fn handle(_order: u8) {}

fn main() {}
