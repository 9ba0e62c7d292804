//! One input: its binding, and the task that keeps a consumer running.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::aside::Exhausted;
use super::assigned::Assigned;
use super::common::Common;
use super::connect::{bind_waits, connect};
use super::delayed::Delayed;
use super::keys::KeyPlace;
use super::layer::Layers;
use super::retry::RetryPolicy;
use super::runner::Runner;
use super::seek::Seeks;
use super::state::{BindingState, Command, StateCell};
use super::transaction;
use super::work::{Settings, Work};
use crate::binder::{BatchView, Consumer, ConsumerBinding, SharedBinder};
use crate::channel::KeySource;
use crate::codec::{Codecs, Decode, from_shared};
use crate::config::{OnExhausted, RetryMode};
use crate::handler::{DeliveryRef, Verdict};
use crate::message::ContentType;
use crate::{Error, ErrorKind, Result};

/// Why `retry: delayed` is refused.
pub(super) const NO_DELAY: &str = "the binder can't do `retry: delayed`; use `retry: in-place`";

/// How a consumer is run: boxed once for each binding, so that what is inside is compiled for its handler.
pub(crate) type Run = Arc<dyn Fn(Box<dyn Consumer>, RunContext) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// What a run needs beside its consumer.
pub(crate) struct RunContext {
    pub(crate) settings: Settings,
    pub(crate) exhausted: Exhausted,
    pub(crate) state: StateCell,
    pub(crate) control: watch::Receiver<Command>,
    pub(crate) seeks: Arc<Seeks>,
}

