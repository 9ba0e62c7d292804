//! Handlers that need the processor.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use binder_core::channel::ProcessorBinding;
use binder_core::prelude::*;
use tokio::sync::Semaphore;

const COUNT: usize = 200;

/// What the handlers share.
#[derive(Clone, Default)]
struct Desk {
    inside: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    /// Order numbers by key, as they were begun.
    begun: Arc<std::sync::Mutex<Vec<u32>>>,
    done: Arc<Done>,
    /// How long a call computes for want of a second one; a busy machine may keep the other core for a while.
    alone: Duration,
}

struct Done(Semaphore);

impl Default for Done {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

async fn compute(number: u32, State(desk): State<Desk>) {
    let inside = desk.inside.fetch_add(1, SeqCst) + 1;
    desk.most.fetch_max(inside, SeqCst);
    desk.begun.lock().expect("no panic").push(number);
    let start = Instant::now();
    let alone = || desk.most.load(SeqCst) < 2 && start.elapsed() < desk.alone;
    while start.elapsed() < Duration::from_millis(1) || alone() {
        std::hint::spin_loop();
    }
    desk.inside.fetch_sub(1, SeqCst);
    desk.done.0.add_permits(1);
}

async fn most_at_once(consumer: &str, alone: Duration) -> (usize, Vec<u32>) {
    let text = format!(
        "stream: {{ bindings: {{
            output: {{ destination: numbers }},
            input: {{ destination: numbers, group: g, consumer: {{ {consumer} }} }}
        }} }}"
    );
    let app =
        Application::builder().config(Config::builder().yaml(text).build().expect("valid")).build().expect("valid");
    let channels: ProcessorBinding<u32, u32> = app.bind().await.expect("it works");
    let desk = Desk { alone, ..Desk::default() };
    app.handle(channels.input, compute.with_state(desk.clone())).await.expect("it works");
    app.start().await.expect("it works");
    for number in 0..COUNT as u32 {
        let message = Message::new(number).with_key((number % 5).to_string());
        channels.output.send_message(message).await.expect("it works");
    }
    let all = desk.done.0.acquire_many(COUNT as u32);
    tokio::time::timeout(Duration::from_secs(20), all).await.expect("all are handled").expect("open").forget();
    app.shutdown().await.expect("it works");
    let begun = desk.begun.lock().expect("no panic").clone();
    (desk.most.load(SeqCst), begun)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_that_compute_use_several_cores_and_keep_the_order_of_a_key() {
    let (most, begun) = most_at_once("ordering: key, concurrency: 4", Duration::from_millis(500)).await;
    assert_eq!(most, 2, "there are two cores");
    for key in 0..5 {
        let of_key: Vec<_> = begun.iter().copied().filter(|number| number % 5 == key).collect();
        assert!(of_key.is_sorted(), "{of_key:?}");
        assert_eq!(of_key.len(), COUNT / 5);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_at_a_time_stays_one_at_a_time() {
    let (most, begun) = most_at_once("concurrency: 1", Duration::ZERO).await;
    assert_eq!(most, 1);
    assert!(begun.is_sorted());
}

async fn compute_for_long(_: u32, State(desk): State<Desk>) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(120) {
        std::hint::spin_loop();
    }
    desk.begun.lock().expect("no panic").push(0);
    desk.done.0.add_permits(1);
}

/// A worker is left for who looks whether calls are late.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_call_that_computes_until_it_succeeds_has_not_failed_by_its_timeout() {
    let text = "stream: { bindings: {
        output: { destination: numbers },
        input: { destination: numbers, group: g, consumer: { ordering: none, concurrency: 2, handler-timeout: 50ms, backoff: { initial: 1ms } } }
    } }";
    let app =
        Application::builder().config(Config::builder().yaml(text).build().expect("valid")).build().expect("valid");
    let channels: ProcessorBinding<u32, u32> = app.bind().await.expect("it works");
    let desk = Desk::default();
    app.handle(channels.input, compute_for_long.with_state(desk.clone())).await.expect("it works");
    app.start().await.expect("it works");
    channels.output.send_all(&(0..10).collect::<Vec<u32>>()).await.expect("sent");
    let all = desk.done.0.acquire_many(10);
    tokio::time::timeout(Duration::from_secs(20), all).await.expect("all are handled").expect("open").forget();
    app.shutdown().await.expect("it works");
    assert_eq!(desk.begun.lock().expect("no panic").len(), 10, "none was tried again");
}
