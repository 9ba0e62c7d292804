//! A checked handler is the function as it was.

use std::future::Future;

use binder_core::check_handler;

/// Documented.
#[check_handler]
#[must_use]
pub(crate) async fn double((a, b): (u8, u8), mut sum: u8, _: [u8; 2]) -> Result<u8, std::io::Error> {
    sum += a + b;
    Ok(sum * 2)
}

#[check_handler]
async fn at_most(_: u8, _: u8, _: u8, _: u8, _: u8, _: u8, _: u8, _: u8) {}

fn main() {
    let mut call = Box::pin(double((1, 2), 3, [0, 0]));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(done) = call.as_mut().poll(&mut context) else { panic!("it waits for nothing") };
    assert_eq!(done.unwrap(), 12);
    drop(at_most(1, 2, 3, 4, 5, 6, 7, 8));
}
