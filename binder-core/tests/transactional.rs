//! Inputs whose messages are settled in transactions, on the memory binder.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use binder_core::config::Config;
use binder_core::memory::MemoryBinder;
use binder_core::message::Message;
use binder_core::prelude::*;
use binder_core::{BindingState, Result};
use tokio::sync::Semaphore;

#[derive(Debug, Binding)]
struct Channels {
    #[input("orders")]
    orders: Input<String>,
    #[output("invoices")]
    invoices: Output<String>,
    #[output("audit")]
    audit: Output<String>,
}

const DEAD: &str = "error.orders.g";

fn application(memory: &MemoryBinder, consumer: &str, rest: &str) -> Application {
    let backoff = "backoff: { initial: 10ms }";
    let consumer = format!("consumer: {{ transactional: true, {backoff}, {consumer} }}");
    let text = format!("stream: {{ bindings: {{ orders: {{ group: g, {consumer} }}, {rest} }} }}");
    let config = Config::builder().yaml(text).build().expect("the configuration is right");
    Application::builder().config(config).binder("memory", memory.clone()).build().expect("it builds")
}

fn publish(memory: &MemoryBinder, texts: &[&str]) {
    for text in texts {
        memory.publish("orders", Message::new(*text).with_key((*text).to_owned())).expect("there is room");
    }
}

fn texts(memory: &MemoryBinder, destination: &str) -> Vec<String> {
    let messages = memory.messages(destination);
    messages.iter().map(|message| String::from_utf8_lossy(message.payload().expect("a payload")).into_owned()).collect()
}

/// What handlers were given, and permits without which some do not end.
#[derive(Clone)]
struct Desk {
    started: Arc<Mutex<Vec<String>>>,
    permits: Arc<Semaphore>,
    audit: Output<String>,
}

impl Desk {
    fn new(audit: &Output<String>) -> Self {
        Self { started: Arc::default(), permits: Arc::new(Semaphore::new(0)), audit: audit.clone() }
    }

    fn started(&self) -> Vec<String> {
        self.started.lock().expect("no panic").clone()
    }

