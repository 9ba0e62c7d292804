//! What the suite is told of a binder, and how a case is run.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, RwLock, mpsc};
use std::time::Duration;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use serde_json::{Value, json};

use super::faulty::{Fault, FaultyBinder};
use super::world::World;
use super::{Case, all};
use crate::binder::{BinderContext, BinderFactory, Capability};
use crate::config::Section;
use crate::testkit::Network;

/// How long a case may take on a real broker.
const DEADLINE: Duration = Duration::from_secs(120);

/// How long a case may take that stops and starts the broker.
const DEADLINE_WITH_RESTART: Duration = Duration::from_secs(300);

/// How many cases run at once unless `--test-threads` says it: they mostly wait for the broker.
const THREADS: usize = 8;

/// What a case may need and a binder may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Feature {
    /// A group that comes late reads what was sent before it.
    History,
    /// Partitions of a destination are shared out among the members of a group and move when members come and go.
    Rebalance,
    /// Destinations have partitions, and a sent message may name one; by [`Capability::partitions`].
    Partitions,
    /// A message may have several headers of one name.
    DuplicateHeaders,
    /// A message that nobody takes is reported; by [`Capability::unroutable`].
    Unroutable,
    /// A message outlives the process that holds the binder; by [`Capability::durable`].
    Durable,
    /// The broker can be stopped and started; by [`Broker::with_control`].
    Control,
    /// There is a largest message; by [`Harness::too_large`].
    SizeLimit,
    /// The network to the broker can be disturbed; by [`Harness::proxied`] or [`Broker::with_network`].
    Network,
    /// A group can be sent to another position; by [`Capability::seek`].
    Seek,
    /// Messages can wait on the broker for their next attempt; by [`Capability::delay`].
    Delay,
    /// Dead letters can be sent back; by [`Capability::dead_letter_store`].
    DeadLetterStore,
    /// Messages can be published together or not at all; by [`Capability::transactions`].
    Transactions,
    /// The broker takes deliveries back from a consumer that is silent for too long; by [`Harness::consumer_timeout`].
    ConsumerTimeout,
}

/// What happens to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// It goes away.
    Stop,
    /// It comes back, with what it had.
    Start,
}

type Control = Arc<dyn Fn(Verb) -> io::Result<()> + Send + Sync>;

type Disturb = Arc<dyn Fn(Network) + Send + Sync>;

/// A broker as one case sees it: what makes its binders, and perhaps a switch.
#[derive(Clone)]
pub struct Broker {
    pub(super) factory: Arc<dyn BinderFactory>,
    pub(super) control: Option<Control>,
    pub(super) disturb: Option<Disturb>,
}

impl Broker {
    /// Makes a broker of a factory. All applications of a case share it, as processes share a broker.
    pub fn new(factory: impl BinderFactory) -> Self {
        Self { factory: Arc::new(factory), control: None, disturb: None }
    }

    /// Says how the broker is stopped and started. The call blocks until that is done.
    #[must_use]
    pub fn with_control(mut self, control: impl Fn(Verb) -> io::Result<()> + Send + Sync + 'static) -> Self {
        self.control = Some(Arc::new(control));
        self
    }

    /// Says how the network to this broker is disturbed: for one that is not reached by TCP and imitates it. Others are
    /// [proxied](Harness::proxied).
    #[must_use]
    pub fn with_network(mut self, disturb: impl Fn(Network) + Send + Sync + 'static) -> Self {
        self.disturb = Some(Arc::new(disturb));
        self
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (control, network) = (self.control.is_some(), self.disturb.is_some());
        f.debug_struct("Broker").field("control", &control).field("network", &network).finish_non_exhaustive()
    }
}

/// Makes a control of a program that is called as `<program> brokers stop <server>` and `<program> brokers start <server>`.
pub fn program(program: impl Into<String>, server: &'static str) -> impl Fn(Verb) -> io::Result<()> + Send + Sync {
    let program = program.into();
    move |verb| {
        let verb = match verb {
            Verb::Stop => "stop",
            Verb::Start => "start",
        };
        let status = Command::new(&program).args(["brokers", verb, server]).status()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("`{program} brokers {verb}`: {status}"))) }
    }
}

/// Where dead letters can be read by an input.
#[derive(Clone, Debug)]
pub struct Place {
    pub(super) destination: String,
    /// None is one of the suite's own.
    pub(super) group: Option<String>,
    pub(super) provision: &'static str,
}

impl Place {
    /// A destination like any other: it is read from its start by a group of the suite's own.
    pub fn destination(name: impl Into<String>) -> Self {
        Self { destination: name.into(), group: None, provision: "create" }
    }

