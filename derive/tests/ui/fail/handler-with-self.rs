//! A handler is no method.

use binder_core::check_handler;

struct Service;

impl Service {
    #[check_handler]
    async fn handle(&self, _order: u8) {}
}

fn main() {}
