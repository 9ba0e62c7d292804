//! The application: its builder, its bindings, start and end.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::common::Common;
use super::hooks::Hooks;
use super::input::InputEntry;
use super::layer::Layer;
use super::opener::Opener;
use super::state::{BindingHealth, BindingState, Command, Health};
use super::supply::SupplierStop;
use super::transaction::Publishers;
use crate::binder::{BinderFactory, SharedBinder};
use crate::binding::{Binding, Declare, Direction, Open};
use crate::channel::OutputCore;
use crate::codec::Codec;
use crate::config::{Config, Declared, Resolved};
use crate::memory;
use crate::{Error, ErrorKind, Result};

/// How long what comes late in a shutdown may take, if nothing of the time is left.
const LAST: Duration = Duration::from_millis(600);

/// Puts an application together; see [`Application::builder`].
#[must_use = "an application begins with `.build()`"]
pub struct ApplicationBuilder {
    config: Config,
    factories: HashMap<String, Arc<dyn BinderFactory>>,
    common: Common,
    stand_in: Option<Arc<dyn BinderFactory>>,
}

impl ApplicationBuilder {
    fn new() -> Self {
        let mut factories = HashMap::<_, Arc<dyn BinderFactory>>::new();
        factories.insert("memory".to_owned(), Arc::new(memory::factory()));
        Self { config: Config::default(), factories, common: Common::default(), stand_in: None }
    }

    /// Sets the configuration. Default: none, everything runs on the memory binder.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Registers a type of binder: what `type: <name>` in the configuration refers to. `memory` is registered already and can be
    /// replaced, by one that several applications share.
    pub fn binder(mut self, type_name: impl Into<String>, factory: impl BinderFactory) -> Self {
        self.factories.insert(type_name.into(), Arc::new(factory));
        self
    }

    /// Adds a format beside JSON, text and bytes.
    pub fn codec(mut self, codec: impl Codec) -> Self {
        self.common.codecs = self.common.codecs.with(codec);
        self
    }

    /// Puts a layer around all handlers and sends, inside of those that were added before.
    pub fn layer(mut self, layer: impl Layer) -> Self {
        self.common.layers.push(layer);
        self
    }

    /// Adds what is told of states, dead letters and partitions.
    pub fn hooks(mut self, hooks: impl Hooks) -> Self {
        self.common.hooks.push(hooks);
        self
    }

    /// Puts one binder in the place of all that the configuration names; their own settings are not looked at.
    #[cfg(feature = "testkit")]
    pub(crate) fn stand_in(mut self, factory: impl BinderFactory) -> Self {
        self.stand_in = Some(Arc::new(factory));
        self
    }

    /// Builds the application; nothing is opened yet.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) with every mistake that shows without knowing the channels.
    pub fn build(self) -> Result<Application> {
        let resolved = self.config.resolve(&self.declared(Vec::new()))?;
        Ok(Application(Arc::new(Shared {
            config: self.config,
            factories: self.factories,
            common: self.common,
            stand_in: self.stand_in,
            shutdown_timeout: resolved.stream.shutdown_timeout,
            binders: Mutex::default(),
            registry: Mutex::default(),
            publishers: Mutex::default(),
            started: AtomicBool::new(false),
        })))
    }

    fn declared(&self, channels: Vec<(String, Direction)>) -> Declared {
        Declared { channels, binder_types: sorted(&self.factories) }
    }
}

impl fmt::Debug for ApplicationBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApplicationBuilder").field("binders", &sorted(&self.factories)).finish_non_exhaustive()
    }
}

fn sorted(factories: &HashMap<String, Arc<dyn BinderFactory>>) -> Vec<String> {
    let mut names: Vec<_> = factories.keys().cloned().collect();
    names.sort();
    names
}

