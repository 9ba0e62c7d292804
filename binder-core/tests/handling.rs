//! What a service sees of its channels, on the memory binder.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use binder_core::channel::{ProcessorBinding, SinkBinding};
use binder_core::config::Config;
use binder_core::memory::MemoryBinder;
use binder_core::prelude::*;
use binder_core::testkit::TestApplication;
use binder_core::{ApplicationBuilder, Result};
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::{Mutex, Notify, mpsc};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u32,
}

type Seen = mpsc::UnboundedSender<String>;

/// What handlers have said, in order.
struct Heard(mpsc::UnboundedReceiver<String>);

impl Heard {
    /// Waits for the next word, at most an hour of the test's clock.
    async fn next(&mut self) -> String {
        let heard = tokio::time::timeout(Duration::from_secs(3600), self.0.recv()).await;
        heard.expect("a handler is called in time").expect("the handler lives")
    }

    /// Returns what was said and not heard yet.
    fn rest(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.0.try_recv().ok()).collect()
    }
}

fn seen() -> (Seen, Heard) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, Heard(receiver))
}

fn config(consumer: &str) -> Config {
    let text =
        format!("stream: {{ bindings: {{ input: {{ destination: orders, group: g, consumer: {{ {consumer} }} }} }} }}");
    Config::builder().yaml(&text).build().expect("the configuration is right")
}

/// Starts a sink of orders with one handler.
async fn sink<T, A, H>(consumer: &str, handler: H) -> TestApplication
where
    T: serde::de::DeserializeOwned + Send + 'static,
    H: binder_core::handler::Handler<T, A>,
    H::Output: binder_core::handler::IntoOutcome,
{
    let config = config(consumer);
    let build = async |builder: ApplicationBuilder| -> Result<Application> {
        let app = builder.config(config).build()?;
        let channels = app.bind::<SinkBinding<T>>().await?;
        app.handle(channels.input, handler).await?;
        Ok(app)
    };
    TestApplication::start(build).await.expect("it starts")
}

fn error(text: &str) -> std::io::Error {
    std::io::Error::other(text.to_owned())
}

/// The dead letters of the group.
fn letters(test: &TestApplication) -> Vec<Message<Bytes>> {
    test.memory().messages("error.orders.g")
}

/// Why a message became a dead letter.
fn reason(letter: &Message<Bytes>) -> String {
    letter.headers().get("x-exception-message").map(|value| value.to_text()).unwrap_or_default()
}

