//! A broker that is not there, or goes away.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use binder_core::binder::{
    Binder, BinderContext, BinderHealth, Capability, Consumer, ConsumerBinding, DeadLetterSink, DeadLetterStore, Delay,
    LaneId, Producer, ProducerBinding, Received, Seek, SharedBinder, Status, Transactions,
};
use binder_core::channel::{SinkBinding, SourceBinding};
use binder_core::config::Config;
use binder_core::memory::MemoryBinder;
use binder_core::prelude::*;
use binder_core::{BindingState, Result};
use futures::SinkExt;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, watch};

/// How long a test waits for what must come, on its own clock.
const PATIENCE: Duration = Duration::from_secs(600);

fn unreached() -> Error {
    Error::new(ErrorKind::Connection, "the broker does not answer").retryable()
}

/// A binder whose broker comes and goes as it is told to.
#[derive(Clone, Debug)]
struct Late {
    memory: MemoryBinder,
    there: watch::Receiver<bool>,
    /// That of the first input.
    status: Arc<OnceLock<Status>>,
}

impl Late {
    fn reach(&self) -> Result<()> {
        if *self.there.borrow() { Ok(()) } else { Err(unreached()) }
    }
}

#[async_trait]
impl Binder for Late {
    fn capability(&self) -> Capability {
        self.memory.capability()
    }
    fn check_consumer(&self, binding: &ConsumerBinding) -> Result<()> {
        self.memory.check_consumer(binding)
    }
    fn check_producer(&self, binding: &ProducerBinding) -> Result<()> {
        self.memory.check_producer(binding)
    }
    async fn bind_consumer(&self, binding: &ConsumerBinding) -> Result<Box<dyn Consumer>> {
        self.reach()?;
        let _ = self.status.set(binding.status.clone());
        let consumer = self.memory.bind_consumer(binding).await?;
        Ok(Box::new(Breaking { consumer, there: self.there.clone() }))
    }
    async fn bind_producer(&self, binding: &ProducerBinding) -> Result<Arc<dyn Producer>> {
        self.reach()?;
        self.memory.bind_producer(binding).await
    }
    fn health(&self) -> BinderHealth {
        self.memory.health()
    }
    async fn close(&self) -> Result<()> {
        self.memory.close().await
    }
    fn delay(&self) -> Option<&dyn Delay> {
        None
    }
    fn seek(&self) -> Option<&dyn Seek> {
        None
    }
    fn dead_letter_store(&self) -> Option<&dyn DeadLetterStore> {
        None
    }
    fn transactions(&self) -> Option<&dyn Transactions> {
        None
    }
}

/// A consumer whose connection is lost with its broker.
#[derive(Debug)]
struct Breaking {
    consumer: Box<dyn Consumer>,
    there: watch::Receiver<bool>,
}

impl Consumer for Breaking {
    fn try_recv_many(&mut self, max: usize) -> Result<Option<Received<'_>>> {
        if !*self.there.borrow() {
            return Err(unreached());
        }
        self.consumer.try_recv_many(max)
    }

    fn recv_many(&mut self, max: usize) -> BoxFuture<'_, Result<Received<'_>>> {
        let Self { consumer, there } = self;
        Box::pin(async move {
            tokio::select! {
                biased;
                _ = there.wait_for(|there| !there) => Err(unreached()),
                received = consumer.recv_many(max) => received,
            }
        })
    }

    fn settle(&mut self, lane: LaneId, sequence: u64) -> Result<()> {
        self.consumer.settle(lane, sequence)
    }

    fn settle_apart(&mut self, lane: LaneId, sequences: &[u64]) -> Result<bool> {
        self.consumer.settle_apart(lane, sequences)
    }

    fn release<'a>(&'a mut self, lanes: &'a [LaneId]) -> BoxFuture<'a, Result<()>> {
        self.consumer.release(lanes)
    }

    fn pause(&mut self) -> Result<()> {
        self.consumer.pause()
    }

    fn resume(&mut self) -> Result<()> {
        self.consumer.resume()
    }

    fn hold(&mut self, lanes: &[LaneId], hold: bool) -> Result<bool> {
        self.consumer.hold(lanes, hold)
    }

    fn dead_letters(&self) -> Option<Arc<dyn DeadLetterSink>> {
        self.consumer.dead_letters()
    }

    fn default_prefetch(&self) -> u32 {
        self.consumer.default_prefetch()
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        self.consumer.close()
    }
}

fn late() -> (watch::Sender<bool>, Application, MemoryBinder) {
    late_with("{}")
}

