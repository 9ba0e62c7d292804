//! Dead letters that are looked at, sent back and deleted; failed messages that wait on the broker. On memory, with a paused clock.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use binder_core::Result;
use binder_core::channel::SinkBinding;
use binder_core::config::Config;
use binder_core::memory::MemoryBinder;
use binder_core::message::HeaderValue;
use binder_core::prelude::*;
use futures::FutureExt;
use tokio::time::Instant;

/// What a handler saw: payload, attempt, and when.
#[derive(Clone, Debug, Default)]
struct Seen(Arc<Mutex<Vec<(String, u32, Instant)>>>);

impl Seen {
    fn note(&self, text: &str, delivery: &Delivery) {
        self.0.lock().expect("no panic").push((text.to_owned(), delivery.attempt, Instant::now()));
    }

    fn all(&self) -> Vec<(String, u32)> {
        self.0.lock().expect("no panic").iter().map(|(text, attempt, _)| (text.clone(), *attempt)).collect()
    }

    fn texts(&self) -> Vec<String> {
        self.all().into_iter().map(|(text, _)| text).collect()
    }

    /// Waits between what was seen, in milliseconds.
    fn waits(&self) -> Vec<u128> {
        let seen = self.0.lock().expect("no panic");
        seen.windows(2).map(|pair| (pair[1].2 - pair[0].2).as_millis()).collect()
    }
}

async fn fail(text: String, State(seen): State<Seen>, delivery: Delivery) -> Result<(), HandlerError> {
    seen.note(&text, &delivery);
    Err(HandlerError::transient("not yet"))
}

async fn refuse(text: String, State(seen): State<Seen>, delivery: Delivery) -> Result<(), HandlerError> {
    seen.note(&text, &delivery);
    Err(HandlerError::permanent("never"))
}

async fn take(text: String, State(seen): State<Seen>, delivery: Delivery) {
    seen.note(&text, &delivery);
}

fn config(group: &str, consumer: &str) -> Config {
    let text = format!(
        "stream: {{ bindings: {{ input: {{ destination: orders, group: {group}, content-type: text/plain, \
         consumer: {{ {consumer} }} }} }}, binders: {{ memory: {{ type: memory }} }} }}"
    );
    Config::builder().yaml(text).build().expect("valid")
}

fn application(memory: &MemoryBinder, group: &str, consumer: &str) -> Application {
    let builder = Application::builder().config(config(group, consumer));
    builder.binder("memory", memory.clone()).build().expect("it builds")
}

/// Starts an application that does this with each message.
macro_rules! run {
    ($memory:expr, $group:expr, $consumer:expr, $handler:expr) => {{
        let app = application($memory, $group, $consumer);
        let channels = app.bind::<SinkBinding<String>>().await.expect("it binds");
        app.handle(channels.input, $handler).await.expect("handled");
        app.start().await.expect("it starts");
        app.ready(Duration::from_secs(5)).await.expect("ready");
        app
    }};
}

fn send(memory: &MemoryBinder, texts: &[&str]) {
    for text in texts {
        memory.publish("orders", Message::new(*text).with_content_type("text/plain")).expect("published");
    }
}

/// Leaves these texts in the dead letters of the group `g`.
async fn dead(memory: &MemoryBinder, texts: &[&str]) {
    let app = run!(memory, "g", "", refuse.with_state(Seen::default()));
    send(memory, texts);
    memory.idle().await;
    app.shutdown().await.expect("a clean end");
}

/// Returns an application whose input is bound and not started, as an operator's tool.
async fn tool(memory: &MemoryBinder) -> Application {
    let app = application(memory, "g", "");
    app.bind::<SinkBinding<String>>().await.expect("it binds");
    app
}

async fn left(app: &Application) -> Vec<String> {
    let letters = app.dead_letters("input").expect("it has some").list(1000).await.expect("listed");
    letters.into_iter().map(|letter| text(letter.payload.as_deref())).collect()
}

fn text(payload: Option<&[u8]>) -> String {
    String::from_utf8_lossy(payload.unwrap_or_default()).into_owned()
}