#[tokio::test]
async fn every_extractor_finds_its_part() {
    header!(Tenant: String = "tenant");
    header!(Hops: i64 = "hops");
    header!(Missing: String = "missing");
    async fn handle(
        message: Message<Order>,
        State(seen): State<Seen>,
        Header(tenant): Header<Tenant>,
        hops: Option<Header<Hops>>,
        missing: Option<Header<Missing>>,
        delivery: Delivery,
    ) {
        let order = message.payload().expect("no tombstone");
        let hops = hops.expect("it is there").0;
        let key = message.key_str().unwrap_or_default();
        let text = format!("{} {tenant} {hops} {} {key} {}", order.id, missing.is_none(), delivery.attempt);
        seen.send(text).expect("somebody listens");
    }
    let (sender, mut heard) = seen();
    let test = sink("", handle.with_state(sender)).await;
    let message = Message::new(Bytes::from(r#"{"id":7}"#)).with_key("k").with_header("tenant", "acme");
    test.input("input").send_raw(message.with_header("hops", 3)).await.expect("sent");
    assert_eq!(heard.next().await, "7 acme 3 true k 1");
}

#[tokio::test]
async fn a_missing_header_that_must_be_there_is_a_dead_letter() {
    header!(Tenant: String = "tenant");
    async fn handle(_: Order, _: Header<Tenant>) {}
    let test = sink("", handle).await;
    test.input("input").send(&Order { id: 1 }).await.expect("sent");
    let start = tokio::time::Instant::now();
    test.settled().await;
    assert_eq!(start.elapsed().as_secs(), 0, "no retry would bring the header");
    let letters = letters(&test);
    assert_eq!(letters.len(), 1);
    assert!(reason(&letters[0]).contains("header `tenant` is missing"), "{}", reason(&letters[0]));
}

#[tokio::test]
async fn undecodable_bytes_become_dead_letters_as_they_are_and_the_next_message_is_handled() {
    async fn handle(order: Order, State(seen): State<Seen>) {
        seen.send(order.id.to_string()).expect("somebody listens");
    }
    let (sender, mut heard) = seen();
    let test = sink("", handle.with_state(sender)).await;
    for bytes in [&b"{not json"[..], b"", b"\xff\xfe", b"\"text\""] {
        test.input("input").send_raw(Message::new(Bytes::from_static(bytes))).await.expect("sent");
    }
    test.input("input").send(&Order { id: 5 }).await.expect("sent");
    assert_eq!(heard.next().await, "5");
    test.settled().await;
    let letters = letters(&test);
    let payloads: Vec<_> = letters.iter().map(|letter| letter.payload().expect("bytes").as_ref()).collect();
    assert_eq!(payloads, [&b"{not json"[..], b"", b"\xff\xfe", b"\"text\""]);
    for reason in letters.iter().map(reason) {
        assert!(reason.contains("application/json"), "{reason}");
    }
}

#[tokio::test]
async fn a_panic_is_a_failure_of_its_message_only() {
    async fn handle(order: Order, State(seen): State<Seen>) {
        assert!(order.id != 1, "one is bad");
        seen.send(order.id.to_string()).expect("somebody listens");
    }
    let (sender, mut heard) = seen();
    let test = sink("max-attempts: 2", handle.with_state(sender)).await;
    test.input("input").send(&Order { id: 1 }).await.expect("sent");
    test.input("input").send(&Order { id: 2 }).await.expect("sent");
    assert_eq!(heard.next().await, "2");
    test.settled().await;
    let letters = letters(&test);
    assert_eq!(letters.len(), 1);
    assert!(reason(&letters[0]).contains("one is bad"), "{}", reason(&letters[0]));
}

/// Panics when 1 is read: before the handler's future exists.
#[derive(Debug)]
struct Touchy(u32);

impl<'de> Deserialize<'de> for Touchy {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = u32::deserialize(deserializer)?;
        assert!(id != 1, "one can't be read");
        Ok(Self(id))
    }
}

#[tokio::test]
async fn a_panic_while_reading_is_a_failure_of_its_message_only() {
    async fn handle(touchy: Touchy, State(seen): State<Seen>) {
        seen.send(touchy.0.to_string()).expect("somebody listens");
    }
    let (sender, mut heard) = seen();
    let test = sink("max-attempts: 2", handle.with_state(sender)).await;
    test.input("input").send(&1_u32).await.expect("sent");
    test.input("input").send(&2_u32).await.expect("sent");
    assert_eq!(heard.next().await, "2");
    test.settled().await;
    assert_eq!(letters(&test).len(), 1);
}

#[tokio::test]
async fn a_panic_of_a_batch_handler_fails_its_batch_and_the_binding_goes_on() {
    async fn store(batch: Batch<Order>) {
        assert!(batch.payloads().all(|order| order.id != 1), "one is bad");
    }
    let build = async |builder: ApplicationBuilder| -> Result<Application> {
        let app = builder.config(config("max-attempts: 1")).build()?;
        let channels = app.bind::<SinkBinding<Order>>().await?;
        app.handle_batch(channels.input, store).await?;
        Ok(app)
    };
    let test = TestApplication::start(build).await.expect("it starts");
    test.input("input").send(&Order { id: 1 }).await.expect("sent");
    tokio::time::timeout(Duration::from_secs(60), test.settled()).await.expect("settled");
    test.input("input").send(&Order { id: 2 }).await.expect("sent");
    tokio::time::timeout(Duration::from_secs(60), test.settled()).await.expect("settled");
    let letters = letters(&test);
    assert_eq!(letters.len(), 1);
    assert!(reason(&letters[0]).contains("one is bad"), "{}", reason(&letters[0]));
}

#[tokio::test]
async fn an_error_says_how_long_to_wait() {
    async fn handle(_: Order, delivery: Delivery, State(seen): State<Seen>) -> Result<(), HandlerError> {
        seen.send(delivery.attempt.to_string()).expect("somebody listens");
        match delivery.attempt {
            1 => Err(HandlerError::transient(error("later")).retry_after(Duration::from_secs(500))),
            _ => Ok(()),
        }
    }
    let (sender, mut heard) = seen();
    let test = sink("", handle.with_state(sender)).await;
    test.input("input").send(&Order { id: 1 }).await.expect("sent");
    heard.next().await;
    let start = tokio::time::Instant::now();
    assert_eq!(heard.next().await, "2");
    assert_eq!(start.elapsed().as_secs(), 500);
}

#[tokio::test]
async fn without_dead_letters_on_exhausted_stop_stops_the_binding_and_settles_nothing() {
    async fn handle(_: Order) -> Result<(), std::io::Error> {
        Err(error("never"))
    }
    let test = sink("dead-letters: false, on-exhausted: stop, max-attempts: 1", handle).await;
    test.input("input").send(&Order { id: 1 }).await.expect("sent");
    let stopped = async {
        while test.app().health().is_live() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), stopped).await.expect("it stops");
    let last = test.app().ready(Duration::from_secs(60)).await;
    assert!(last.expect_err("it stopped").to_string().contains("never"));
    assert_eq!(test.memory().position("orders", "g"), Some(vec![0]));
}

