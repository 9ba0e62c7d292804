//! A handler has at most eight arguments.

use binder_core::check_handler;

#[check_handler]
async fn handle(_: u8, _: u8, _: u8, _: u8, _: u8, _: u8, _: u8, _: u8, _ninth: u8, _: u8) {}

fn main() {}