#[tokio::test(start_paused = true)]
async fn dead_letters_are_listed_with_what_went_wrong() {
    let memory = MemoryBinder::new();
    let app = run!(&memory, "g", "max-attempts: 2", fail.with_state(Seen::default()));
    let message = Message::new("a").with_key("k").with_header("tenant", "acme").with_content_type("text/plain");
    memory.publish("orders", message).expect("published");
    send(&memory, &["b"]);
    memory.idle().await;
    let letters = app.dead_letters("input").expect("it has some");
    let listed = letters.list(1).await.expect("listed");
    let letter = &listed[0];
    assert_eq!((listed.len(), letters.count().await.expect("counted")), (1, 2));
    assert_eq!((letter.destination(), letter.group()), ("orders", "g"));
    assert_eq!((letter.partition, letter.offset, letter.attempts, letter.redriven), (Some(0), Some(0), Some(2), 0));
    assert_eq!(letter.reason().as_deref(), Some("the handler failed: not yet"));
    assert_eq!((letter.key.as_deref(), letter.payload.as_deref()), (Some(&b"k"[..]), Some(&b"a"[..])));
    let headers = letter.headers();
    let headers: Vec<_> = headers.iter().collect();
    assert_eq!(headers, [("tenant", &HeaderValue::from("acme"))]);
    assert!(letter.timestamp.is_some());
    app.shutdown().await.expect("a clean end");
}

#[tokio::test(start_paused = true)]
async fn a_redrive_reaches_the_failed_group_only_and_while_it_runs() {
    let memory = MemoryBinder::new();
    let (seen, others) = (Seen::default(), Seen::default());
    let other = run!(&memory, "other", "", take.with_state(others.clone()));
    dead(&memory, &["a", "b"]).await;
    let app = run!(&memory, "g", "", take.with_state(seen.clone()));
    let report = app.dead_letters("input").expect("it has some").redrive().run().await.expect("sent");
    assert_eq!((report.sent, report.kept, report.refused.len()), (2, 0, 0));
    memory.idle().await;
    assert_eq!(seen.all(), [("a".to_owned(), 1), ("b".to_owned(), 1)]);
    assert_eq!(others.texts(), ["a", "b"], "each came once");
    assert!(left(&app).await.is_empty());
    let everyone = app.dead_letters("input").expect("it has some").redrive().run().await.expect("nothing to do");
    assert_eq!(everyone.sent, 0);
    app.shutdown().await.expect("a clean end");
    other.shutdown().await.expect("a clean end");
}

#[tokio::test(start_paused = true)]
async fn all_groups_get_what_is_sent_to_the_destination() {
    let memory = MemoryBinder::new();
    let (seen, others) = (Seen::default(), Seen::default());
    let other = run!(&memory, "other", "", take.with_state(others.clone()));
    dead(&memory, &["a"]).await;
    let app = run!(&memory, "g", "", take.with_state(seen.clone()));
    let redrive = app.dead_letters("input").expect("it has some").redrive().all_groups();
    assert_eq!(redrive.run().await.expect("sent").sent, 1);
    memory.idle().await;
    assert_eq!((seen.texts(), others.texts()), (vec!["a".to_owned()], vec!["a".to_owned(); 2]));
    app.shutdown().await.expect("a clean end");
    other.shutdown().await.expect("a clean end");
}

