//! What is held over an `await` may go to another thread.

use std::rc::Rc;

use binder_core::check_handler;

#[check_handler]
async fn handle(order: u8) {
    let count = Rc::new(order);
    std::future::ready(()).await;
    drop(count);
}

fn main() {}
