//! What a binder reports while it runs.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// Health of a binder's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BinderHealth {
    /// No connection; the reason names no secret.
    Connecting(String),
    /// Connected.
    Up,
}

/// The place where a binder says of one binding that its connection is lost or back.
///
/// Clones report to the same binding.
#[derive(Clone)]
pub struct Status(Arc<Shared>);

struct Shared {
    health: watch::Sender<BinderHealth>,
    observer: OnceLock<Observer>,
    silence: Mutex<Option<Silence>>,
}

/// Says how long ago the broker was heard.
type Silence = Arc<dyn Fn() -> Option<Duration> + Send + Sync>;

type Observer = Box<dyn Fn(&BinderHealth) + Send + Sync>;

impl Status {
    /// Creates a status that starts as connecting.
    pub fn new() -> Self {
        let health = watch::Sender::new(BinderHealth::Connecting("starting".to_owned()));
        Self(Arc::new(Shared { health, observer: OnceLock::new(), silence: Mutex::default() }))
    }

    /// Reports that there is no connection, and why.
    pub fn connecting(&self, reason: impl Into<String>) {
        self.report(BinderHealth::Connecting(reason.into()));
    }

    /// Reports that the binding works.
    pub fn up(&self) {
        self.report(BinderHealth::Up);
    }

    /// Returns what was reported last.
    pub fn get(&self) -> BinderHealth {
        self.0.health.borrow().clone()
    }

    /// Returns a receiver that sees every later change.
    pub fn watch(&self) -> watch::Receiver<BinderHealth> {
        self.0.health.subscribe()
    }

    /// Sets what says how long ago the broker was last known to answer this binding, or nothing if it never has; it replaces what was set
    /// before. Called when somebody asks for the health, so it must not wait. That a silence is too long, and the binding connecting, is for
    /// the binder to report.
    pub fn hears(&self, silence: impl Fn() -> Option<Duration> + Send + Sync + 'static) {
        *self.0.silence.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(silence));
    }

    /// Returns how long ago the broker was last known to answer; nothing if it never has, or if the binder does not tell.
    pub fn silence(&self) -> Option<Duration> {
        let silence = self.0.silence.lock().unwrap_or_else(PoisonError::into_inner).clone();
        silence.and_then(|silence| silence())
    }

    /// Sets who is told of each change, where and when it happens; once.
    pub(crate) fn observe(&self, observer: impl Fn(&BinderHealth) + Send + Sync + 'static) {
        let _ = self.0.observer.set(Box::new(observer));
    }

    fn report(&self, health: BinderHealth) {
        let changed = self.0.health.send_if_modified(|known| {
            let changed = *known != health;
            known.clone_from(&health);
            changed
        });
        if changed && let Some(observer) = self.0.observer.get() {
            observer(&health);
        }
    }
}

impl Default for Status {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Status").field(&self.get()).finish()
    }
}
