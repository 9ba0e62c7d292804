//! Where `ordering: key` finds its keys: `consumer.key`.

use std::sync::Arc;
use std::time::Duration;

use binder_core::Result;
use binder_core::channel::{ProcessorBinding, SinkBinding, SourceBinding};
use binder_core::config::Config;
use binder_core::memory::MemoryBinder;
use binder_core::prelude::*;
use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

const BY_FIELD: &str = "key: payload.org.id";
const BY_HEADER: &str = "key: header.org";

async fn bound(memory: &MemoryBinder, input: &str) -> Result<(Application, SinkBinding<String>)> {
    let text = format!("stream: {{ bindings: {{ input: {{ destination: orders, group: g, {input} }} }} }}");
    let app = Application::builder().config(Config::builder().yaml(text).build()?);
    let app = app.binder("memory", memory.clone()).build()?;
    let channels = app.bind().await?;
    Ok((app, channels))
}

fn by_key(key: &str) -> String {
    format!("consumer: {{ ordering: key, concurrency: 4, {key} }}")
}

/// A message of an organization; its record key says nothing of that.
fn of(org: &str, number: u32) -> Message<Bytes> {
    let payload = format!(r#"{{"n":[[{number}]],"org":{{"x":null,"id":"{org}"}}}}"#);
    Message::new(Bytes::from(payload)).with_key(number.to_string()).with_header("org", org)
}

/// What the handlers are called with. Those whose number is 0 wait until the gate opens.
struct Calls {
    gate: Arc<Notify>,
    called: mpsc::UnboundedReceiver<String>,
}

impl Calls {
    async fn start(app: &Application, input: Input<String>) -> Self {
        async fn handle(text: String, State((sender, gate)): State<(mpsc::UnboundedSender<String>, Arc<Notify>)>) {
            let waits = text.contains("[[0]]");
            sender.send(text).expect("the test listens");
            if waits {
                gate.notified().await;
            }
        }
        let (sender, called) = mpsc::unbounded_channel();
        let gate = Arc::new(Notify::new());
        app.handle(input, handle.with_state((sender, Arc::clone(&gate)))).await.expect("it is not handled");
        app.start().await.expect("it starts");
        Self { gate, called }
    }

    async fn next<const N: usize>(&mut self) -> [Message<Bytes>; N] {
        let mut calls = Vec::new();
        for _ in 0..N {
            let call = tokio::time::timeout(Duration::from_secs(60), self.called.recv()).await;
            calls.push(Message::new(Bytes::from(call.expect("a call in time").expect("the handler lives"))));
        }
        calls.try_into().expect("so many")
    }

    fn none(&mut self) -> bool {
        self.called.try_recv().is_err()
    }
}

fn payloads<const N: usize>(messages: [Message<Bytes>; N]) -> [Bytes; N] {
    messages.map(|message| message.into_payload().expect("no tombstone"))
}

fn publish(memory: &MemoryBinder, messages: impl IntoIterator<Item = Message<Bytes>>) {
    for message in messages {
        memory.publish("orders", message).expect("published");
    }
}

fn without_key(app: &Application) -> u64 {
    app.health().bindings["input"].counts.as_ref().expect("an input").without_key
}

#[tokio::test(start_paused = true)]
async fn one_stuck_key_stops_only_itself() {
    for key in [BY_FIELD, BY_HEADER] {
        for more in ["", "transactional: true"] {
            let memory = MemoryBinder::new();
            let (app, channels) = bound(&memory, &by_key(&format!("{key}, {more}"))).await.expect("it binds");
            publish(&memory, [of("a", 0), of("b", 1), of("a", 2), of("b", 3), of("a", 4)]);
            let mut calls = Calls::start(&app, channels.input).await;
            assert_eq!(
                payloads(calls.next::<3>().await),
                payloads([of("a", 0), of("b", 1), of("b", 3)]),
                "{key} {more}"
            );
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(calls.none(), "{key} {more}");
            calls.gate.notify_one();
            assert_eq!(payloads(calls.next::<2>().await), payloads([of("a", 2), of("a", 4)]), "{key} {more}");
            memory.idle().await;
            assert_eq!((memory.position("orders", "g"), without_key(&app)), (Some(vec![5]), 0), "{key} {more}");
            app.shutdown().await.expect("a clean end");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_who_pulls_gets_the_next_of_a_key_when_the_one_before_is_settled() {
    for key in [BY_FIELD, BY_HEADER] {
        let memory = MemoryBinder::new();
        let (_app, SinkBinding { mut input }) = bound(&memory, &by_key(key)).await.expect("it binds");
        publish(&memory, [of("a", 0), of("a", 1), of("b", 2)]);
        let mut pull = async || {
            let pulled = tokio::time::timeout(Duration::from_secs(60), input.recv()).await.expect("in time");
            pulled.expect("it runs").expect("a delivery")
        };
        let first = pull().await;
        let other = pull().await;
        assert_eq!([&first, &other].map(|pulled| pulled.message().key_str()), [Some("0"), Some("2")], "{key}");
        assert_eq!(other.delivery().key.as_deref(), Some(&b"2"[..]), "the record's key, as ever");
        first.settle().await.expect("it runs");
        let second = pull().await;
        assert_eq!(second.message().key_str(), Some("1"), "{key}");
        second.settle().await.expect("it runs");
        other.settle().await.expect("it runs");
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_no_key_is_handled_beside_all_others_and_counted() {
    let texts = [r#"{"org":{"id":null},"n":[[0]]}"#, r#"[[[0]]]"#, r#"{"org":{"id":"a"},"n":[[0]]"#, r#"{"org":"a"}"#];
    let memory = MemoryBinder::new();
    let (app, channels) = bound(&memory, &by_key(BY_FIELD)).await.expect("it binds");
    let message = |text: &&'static str| Message::new(Bytes::from_static(text.as_bytes())).with_key("same");
    publish(&memory, texts.iter().map(message));
    publish(&memory, [of("a", 5), Message::tombstone().with_key("same")]);
    let mut calls = Calls::start(&app, channels.input).await;
    let called = payloads(calls.next::<5>().await);
    assert_eq!(called[..4], texts);
    assert_eq!(called[4], payloads([of("a", 5)])[0]);
    calls.gate.notify_waiters();
    memory.idle().await;
    assert_eq!(without_key(&app), 5);
    app.shutdown().await.expect("a clean end");
}

#[tokio::test(start_paused = true)]
async fn a_payload_is_searched_if_it_is_json() {
    for (content_type, missing) in [
        ("application/json", 0),
        ("application/json;charset=UTF-8", 0),
        ("application/vnd.acme+json; v=1", 0),
        ("text/plain", 1),
        ("application/jsonish", 1),
    ] {
        let memory = MemoryBinder::new();
        let input = format!("content-type: text/plain, {}", by_key(BY_FIELD));
        let (app, channels) = bound(&memory, &input).await.expect("it binds");
        publish(&memory, [of("a", 1).with_content_type(content_type)]);
        Calls::start(&app, channels.input).await.next::<1>().await;
        assert_eq!(without_key(&app), missing, "{content_type}");
        app.shutdown().await.expect("a clean end");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_says_no_content_type_has_that_of_its_input() {
    let bare = "stream: { bindings: { output: { destination: orders, producer: { header-mode: none } } } }";
    let bare = Config::builder().yaml(bare).build().expect("the configuration is right");
    for (content_type, missing) in [("application/json", 0), ("application/cloudevents+json", 0), ("text/plain", 1)] {
        let memory = MemoryBinder::new();
        let sender = Application::builder().config(bare.clone()).binder("memory", memory.clone()).build();
        let sender = sender.expect("it builds");
        let channels = sender.bind::<SourceBinding<serde_json::Value>>().await.expect("it binds");
        sender.start().await.expect("it starts");
        channels.output.send(&serde_json::json!({ "org": { "id": "a" } })).await.expect("sent");
        let input = format!("content-type: {content_type}, {}", by_key(BY_FIELD));
        let (app, channels) = bound(&memory, &input).await.expect("it binds");
        Calls::start(&app, channels.input).await.next::<1>().await;
        assert_eq!(without_key(&app), missing, "{content_type}");
        app.shutdown().await.expect("a clean end");
    }
}

#[tokio::test(start_paused = true)]
async fn a_content_type_in_a_header_that_is_not_read_does_not_count() {
    let memory = MemoryBinder::new();
    let (app, channels) =
        bound(&memory, &by_key(&format!("{BY_FIELD}, content-type-from: binding"))).await.expect("it binds");
    publish(&memory, [of("a", 1).with_content_type("text/plain")]);
    Calls::start(&app, channels.input).await.next::<1>().await;
    assert_eq!(without_key(&app), 0);
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_keeps_the_key_of_its_record() {
    async fn fails(_: String) -> Result<(), HandlerError> {
        Err(HandlerError::permanent(std::io::Error::other("always")))
    }
    let memory = MemoryBinder::new();
    let (app, channels) = bound(&memory, &by_key(BY_FIELD)).await.expect("it binds");
    publish(&memory, [of("a", 7)]);
    app.handle(channels.input, fails).await.expect("it is not handled");
    app.start().await.expect("it starts");
    app.ready(Duration::from_secs(5)).await.expect("ready");
    memory.idle().await;
    let letters = memory.messages("error.orders.g");
    assert_eq!((letters.len(), letters[0].key_str()), (1, Some("7")));
    app.shutdown().await.expect("a clean end");
}

#[tokio::test]
async fn a_key_from_nowhere_is_refused() {
    let refused = async |input: &str| {
        let error = bound(&MemoryBinder::new(), input).await.expect_err("it is wrong");
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        error.message().to_owned()
    };
    for wrong in ["payload", "payload.", "payload.a..b", "header.", "key", "org"] {
        let told = refused(&format!("consumer: {{ key: {wrong} }}")).await;
        let expected = format!(
            "inline yaml:1: stream.bindings.input.consumer.key: expected `header.<name>` or `payload.<field>`, found `{wrong}`"
        );
        assert_eq!(told, expected);
    }
    for unread in ["content-type-from: binding", "header-mode: none"] {
        let told = refused(&format!("content-type: text/plain, consumer: {{ {BY_FIELD}, {unread} }}")).await;
        let expected = "inline yaml:1: stream.bindings.input.consumer.key: `payload.org.id` is looked for in JSON, but all payloads of `stream.bindings.input` are `text/plain` (`content-type`)";
        assert_eq!(told, expected);
        for fits in ["content-type: application/cloudevents+json, ", ""] {
            let input = format!("{fits}consumer: {{ {BY_FIELD}, {unread} }}");
            bound(&MemoryBinder::new(), &input).await.expect("it fits");
        }
    }
    bound(&MemoryBinder::new(), &format!("content-type: text/plain, {}", by_key(BY_FIELD)))
        .await
        .expect("headers may say more");
}

#[tokio::test(start_paused = true)]
async fn a_group_is_no_key() {
    async fn copy(text: String) -> String {
        text
    }
    let memory = MemoryBinder::new();
    let text =
        "stream: { bindings: { input: { destination: orders, group: billing }, output: { destination: invoices } } }";
    let app = Application::builder().config(Config::builder().yaml(text).build().expect("read"));
    let app = app.binder("memory", memory.clone()).build().expect("it builds");
    let channels = app.bind::<ProcessorBinding<String, String>>().await.expect("it binds");
    app.process(channels.input, channels.output, copy).await.expect("a handler");
    app.start().await.expect("it starts");
    app.ready(Duration::from_secs(5)).await.expect("ready");
    memory.publish("orders", Message::new(r#""x""#)).expect("published");
    memory.idle().await;
    let invoices = memory.messages("invoices");
    let [invoice] = &invoices[..] else { panic!("one message: {invoices:?}") };
    assert_eq!(invoice.key(), None);
    for (name, value) in invoice.headers().iter() {
        assert!(name != "group" && value.as_str() != Some("billing"), "{name}: {value:?}");
    }
    app.shutdown().await.expect("a clean end");
}
