//! What an application is told while it runs.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::state::BindingState;
use crate::binder::{Assignment, DeadLetter};

/// Told of what happens to bindings; added by [`ApplicationBuilder::hooks`](super::ApplicationBuilder::hooks).
///
/// Called where it happens: a hook must not block, nor wait for the binding that called it. One that panics is logged, and nothing else
/// comes of it.
#[allow(unused_variables, reason = "a hook implements what it wants to hear")]
pub trait Hooks: Send + Sync + 'static {
    /// A binding has another state.
    fn on_state(&self, channel: &str, state: &BindingState) {}

    /// A message whose attempts were used up was moved aside, and the broker has confirmed it.
    fn on_dead_letter(&self, channel: &str, letter: &DeadLetter<'_>) {}

    /// An input was given partitions, or the queue that it reads; before their first message is handled.
    fn on_assigned(&self, channel: &str, assigned: &[Assignment]) {}

    /// An input has given partitions back, or lost them: their handlers are done or their settlements will be ignored.
    fn on_revoked(&self, channel: &str, revoked: &[Assignment]) {}
}

/// The hooks of an application.
#[derive(Clone, Default)]
pub(crate) struct HookSet(Arc<Vec<Arc<dyn Hooks>>>);

impl HookSet {
    pub(crate) fn push(&mut self, hooks: impl Hooks) {
        Arc::make_mut(&mut self.0).push(Arc::new(hooks));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Calls each of them.
    pub(crate) fn tell(&self, call: impl Fn(&dyn Hooks)) {
        for hooks in self.0.iter() {
            if catch_unwind(AssertUnwindSafe(|| call(hooks.as_ref()))).is_err() {
                tracing::error!("a hook panicked");
            }
        }
    }
}

impl fmt::Debug for HookSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HookSet").field(&self.0.len()).finish()
    }
}