/// A set of bindings that start, run and end together. Clones are handles of the same application.
///
/// Dropping all handles ends nothing: an application ends by [`shutdown`](Self::shutdown), [`run_until`](Self::run_until) or
/// [`abort`](Self::abort).
///
/// ```
/// use binder_core::prelude::*;
/// use binder_core::channel::SinkBinding;
///
/// async fn greet(name: String) {
///     println!("hello, {name}");
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> binder_core::Result<()> {
/// let app = Application::builder().build()?;
/// let channels = app.bind::<SinkBinding<String>>().await?;
/// app.handle(channels.input, greet).await?;
/// app.run_until(async { /* shutdown_signal().await */ }).await
/// # }
/// ```
#[derive(Clone)]
pub struct Application(pub(super) Arc<Shared>);

/// What all handles share.
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) factories: HashMap<String, Arc<dyn BinderFactory>>,
    pub(super) common: Common,
    pub(super) stand_in: Option<Arc<dyn BinderFactory>>,
    pub(super) binders: Mutex<HashMap<String, SharedBinder>>,
    pub(super) registry: Mutex<Registry>,
    pub(super) publishers: Mutex<Publishers>,
    shutdown_timeout: Duration,
    started: AtomicBool,
}

/// What was bound, in the order of binding.
#[derive(Default)]
pub(super) struct Registry {
    pub(super) channels: Vec<(String, Direction)>,
    pub(super) inputs: Vec<Arc<InputEntry>>,
    pub(super) outputs: Vec<(Arc<OutputCore>, bool)>,
    pub(super) suppliers: Vec<Supplying>,
}

/// A supplier that is started with the application.
pub(super) struct Supplying {
    pub(super) start: Option<Box<dyn FnOnce() -> JoinHandle<()> + Send>>,
    pub(super) task: Option<JoinHandle<()>>,
    pub(super) stop: SupplierStop,
}

impl Supplying {
    /// Lets the supplier send what it has taken, at most so long.
    async fn end(self, patience: Duration) {
        self.stop.stop();
        let Some(mut task) = self.task else { return };
        if tokio::time::timeout(patience, &mut task).await.is_err() {
            tracing::warn!("a supplier did not end in time; what it could not send is lost");
            task.abort();
        }
    }

