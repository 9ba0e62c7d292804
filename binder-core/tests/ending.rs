//! How long a shutdown may take, what a pause stops, and for how long one may keep what is pulled, on the memory binder.

use std::time::Duration;

use binder_core::channel::SinkBinding;
use binder_core::config::Config;
use binder_core::memory::MemoryBinder;
use binder_core::message::Message;
use binder_core::prelude::*;
use binder_core::{BindingState, Result};
use tokio::time::Instant;

#[derive(Debug, Binding)]
struct Channels {
    #[input("orders")]
    orders: Input<String>,
    #[output("left")]
    left: Output<u32>,
    #[output("right")]
    right: Output<u32>,
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_takes_no_longer_than_its_timeout_however_much_is_stuck() -> Result<()> {
    async fn take(text: String, State(done): State<Slow>) {
        if text == "stuck" {
            std::future::pending().await
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
        done.one().await;
    }
    // both outputs are full: nobody reads what they sent
    let memory = MemoryBinder::with_retention(3);
    let text = "stream: { bindings: {
        orders: { group: g, consumer: { ordering: none, concurrency: 2 } },
        left: { producer: { required-groups: [g] } },
        right: { producer: { required-groups: [g] } }
    } }";
    let config = Config::builder().yaml(text).build()?;
    let app = Application::builder().config(config).binder("memory", memory.clone()).build()?;
    let channels = app.bind::<Channels>().await?;
    for text in ["stuck", "slow"] {
        memory.publish("orders", Message::new(text)).expect("there is room");
    }
    let done = Slow::default();
    app.handle(channels.orders, take.with_state(done.clone())).await?;
    for output in [&channels.left, &channels.right] {
        for output in [output.clone(), output.to(&format!("{}-far", output.name()))] {
            app.supply(output, every(Duration::from_millis(1), || 1_u32)).await?;
        }
    }
    app.start().await?;
    app.ready(Duration::from_secs(5)).await?;
    let full = ["left", "right", "left-far", "right-far"];
    while full.iter().any(|name| memory.messages(name).len() < 3) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // until each has a message for which there is no room
    tokio::time::sleep(Duration::from_millis(10)).await;
    let begun = Instant::now();
    let late = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        memory.publish("orders", Message::new("late")).expect("there is room");
    };
    let (down, ()) = tokio::join!(app.shutdown(), late);
    down?;
    let took = begun.elapsed().as_secs();
    assert!((25..=29).contains(&took), "{took} s");
    assert_eq!(done.begun(), 1, "what comes during the shutdown is not taken");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_is_pulled_is_kept_for_as_long_as_one_wants() -> Result<()> {
    let memory = MemoryBinder::new();
    let text = "stream: { bindings: { input: { destination: orders, group: g, consumer: { handler-timeout: 1s, max-attempts: 1 } } } }";
    let config = Config::builder().yaml(text).build()?;
    let app = Application::builder().config(config).binder("memory", memory.clone()).build()?;
    let mut input = app.bind::<SinkBinding<String>>().await?.input;
    for text in ["one", "two"] {
        memory.publish("orders", Message::new(text)).expect("there is room");
    }
    let pulled = input.recv().await?.expect("it runs");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(app.health().bindings["input"].oldest_unsettled_seconds >= 3590.0);
    pulled.settle().await?;
    // the next one has waited for whoever asks for it
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let pulled = input.recv().await?.expect("it runs");
    assert_eq!(pulled.message().payload().map(String::as_str), Some("two"));
    pulled.settle().await?;
    memory.idle().await;
    assert_eq!(memory.messages("error.orders.g").len(), 0);
    assert_eq!(app.states()["input"], BindingState::Running);
    app.shutdown().await
}

/// While the first calls run.
const IN_A_CALL: Duration = Duration::from_millis(500);

/// Handlers that take a second each, and how many were started.
#[derive(Clone, Default)]
struct Slow(std::sync::Arc<std::sync::atomic::AtomicUsize>);

impl Slow {
    fn begun(&self) -> usize {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }

