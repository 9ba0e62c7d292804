//! A handler takes the payload.

use binder_core::check_handler;

#[check_handler]
async fn handle() {}

fn main() {}