    pub(super) fn begin(&mut self) {
        if let Some(start) = self.start.take() {
            self.task = Some(start());
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Application {
    /// Begins to put an application together.
    pub fn builder() -> ApplicationBuilder {
        ApplicationBuilder::new()
    }

    /// Hands out the channels of `B`. Names and settings are checked; nothing is opened.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) for a channel that is bound already and for every mistake in the configuration of these channels;
    /// [`Unsupported`](ErrorKind::Unsupported) for what the binder can't do.
    #[allow(clippy::unused_async, reason = "binding may need the broker one day, and the call must not change then")]
    pub async fn bind<B: Binding>(&self) -> Result<B> {
        let declared = Declare::of::<B>();
        let resolved = self.resolve_with(&declared)?;
        let opener = Opener::new(&self.0, &resolved);
        let channels = B::open(&mut Open::new(&opener))?;
        opener.commit(declared);
        Ok(channels)
    }

    fn resolve_with(&self, added: &[(String, Direction)]) -> Result<Resolved> {
        let mut channels = lock(&self.0.registry).channels.clone();
        for (name, direction) in added {
            if channels.iter().any(|(known, _)| known == name) {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!("two channels are called `{name}`; a name is bound once"),
                ));
            }
            channels.push((name.clone(), *direction));
        }
        self.0.config.resolve(&Declared { channels, binder_types: sorted(&self.0.factories) })
    }

    /// Starts what was bound: outputs, then inputs, then suppliers. Returns at once; see [`ready`](Self::ready). What is bound or handled
    /// later starts by itself.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if the configuration names a channel that no binding declares.
    #[allow(clippy::unused_async, reason = "spawns tasks, so it belongs into a runtime")]
    pub async fn start(&self) -> Result<()> {
        let declared = lock(&self.0.registry).channels.clone();
        let declared = Declared { channels: declared, binder_types: sorted(&self.0.factories) };
        self.0.config.check_undeclared(&declared)?;
        self.0.started.store(true, SeqCst);
        // hooks are told of what starts, and may ask the application
        let (inputs, outputs) = {
            let registry = lock(&self.0.registry);
            (registry.inputs.clone(), registry.outputs.clone())
        };
        outputs.iter().filter(|(_, auto_startup)| *auto_startup).for_each(|(output, _)| output.start());
        for input in inputs.iter().filter(|input| input.auto_startup) {
            if !input.is_handled() {
                tracing::warn!(channel = %input.binding.channel, "the input is bound, but nothing handles it");
            }
            input.start();
        }
        lock(&self.0.registry).suppliers.iter_mut().for_each(Supplying::begin);
        Ok(())
    }

    pub(super) fn is_started(&self) -> bool {
        self.0.started.load(SeqCst)
    }

    /// Waits until every binding that starts with the application does its work.
    ///
    /// # Errors
    /// The reason of the first binding that stopped for good; [`Timeout`](ErrorKind::Timeout) with the binding that is not ready and
    /// what it waits for. The bindings go on in either case.
    pub async fn ready(&self, deadline: Duration) -> Result<()> {
        let waited = tokio::time::timeout(deadline, self.all_ready()).await;
        waited.unwrap_or_else(|_| {
            let health = self.health();
            let late = health.bindings.iter().find(|(_, binding)| !binding.state.is_ready());
            let late = late.map_or_else(String::new, |(name, binding)| format!(": `{name}` is {}", binding.state));
            Err(Error::new(ErrorKind::Timeout, format!("not ready after {deadline:?}{late}")).retryable())
        })
    }

    async fn all_ready(&self) -> Result<()> {
        let (outputs, inputs) = {
            let registry = lock(&self.0.registry);
            let outputs = registry.outputs.iter().filter(|(_, auto)| *auto).map(|(output, _)| output.state.clone());
            let inputs = registry.inputs.iter().filter(|input| input.auto_startup && input.is_handled());
            (outputs.collect::<Vec<_>>(), inputs.map(|input| input.state.clone()).collect::<Vec<_>>())
        };
        for state in outputs.into_iter().chain(inputs) {
            state.ready().await?;
        }
        Ok(())
    }

    /// Starts, waits for `signal`, and shuts down. See [`shutdown_signal`](super::shutdown_signal).
    pub async fn run_until(&self, signal: impl Future<Output = ()> + Send) -> Result<()> {
        if !self.is_started() {
            self.start().await?;
        }
        signal.await;
        self.shutdown().await
    }

    /// Drains and ends: suppliers send what they have taken; inputs take nothing more, running handlers finish and are settled; then outputs wait
    /// for the broker, and connections are closed. All of it takes at most `shutdown-timeout` (25 s), and when that is used up another 4 s in
    /// which what is done is settled and connections are left in good order. What is unfinished then is delivered again to its group; an input
    /// without a group has lost it.
    pub async fn shutdown(&self) -> Result<()> {
        let end = Instant::now() + self.0.shutdown_timeout;
        let left = || end.saturating_duration_since(Instant::now());
        let (suppliers, inputs, outputs) = {
            let mut registry = lock(&self.0.registry);
            let suppliers: Vec<_> = registry.suppliers.drain(..).collect();
            (suppliers, registry.inputs.clone(), registry.outputs.clone())
        };
        // together: neither is to use up the time of the other
        let supplied = join_all(suppliers.into_iter().map(|supplier| supplier.end(left())));
        inputs.iter().for_each(|input| input.command(Command::Stop(left())));
        let drained = async {
            let late = end + Duration::from_secs(2);
            for input in &inputs {
                if tokio::time::timeout_at(late, input.stopped()).await.is_err() {
                    tracing::warn!(channel = %input.binding.channel, "the input did not stop in time");
                }
                input.abort();
            }
        };
        futures::join!(supplied, drained);
        let publishers = lock(&self.0.publishers).close();
        publishers.end(left().max(LAST)).await;
        join_all(outputs.iter().map(|(output, _)| output.close(left().max(LAST)))).await;
        let binders: Vec<_> = lock(&self.0.binders).drain().collect();
        let close = async |(name, binder): &(String, SharedBinder)| match tokio::time::timeout(
            left().max(LAST),
            binder.close(),
        )
        .await
        {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(binder = %name, "closing the binder: {error:?}"),
            Err(_) => tracing::warn!(binder = %name, "the binder did not close in time"),
        };
        join_all(binders.iter().map(close)).await;
        Ok(())
    }

    /// Ends at once, without draining, as `kill -9` does: for tests of what a crash leaves behind.
    pub fn abort(&self) {
        let Registry { suppliers, inputs, outputs, .. } = {
            let mut registry = lock(&self.0.registry);
            let channels = registry.channels.clone();
            std::mem::replace(&mut *registry, Registry { channels, ..Registry::default() })
        };
        suppliers.into_iter().filter_map(|supplier| supplier.task).for_each(|task| task.abort());
        inputs.iter().for_each(|input| input.abort());
        outputs.iter().for_each(|(output, _)| output.abort());
        lock(&self.0.publishers).abort();
        lock(&self.0.binders).clear();
    }

    /// Returns the state of each binding.
    pub fn states(&self) -> BTreeMap<String, BindingState> {
        let bindings = self.health().bindings;
        bindings.into_iter().map(|(name, binding)| (name, binding.state)).collect()
    }

    /// Returns how the bindings do; never waits.
    pub fn health(&self) -> Health {
        let registry = lock(&self.0.registry);
        let outputs = registry.outputs.iter().map(|(output, _)| (output.binding.channel.to_string(), output.health()));
        let inputs = registry.inputs.iter().map(|input| (input.binding.channel.to_string(), input.health()));
        Health::of(outputs.chain(inputs).collect())
    }

    /// Returns the resolved configuration of everything that is bound, as text; secrets show as `***`.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn describe(&self) -> Result<String> {
        Ok(self.resolve_with(&[])?.describe())
    }

