//! A checked handler is the function as it was.

use binder_core::prelude::*;

#[derive(Clone)]
struct Cache;

type Shared = State<Cache>;

header!(Tenant: String = "tenant");

/// Documented.
#[check_handler]
#[must_use]
pub(crate) async fn double((a, b): (u8, u8)) -> Result<u8, std::io::Error> {
    Ok((a + b) * 2)
}

#[check_handler]
async fn whole(order: Message<String>, State(_): State<Cache>, _: Headers, _: Delivery, _: Option<Header<Tenant>>) {
    drop(order);
}

#[check_handler(state = Cache)]
async fn batch(_: Batch<u8>, _: Shared) -> BatchOutcome {
    BatchOutcome::ok()
}

#[check_handler(crate = "binder_core")]
async fn at_most(_: u8, _: Headers, _: Headers, _: Headers, _: Headers, _: Headers, _: Headers) {}

fn main() {
    let mut call = Box::pin(double((1, 2)));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(done) = call.as_mut().poll(&mut context) else { panic!("it waits for nothing") };
    assert_eq!(done.unwrap(), 6);
    let _ = (whole, batch, at_most);
}
