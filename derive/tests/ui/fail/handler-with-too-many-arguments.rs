//! A handler has at most seven arguments.

use binder_core::check_handler;

#[check_handler]
async fn handle(_: u8, _: u8, _: u8, _: u8, _: u8, _: u8, _: u8, _eighth: u8, _: u8) {}

fn main() {}