    async fn until_started(&self, count: usize) {
        let waited = tokio::time::timeout(Duration::from_secs(60), async {
            while self.started().len() < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("only {:?} were started", self.started()));
    }
}

/// Tells the audit, and returns an invoice. `stuck…` waits for a permit, `bad…` fails for good, `weak…` fails once, and `odd…` goes to a
/// partition that does not exist.
async fn invoice(
    text: String,
    tx: Transaction,
    delivery: Delivery,
    State(desk): State<Desk>,
) -> Result<Message<String>, HandlerError> {
    desk.started.lock().expect("no panic").push(text.clone());
    tx.send(&desk.audit, &format!("{text} {}", delivery.attempt)).await?;
    if text.starts_with("stuck") {
        desk.permits.acquire().await?.forget();
    }
    if text.starts_with("bad") {
        return Err(HandlerError::permanent("no stock"));
    }
    if text.starts_with("weak") && delivery.attempt == 1 {
        return Err(HandlerError::transient("try again"));
    }
    let partition = if text.starts_with("odd") { 9 } else { 0 };
    Ok(Message::new(format!("invoice of {text}")).with_partition(partition))
}

async fn started(memory: &MemoryBinder, consumer: &str) -> Result<(Application, Desk)> {
    let app = application(memory, consumer, "");
    let channels = app.bind::<Channels>().await?;
    let desk = Desk::new(&channels.audit);
    app.process(channels.orders, channels.invoices, invoice.with_state(desk.clone())).await?;
    app.start().await?;
    app.ready(Duration::from_secs(5)).await?;
    Ok((app, desk))
}

#[tokio::test(start_paused = true)]
async fn a_stuck_message_holds_its_batch() -> Result<()> {
    let memory = MemoryBinder::new();
    publish(&memory, &["a", "stuck", "b"]);
    let (app, desk) = started(&memory, "ordering: none, concurrency: 4").await?;
    desk.until_started(3).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    publish(&memory, &["later"]);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(memory.messages("invoices").len() + memory.messages("audit").len(), 0);
    assert_eq!(memory.position("orders", "g"), Some(vec![0]));
    desk.permits.add_permits(1);
    memory.idle().await;
    let mut invoices = texts(&memory, "invoices");
    invoices.sort();
    assert_eq!(invoices, ["invoice of a", "invoice of b", "invoice of later", "invoice of stuck"]);
    assert_eq!(memory.position("orders", "g"), Some(vec![4]));
    app.shutdown().await
}

#[tokio::test(start_paused = true)]
async fn a_failed_attempt_publishes_nothing_and_its_dead_letter_comes_with_the_rest() -> Result<()> {
    let memory = MemoryBinder::new();
    publish(&memory, &["a", "bad", "weak", "b"]);
    let (app, _desk) = started(&memory, "").await?;
    memory.idle().await;
    assert_eq!(texts(&memory, "invoices"), ["invoice of a", "invoice of weak", "invoice of b"]);
    assert_eq!(texts(&memory, "audit"), ["a 1", "weak 2", "b 1"]);
    let dead = memory.messages(DEAD);
    assert_eq!(texts(&memory, DEAD), ["bad"]);
    let reason = dead[0].headers().get("x-exception-message").map(|value| value.to_text());
    assert!(reason.as_deref().is_some_and(|reason| reason.contains("no stock")), "{reason:?}");
    app.shutdown().await
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_waits_for_its_batch() -> Result<()> {
    let memory = MemoryBinder::new();
    publish(&memory, &["bad", "stuck"]);
    let (app, desk) = started(&memory, "").await?;
    desk.until_started(2).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(memory.messages(DEAD).len(), 0);
    desk.permits.add_permits(1);
    memory.idle().await;
    assert_eq!(
        (texts(&memory, DEAD), texts(&memory, "invoices")),
        (vec!["bad".into()], vec!["invoice of stuck".into()])
    );
    app.shutdown().await
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_output_is_refused_is_a_dead_letter() -> Result<()> {
    let memory = MemoryBinder::new();
    publish(&memory, &["a", "odd", "b"]);
    let (app, desk) = started(&memory, "").await?;
    memory.idle().await;
    assert_eq!(texts(&memory, "invoices"), ["invoice of a", "invoice of b"]);
    assert_eq!(texts(&memory, "audit"), ["a 1", "b 1"], "and nothing else that it sent is published");
    assert_eq!(texts(&memory, DEAD), ["odd"]);
    assert_eq!(desk.started(), ["a", "odd", "b"], "each is handled once");
    app.shutdown().await
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_commits_what_is_done_up_to_the_first_that_is_not() -> Result<()> {
    let memory = MemoryBinder::new();
    publish(&memory, &["a", "stuck", "b"]);
    let (app, desk) = started(&memory, "ordering: none, concurrency: 4").await?;
    desk.until_started(3).await;
    app.shutdown().await?;
    assert_eq!(texts(&memory, "invoices"), ["invoice of a"], "what lies behind comes again");
    assert_eq!(texts(&memory, "audit"), ["a 1"]);
    assert_eq!(memory.position("orders", "g"), Some(vec![1]));
    let (app, desk) = started(&memory, "").await?;
    desk.permits.add_permits(1);
    memory.idle().await;
    assert_eq!(texts(&memory, "invoices"), ["invoice of a", "invoice of stuck", "invoice of b"]);
    app.shutdown().await
}

async fn audit_all(batch: Batch<String>, tx: Transaction, State(desk): State<Desk>) -> BatchOutcome {
    let mut outcome = BatchOutcome::ok();
    for (index, message) in batch.into_iter().enumerate() {
        let text = message.into_payload().expect("no tombstone");
        desk.started.lock().expect("no panic").push(text.clone());
        if text.starts_with("bad") {
            outcome.fail(index, HandlerError::permanent("no stock"));
        } else if let Err(error) = tx.send(&desk.audit, &text).await {
            outcome.fail(index, error);
        }
        if text.starts_with("stuck") {
            desk.permits.acquire().await.expect("open").forget();
        }
    }
    outcome
}

#[tokio::test(start_paused = true)]
async fn a_batch_handler_has_one_transaction_for_its_call() -> Result<()> {
    let memory = MemoryBinder::new();
    publish(&memory, &["a", "bad", "stuck", "b"]);
    let app = application(&memory, "", "");
    let channels = app.bind::<Channels>().await?;
    let desk = Desk::new(&channels.audit);
    app.handle_batch(channels.orders, audit_all.with_state(desk.clone())).await?;
    app.start().await?;
    desk.until_started(3).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((memory.messages("audit").len(), memory.messages(DEAD).len()), (0, 0));
    assert_eq!(memory.position("orders", "g"), Some(vec![0]));
    desk.permits.add_permits(1);
    memory.idle().await;
    assert_eq!(texts(&memory, "audit"), ["a", "stuck", "b"]);
    assert_eq!(texts(&memory, DEAD), ["bad"]);
    app.shutdown().await
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_during_a_batch_call_publishes_nothing_of_it() -> Result<()> {
    let memory = MemoryBinder::new();
    publish(&memory, &["a", "stuck", "b"]);
    let app = application(&memory, "", "");
    let channels = app.bind::<Channels>().await?;
    let desk = Desk::new(&channels.audit);
    app.handle_batch(channels.orders, audit_all.with_state(desk.clone())).await?;
    app.start().await?;
    desk.until_started(2).await;
    let begun = tokio::time::Instant::now();
    app.shutdown().await?;
    assert_eq!(begun.elapsed().as_secs(), 25, "it waits for the call, as long as a shutdown may take");
    assert_eq!((texts(&memory, "audit").len(), memory.messages(DEAD).len()), (0, 0));
    assert_eq!(memory.position("orders", "g"), Some(vec![0]));

    let app = application(&memory, "", "");
    let channels = app.bind::<Channels>().await?;
    desk.permits.add_permits(1);
    app.handle_batch(channels.orders, audit_all.with_state(Desk { audit: channels.audit.clone(), ..desk })).await?;
    app.start().await?;
    memory.idle().await;
    assert_eq!(texts(&memory, "audit"), ["a", "stuck", "b"], "all of it comes again");
    app.shutdown().await
}

#[tokio::test(start_paused = true)]
async fn a_seek_moves_a_transactional_input() -> Result<()> {
    let memory = MemoryBinder::new();
    publish(&memory, &["a", "b", "stuck"]);
    let (app, desk) = started(&memory, "").await?;
    desk.until_started(3).await;
    app.control("orders")?.seek(binder_core::SeekTo::Offset(1)).await?;
    desk.permits.add_permits(2);
    memory.idle().await;
    assert_eq!(texts(&memory, "invoices"), ["invoice of b", "invoice of stuck"], "what was done before counts no more");
    app.shutdown().await
}

#[tokio::test]
async fn a_processor_with_two_binders_is_refused() -> Result<()> {
    let memory = MemoryBinder::new();
    let text = "stream: { default-binder: one, binders: { one: { type: memory }, two: { type: memory } },
        bindings: { orders: { group: g, consumer: { transactional: true } }, invoices: { binder: two } } }";
    let config = Config::builder().yaml(text).build()?;
    let app = Application::builder().config(config).binder("memory", memory.clone()).build()?;
    let channels = app.bind::<Channels>().await?;
    let desk = Desk::new(&channels.audit);
    let refused = app.process(channels.orders, channels.invoices, invoice.with_state(desk)).await;
    let error = refused.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("`invoices` is on the binder `two`"), "{error}");
    Ok(())
}

async fn takes_one(_: String, _: Transaction) {}

#[tokio::test]
async fn a_handler_that_takes_a_transaction_needs_a_transactional_input() -> Result<()> {
    let app = Application::builder().build()?;
    let channels = app.bind::<Channels>().await?;
    let error = app.handle(channels.orders, takes_one).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("`consumer.transactional: true`"), "{error}");
    Ok(())
}

#[test]
fn contradictions_are_refused_at_bind() {
    let refused = |binding: &str| {
        let text = format!("stream: {{ bindings: {{ orders: {{ {binding} }} }} }}");
        Config::builder().yaml(text).build().expect_err("refused").to_string()
    };
    let error = refused("consumer: { transactional: true }");
    assert!(error.contains("`transactional` needs a `group`"), "{error}");
    let error = refused("group: g, consumer: { transactional: true, retry: delayed, ordering: none }");
    assert!(error.contains("`transactional` needs `retry: in-place`"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_finds_no_room_is_told() {
    let memory = MemoryBinder::with_retention(4);
    // the invoices go where the orders come from, which is full of what is not settled
    let app = application(&memory, "max-attempts: 1", "invoices: { destination: orders }, audit: {}");
    let channels = app.bind::<Channels>().await.expect("it binds");
    let sent = |text: String| async move { text };
    app.process(channels.orders, channels.invoices, sent).await.expect("a handler");
    app.start().await.expect("it starts");
    app.ready(Duration::from_secs(5)).await.expect("ready");
    publish(&memory, &["1", "2", "3", "4"]);
    let degraded =
        |app: &Application| matches!(&app.states()["orders"], BindingState::Degraded(why) if why.contains("full"));
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !degraded(&app) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{:?}", app.states()));
    app.abort();
}
