//! Lets somebody wait until the groups have caught up.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Tells those who wait that a group has caught up in some partition. Free while nobody waits.
#[derive(Debug, Default)]
pub(super) struct Progress {
    waiting: AtomicUsize,
    notify: Notify,
}

impl Progress {
    /// Says that a group has caught up; called after the lock was released under which it did.
    pub(super) fn note(&self) {
        if self.waiting.load(Ordering::Acquire) > 0 {
            self.notify.notify_waiters();
        }
    }

    /// Waits until `reached` holds; it is asked again after each [`note`](Self::note).
    pub(super) async fn wait_until(&self, reached: impl Fn() -> bool) {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(&self.waiting);
        loop {
            let mut noted = std::pin::pin!(self.notify.notified());
            noted.as_mut().enable();
            if reached() {
                return;
            }
            noted.await;
        }
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