/// An application whose broker is not there yet.
fn late_with(bindings: &str) -> (watch::Sender<bool>, Application, MemoryBinder) {
    let (there, receiver) = watch::channel(false);
    let memory = MemoryBinder::new();
    let binder = Late { memory: memory.clone(), there: receiver, status: Arc::default() };
    let factory = move |_: &BinderContext| Ok(SharedBinder::new(binder.clone()));
    let text = format!("stream: {{ binders: {{ main: {{ type: memory }} }}, bindings: {bindings} }}");
    let config = Config::builder().yaml(&text).build().expect("the configuration is right");
    let app = Application::builder().config(config).binder("memory", factory).build().expect("it builds");
    (there, app, memory)
}

#[tokio::test(start_paused = true)]
async fn without_a_broker_the_service_starts_and_says_what_it_waits_for() {
    let (there, app, _memory) = late();
    app.bind::<SourceBinding<u32>>().await.expect("it binds");
    app.start().await.expect("it starts");
    let error = app.ready(Duration::from_secs(3)).await.expect_err("not ready");
    assert!(error.to_string().contains("the broker does not answer"), "{error}");
    let health = app.health();
    assert!(!health.is_ready() && health.is_live());
    assert!(matches!(&app.states()["output"], BindingState::Connecting(reason) if reason.contains("does not answer")));
    there.send_replace(true);
    app.ready(Duration::from_secs(60)).await.expect("ready");
    assert_eq!(app.states()["output"], BindingState::Running);
}