#[tokio::test(start_paused = true)]
async fn a_filter_leaves_the_others_in_order() {
    let memory = MemoryBinder::new();
    let numbers: Vec<String> = (0..250).map(|number| number.to_string()).collect();
    dead(&memory, &numbers.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let app = tool(&memory).await;
    let letters = app.dead_letters("input").expect("it has some");
    let report = letters.redrive().only(|letter| letter.payload.as_ref().is_some_and(|text| text.ends_with(b"7")));
    let report = report.run().await.expect("sent");
    assert_eq!((report.sent, report.kept), (25, 225));
    let kept: Vec<_> = numbers.iter().filter(|number| !number.ends_with('7')).cloned().collect();
    assert_eq!(left(&app).await, kept);
    let report = letters.discard(|letter| letter.offset.is_some_and(|offset| offset > 0)).await.expect("deleted");
    assert_eq!((report.discarded, report.kept, report.sent), (224, 1, 0));
    assert_eq!(left(&app).await, ["0"]);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_keeps_failing_is_sent_back_three_times() {
    let memory = MemoryBinder::new();
    let seen = Seen::default();
    let app = run!(&memory, "g", "", refuse.with_state(seen.clone()));
    send(&memory, &["a"]);
    memory.idle().await;
    let letters = app.dead_letters("input").expect("it has some");
    for _ in 0..3 {
        assert_eq!(letters.redrive().run().await.expect("sent").sent, 1);
        memory.idle().await;
    }
    let report = letters.redrive().run().await.expect("refused");
    assert_eq!((report.sent, report.refused.len()), (0, 1));
    let refused = &report.refused[0];
    assert_eq!((refused.letter.redriven, refused.letter.offset), (3, Some(0)), "it still says where it came from");
    assert!(refused.reason.to_string().contains("the limit is 3"), "{}", refused.reason);
    assert_eq!((left(&app).await, seen.texts().len()), (vec!["a".to_owned()], 4));
    assert_eq!(letters.redrive().max_redrives(4).run().await.expect("sent").sent, 1);
    app.shutdown().await.expect("a clean end");
}

#[tokio::test(start_paused = true)]
async fn a_letter_whose_origin_is_gone_stays() {
    let memory = MemoryBinder::new();
    let letter = Message::new("a").with_header("x-original-topic", "orders");
    memory.publish("error.orders.g", letter).expect("published");
    let app = tool(&memory).await;
    let report = app.dead_letters("input").expect("it has some").redrive().run().await.expect("refused");
    assert_eq!((report.sent, report.refused.len()), (0, 1));
    assert_eq!(report.refused[0].reason.kind(), ErrorKind::Unroutable);
    assert_eq!(left(&app).await, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_redrive_that_ends_halfway_loses_nothing() {
    // room for one: the second letter waits for the consumer, which is not there
    let memory = MemoryBinder::with_retention(2);
    dead(&memory, &["a", "b"]).await;
    let running = run!(&memory, "g", "", take.with_state(Seen::default()));
    running.abort();
    let app = tool(&memory).await;
    let letters = app.dead_letters("input").expect("it has some");
    for text in ["x", "y"] {
        memory.publish("retry.orders.g", Message::new(text).with_content_type("text/plain")).expect("published");
    }
    assert!(letters.redrive().run().now_or_never().is_none(), "it waits for room, and is dropped");
    assert_eq!(left(&app).await, ["a", "b"]);
    let seen = Seen::default();
    let running = run!(&memory, "g", "", take.with_state(seen.clone()));
    assert_eq!(letters.redrive().run().await.expect("sent").sent, 2);
    memory.idle().await;
    assert_eq!(seen.texts(), ["x", "y", "a", "b"]);
    running.shutdown().await.expect("a clean end");
}

#[tokio::test(start_paused = true)]
async fn an_input_without_dead_letters_is_refused() {
    let memory = MemoryBinder::new();
    let app = application(&memory, "g", "dead-letters: false, on-exhausted: discard");
    app.bind::<SinkBinding<String>>().await.expect("it binds");
    assert_eq!(app.dead_letters("input").err().map(|error| error.kind()), Some(ErrorKind::Config));
    assert_eq!(app.dead_letters("inptu").err().map(|error| error.kind()), Some(ErrorKind::Config));
}

const DELAYED: &str =
    "retry: delayed, ordering: none, concurrency: 4, backoff: { initial: 1s, multiplier: 2, max: 10s }";

#[tokio::test(start_paused = true)]
async fn delayed_attempts_are_counted_and_wait_their_time() {
    let memory = MemoryBinder::new();
    let seen = Seen::default();
    let app = run!(&memory, "g", &format!("{DELAYED}, max-attempts: 4"), fail.with_state(seen.clone()));
    let message = Message::new("a").with_key("k").with_header("tenant", "acme").with_content_type("text/plain");
    memory.publish("orders", message).expect("published");
    memory.idle().await;
    let expected: Vec<_> = (1..=4).map(|attempt| ("a".to_owned(), attempt)).collect();
    assert_eq!(seen.all(), expected);
    let waits = seen.waits();
    assert!(waits.iter().zip([1000, 2000, 4000]).all(|(wait, floor)| (floor..floor + 50).contains(wait)), "{waits:?}");
    let letters = app.dead_letters("input").expect("it has some").list(9).await.expect("listed");
    assert_eq!((letters.len(), letters[0].attempts, letters[0].offset), (1, Some(4), Some(0)));
    assert_eq!(letters[0].headers().iter().collect::<Vec<_>>(), [("tenant", &HeaderValue::from("acme"))]);
    app.shutdown().await.expect("a clean end");
}

#[tokio::test(start_paused = true)]
async fn the_application_does_not_see_that_a_message_has_waited() {
    type Notes = Arc<Mutex<Vec<(Headers, Option<u64>, Option<u32>)>>>;
    async fn handle(
        _: String,
        headers: Headers,
        delivery: Delivery,
        State(notes): State<Notes>,
    ) -> Result<(), HandlerError> {
        notes.lock().expect("no panic").push((headers, delivery.offset, delivery.partition));
        assert_eq!(&*delivery.destination, "orders");
        if delivery.attempt == 1 { Err(HandlerError::transient("not yet")) } else { Ok(()) }
    }
    let memory = MemoryBinder::new();
    let notes = Notes::default();
    let app = run!(&memory, "g", DELAYED, handle.with_state(Arc::clone(&notes)));
    let message = |text| Message::new(text).with_header("n", 1).with_content_type("text/plain");
    memory.publish("orders", message("x")).expect("published");
    memory.publish("orders", message("y")).expect("published");
    memory.idle().await;
    let notes = notes.lock().expect("no panic").clone();
    assert_eq!(notes.len(), 4);
    assert_eq!(notes[..2], notes[2..]);
    app.shutdown().await.expect("a clean end");
}

#[tokio::test(start_paused = true)]
async fn what_waits_lets_the_others_pass_and_outlives_the_consumer() {
    let memory = MemoryBinder::new();
    let seen = Seen::default();
    let app = run!(&memory, "g", DELAYED, fail.with_state(seen.clone()));
    send(&memory, &["a", "b", "c"]);
    while memory.position("orders", "g") != Some(vec![3]) {
        tokio::task::yield_now().await;
    }
    assert_eq!(seen.texts(), ["a", "b", "c"], "all are settled, none was tried again");
    app.abort();
    let again = Seen::default();
    let app = run!(&memory, "g", DELAYED, take.with_state(again.clone()));
    memory.idle().await;
    assert_eq!(again.all(), [("a".to_owned(), 2), ("b".to_owned(), 2), ("c".to_owned(), 2)]);
    app.shutdown().await.expect("a clean end");
}

#[tokio::test(start_paused = true)]
async fn the_others_of_a_batch_do_not_wait() {
    async fn store(batch: Batch<String>, State(seen): State<Arc<Mutex<Vec<Vec<String>>>>>) -> BatchOutcome {
        let texts: Vec<_> = batch.payloads().cloned().collect();
        let bad = texts.iter().position(|text| text == "b");
        seen.lock().expect("no panic").push(texts);
        let mut outcome = BatchOutcome::ok();
        if let Some(index) = bad {
            outcome.fail(index, HandlerError::transient("not yet"));
        }
        outcome
    }
    let memory = MemoryBinder::new();
    send(&memory, &["a", "b", "c"]);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let app = application(&memory, "g", "retry: delayed, ordering: none, max-attempts: 3");
    let channels = app.bind::<SinkBinding<String>>().await.expect("it binds");
    app.handle_batch(channels.input, store.with_state(Arc::clone(&seen))).await.expect("handled");
    app.start().await.expect("it starts");
    app.ready(Duration::from_secs(5)).await.expect("ready");
    memory.idle().await;
    assert_eq!(*seen.lock().expect("no panic"), [vec!["a", "b", "c"], vec!["b"], vec!["b"]]);
    let letters = app.dead_letters("input").expect("it has some").list(9).await.expect("listed");
    assert_eq!((letters.len(), letters[0].attempts), (1, Some(3)));
    app.shutdown().await.expect("a clean end");
}

#[tokio::test]
async fn delayed_asks_for_no_order_and_a_group() {
    let refused = |group: &str, consumer: &str| {
        let text = format!("stream: {{ bindings: {{ input: {{ {group} consumer: {{ {consumer} }} }} }} }}");
        let app = Application::builder().config(Config::builder().yaml(text).build()?).build()?;
        app.bind::<SinkBinding<String>>().now_or_never().expect("offline").map(drop)
    };
    let text = |refused: Result<()>| refused.expect_err("refused").to_string();
    assert!(text(refused("group: g,", "retry: delayed")).contains("set `ordering: none`"));
    assert!(text(refused("", "retry: delayed, ordering: none")).contains("needs a `group`"));
    let flat = "retry: delayed, ordering: none, max-attempts: 99, backoff: { initial: 1s, multiplier: 1.01, max: 1h }";
    assert!(text(refused("group: g,", flat)).contains("98 different waits"));
    refused("group: g,", "retry: delayed, ordering: none").expect("a good one");
}
