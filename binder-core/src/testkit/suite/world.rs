//! The surroundings of one case: its broker, its destination, its applications, its patience.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use super::Case;
use super::harness::{Broker, Feature, Harness, Place, Verb};
use super::log::Log;
use super::sides::{Sink, SinkDraft, Source, SourceDraft};
use crate::Application;
use crate::binder::{BinderContext, SharedBinder};
use crate::config::{Config, Section};
use crate::testkit::{Network, Proxy};

/// How long one thing may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a case looks on whether something happens that must not.
const WHILE: Duration = Duration::from_millis(400);

/// The surroundings of one case. Clones are the same.
#[derive(Clone)]
pub(super) struct World(Arc<Inner>);

struct Inner {
    harness: Harness,
    broker: Broker,
    name: String,
    waits: Mutex<Option<String>>,
    apps: Mutex<Vec<Application>>,
    stopped: Mutex<bool>,
    proxy: OnceLock<Proxy>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(super) fn new(harness: Harness, broker: Broker, case: &str) -> Self {
        let name = case.rsplit("::").next().unwrap_or(case).replace('_', "-");
        let short: String = name.chars().take(40).collect();
        let name = format!("suite.{short}.{:08x}", fastrand::u32(..));
        let (waits, apps, stopped, proxy) = Default::default();
        Self(Arc::new(Inner { harness, broker, name, waits, apps, stopped, proxy }))
    }