    /// Starts, stops, pauses, resumes or moves one binding.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if no input has this name.
    pub fn control(&self, channel: &str) -> Result<BindingControl> {
        let registry = lock(&self.0.registry);
        let found = registry.inputs.iter().find(|input| *input.binding.channel == *channel);
        let input = found.ok_or_else(|| Error::new(ErrorKind::Config, format!("no input is called `{channel}`")))?;
        Ok(BindingControl { input: Arc::clone(input), patience: self.0.shutdown_timeout })
    }
}

impl fmt::Debug for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Application").field("bindings", &self.states()).finish_non_exhaustive()
    }
}

/// Control of one input at run time.
#[derive(Clone, Debug)]
pub struct BindingControl {
    input: Arc<InputEntry>,
    patience: Duration,
}

impl BindingControl {
    pub(super) fn input(&self) -> &InputEntry {
        &self.input
    }

    /// Starts the binding, or starts it again after a stop. One that has [stopped for good](BindingState::Stopped) stays stopped.
    pub fn start(&self) {
        self.input.start();
    }

    /// Drains and stops the binding, and waits for that, at most `shutdown-timeout` and 2 s; no longer if it is started again meanwhile.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the binding to stop by itself.
    pub async fn stop(&self) {
        self.input.command(Command::Stop(self.patience));
        let stopped = tokio::time::timeout(self.patience + Duration::from_secs(2), self.input.stopped()).await;
        if stopped.is_err() {
            tracing::warn!(channel = %self.input.binding.channel, "the input did not stop in time");
        }
    }

    /// Starts no handler any more and stops the intake; those that run go on, and the place in the group is kept. What was received waits, at most
    /// `prefetch` of each partition or queue.
    pub fn pause(&self) {
        self.input.command(Command::Pause);
    }

    /// Takes up the intake again.
    pub fn resume(&self) {
        self.input.command(Command::Run);
    }

    /// Returns the state.
    pub fn state(&self) -> BindingState {
        self.input.state.get()
    }
}

impl InputEntry {
    fn health(&self) -> BindingHealth {
        BindingHealth {
            direction: Direction::Input,
            destination: self.binding.destinations.join(","),
            group: self.binding.group.clone(),
            binder: self.binder_name.to_string(),
            state: self.state.get(),
            oldest_unsettled_seconds: self.state.oldest_unsettled().as_secs_f64(),
            counts: Some(self.state.counts().get()),
            last_heard_seconds: self.state.last_heard().map(|silence| silence.as_secs_f64()),
        }
    }
}

impl OutputCore {
    fn health(&self) -> BindingHealth {
        BindingHealth {
            direction: Direction::Output,
            destination: self.binding.destination.clone(),
            group: None,
            binder: self.binder_name.to_string(),
            state: self.state.get(),
            oldest_unsettled_seconds: 0.0,
            counts: None,
            last_heard_seconds: None,
        }
    }
}