#[tokio::test(start_paused = true)]
async fn without_a_broker_a_send_waits_and_succeeds_when_it_is_there() {
    let (there, app, memory) = late();
    let output = app.bind::<SourceBinding<u32>>().await.expect("it binds").output;
    let sending = tokio::spawn(async move { output.send(&1).await });
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!sending.is_finished());
    there.send_replace(true);
    sending.await.expect("no panic").expect("sent");
    assert_eq!(memory.messages("output").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_broker_a_send_fails_at_its_deadline_with_the_reason() {
    let (_there, app, _memory) = late();
    let output = app.bind::<SourceBinding<u32>>().await.expect("it binds").output;
    let start = tokio::time::Instant::now();
    let error = output.send(&1).await.expect_err("nobody is there");
    assert_eq!((error.kind(), error.is_retryable(), start.elapsed().as_secs()), (ErrorKind::Timeout, true, 30));
    assert!(error.to_string().contains("the broker does not answer"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn health_names_the_binder_and_why_it_waits() {
    let (_there, app, _memory) = late();
    app.bind::<SourceBinding<u32>>().await.expect("it binds");
    app.start().await.expect("it starts");
    app.ready(Duration::from_secs(3)).await.expect_err("not ready");
    let health = serde_json::to_value(app.health()).expect("it is JSON");
    let expected = serde_json::json!({
        "ready": false,
        "live": true,
        "bindings": { "output": {
            "direction": "output",
            "destination": "output",
            "binder": "main",
            "state": "connecting",
            "reason": "the broker does not answer",
            "oldest_unsettled_seconds": 0.0,
        } },
    });
    assert_eq!(health, expected);
}

#[tokio::test(start_paused = true)]
async fn memory_is_heard_as_soon_as_it_is_there() {
    async fn handle(_: u32) {}
    let (there, app, _memory) = late_with("{ input: { destination: orders, group: g } }");
    let input = app.bind::<SinkBinding<u32>>().await.expect("it binds").input;
    app.handle(input, handle).await.expect("handled");
    let heard = || app.health().bindings["input"].last_heard_seconds;
    assert_eq!(heard(), None, "not started");
    app.start().await.expect("it starts");
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(heard(), None, "it has never answered");
    there.send_replace(true);
    app.ready(PATIENCE).await.expect("ready");
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(heard(), Some(0.0));
    let health = serde_json::to_value(app.health()).expect("it is JSON");
    assert_eq!(health["bindings"]["input"]["last_heard_seconds"], 0.0);
    app.control("input").expect("it is there").stop().await;
    assert_eq!(heard(), None, "stopped");
}

#[tokio::test(start_paused = true)]
async fn an_input_that_loses_its_broker_comes_back_with_what_is_unsettled() {
    async fn handle(number: u32, State(seen): State<mpsc::UnboundedSender<u32>>) {
        seen.send(number).expect("somebody listens");
        if number == 2 {
            tokio::time::sleep(Duration::from_secs(30)).await;
        }
    }
    let (there, app, memory) = late_with("{ input: { destination: orders, group: g } }");
    there.send_replace(true);
    let (sender, mut seen) = mpsc::unbounded_channel();
    let input = app.bind::<SinkBinding<u32>>().await.expect("it binds").input;
    app.handle(input, handle.with_state(sender)).await.expect("handled");
    app.start().await.expect("it starts");
    app.ready(PATIENCE).await.expect("ready");
    let mut next = async || tokio::time::timeout(PATIENCE, seen.recv()).await.expect("handled in time");
    for number in ["1", "2", "3"] {
        memory.publish("orders", Message::new(number)).expect("published");
    }
    assert_eq!((next().await, next().await), (Some(1), Some(2)));

    there.send_replace(false);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let BindingState::Connecting(reason) = &app.states()["input"] else { panic!("{:?}", app.states()) };
    assert!(reason.contains("the broker does not answer"), "{reason}");
    assert!(app.health().is_live() && !app.health().is_ready());

    there.send_replace(true);
    assert_eq!((next().await, next().await), (Some(2), Some(3)), "what was not settled comes again");
    tokio::time::timeout(PATIENCE, memory.idle()).await.expect("all is settled");
    assert_eq!(app.states()["input"], BindingState::Running);
}

#[tokio::test(start_paused = true)]
async fn without_a_broker_many_fail_at_their_deadline() {
    let (_there, app, _memory) = late();
    let output = app.bind::<SourceBinding<u32>>().await.expect("it binds").output;
    let start = tokio::time::Instant::now();
    let error = output.send_all([1, 2, 3]).await.expect_err("nobody is there");
    assert_eq!(start.elapsed().as_secs(), 30);
    let failures: Vec<_> = error.failures().iter().map(|(index, error)| (*index, error.kind())).collect();
    assert_eq!(failures, [0, 1, 2].map(|index| (index, ErrorKind::Timeout)));
    assert!(Error::from(error).is_retryable());
}

#[tokio::test(start_paused = true)]
async fn a_supplier_loses_nothing_while_there_is_no_broker() {
    let (there, app, memory) = late();
    let output = app.bind::<SourceBinding<u32>>().await.expect("it binds").output;
    app.supply(output, futures::stream::iter(1..=300_u32)).await.expect("supplied");
    app.start().await.expect("it starts");
    tokio::time::sleep(Duration::from_secs(100)).await;
    there.send_replace(true);
    let all_there = async {
        while memory.messages("output").len() < 300 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, all_there).await;
    waited.unwrap_or_else(|_| panic!("only {} arrive", memory.messages("output").len()));
}

#[tokio::test(start_paused = true)]
async fn a_flush_waits_for_a_broker_that_comes_later() {
    let (there, app, memory) = late();
    let mut output = app.bind::<SourceBinding<u32>>().await.expect("it binds").output;
    let flushing = tokio::spawn(async move {
        output.feed(Message::new(1)).await?;
        futures::SinkExt::<Message<u32>>::flush(&mut output).await
    });
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!flushing.is_finished());
    there.send_replace(true);
    flushing.await.expect("no panic").expect("flushed");
    assert_eq!(memory.messages("output").len(), 1);
}

/// An application with an output and a handled input that waits for its broker.
async fn both() -> (watch::Sender<bool>, Application) {
    async fn handle(_: u32) {}
    let (there, app, _memory) = late_with("{ input: { destination: orders, group: g } }");
    app.bind::<SourceBinding<u32>>().await.expect("it binds");
    let input = app.bind::<SinkBinding<u32>>().await.expect("it binds").input;
    app.handle(input, handle).await.expect("handled");
    (there, app)
}

#[tokio::test(start_paused = true)]
async fn what_was_just_started_is_not_ready() {
    let (there, app) = both().await;
    app.start().await.expect("it starts");
    // nothing has waited in between, so no task of the application has run
    assert!(!app.health().is_ready());
    for channel in ["input", "output"] {
        assert_eq!(app.states()[channel], BindingState::Connecting("starting".to_owned()), "{channel}");
    }
    there.send_replace(true);
    app.ready(PATIENCE).await.expect("ready");
    let input = app.control("input").expect("it is there");
    input.stop().await;
    assert!(app.health().is_ready(), "what is stopped on purpose is not waited for");
    input.start();
    assert!(!app.health().is_ready());
    app.ready(PATIENCE).await.expect("ready again");
}

/// Stops an input and waits for that no longer than for its drain.
async fn stops(app: &Application) {
    let input = app.control("input").expect("it is there");
    tokio::time::timeout(PATIENCE, input.stop()).await.expect("the stop ends");
    assert_eq!(input.state(), BindingState::Idle);
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_comes_with_the_start_ends() {
    let (there, app) = both().await;
    app.start().await.expect("it starts");
    stops(&app).await;
    there.send_replace(true);
    app.control("input").expect("it is there").start();
    app.ready(PATIENCE).await.expect("ready");
    stops(&app).await;
    app.control("input").expect("it is there").start();
    stops(&app).await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_a_lost_consumer_is_to_be_replaced_ends() {
    let (there, app) = both().await;
    there.send_replace(true);
    app.start().await.expect("it starts");
    app.ready(PATIENCE).await.expect("ready");
    there.send_replace(false);
    while app.states()["input"] == BindingState::Running {
        tokio::task::yield_now().await;
    }
    // it waits for a moment before it opens a new one
    stops(&app).await;
}

/// Asks the application whenever it is told of a state, and stops the input when it loses its broker.
#[derive(Clone, Default)]
struct Asking {
    app: Arc<OnceLock<Application>>,
    told: Arc<std::sync::Mutex<Vec<BindingState>>>,
}

impl binder_core::Hooks for Asking {
    fn on_state(&self, channel: &str, state: &BindingState) {
        let Some(app) = self.app.get() else { return };
        app.health();
        app.states();
        if let Ok(control) = app.control(channel) {
            self.told.lock().expect("no panic").push(state.clone());
            if matches!(state, BindingState::Connecting(reason) if reason == "silence") {
                control.pause();
            }
        }
    }
}

/// On two threads, so that one that waits for itself does not hold up the test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_may_ask_and_command_the_application() {
    async fn handle(_: u32) {}
    let told = Asking::default();
    let (_there, receiver) = watch::channel(true);
    let status = Arc::<OnceLock<Status>>::default();
    let binder = Late { memory: MemoryBinder::new(), there: receiver, status: Arc::clone(&status) };
    let factory = move |_: &BinderContext| Ok(SharedBinder::new(binder.clone()));
    let text =
        "stream: { binders: { main: { type: memory } }, bindings: { input: { destination: orders, group: g } } }";
    let config = Config::builder().yaml(text).build().expect("the configuration is right");
    let builder = Application::builder().config(config).binder("memory", factory).hooks(told.clone());
    let app = builder.build().expect("it builds");
    told.app.set(app.clone()).expect("once");
    app.bind::<SourceBinding<u32>>().await.expect("it binds");
    let input = app.bind::<SinkBinding<u32>>().await.expect("it binds").input;
    app.handle(input, handle).await.expect("handled");
    let playing = tokio::spawn(async move {
        app.start().await.expect("it starts");
        app.ready(PATIENCE).await.expect("ready");
        let status = status.get().cloned().expect("bound");
        tokio::task::spawn_blocking(move || status.connecting("silence")).await.expect("no panic");
        app.control("input").expect("it is there").stop().await;
        app.shutdown().await.expect("a clean end");
    });
    tokio::time::timeout(Duration::from_secs(30), playing).await.expect("nobody waits for himself").expect("no panic");
    let told = told.told.lock().expect("no panic").clone();
    let expected = ["connecting (starting)", "running", "connecting (silence)"];
    assert_eq!(told.iter().take(3).map(BindingState::to_string).collect::<Vec<_>>(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_start_during_a_stop_ends_its_wait_and_is_not_ready_before_it_works_again() {
    async fn handle(_: u32) {
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    let (there, app, memory) = late_with("{ input: { destination: orders, group: g } }");
    there.send_replace(true);
    let input = app.bind::<SinkBinding<u32>>().await.expect("it binds").input;
    app.handle(input, handle).await.expect("handled");
    app.start().await.expect("it starts");
    app.ready(PATIENCE).await.expect("ready");
    for (restart, begins) in [(true, "1"), (false, "2")] {
        memory.publish("orders", Message::new(begins)).expect("published");
        tokio::time::sleep(Duration::from_secs(1)).await;
        let control = app.control("input").expect("it is there");
        let stopping = tokio::spawn({
            let control = control.clone();
            async move { control.stop().await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!stopping.is_finished(), "a handler runs");
        let begun = tokio::time::Instant::now();
        if restart {
            control.start()
        } else {
            control.resume()
        }
        assert!(!app.health().is_ready(), "the old consumer drains");
        tokio::time::timeout(PATIENCE, stopping).await.expect("it waits for what will not come").expect("no panic");
        app.ready(PATIENCE).await.expect("ready");
        assert_eq!(begun.elapsed().as_secs(), 8, "when the handler is done");
    }
    tokio::time::timeout(PATIENCE, memory.idle()).await.expect("all is settled");
    let control = app.control("input").expect("it is there");
    control.stop().await;
    control.resume();
    assert!(!app.health().is_ready(), "it has no consumer yet");
    app.ready(PATIENCE).await.expect("ready");
}