    async fn one(&self) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn one_by_one(_: String, State(slow): State<Slow>) {
    slow.one().await;
}

async fn in_batches(_: Batch<String>, State(slow): State<Slow>) -> BatchOutcome {
    slow.one().await;
    // so that it is called again for the same messages
    if slow.begun() < 3 { BatchOutcome::failed(HandlerError::transient("again")) } else { BatchOutcome::ok() }
}

/// Pauses an input in the middle of its work.
async fn pausing(consumer: &str, is_batch: bool, after: Duration) -> Result<()> {
    let (memory, slow) = (MemoryBinder::new(), Slow::default());
    let consumer = format!("backoff: {{ initial: 10ms, jitter: 0 }}, {consumer}");
    let text =
        format!("stream: {{ bindings: {{ input: {{ destination: orders, group: g, consumer: {{ {consumer} }} }} }} }}");
    let config = Config::builder().yaml(&text).build()?;
    let app = Application::builder().config(config).binder("memory", memory.clone()).build()?;
    let input = app.bind::<SinkBinding<String>>().await?.input;
    for number in 0..20 {
        memory.publish("orders", Message::new(number.to_string()).with_key(number.to_string())).expect("there is room");
    }
    if is_batch {
        app.handle_batch(input, in_batches.with_state(slow.clone())).await?;
    } else {
        app.handle(input, one_by_one.with_state(slow.clone())).await?;
    }
    app.start().await?;
    app.ready(Duration::from_secs(5)).await?;
    tokio::time::sleep(after).await;
    let begun = slow.begun();
    assert!((1..20).contains(&begun), "{begun}");
    let control = app.control("input")?;
    control.pause();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(slow.begun(), begun, "nothing starts, though it was received");
    match control.state() {
        BindingState::Paused => {}
        BindingState::Degraded(_) if after != IN_A_CALL => {}
        other => panic!("{other}"),
    }
    control.resume();
    tokio::time::timeout(Duration::from_secs(600), memory.idle()).await.expect("it goes on");
    assert_eq!(control.state(), BindingState::Running);
    control.pause();
    tokio::time::sleep(Duration::from_secs(1)).await;
    tokio::time::timeout(Duration::from_secs(60), control.stop()).await.expect("what is paused can be stopped");
    assert_eq!(control.state(), BindingState::Idle);
    app.shutdown().await
}

#[tokio::test(start_paused = true)]
async fn a_paused_input_starts_no_handler() -> Result<()> {
    pausing("", false, IN_A_CALL).await?;
    pausing("ordering: key, concurrency: 4", false, IN_A_CALL).await?;
    pausing("ordering: key, concurrency: 4, breaker: { failure-rate: 0.5 }", false, IN_A_CALL).await
}

#[tokio::test(start_paused = true)]
async fn a_paused_transactional_input_starts_no_handler() -> Result<()> {
    pausing("transactional: true, ordering: key, concurrency: 4", false, IN_A_CALL).await
}

#[tokio::test(start_paused = true)]
async fn a_paused_batch_input_starts_no_call() -> Result<()> {
    pausing("", true, IN_A_CALL).await?;
    // while the breaker is open, after the first call
    let breaker = "breaker: { failure-rate: 0.5, calls: 1, open: 10s }";
    pausing(breaker, true, Duration::from_secs(2)).await
}

/// The input waits when both come, and must see the pause first.
#[tokio::test(start_paused = true)]
async fn what_is_sent_after_a_pause_waits_until_the_resume() -> Result<()> {
    let (memory, slow) = (MemoryBinder::new(), Slow::default());
    let app = Application::builder().binder("memory", memory.clone()).build()?;
    let input = app.bind::<SinkBinding<String>>().await?.input;
    app.handle(input, one_by_one.with_state(slow.clone())).await?;
    app.start().await?;
    app.ready(Duration::from_secs(5)).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let control = app.control("input")?;
    control.pause();
    memory.publish("input", Message::new("after")).expect("there is room");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(slow.begun(), 0, "it was sent after the pause");
    control.resume();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(slow.begun(), 1);
    app.shutdown().await
}
