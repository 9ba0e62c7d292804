//! What an application is told while it runs, and how long its handlers may take, on the memory binder.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use binder_core::binder::{Assignment, DeadLetter};
use binder_core::channel::SinkBinding;
use binder_core::config::Config;
use binder_core::memory::MemoryBinder;
use binder_core::prelude::*;
use binder_core::{ApplicationBuilder, BindingState, Hooks, Result};

/// Notes each word that it is told, in order.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn add(&self, word: String) {
        self.0.lock().expect("no panic").push(word);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("no panic"))
    }
}

fn partitions(assigned: &[Assignment]) -> String {
    let mut all: Vec<_> = assigned
        .iter()
        .map(|one| format!("{}/{}", one.destination, one.partition.expect("memory has partitions")))
        .collect();
    all.sort();
    all.join(" ")
}

impl Hooks for Notes {
    fn on_state(&self, channel: &str, state: &BindingState) {
        self.add(format!("{channel} {state}"));
    }

    fn on_dead_letter(&self, channel: &str, letter: &DeadLetter<'_>) {
        let payload = String::from_utf8_lossy(letter.delivery.payload.as_deref().unwrap_or_default()).into_owned();
        self.add(format!("{channel} dead {payload} after {}: {}", letter.attempts, letter.reason.message()));
    }

    fn on_assigned(&self, channel: &str, assigned: &[Assignment]) {
        self.add(format!("{channel} + {}", partitions(assigned)));
    }

    fn on_revoked(&self, channel: &str, revoked: &[Assignment]) {
        self.add(format!("{channel} - {}", partitions(revoked)));
    }
}

fn application(memory: &MemoryBinder, consumer: &str) -> ApplicationBuilder {
    let text =
        format!("stream: {{ bindings: {{ input: {{ destination: orders, group: g, consumer: {{ {consumer} }} }} }} }}");
    let config = Config::builder().yaml(&text).build().expect("the configuration is right");
    Application::builder().config(config).binder("memory", memory.clone())
}

async fn refuse(_: String) -> Result<(), HandlerError> {
    Err(HandlerError::permanent(std::io::Error::other("no stock")))
}

async fn accept(_: String) {}

async fn started(builder: ApplicationBuilder) -> Application {
    let app = builder.build().expect("it builds");
    let channels = app.bind::<SinkBinding<String>>().await.expect("it binds");
    app.handle(channels.input, refuse).await.expect("a handler");
    app.start().await.expect("it starts");
    app.ready(Duration::from_secs(5)).await.expect("ready");
    app
}

#[tokio::test(start_paused = true)]
async fn hooks_hear_of_states_partitions_and_dead_letters() {
    let (memory, notes) = (MemoryBinder::new(), Notes::default());
    let app = started(application(&memory, "").hooks(notes.clone())).await;
    memory.publish("orders", Message::new("one")).expect("published");
    memory.idle().await;
    let heard = notes.take();
    assert_eq!(heard.last().map(String::as_str), Some("input dead one after 1: the handler failed: no stock"));
    assert!(heard.contains(&"input running".to_owned()), "{heard:?}");
    assert_eq!(heard.iter().filter(|word| word.starts_with("input +")).collect::<Vec<_>>(), ["input + orders/0"]);
    app.shutdown().await.expect("a clean end");
    assert_eq!(notes.take(), ["input - orders/0", "input idle"]);
}