    /// What a group of a destination would read, if the group were called so; it is there and is not to be declared.
    pub fn group(destination: impl Into<String>, group: impl Into<String>) -> Self {
        Self { destination: destination.into(), group: Some(group.into()), provision: "none" }
    }
}

/// What became of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    Passed,
    /// It does not apply, for this reason.
    Ignored(String),
    /// It does not hold.
    Failed(String),
}

/// How a broker is reached through a proxy.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) listen: String,
    pub(super) target: String,
    pub(super) section: Arc<dyn Fn(SocketAddr) -> Value + Send + Sync>,
}

type Places = Arc<dyn Fn(&str, &str) -> Place + Send + Sync>;

/// What the suite is told of a binder.
#[derive(Clone)]
pub struct Harness {
    pub(super) type_name: &'static str,
    make: Arc<dyn Fn() -> Broker + Send + Sync>,
    pub(super) section: Value,
    pub(super) consumer: Value,
    pub(super) producer: Value,
    pub(super) places: Places,
    lacks: BTreeMap<Feature, String>,
    pub(super) too_large: Option<usize>,
    pub(super) consumer_timeout: Option<(Duration, Value)>,
    pub(super) route: Option<Route>,
    pub(super) ordered: Value,
    pub(super) paused: bool,
    unavailable: Option<String>,
    pub(super) ignored_setting: Option<&'static str>,
    rounds: u32,
    after: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl Harness {
    /// Begins with the name of the binder's type and with what makes a broker; called for every case and not before a broker is needed.
    pub fn new(type_name: &'static str, make: impl Fn() -> Broker + Send + Sync + 'static) -> Self {
        Self {
            type_name,
            make: Arc::new(make),
            section: json!({}),
            consumer: json!({}),
            producer: json!({}),
            places: Arc::new(|destination, group| Place::destination(format!("error.{destination}.{group}"))),
            lacks: BTreeMap::new(),
            too_large: None,
            consumer_timeout: None,
            route: None,
            ordered: json!({}),
            paused: false,
            unavailable: None,
            ignored_setting: None,
            rounds: 1,
            after: None,
        }
    }

    /// Sets the binder's own settings: what stands at `binders.<name>` beside `type`. Default: none.
    #[must_use]
    pub fn section(mut self, section: Value) -> Self {
        self.section = section;
        self
    }

    /// Sets what stands at `consumer.<type>` of every input. Default: nothing.
    #[must_use]
    pub fn consumer(mut self, section: Value) -> Self {
        self.consumer = section;
        self
    }

    /// Sets what stands at `producer.<type>` of every output. Default: nothing.
    #[must_use]
    pub fn producer(mut self, section: Value) -> Self {
        self.producer = section;
        self
    }

    /// Says where the dead letters of a destination and a group are read. Default: the destination `error.<destination>.<group>`.
    #[must_use]
    pub fn dead_letters(mut self, place: impl Fn(&str, &str) -> Place + Send + Sync + 'static) -> Self {
        self.places = Arc::new(place);
        self
    }

    /// Says what the broker can't do, and why. The cases that need it are ignored.
    #[must_use]
    pub fn lacks(mut self, feature: Feature, reason: impl Into<String>) -> Self {
        self.lacks.insert(feature, reason.into());
        self
    }

    /// Sets a size in bytes that the broker refuses. Default: there is none.
    #[must_use]
    pub fn too_large(mut self, bytes: usize) -> Self {
        self.too_large = Some(bytes);
        self
    }

    /// Says for how long a handler may run before the broker gives its message to another consumer if the binder does not prevent it, with the
    /// settings at `consumer.<type>` that make this time short.
    #[must_use]
    pub fn consumer_timeout(mut self, time: Duration, section: Value) -> Self {
        self.consumer_timeout = Some((time, section));
        self
    }

    /// Sets what stands at `consumer.<type>` of an input whose order must also hold when its connection dies and the broker does not notice
    /// at once: until then it keeps what the dead one was sent, and must not serve its successor. Default: nothing, the order holds anyway.
    #[must_use]
    pub fn ordered(mut self, section: Value) -> Self {
        self.ordered = section;
        self
    }

    /// Puts a [`Proxy`](crate::testkit::Proxy) between binders and the broker at `target`, `host:port`, in the cases that disturb the network.
    ///
    /// The proxy listens at `listen`, `host:port`: port 0, a free one, unless the broker tells its clients where they are to be reached, as
    /// Kafka does with `advertised.listeners`; then cases of the network run one after the other. `section` gets the proxy's address and
    /// returns what is put into the [section](Self::section) of the binder: where the broker is, and short limits for its silence, of one or
    /// two seconds. A connection that nobody answers is to be noticed within 20 s.
    #[must_use]
    pub fn proxied(
        mut self,
        listen: impl Into<String>,
        target: impl Into<String>,
        section: impl Fn(SocketAddr) -> Value + Send + Sync + 'static,
    ) -> Self {
        self.route = Some(Route { listen: listen.into(), target: target.into(), section: Arc::new(section) });
        self
    }

    /// Runs the cases on a paused clock: for a broker in memory, of which each case has its own. Waits take no time.
    #[must_use]
    pub fn paused_clock(mut self) -> Self {
        self.paused = true;
        self
    }

    /// Ignores all cases for this reason: there is no broker.
    #[must_use]
    pub fn unavailable(mut self, reason: impl Into<String>) -> Self {
        self.unavailable = Some(reason.into());
        self
    }

    /// Takes a setting out of what the cases configure, such as `consumer.backoff`: as if core or binder did not know it. For tests of the
    /// suite itself.
    #[must_use]
    pub fn ignoring(mut self, setting: &'static str) -> Self {
        self.ignored_setting = Some(setting);
        self
    }

    /// Puts a fault into the binders. For tests of the suite itself.
    #[must_use]
    pub fn faulty(mut self, fault: Fault) -> Self {
        let make = self.make;
        self.make = Arc::new(move || {
            let mut broker = make();
            broker.factory = Arc::new(FaultyBinder::of(broker.factory, fault));
            broker
        });
        self
    }

    /// Runs each case so often, until it fails, on a broker made anew for each round; `CONFORMANCE_REPEAT` in the environment of
    /// [`main`](Self::main) has the last word. Default: once.
    #[must_use]
    pub fn repeat(mut self, rounds: u32) -> Self {
        self.rounds = rounds.max(1);
        self
    }

    /// Sets what is done after the last case: to remove what the cases left on the broker.
    #[must_use]
    pub fn after(mut self, clean: impl Fn() + Send + Sync + 'static) -> Self {
        self.after = Some(Arc::new(clean));
        self
    }

    /// Runs the cases that the command line asks for and ends the process.
    ///
    /// # Panics
    /// If the broker is [unavailable](Self::unavailable), or nothing stops it or disturbs its network, and the environment has `CI`.
    pub fn main(mut self) -> ! {
        if let Ok(rounds) = std::env::var("CONFORMANCE_REPEAT") {
            let rounds = rounds.parse().unwrap_or_else(|_| panic!("CONFORMANCE_REPEAT is no number: `{rounds}`"));
            self = self.repeat(rounds);
        }
        let is_available = self.is_available();
        for (feature, what) in [(Feature::Control, "stop the broker"), (Feature::Network, "disturb the network")] {
            let there = !is_available || self.missing(feature, &(self.make)()).is_none();
            let stated = self.lacks.contains_key(&feature);
            assert!(there || stated || std::env::var_os("CI").is_none(), "on CI something must {what}");
        }
        let mut arguments = Arguments::from_args();
        arguments.test_threads = arguments.test_threads.or(Some(THREADS));
        let trial = |case: &'static Case| {
            let harness = self.clone();
            Trial::ignorable_test(case.name, move || match harness.run_rounds(case) {
                Outcome::Passed => Ok(Completion::Completed),
                Outcome::Ignored(reason) => Ok(Completion::ignored_with(reason)),
                Outcome::Failed(message) => Err(Failed::from(message)),
            })
        };
        let conclusion = libtest_mimic::run(&arguments, all().map(trial).collect());
        if let (Some(after), true, false) = (&self.after, is_available, arguments.list) {
            after();
        }
        conclusion.exit()
    }

