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
    while start.elapsed() < Duration::from_millis(1) {
        std::hint::spin_loop();
    }
    desk.inside.fetch_sub(1, SeqCst);
    desk.done.0.add_permits(1);
}

async fn most_at_once(consumer: &str) -> (usize, Vec<u32>) {
    let text = format!(
        "stream: {{ bindings: {{
            output: {{ destination: numbers }},
            input: {{ destination: numbers, group: g, consumer: {{ {consumer} }} }}
        }} }}"
    );
    let app =
        Application::builder().config(Config::builder().yaml(text).build().expect("valid")).build().expect("valid");
    let channels: ProcessorBinding<u32, u32> = app.bind().await.expect("it works");
    let desk = Desk::default();
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
    let (most, begun) = most_at_once("ordering: key, concurrency: 4").await;
    assert_eq!(most, 2, "there are two cores");
    for key in 0..5 {
        let of_key: Vec<_> = begun.iter().copied().filter(|number| number % 5 == key).collect();
        assert!(of_key.is_sorted(), "{of_key:?}");
        assert_eq!(of_key.len(), COUNT / 5);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_at_a_time_stays_one_at_a_time() {
    let (most, begun) = most_at_once("concurrency: 1").await;
    assert_eq!(most, 1);
    assert!(begun.is_sorted());
}