#[tokio::test(start_paused = true)]
async fn hooks_hear_of_partitions_that_move() {
    let (memory, notes) = (MemoryBinder::new(), Notes::default());
    let first = started(application(&memory, "concurrency: 2").hooks(notes.clone())).await;
    memory.publish("orders", Message::new("one")).expect("published");
    memory.idle().await;
    let before = notes.take();
    assert!(before.contains(&"input + orders/0 orders/1".to_owned()), "{before:?}");
    let second = started(application(&memory, "concurrency: 2")).await;
    memory.publish("orders", Message::new("two")).expect("published");
    memory.idle().await;
    let moved = notes.take();
    assert_eq!(moved.iter().filter(|word| word.starts_with("input - orders/")).count(), 1, "{moved:?}");
    second.shutdown().await.expect("a clean end");
    first.shutdown().await.expect("a clean end");
    let last = notes.take();
    assert!(last.contains(&"input - orders/0 orders/1".to_owned()), "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_panics_harms_nobody() {
    struct Panics;
    impl Hooks for Panics {
        fn on_dead_letter(&self, _: &str, _: &DeadLetter<'_>) {
            panic!("told to");
        }
    }
    let (memory, notes) = (MemoryBinder::new(), Notes::default());
    let app = started(application(&memory, "").hooks(Panics).hooks(notes.clone())).await;
    memory.publish("orders", Message::new("one")).expect("published");
    memory.publish("orders", Message::new("two")).expect("published");
    memory.idle().await;
    assert_eq!(notes.take().iter().filter(|word| word.starts_with("input dead")).count(), 2);
    app.shutdown().await.expect("a clean end");
}

type Calls = Arc<Mutex<Vec<Duration>>>;

#[derive(Clone)]
struct Clock {
    start: tokio::time::Instant,
    calls: Calls,
}

impl Clock {
    fn new() -> Self {
        Self { start: tokio::time::Instant::now(), calls: Calls::default() }
    }

    fn note(&self) {
        self.calls.lock().expect("no panic").push(self.start.elapsed());
    }

    fn seconds(&self) -> Vec<u64> {
        self.calls.lock().expect("no panic").iter().map(Duration::as_secs).collect()
    }
}

async fn start_batches<A: 'static, H>(memory: &MemoryBinder, consumer: &str, handler: H) -> Application
where
    H: binder_core::handler::BatchHandler<String, A>,
    H::Output: binder_core::handler::IntoBatchOutcome + Send,
{
    let app = application(memory, consumer).build().expect("it builds");
    let channels = app.bind::<SinkBinding<String>>().await.expect("it binds");
    app.handle_batch(channels.input, handler).await.expect("a handler");
    app.start().await.expect("it starts");
    app.ready(Duration::from_secs(5)).await.expect("ready");
    app
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_takes_too_long_is_ended_and_counts_as_failed() {
    async fn sleep(_: Batch<String>, State(clock): State<Clock>) -> BatchOutcome {
        clock.note();
        tokio::time::sleep(Duration::from_secs(60)).await;
        BatchOutcome::ok()
    }
    let (memory, clock) = (MemoryBinder::new(), Clock::new());
    memory.publish("orders", Message::new("one")).expect("published");
    let consumer = "handler-timeout: 10s, max-attempts: 2, backoff: { jitter: 0 }";
    let app = start_batches(&memory, consumer, sleep.with_state(clock.clone())).await;
    memory.idle().await;
    assert_eq!(clock.seconds(), [0, 11]);
    let letter = memory.messages("error.orders.g").remove(0);
    let reason = letter.headers().get("x-exception-message").expect("a reason").to_text();
    assert!(reason.contains("`handler-timeout` (10s)"), "{reason}");
    app.shutdown().await.expect("a clean end");
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_holds_batches_too() {
    async fn fail(_: Batch<String>, State(clock): State<Clock>) -> Result<(), HandlerError> {
        clock.note();
        Err(HandlerError::permanent(std::io::Error::other("down")))
    }
    let (memory, clock) = (MemoryBinder::new(), Clock::new());
    for text in ["one", "two", "three"] {
        memory.publish("orders", Message::new(text)).expect("published");
    }
    let consumer = "prefetch: 1, breaker: { failure-rate: 1, calls: 1, open: 30s }";
    let app = start_batches(&memory, consumer, fail.with_state(clock.clone())).await;
    memory.idle().await;
    assert_eq!(clock.seconds(), [0, 30, 60]);
    app.shutdown().await.expect("a clean end");
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_never_returns_is_ended_after_five_minutes_unless_said() {
    async fn never(_: String, State(clock): State<Clock>) {
        clock.note();
        std::future::pending().await
    }
    let (memory, clock) = (MemoryBinder::new(), Clock::new());
    memory.publish("orders", Message::new("one")).expect("published");
    let app = application(&memory, "max-attempts: 1").build().expect("it builds");
    let channels = app.bind::<SinkBinding<String>>().await.expect("it binds");
    app.handle(channels.input, never.with_state(clock.clone())).await.expect("a handler");
    app.start().await.expect("it starts");
    app.ready(Duration::from_secs(5)).await.expect("ready");
    memory.idle().await;
    assert_eq!(clock.start.elapsed().as_secs(), 300);
    assert_eq!(memory.messages("error.orders.g").len(), 1);
    app.shutdown().await.expect("a clean end");
}

#[test]
fn a_breaker_that_can_never_open_is_refused() {
    let text = "stream:\n  bindings:\n    input:\n      consumer: { breaker: { failure-rate: 1.5, calls: 0 } }\n";
    let error = Config::builder().yaml(text).build().expect_err("it is wrong");
    assert!(error.message().contains("failure-rate: expected a number from 0 to 1"), "{error}");
    assert!(error.message().contains("calls: expected at least 1"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_binding_is_started_again_after_a_stop() {
    let (memory, notes) = (MemoryBinder::new(), Notes::default());
    let app = application(&memory, "").hooks(notes.clone()).build().expect("it builds");
    let channels = app.bind::<SinkBinding<String>>().await.expect("it binds");
    app.handle(channels.input, accept).await.expect("a handler");
    app.start().await.expect("it starts");
    app.ready(Duration::from_secs(5)).await.expect("ready");
    let input = app.control("input").expect("it is there");
    input.stop().await;
    assert_eq!(input.state(), BindingState::Idle);
    memory.publish("orders", Message::new("while stopped")).expect("published");
    input.start();
    memory.idle().await;
    assert!(memory.messages("error.orders.g").is_empty());
    assert_eq!(input.state(), BindingState::Running);
    app.shutdown().await.expect("a clean end");
}