#[tokio::test]
async fn a_shutdown_waits_for_the_handler_and_leaves_what_was_not_started() {
    async fn handle(order: Order, State((started, gate)): State<(Seen, Arc<Notify>)>) {
        started.send(order.id.to_string()).expect("somebody listens");
        gate.notified().await;
    }
    let (sender, mut heard) = seen();
    let gate = Arc::new(Notify::new());
    let test = sink("", handle.with_state((sender, Arc::clone(&gate)))).await;
    for id in 1..=3 {
        test.input("input").send(&Order { id }).await.expect("sent");
    }
    assert_eq!(heard.next().await, "1");
    let memory = test.memory().clone();
    let app = test.app().clone();
    let shutdown = tokio::spawn(async move { app.shutdown().await });
    tokio::task::yield_now().await;
    gate.notify_one();
    shutdown.await.expect("no panic").expect("a clean end");
    assert_eq!(memory.position("orders", "g"), Some(vec![1]));
    assert_eq!(heard.rest(), [""; 0], "the second was not started");
}

#[tokio::test(start_paused = true)]
async fn an_abort_loses_nothing_for_the_next_application() {
    let memory = MemoryBinder::new();
    let (sender, mut heard) = seen();
    async fn handle(order: Order, State((seen, hang)): State<(Seen, bool)>) {
        seen.send(order.id.to_string()).expect("somebody listens");
        if hang {
            std::future::pending::<()>().await;
        }
    }
    let start = async |hang| {
        let app = Application::builder().config(config("")).binder("memory", memory.clone()).build()?;
        let channels = app.bind::<SinkBinding<Order>>().await?;
        app.handle(channels.input, handle.with_state((sender.clone(), hang))).await?;
        app.start().await?;
        Ok::<_, Error>(app)
    };
    let first = start(true).await.expect("it starts");
    for id in 1..=3 {
        let order = format!(r#"{{"id":{id}}}"#);
        memory.publish("orders", Message::new(order)).expect("published");
    }
    assert_eq!(heard.next().await, "1");
    first.abort();
    let second = start(false).await.expect("it starts");
    for id in ["1", "2", "3"] {
        assert_eq!(heard.next().await, id);
    }
    second.shutdown().await.expect("a clean end");
    assert_eq!(memory.position("orders", "g"), Some(vec![3]));
}

#[tokio::test]
async fn a_handler_of_messages_gets_tombstones() {
    async fn whole(message: Message<Order>, State(seen): State<Seen>) {
        seen.send(message.is_tombstone().to_string()).expect("somebody listens");
    }
    let (sender, mut heard) = seen();
    let test = sink("", whole.with_state(sender)).await;
    test.input("input").send_raw(Message::tombstone().with_key("k")).await.expect("sent");
    test.settled().await;
    assert_eq!(heard.rest(), ["true"]);
}

#[tokio::test]
async fn a_tombstone_for_a_handler_of_payloads_is_a_dead_letter() {
    async fn handle(_: Order) {}
    let test = sink("", handle).await;
    test.input("input").send_raw(Message::tombstone().with_key("k")).await.expect("sent");
    test.settled().await;
    let letters = test.memory().messages("error.orders.g");
    assert_eq!(letters.iter().filter_map(|letter| letter.key_str()).collect::<Vec<_>>(), ["k"]);
    assert!(letters[0].is_tombstone());
    let reason = reason(&letters[0]);
    assert!(reason.contains("tombstone"), "{reason}");
}

async fn processor<H, A, M>(handler: H, output: &str) -> TestApplication
where
    H: binder_core::handler::Handler<Order, A>,
    H::Output: binder_core::handler::IntoReplies<Order, M>,
{
    let text = format!(
        "stream: {{ bindings: {{ input: {{ destination: orders, group: g }}, output: {{ destination: out, producer: {{ {output} }} }} }} }}"
    );
    let config = Config::builder().yaml(&text).build().expect("the configuration is right");
    let build = async |builder: ApplicationBuilder| -> Result<Application> {
        let app = builder.config(config).build()?;
        let channels = app.bind::<ProcessorBinding<Order, Order>>().await?;
        app.process(channels.input, channels.output, handler).await?;
        Ok(app)
    };
    TestApplication::start(build).await.expect("it starts")
}

#[tokio::test]
async fn a_processor_publishes_what_it_returns() {
    async fn several(order: Order) -> Result<Vec<Order>, std::io::Error> {
        Ok((0..order.id).map(|id| Order { id }).collect())
    }
    let test = processor(several, "").await;
    for id in [0, 2, 1] {
        test.input("input").send(&Order { id }).await.expect("sent");
    }
    test.settled().await;
    let ids: Vec<_> = test.output::<Order>("output").take().into_iter().map(|order| order.id).collect();
    assert_eq!(ids, [0, 1, 0]);
}

#[tokio::test]
async fn a_processor_that_returns_nothing_publishes_nothing() {
    async fn odd(order: Order) -> Option<Message<Order>> {
        (order.id % 2 == 1).then(|| Message::new(order).with_key("odd"))
    }
    let test = processor(odd, "").await;
    for id in 1..=3 {
        test.input("input").send(&Order { id }).await.expect("sent");
    }
    test.settled().await;
    let sent = test.output::<Order>("output").take_messages();
    assert_eq!(sent.iter().map(|message| message.key_str()).collect::<Vec<_>>(), [Some("odd"), Some("odd")]);
}

#[tokio::test]
async fn an_output_inherits_correlation_and_trace_headers_and_no_others() {
    async fn same(order: Order) -> Message<Order> {
        Message::new(order).with_header("traceparent", "own")
    }
    let test = processor(same, "copy-headers: [tenant]").await;
    let message = Message::new(Bytes::from(r#"{"id":7}"#))
        .with_header("correlationId", "c1")
        .with_header("traceparent", "theirs")
        .with_header("tenant", "acme")
        .with_header("secret", "x");
    test.input("input").send_raw(message).await.expect("sent");
    test.settled().await;
    let sent = test.output::<Order>("output").take_messages();
    let headers: Vec<_> = sent[0].headers().iter().map(|(name, value)| (name, value.to_text())).collect();
    let expected = [("correlationId", "c1"), ("tenant", "acme"), ("traceparent", "own")];
    assert_eq!(headers, expected.map(|(name, value)| (name, value.to_owned())));
}

#[tokio::test]
async fn a_batch_handler_answers_for_each_item() {
    type Calls = Arc<Mutex<Vec<Vec<u32>>>>;
    async fn store(batch: Batch<Order>, State(calls): State<Calls>) -> BatchOutcome {
        let ids: Vec<_> = batch.payloads().map(|order| order.id).collect();
        let mut outcome = BatchOutcome::ok();
        for (index, id) in ids.iter().enumerate() {
            if *id == 2 {
                outcome.fail(index, error("not two"));
            }
        }
        calls.lock().await.push(ids);
        outcome
    }
    let calls = Calls::default();
    let config = config("");
    let state = Arc::clone(&calls);
    let memory = MemoryBinder::new();
    for id in 1..=4 {
        let order = if id == 3 { "bad".to_owned() } else { format!(r#"{{"id":{id}}}"#) };
        memory.publish("orders", Message::new(order)).expect("published");
    }
    tokio::time::pause();
    let app = Application::builder().config(config).binder("memory", memory.clone()).build().expect("it builds");
    let channels = app.bind::<SinkBinding<Order>>().await.expect("it binds");
    app.handle_batch(channels.input, store.with_state(state)).await.expect("handled");
    app.start().await.expect("it starts");
    app.ready(Duration::from_secs(5)).await.expect("ready");
    memory.idle().await;
    assert_eq!(*calls.lock().await, [vec![1, 2, 4], vec![2], vec![2]]);
    let letters = memory.messages("error.orders.g");
    let payloads: Vec<_> = letters.iter().map(|letter| letter.payload().expect("bytes").as_ref()).collect();
    assert_eq!(payloads, [&b"bad"[..], br#"{"id":2}"#]);
    app.shutdown().await.expect("a clean end");
}

#[tokio::test]
async fn an_input_is_routed_by_header_with_a_type_for_each_way() {
    #[derive(Deserialize)]
    struct Created {
        name: String,
    }
    #[derive(Deserialize)]
    struct Removed {
        id: u32,
    }
    async fn created(event: Created, State(seen): State<Seen>) {
        seen.send(format!("created {}", event.name)).expect("somebody listens");
    }
    async fn removed(event: Removed, State(seen): State<Seen>) {
        seen.send(format!("removed {}", event.id)).expect("somebody listens");
    }
    let (sender, mut heard) = seen();
    let config = config("");
    let build = async |builder: ApplicationBuilder| -> Result<Application> {
        let app = builder.config(config).build()?;
        let channels = app.bind::<SinkBinding<String>>().await?;
        app.route(channels.input)
            .on(header("type").eq("created"), created.with_state(sender.clone()))
            .on(predicate(|delivery| delivery.key() == Some(b"gone")), removed.with_state(sender))
            .otherwise(DeadLetter)
            .await?;
        Ok(app)
    };
    let test = TestApplication::start(build).await.expect("it starts");
    let send = async |message| test.input("input").send_raw(message).await.expect("sent");
    send(Message::new(Bytes::from(r#"{"name":"a"}"#)).with_header("type", "created")).await;
    send(Message::new(Bytes::from(r#"{"id":3}"#)).with_key("gone")).await;
    send(Message::new(Bytes::from("1")).with_header("type", "unknown")).await;
    test.settled().await;
    assert_eq!(heard.next().await, "created a");
    assert_eq!(heard.next().await, "removed 3");
    assert_eq!(letters(&test).len(), 1);
}

#[tokio::test]
async fn a_pulled_delivery_is_settled_by_hand() {
    let memory = MemoryBinder::new();
    for id in 1..=2 {
        memory.publish("orders", Message::new(format!(r#"{{"id":{id}}}"#))).expect("published");
    }
    tokio::time::pause();
    let app = Application::builder().config(config("")).binder("memory", memory.clone()).build().expect("it builds");
    let mut input = app.bind::<SinkBinding<Order>>().await.expect("it binds").input;
    let first = input.recv().await.expect("it runs").expect("a delivery");
    assert_eq!((first.payload().map(|order| order.id), first.delivery().attempt), (Some(1), 1));
    drop(first);
    let start = tokio::time::Instant::now();
    for attempt in 2..=5 {
        let again = input.recv().await.expect("it runs").expect("a delivery");
        assert_eq!((again.payload().map(|order| order.id), again.delivery().attempt), (Some(1), attempt));
    }
    assert_eq!(start.elapsed(), Duration::ZERO, "a drop is no failure");
    let again = input.recv().await.expect("it runs").expect("a delivery");
    again.settle().await.expect("taken");
    let second = input.next().await.expect("it runs").expect("a delivery");
    assert_eq!(second.payload().map(|order| order.id), Some(2));
    second.reject(HandlerError::permanent(error("no"))).await.expect("taken");
    memory.idle().await;
    assert_eq!(memory.messages("error.orders.g").len(), 1);
    app.shutdown().await.expect("a clean end");
    assert!(input.recv().await.expect("a clean end").is_none());
}

#[tokio::test]
async fn layers_go_around_handlers_and_sends_in_order() {
    use binder_core::layer::{HandlerCall, Layer, Next, SendCall, SendNext};
    use futures::future::BoxFuture;

    #[derive(Debug)]
    struct Tag(&'static str);
    impl Layer for Tag {
        fn send<'a>(&'a self, mut call: SendCall, next: SendNext<'a>) -> BoxFuture<'a, Result<()>> {
            call.headers.append("tag", self.0);
            next.run(call)
        }
        fn handle<'a>(&'a self, call: HandlerCall, next: Next<'a>) -> BoxFuture<'a, Result<(), HandlerError>> {
            let refused = call.headers.get("refuse").is_some();
            if refused { Box::pin(async { Err(HandlerError::permanent(error(self.0))) }) } else { next.run(call) }
        }
    }
    async fn same(order: Order) -> Order {
        order
    }
    let build = async |builder: ApplicationBuilder| -> Result<Application> {
        let app = builder.layer(Tag("outer")).config(config("")).build()?;
        let channels = app.bind::<ProcessorBinding<Order, Order>>().await?;
        app.process(channels.input.layer(Tag("in")), channels.output.layer(Tag("inner")), same).await?;
        Ok(app)
    };
    let test = TestApplication::start(build).await.expect("it starts");
    let order = || Message::new(Bytes::from(r#"{"id":7}"#));
    test.input("input").send_raw(order()).await.expect("sent");
    test.input("input").send_raw(order().with_header("refuse", true)).await.expect("sent");
    test.settled().await;
    let sent = test.output::<Order>("output").take_messages();
    assert_eq!(sent.len(), 1);
    let tags: Vec<_> = sent[0].headers().get_all("tag").map(|value| value.to_text()).collect();
    assert_eq!(tags, ["outer", "inner"]);
    let letters = letters(&test);
    assert_eq!(letters.len(), 1);
    assert!(reason(&letters[0]).contains("outer"), "{}", reason(&letters[0]));
}

#[tokio::test]
async fn a_supplier_feeds_an_output_and_ends_with_the_application() {
    let ticks = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&ticks);
    let build = async |builder: ApplicationBuilder| -> Result<Application> {
        let app = builder.config(config("")).build()?;
        let channels = app.bind::<ProcessorBinding<Order, Order>>().await?;
        let tick = move || Order { id: counter.fetch_add(1, SeqCst) };
        app.supply(channels.output, every(Duration::from_secs(1), tick)).await?;
        Ok(app)
    };
    let test = TestApplication::start(build).await.expect("it starts");
    let start = tokio::time::Instant::now();
    for id in 0..3 {
        assert_eq!(test.output::<Order>("output").next().await.expect("a tick"), Order { id });
    }
    assert_eq!(start.elapsed().as_secs(), 2);
    let start = tokio::time::Instant::now();
    test.shutdown().await.expect("a clean end");
    assert_eq!(start.elapsed().as_secs(), 0, "it ends when it is told to");
    let after = ticks.load(SeqCst);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(ticks.load(SeqCst), after);
}

#[tokio::test]
async fn a_name_is_bound_once() {
    let app = Application::builder().build().expect("it builds");
    app.bind::<SinkBinding<Order>>().await.expect("it binds");
    let again = app.bind::<SinkBinding<Order>>().await.expect_err("a name is bound once");
    assert_eq!(again.kind(), ErrorKind::Config);
    assert!(again.to_string().contains("two channels are called `input`"), "{again}");
}

#[tokio::test]
async fn an_input_that_is_pulled_from_takes_no_handler() {
    async fn handle(_: Order) {}
    async fn store(_: Batch<Order>) {}
    for batches in [false, true] {
        let app = Application::builder().build().expect("it builds");
        let mut input = app.bind::<SinkBinding<Order>>().await.expect("it binds").input;
        assert!(futures::poll!(std::pin::pin!(input.recv())).is_pending());
        let refused = if batches { app.handle_batch(input, store).await } else { app.handle(input, handle).await };
        let refused = refused.expect_err("it is pulled from");
        assert_eq!(refused.kind(), ErrorKind::Config);
        assert!(refused.to_string().contains("the input `input` is handled already"), "{refused}");
    }
}