    /// Returns whether there is a broker.
    ///
    /// # Panics
    /// If there is none, and the environment has `CI`.
    pub(super) fn is_available(&self) -> bool {
        let reason = self.unavailable.as_deref();
        assert!(reason.is_none() || std::env::var_os("CI").is_none(), "on CI nothing may be missing: {reason:?}");
        reason.is_none()
    }

    /// Returns the names of all cases.
    pub fn names() -> Vec<&'static str> {
        all().map(|case| case.name).collect()
    }

    /// Runs one case.
    ///
    /// # Panics
    /// If no case has this name.
    pub fn check(&self, name: &str) -> Outcome {
        let case = all().find(|case| case.name == name);
        self.run_rounds(case.unwrap_or_else(|| panic!("no case is called `{name}`")))
    }

    /// Returns why a case does not apply, if so, without running it.
    ///
    /// # Panics
    /// If no case has this name.
    pub fn ignored(&self, name: &str) -> Option<String> {
        let case = all().find(|case| case.name == name);
        self.reason(case.unwrap_or_else(|| panic!("no case is called `{name}`")), &(self.make)())
    }

    fn reason(&self, case: &Case, broker: &Broker) -> Option<String> {
        case.needs.iter().find_map(|need| self.missing(*need, broker))
    }

    fn run_rounds(&self, case: &'static Case) -> Outcome {
        let rounds = self.rounds;
        for round in 1..=rounds {
            match self.run(case) {
                Outcome::Passed => {}
                Outcome::Failed(text) if rounds > 1 => {
                    return Outcome::Failed(format!("round {round} of {rounds}: {text}"));
                }
                other => return other,
            }
        }
        Outcome::Passed
    }

    fn run(&self, case: &'static Case) -> Outcome {
        // Only one case may stop the broker that all share, and only one may have the port of the proxy.
        static BROKER: RwLock<()> = RwLock::new(());
        static PORT: Mutex<()> = Mutex::new(());
        if let Some(reason) = &self.unavailable {
            return Outcome::Ignored(reason.clone());
        }
        let broker = (self.make)();
        if let Some(reason) = self.reason(case, &broker) {
            return Outcome::Ignored(reason);
        }
        let (_shared, _alone, _port);
        let route = self.route.as_ref().filter(|_| case.needs.contains(&Feature::Network));
        if route.is_some_and(|route| !route.listen.ends_with(":0")) {
            _port = PORT.lock().unwrap_or_else(PoisonError::into_inner);
        }
        if case.alone && !self.paused {
            _alone = BROKER.write().unwrap_or_else(PoisonError::into_inner);
        } else {
            _shared = BROKER.read().unwrap_or_else(PoisonError::into_inner);
        }
        let world = World::new(self.clone(), broker, case.name);
        let deadline = match (self.paused, case.alone) {
            (true, _) => DEADLINE / 6,
            (false, false) => DEADLINE,
            (false, true) => DEADLINE_WITH_RESTART,
        };
        let (sender, receiver) = mpsc::channel();
        let running = world.clone();
        let thread = std::thread::Builder::new().name(case.name.to_owned());
        let spawned = thread.spawn(move || {
            let _ = sender.send(catch_unwind(AssertUnwindSafe(|| running.block_on(case))));
        });
        if let Err(error) = spawned {
            return Outcome::Failed(format!("no thread: {error}"));
        }
        match receiver.recv_timeout(deadline) {
            Ok(Ok(())) => Outcome::Passed,
            Ok(Err(panic)) => Outcome::Failed(text(panic.as_ref())),
            Err(_) => Outcome::Failed(format!("not done after {deadline:?}; it waited for {}", world.waits_for())),
        }
    }

    /// Returns why a feature is not there.
    fn missing(&self, feature: Feature, broker: &Broker) -> Option<String> {
        if let Some(reason) = self.lacks.get(&feature) {
            return Some(reason.clone());
        }
        let denied = |there: bool, why: &str| (!there).then(|| why.to_owned());
        match feature {
            Feature::History | Feature::Rebalance | Feature::DuplicateHeaders => None,
            Feature::Partitions => denied(self.capability(broker).partitions, "`Capability::partitions` is false"),
            Feature::Unroutable => denied(self.capability(broker).unroutable, "`Capability::unroutable` is false"),
            Feature::Durable => denied(self.capability(broker).durable, "`Capability::durable` is false"),
            Feature::Seek => denied(self.capability(broker).seek, "`Capability::seek` is false"),
            Feature::Delay => denied(self.capability(broker).delay, "`Capability::delay` is false"),
            Feature::DeadLetterStore => {
                denied(self.capability(broker).dead_letter_store, "`Capability::dead_letter_store` is false")
            }
            Feature::Transactions => {
                denied(self.capability(broker).transactions, "`Capability::transactions` is false")
            }
            Feature::Network => {
                denied(self.route.is_some() || broker.disturb.is_some(), "nothing disturbs the network to the broker")
            }
            Feature::Control => denied(broker.control.is_some(), "nothing stops and starts the broker"),
            Feature::SizeLimit => denied(self.too_large.is_some(), "no message is too large"),
            Feature::ConsumerTimeout => denied(self.consumer_timeout.is_some(), "no consumer is ever too slow"),
        }
    }

    /// Asks a binder what it can do; that opens no connection.
    fn capability(&self, broker: &Broker) -> Capability {
        let context = BinderContext::new("suite", Section::new("binders.suite", self.section.clone()));
        broker.factory.create(&context).expect("the harness has the right settings").capability()
    }

    /// Returns whether a feature is there.
    pub(super) fn has(&self, feature: Feature, broker: &Broker) -> bool {
        self.missing(feature, broker).is_none()
    }
}

impl fmt::Debug for Harness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Harness").field("type", &self.type_name).field("lacks", &self.lacks).finish_non_exhaustive()
    }
}

fn text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without text".to_owned())
}