/// An input without its type.
pub(crate) struct InputEntry {
    pub(crate) binding: ConsumerBinding,
    pub(crate) binder_name: Arc<str>,
    pub(crate) codecs: Codecs,
    pub(crate) layers: Layers,
    pub(crate) state: StateCell,
    pub(crate) auto_startup: bool,
    pub(crate) seeks: Arc<Seeks>,
    pub(super) binder: SharedBinder,
    control: watch::Sender<Command>,
    run: Mutex<Option<Run>>,
    handled: AtomicBool,
    /// Whether deliveries are handed to one who pulls them.
    pulled: AtomicBool,
    task: Mutex<Option<AbortHandle>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl InputEntry {
    pub(crate) fn new(
        binding: ConsumerBinding,
        binder_name: Arc<str>,
        binder: SharedBinder,
        common: &Common,
        auto_startup: bool,
    ) -> Self {
        Self {
            state: StateCell::new(Arc::clone(&binding.channel), binding.status.clone(), common.hooks.clone()),
            binding,
            binder_name,
            codecs: common.codecs.clone(),
            layers: common.layers.clone(),
            auto_startup,
            seeks: Arc::default(),
            binder,
            control: watch::Sender::new(Command::Wait),
            run: Mutex::new(None),
            handled: AtomicBool::new(false),
            pulled: AtomicBool::new(false),
            task: Mutex::new(None),
        }
    }

    /// Refuses a handler that needs a transaction where there is none.
    pub(super) fn check_transaction(&self, needed: bool) -> Result<()> {
        if !needed || self.binding.properties.transactional {
            return Ok(());
        }
        let text = "the handler takes a `Transaction`: that needs `consumer.transactional: true`";
        Err(Error::new(ErrorKind::Config, text).with_context("binding", &*self.binding.channel))
    }

    /// Returns the decoder of this input's payloads.
    pub(crate) fn decoder(&self) -> Decoder {
        let properties = &self.binding.properties;
        Decoder {
            codecs: self.codecs.clone(),
            content_type: self.binding.content_type.clone(),
            from_header: properties.reads_content_type(),
        }
    }

    /// Sets what is done with deliveries; once.
    pub(crate) fn set_run<F, Fut>(&self, invoke: F)
    where
        F: Fn(&DeliveryRef<'_>) -> Result<Fut, Error> + Clone + Send + Sync + 'static,
        Fut: Future<Output = Verdict> + Send + 'static,
    {
        if self.binding.properties.transactional {
            return self.set_boxed_run(transaction::run_of(invoke, Arc::clone(&self.binder_name)));
        }
        self.set_boxed_run(Arc::new(move |consumer, context: RunContext| {
            let RunContext { settings, exhausted, state, control, seeks } = context;
            let assigned = Assigned::new(Arc::clone(&settings.channel), state.clone());
            let work = Work::new(settings, invoke.clone(), exhausted, state.clone());
            Box::pin(Runner::new(consumer, work, control, state, seeks, assigned).run())
        }));
    }

    /// As [`set_run`](Self::set_run), for one who pulls: a delivery is his for as long as he wants, so there is no timeout.
    pub(crate) fn set_pulled_run<F, Fut>(&self, hand_out: F)
    where
        F: Fn(&DeliveryRef<'_>) -> Result<Fut, Error> + Clone + Send + Sync + 'static,
        Fut: Future<Output = Verdict> + Send + 'static,
    {
        self.pulled.store(true, SeqCst);
        self.set_run(hand_out);
    }

    pub(crate) fn set_boxed_run(&self, run: Run) {
        self.handled.store(true, SeqCst);
        *lock(&self.run) = Some(run);
    }

    /// Returns whether a handler was given, even if the binding has ended since.
    pub(crate) fn is_handled(&self) -> bool {
        self.handled.load(SeqCst)
    }

    /// Starts, or starts again after a stop.
    pub(crate) fn start(self: &Arc<Self>) {
        let mut task = lock(&self.task);
        let run = lock(&self.run).clone();
        let begins = self.order(Command::Run, run.is_some());
        let Some(run) = run else { return };
        if task.as_ref().is_none_or(AbortHandle::is_finished) {
            let supervisor = Arc::clone(self).supervise(run);
            *task = Some(tokio::spawn(supervisor).abort_handle());
        }
        drop(task);
        if begins {
            self.state.show();
        }
    }

    /// Says what the task has to do.
    pub(crate) fn command(&self, command: Command) {
        let is_there = lock(&self.task).as_ref().is_some_and(|task| !task.is_finished());
        if self.order(command, is_there) {
            self.state.show();
        }
    }

    /// Sets the command, and the state at once with it: who asks before the task runs must not hear that all is well, and a stop must find what
    /// it ends. `is_there`: a task obeys. Returns whether the hooks are to be told.
    fn order(&self, command: Command, is_there: bool) -> bool {
        let mut begins = false;
        self.control.send_modify(|known| {
            let ends = matches!(known, Command::Stop(_));
            *known = command;
            begins = is_there && !matches!(command, Command::Stop(_)) && self.state.begin(ends);
        });
        begins
    }

    /// Makes the task look at what it was asked beside commands.
    pub(super) fn wake(&self) {
        self.control.send_modify(|_| {});
    }

    /// Returns whether the group's position can be moved.
    pub(super) fn can_seek(&self) -> bool {
        self.binder.capability().seek
    }

    /// Waits until the task has stopped, or is told otherwise.
    pub(crate) async fn stopped(&self) {
        let (mut phase, mut control) = (self.state.watch(), self.control.subscribe());
        tokio::select! {
            _ = phase.wait_for(|state| matches!(state, BindingState::Idle | BindingState::Stopped(_))) => {}
            _ = control.wait_for(|command| !matches!(command, Command::Stop(_))) => {}
        }
    }

    /// Ends at once: nothing is settled any more, what is unsettled is delivered again.
    pub(crate) fn abort(&self) {
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
        self.release();
        self.state.set(BindingState::Idle);
    }

    /// Drops what is done with deliveries: the binding can't start again, and one who pulls sees its end.
    pub(crate) fn release(&self) {
        *lock(&self.run) = None;
    }

    async fn supervise(self: Arc<Self>, run: Run) {
        let mut control = self.control.subscribe();
        loop {
            if !self.is_to_run(&mut control).await {
                return;
            }
            match self.run_once(&run, &mut control).await {
                Ok(()) => {
                    self.state.note_unsettled(0, true);
                    self.ended(&control);
                }
                Err(error) if error.is_retryable() => {
                    let error = self.in_context(error);
                    tracing::warn!("the input lost its consumer, a new one is opened: {error:?}");
                    self.state.set(BindingState::Connecting(error.to_string()));
                    tokio::time::sleep(Duration::from_millis(250)).await;
                }
                Err(error) => {
                    let error = self.in_context(error);
                    tracing::error!("the input stopped: {error:?}");
                    self.state.stop(&error);
                    return self.release();
                }
            }
        }
    }

    /// Waits until the binding is to run; it rests if it is told to stop before. Returns false if nobody will ever tell.
    async fn is_to_run(&self, control: &mut watch::Receiver<Command>) -> bool {
        loop {
            let rests = {
                let command = control.borrow_and_update();
                if matches!(*command, Command::Run | Command::Pause) {
                    return true;
                }
                matches!(*command, Command::Stop(_)) && self.state.rest()
            };
            if rests {
                self.state.show();
            }
            if control.changed().await.is_err() {
                return false;
            }
        }
    }

    /// Notes that a run has ended as it was told; not if it is to start again already, because *idle* would count as ready.
    fn ended(&self, control: &watch::Receiver<Command>) {
        let rests = {
            let command = control.borrow();
            matches!(*command, Command::Stop(_)) && self.state.end()
        };
        if rests {
            self.state.show();
        }
    }

    /// Opens a consumer and runs it until it is told to stop or fails.
    async fn run_once(&self, run: &Run, control: &mut watch::Receiver<Command>) -> Result<()> {
        let consumer = tokio::select! {
            biased;
            _ = control.wait_for(|command| matches!(command, Command::Stop(_))) => return Ok(()),
            bound = self.connect() => bound?,
        };
        let context = RunContext {
            settings: self.settings(consumer.as_ref())?,
            exhausted: self.exhausted(consumer.as_ref())?,
            state: self.state.clone(),
            control: control.clone(),
            seeks: Arc::clone(&self.seeks),
        };
        self.state.set(BindingState::Running);
        run(consumer, context).await
    }

    async fn connect(&self) -> Result<Box<dyn Consumer>> {
        let bind = || self.binder.bind_consumer(&self.binding);
        connect(&self.state, bind_waits(), |error| self.in_context(error), bind).await
    }

    fn settings(&self, consumer: &dyn Consumer) -> Result<Settings> {
        let properties = &self.binding.properties;
        let key = properties.key.as_deref().and_then(KeySource::parse_received);
        let hands_out = self.pulled.load(SeqCst);
        Ok(Settings {
            channel: Arc::clone(&self.binding.channel),
            retry: RetryPolicy::new(properties),
            handler_timeout: Some(properties.handler_timeout).filter(|wait| !wait.is_zero() && !hands_out),
            hands_out,
            breaker: properties.breaker,
            ordering: properties.ordering,
            concurrency: properties.concurrency as usize,
            prefetch: properties.prefetch.unwrap_or_else(|| consumer.default_prefetch()) as usize,
            key: KeyPlace::new(key, || self.decoder()),
            delayed: self.delayed()?,
        })
    }

    /// Returns where failed messages wait, if it is on the broker.
    fn delayed(&self) -> Result<Option<Delayed>> {
        if self.binding.properties.retry != RetryMode::Delayed {
            return Ok(None);
        }
        let delay = self.binder.delay().ok_or_else(|| Error::new(ErrorKind::Unsupported, NO_DELAY))?;
        Ok(Some(Delayed::new(delay.sink(&self.binding)?, &self.binding)))
    }

    fn exhausted(&self, consumer: &dyn Consumer) -> Result<Exhausted> {
        if self.binding.has_dead_letters() {
            let sink = consumer.dead_letters().ok_or_else(|| {
                Error::new(
                    ErrorKind::Unsupported,
                    "the binder has no dead letters; set `dead-letters: false` and `on-exhausted`",
                )
            })?;
            return Ok(Exhausted::DeadLetter(sink));
        }
        Ok(match self.binding.properties.on_exhausted {
            Some(OnExhausted::Stop) => Exhausted::Stop,
            _ => Exhausted::Discard,
        })
    }

    pub(super) fn in_context(&self, error: Error) -> Error {
        let error = error.with_context("binding", &*self.binding.channel);
        error
            .with_context("destination", self.binding.destinations.join(","))
            .with_context("binder", &*self.binder_name)
    }
}

impl fmt::Debug for InputEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InputEntry")
            .field("binding", &self.binding)
            .field("state", &self.state.get())
            .finish_non_exhaustive()
    }
}

/// Reads payloads: content type of the message, else of the binding.
#[derive(Clone, Debug)]
pub(crate) struct Decoder {
    pub(super) codecs: Codecs,
    pub(super) content_type: ContentType,
    pub(super) from_header: bool,
}

impl Decoder {
    #[inline]
    pub(crate) fn decode<T: Decode>(&self, delivery: &DeliveryRef<'_>) -> Result<Option<T>> {
        let DeliveryRef { view, index, .. } = *delivery;
        if let Some(payload) = from_shared(|| view.payload_bytes(index)) {
            return Ok(payload);
        }
        let (payload, own) = self.body(view, index);
        let Some(bytes) = payload else { return Ok(None) };
        T::decode(&self.codecs, own.as_ref().unwrap_or(&self.content_type), bytes).map(Some)
    }

    /// Returns a payload that is JSON.
    pub(super) fn json<'v>(&self, view: &'v dyn BatchView, index: usize) -> Option<&'v [u8]> {
        let (payload, own) = self.body(view, index);
        payload.filter(|_| own.as_ref().unwrap_or(&self.content_type).is_json())
    }

    /// Returns the payload, and the content type if the message says one that counts.
    #[inline]
    fn body<'v>(&self, view: &'v dyn BatchView, index: usize) -> (Option<&'v [u8]>, Option<ContentType>) {
        if self.from_header { view.body(index) } else { (view.payload(index), None) }
    }
}
