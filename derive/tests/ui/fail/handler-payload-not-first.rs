//! The payload comes first, and can be received.

use binder_core::prelude::*;

#[derive(Clone)]
struct Cache;

#[check_handler]
async fn handle(_: State<Cache>, _order: u8) {}

fn main() {}
