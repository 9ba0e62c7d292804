//! Driving futures of the client without waiting for them.

use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Polls once, nobody is woken. The client queues its frames at the first poll; what is left after it is only the news that they
/// were written.
pub(crate) fn start<F: Future>(future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    once(future.as_mut())
}

/// Polls once, nobody is woken, and keeps the future.
pub(crate) fn once<F: Future + ?Sized>(future: Pin<&mut F>) -> Option<F::Output> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// Locks; a panic of another holder changes nothing, because no holder leaves a state half changed.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
