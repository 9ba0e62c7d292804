//! States of bindings, and what they say about the health of the application.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use super::counts::{Counts, InputCounts};
use super::hooks::HookSet;
use crate::binder::{BinderHealth, Status};
use crate::binding::Direction;
use crate::{Error, ErrorKind};

/// State of a binding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "reason")]
#[non_exhaustive]
pub enum BindingState {
    /// Not started yet, or stopped on purpose.
    Idle,
    /// No connection; tried again until there is one.
    Connecting(String),
    /// Works.
    Running,
    /// Keeps its place in the group and takes nothing.
    Paused,
    /// Works, but something that should pass does not: a dead letter that the broker refuses.
    Degraded(String),
    /// Stopped by what waiting can't mend.
    Stopped(String),
}

impl BindingState {
    /// Returns whether the binding does its work.
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Degraded(_))
    }
}

impl fmt::Display for BindingState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle => f.write_str("idle"),
            Self::Connecting(reason) => write!(f, "connecting ({reason})"),
            Self::Running => f.write_str("running"),
            Self::Paused => f.write_str("paused"),
            Self::Degraded(reason) => write!(f, "degraded ({reason})"),
            Self::Stopped(reason) => write!(f, "stopped ({reason})"),
        }
    }
}

/// The state of one binding, written by its task and read by everybody.
#[derive(Clone, Debug)]
pub(crate) struct StateCell {
    phase: Arc<watch::Sender<BindingState>>,
    kind: Arc<std::sync::OnceLock<ErrorKind>>,
    /// Since when the oldest unsettled delivery has been there, in ms since the cell was made; 0 is none.
    unsettled_since: Arc<AtomicU64>,
    counts: Arc<Counts>,
    made: Instant,
    status: Status,
    shown: Arc<Shown>,
}

/// The state that the hooks were told last.
#[derive(Debug)]
struct Shown {
    channel: Arc<str>,
    hooks: HookSet,
    last: Mutex<BindingState>,
}

impl Shown {
    /// Tells the hooks of a state, if it is another than before.
    fn show(&self, state: &BindingState) {
        {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if *last == *state {
                return;
            }
            last.clone_from(state);
        }
        self.hooks.tell(|hooks| hooks.on_state(&self.channel, state));
    }
}

/// The binder's word on the connection counts while the binding runs.
fn combine(phase: BindingState, health: &BinderHealth) -> BindingState {
    match (phase, health) {
        (BindingState::Running | BindingState::Paused, BinderHealth::Connecting(reason)) => {
            BindingState::Connecting(reason.clone())
        }
        (phase, _) => phase,
    }
}

impl StateCell {
    pub(crate) fn new(channel: Arc<str>, status: Status, hooks: HookSet) -> Self {
        let phase = Arc::new(watch::Sender::new(BindingState::Idle));
        let shown = Arc::new(Shown { channel, hooks, last: Mutex::new(BindingState::Idle) });
        if !shown.hooks.is_empty() {
            let (phase, shown) = (Arc::clone(&phase), Arc::clone(&shown));
            status.observe(move |health| {
                // a hook may command the binding, which writes the phase: it must not be held meanwhile
                let now = phase.borrow().clone();
                shown.show(&combine(now, health));
            });
        }
        Self {
            phase,
            kind: Arc::default(),
            unsettled_since: Arc::default(),
            counts: Arc::default(),
            made: Instant::now(),
            status,
            shown,
        }
    }

    /// Returns the hooks that are told of this binding.
    pub(crate) fn hooks(&self) -> &HookSet {
        &self.shown.hooks
    }

    /// Returns what is counted.
    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Returns the state without the binder's word on the connection.
    pub(crate) fn phase(&self) -> BindingState {
        self.phase.borrow().clone()
    }

    /// Waits for the next change of the phase.
    pub(crate) fn watch(&self) -> watch::Receiver<BindingState> {
        self.phase.subscribe()
    }

    /// Notes how many deliveries are unsettled, and whether the oldest one is another than before.
    pub(crate) fn note_unsettled(&self, count: usize, progress: bool) {
        if count == 0 {
            self.unsettled_since.store(0, Relaxed);
        } else if progress || self.unsettled_since.load(Relaxed) == 0 {
            let since = u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.unsettled_since.store(since.max(1), Relaxed);
        }
    }

    /// Notes since when the oldest unsettled delivery has been there.
    pub(crate) fn note_oldest(&self, since: Instant) {
        let since = u64::try_from(since.saturating_duration_since(self.made).as_millis()).unwrap_or(u64::MAX);
        self.unsettled_since.store(since.max(1), Relaxed);
    }

    /// Returns for how long the oldest unsettled delivery has been there.
    pub(crate) fn oldest_unsettled(&self) -> Duration {
        match self.unsettled_since.load(Relaxed) {
            0 => Duration::ZERO,
            since => self.made.elapsed().saturating_sub(Duration::from_millis(since)),
        }
    }

    /// Returns how long ago the broker was last known to answer, if the binding was started.
    pub(crate) fn last_heard(&self) -> Option<Duration> {
        match self.phase() {
            BindingState::Idle | BindingState::Stopped(_) => None,
            _ => self.status.silence(),
        }
    }

