//! After the payload come extractors, with one state.

use binder_core::prelude::*;

#[derive(Clone)]
struct Cache;

#[derive(Clone)]
struct Database;

#[check_handler]
async fn handle(_order: u8, _name: String, _: State<Cache>, _: State<Database>) {}

fn main() {}