    pub(super) fn block_on(&self, case: &Case) {
        let runtime = self.runtime();
        let run = async {
            if case.needs.contains(&Feature::Network) {
                self.open_network().await;
            }
            (case.run)(self.clone()).await;
        };
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(run)));
        runtime.block_on(self.leave());
        runtime.shutdown_timeout(Duration::from_secs(3));
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    }

    fn runtime(&self) -> Runtime {
        let paused = self.0.harness.paused;
        let mut builder = if paused { Builder::new_current_thread() } else { Builder::new_multi_thread() };
        if !paused {
            builder.worker_threads(2);
        }
        builder.enable_all().start_paused(paused).build().expect("a runtime")
    }

    /// Puts the proxy before the broker, if that is how it is reached.
    async fn open_network(&self) {
        let Some(route) = &self.0.harness.route else { return };
        let proxy = Proxy::between(&route.listen, &*route.target).await;
        let proxy = proxy.unwrap_or_else(|error| panic!("no proxy listens at {}: {error}", route.listen));
        let _ = self.0.proxy.set(proxy);
    }

    /// Changes what the network between binders and broker does.
    pub(super) fn network(&self, network: Network) {
        match (self.0.proxy.get(), &self.0.broker.disturb) {
            (Some(proxy), _) => proxy.set(network),
            (None, Some(disturb)) => disturb(network),
            (None, None) => panic!("the case needs `Network`"),
        }
    }

    /// Returns the binder's own settings.
    fn section(&self) -> Value {
        let harness = &self.0.harness;
        let mut section = harness.section.clone();
        if let (Some(route), Some(proxy)) = (&harness.route, self.0.proxy.get()) {
            merge(&mut section, (route.section)(proxy.address()));
        }
        section
    }

    /// Ends what the case left, and starts the broker again if it was stopped.
    async fn leave(&self) {
        let apps = std::mem::take(&mut *lock(&self.0.apps));
        apps.iter().for_each(Application::abort);
        if *lock(&self.0.stopped) {
            self.start_broker().await;
        }
    }

    /// Returns the case's destination.
    pub(super) fn destination(&self) -> &str {
        &self.0.name
    }

    /// Returns another destination.
    pub(super) fn other(&self, suffix: impl fmt::Display) -> String {
        format!("{}.{suffix}", self.0.name)
    }

    /// Returns a group of this case: where a group spans destinations, those of other cases would disturb it.
    pub(super) fn group(&self, name: &str) -> String {
        let case = self.0.name.rsplit('.').next().unwrap_or_default();
        format!("{name}-{case}")
    }

    pub(super) fn harness(&self) -> &Harness {
        &self.0.harness
    }

    pub(super) fn has(&self, feature: Feature) -> bool {
        self.0.harness.has(feature, &self.0.broker)
    }

    /// Returns so many partitions if members of a group share them, else one: the members compete.
    pub(super) fn partitions(&self, count: u32) -> u32 {
        if self.has(Feature::Rebalance) { count } else { 1 }
    }

    /// Begins an application with an input.
    pub(super) fn sink<'a>(&self, group: impl Into<Option<&'a str>>) -> SinkDraft {
        let group = group.into().map(|name| self.group(name));
        SinkDraft::new(self.clone(), group.as_deref())
    }

    /// Begins an application with an output.
    pub(super) fn source(&self) -> SourceDraft {
        SourceDraft::new(self.clone())
    }

    /// Opens an output with default settings.
    pub(super) async fn plain_source(&self) -> Source {
        self.source().open().await
    }

    /// Opens an input that handles everything at once.
    pub(super) async fn plain_sink(&self, group: &str) -> Sink {
        self.sink(group).open().await
    }

    /// Reads the dead letters of a group.
    pub(super) async fn dead_letters(&self, group: &str) -> Sink {
        let place = (self.0.harness.places)(self.destination(), &self.group(group));
        let Place { destination, group, provision } = place;
        let group = group.unwrap_or_else(|| self.group("suite"));
        let draft = SinkDraft::new(self.clone(), Some(&group)).destination(&destination);
        draft.binding(json!({ "provision": provision })).without_dead_letters().open().await
    }

    /// Makes an application of settings below `stream`, to be bound and started.
    pub(super) fn application(&self, stream: Value) -> Application {
        let harness = &self.0.harness;
        let mut root = json!({ "binders": { "suite": { "type": harness.type_name } } });
        merge(&mut root, stream);
        if let Some(setting) = harness.ignored_setting {
            let bindings = root["bindings"].as_object_mut().into_iter().flatten();
            bindings.for_each(|(_, binding)| forget(binding, setting));
        }
        merge(&mut root["binders"]["suite"], self.section());
        let text = json!({ "stream": root }).to_string();
        let config = Config::builder().yaml(text).build().expect("the case has the right settings");
        let factory = Arc::clone(&self.0.broker.factory);
        let factory = move |context: &BinderContext| factory.create(context);
        let app = Application::builder().config(config).binder(harness.type_name, factory).build();
        let app = app.expect("the application is built");
        lock(&self.0.apps).push(app.clone());
        app
    }

    /// Makes a binder, for cases that drive the contract itself.
    pub(super) fn binder(&self) -> SharedBinder {
        let section = Section::new("binders.suite", self.section());
        self.0.broker.factory.create(&BinderContext::new("suite", section)).expect("a binder")
    }

    /// Waits for something, and fails if it takes too long.
    pub(super) async fn wait<T>(&self, what: impl fmt::Display, future: impl Future<Output = T> + Send) -> T {
        self.wait_and_show(what, future, String::new).await
    }

    /// Waits for something; if it takes too long, the failure shows how far it came.
    pub(super) async fn wait_and_show<T>(
        &self,
        what: impl fmt::Display,
        future: impl Future<Output = T> + Send,
        shown: impl FnOnce() -> String,
    ) -> T {
        *lock(&self.0.waits) = Some(what.to_string());
        let waited = tokio::time::timeout(PATIENCE, future).await;
        waited.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}; {}", shown()))
    }

    /// Waits until a log shows something.
    pub(super) async fn until(&self, log: &Log, what: impl fmt::Display, holds: impl Fn(&Log) -> bool + Send + Sync) {
        self.wait_and_show(what, log.until(holds), || log.summary()).await;
        log.check();
    }

    pub(super) fn waits_for(&self) -> String {
        lock(&self.0.waits).clone().unwrap_or_else(|| "nothing that has a name".to_owned())
    }

    /// Lets time pass in which something must not happen.
    pub(super) async fn look_on(&self) {
        tokio::time::sleep(WHILE).await;
    }

    pub(super) async fn stop_broker(&self) {
        *lock(&self.0.stopped) = true;
        self.control(Verb::Stop).await;
    }

    pub(super) async fn start_broker(&self) {
        self.control(Verb::Start).await;
        *lock(&self.0.stopped) = false;
    }

    async fn control(&self, verb: Verb) {
        let control = self.0.broker.control.clone().expect("the case needs `Control`");
        *lock(&self.0.waits) = Some(format!("the broker to {verb:?}"));
        let done = tokio::task::spawn_blocking(move || control(verb)).await.expect("no panic");
        done.unwrap_or_else(|error| panic!("the broker did not {verb:?}: {error}"));
    }
}

/// Removes a setting that is named by its path.
fn forget(settings: &mut Value, path: &str) {
    let Some(members) = settings.as_object_mut() else { return };
    match path.split_once('.') {
        Some((first, rest)) => members.get_mut(first).into_iter().for_each(|inner| forget(inner, rest)),
        None => drop(members.remove(path)),
    }
}

/// Puts the members of one JSON object into another.
pub(super) fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}