    /// Returns the state; the binder's word on the connection counts while the binding runs.
    pub(crate) fn get(&self) -> BindingState {
        combine(self.phase(), &self.status.get())
    }

    pub(crate) fn set(&self, state: BindingState) {
        let changed = self.phase.send_if_modified(|known| {
            let changed = *known != state;
            *known = state;
            changed
        });
        if changed {
            self.show();
        }
    }

    /// Notes that a binding is to start which is idle, or `ends`: it was told to stop. From now on it is not ready until it works. Returns whether
    /// that changes anything; then the hooks are to be [told](Self::show).
    pub(crate) fn begin(&self, ends: bool) -> bool {
        self.phase.send_if_modified(|known| {
            let works = matches!(known, BindingState::Running | BindingState::Paused);
            let begins = *known == BindingState::Idle || ends && works;
            if begins {
                *known = BindingState::Connecting("starting".to_owned());
            }
            begins
        })
    }

    /// Notes that a binding has stopped as it was told. Returns whether that changes anything; then the hooks are to be [told](Self::show).
    pub(crate) fn end(&self) -> bool {
        self.phase.send_if_modified(|known| {
            let ends = *known != BindingState::Idle;
            *known = BindingState::Idle;
            ends
        })
    }

    /// Notes that a binding which has not connected yet is not to start after all. Returns whether that changes anything; then the hooks are
    /// to be [told](Self::show).
    pub(crate) fn rest(&self) -> bool {
        self.phase.send_if_modified(|known| {
            let rests = matches!(known, BindingState::Connecting(_));
            if rests {
                *known = BindingState::Idle;
            }
            rests
        })
    }

    /// Tells the hooks of the state. They may command the binding, so nobody who holds its control calls this.
    pub(crate) fn show(&self) {
        if !self.hooks().is_empty() {
            self.shown.show(&self.get());
        }
    }

    /// Notes that the binding stopped for good, and why.
    pub(crate) fn stop(&self, error: &Error) {
        let _ = self.kind.set(error.kind());
        self.set(BindingState::Stopped(error.to_string()));
    }

    /// Returns the error of a binding that stopped for good.
    pub(crate) fn stopped(&self) -> Option<Error> {
        match &*self.phase.borrow() {
            BindingState::Stopped(reason) => {
                let kind = self.kind.get().copied().unwrap_or(ErrorKind::Closed);
                Some(Error::new(kind, reason.clone()))
            }
            _ => None,
        }
    }

    /// Waits until the binding does its work; fails if it never will.
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        let mut phase = self.phase.subscribe();
        let mut status = self.status.watch();
        loop {
            phase.borrow_and_update();
            status.borrow_and_update();
            if self.get().is_ready() {
                return Ok(());
            }
            if let Some(error) = self.stopped() {
                return Err(error);
            }
            tokio::select! {
                _ = phase.changed() => {}
                _ = status.changed() => {}
            }
        }
    }
}

/// What one binding is and how it does.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct BindingHealth {
    /// `input` or `output`.
    #[serde(serialize_with = "direction")]
    pub direction: Direction,
    /// Destinations, separated by commas.
    pub destination: String,
    /// The group; none for an output or an anonymous input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The binder's name.
    pub binder: String,
    /// The state.
    #[serde(flatten)]
    pub state: BindingState,
    /// How old the oldest unsettled delivery is, in seconds; 0 if there is none. Only an input has it.
    pub oldest_unsettled_seconds: f64,
    /// What was not simply handled. Only an input has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts: Option<InputCounts>,
    /// How long ago the broker was last known to answer, in seconds. Only an input that was started has it, if its binder tells; none while the
    /// broker never has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_heard_seconds: Option<f64>,
}

fn direction<S: serde::Serializer>(direction: &Direction, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match direction {
        Direction::Input => "input",
        Direction::Output => "output",
    })
}

/// Health of an application. *Live*: no binding has stopped for good; a restart would not help otherwise. *Ready*: every binding that was
/// started has its connection.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// Whether every started binding does its work.
    pub ready: bool,
    /// Whether no binding has stopped for good.
    pub live: bool,
    /// The bindings by channel name.
    pub bindings: BTreeMap<String, BindingHealth>,
}

impl Health {
    pub(crate) fn of(bindings: BTreeMap<String, BindingHealth>) -> Self {
        let states = || bindings.values().map(|binding| &binding.state);
        let ready = states().all(|state| state.is_ready() || *state == BindingState::Idle);
        let live = !states().any(|state| matches!(state, BindingState::Stopped(_)));
        Self { ready, live, bindings }
    }

    /// Returns whether every started binding does its work.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Returns whether no binding has stopped for good.
    pub fn is_live(&self) -> bool {
        self.live
    }
}

/// What a binding's task is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Not started.
    Wait,
    /// Take and handle.
    Run,
    /// Keep the place in the group, take nothing.
    Pause,
    /// Finish what runs, settle, leave; at the latest after the given time.
    Stop(Duration),
}
