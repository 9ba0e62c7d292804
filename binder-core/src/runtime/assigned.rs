//! What an input reads at the moment, for the hooks.

use std::sync::Arc;

use super::state::StateCell;
use crate::binder::{Assignment, LaneId};

/// The lanes that a consumer was given. Keeps nothing if there are no hooks.
#[derive(Debug)]
pub(crate) struct Assigned {
    channel: Arc<str>,
    state: StateCell,
    live: Vec<Assignment>,
}

impl Assigned {
    pub(crate) fn new(channel: Arc<str>, state: StateCell) -> Self {
        Self { channel, state, live: Vec::new() }
    }

    pub(crate) fn add(&mut self, lanes: Vec<Assignment>) {
        let hooks = self.state.hooks();
        if hooks.is_empty() || lanes.is_empty() {
            return;
        }
        hooks.tell(|hooks| hooks.on_assigned(&self.channel, &lanes));
        self.live.extend(lanes);
    }

    pub(crate) fn remove(&mut self, lanes: &[LaneId]) {
        self.tell_removed(|known| lanes.contains(&known.lane));
    }

    /// The consumer is closed.
    pub(crate) fn remove_all(&mut self) {
        self.tell_removed(|_| true);
    }

    fn tell_removed(&mut self, is_gone: impl Fn(&Assignment) -> bool) {
        let gone: Vec<_> = self.live.extract_if(.., |known| is_gone(known)).collect();
        if !gone.is_empty() {
            self.state.hooks().tell(|hooks| hooks.on_revoked(&self.channel, &gone));
        }
    }
}
