//! Failing handlers: attempts, waits between them, dead letters.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::cases;
use super::log::{Act, Seen, act};
use super::sides::{SinkDraft, number};
use super::world::World;
use crate::binder::{ConsumerBinding, DeadLetterEntry, DeadLetterPass, Disposal, Purpose, RETRY_ATTEMPT};
use crate::channel::SinkBinding;
use crate::handler::{Batch, BatchOutcome, HandlerError, HandlerExt, State};
use crate::message::{Headers, Message};
use crate::{Application, BindingState, ErrorKind};

cases!("errors":
    retry_count_is_exact,
    one_attempt_is_one,
    headers_of_ours_from_outside_are_not_believed [Delay],
    backoff_has_a_floor,
    only_a_transient_error_is_tried_again,
    dead_letter_is_the_original_with_reason_and_origin,
    dead_letter_of_bytes_that_are_no_text,
    undecodable_goes_to_the_dead_letters_and_the_lane_moves_on,
    dead_letters_belong_to_the_group_that_failed,
    dead_letters_keep_their_order,
    discarded_when_exhausted,
    stopped_when_exhausted,
    anonymous_discards_and_moves_on,
    a_panic_is_a_failure,
    batch_names_the_items_that_failed,
    delayed_attempts_wait_their_time_and_hold_up_nobody [Delay],
    a_redrive_goes_to_the_failed_group_only [DeadLetterStore],
    letters_of_which_nothing_is_said_stay [DeadLetterStore],
    letters_of_which_the_unknown_is_said_stay [DeadLetterStore],
    letters_are_resolved_before_more_are_taken [DeadLetterStore],
);

/// Fails the messages that `fails` names.
fn failing(fails: fn(u64) -> bool, error: fn() -> HandlerError) -> Act {
    act(move |seen: Seen| async move { if seen.id.is_none_or(fails) { Err(error()) } else { Ok(()) } })
}

fn transient() -> HandlerError {
    HandlerError::transient("the database is away")
}

fn permanent() -> HandlerError {
    HandlerError::permanent("the order is nonsense")
}

fn attempts(seen: &[Seen], id: u64) -> Vec<u32> {
    seen.iter().filter(|seen| seen.id == Some(id)).map(|seen| seen.delivery.attempt).collect()
}

async fn retry_count_is_exact(world: World) {
    let draft = world.sink("g").consumer(json!({ "max-attempts": 4 }));
    let sink = draft.act(failing(|id| id == 1, transient)).open().await;
    world.plain_source().await.send_many(0..3).await;
    sink.handles(2..3).await;
    let letters = world.dead_letters("g").await;
    letters.handles(1..2).await;
    sink.stays_at(6).await;
    assert_eq!(attempts(&sink.seen(), 1), [1, 2, 3, 4]);
    assert_eq!((attempts(&sink.seen(), 0), attempts(&sink.seen(), 2)), (vec![1], vec![1]));
    letters.stays_at(1).await;
}

async fn one_attempt_is_one(world: World) {
    let draft = world.sink("g").consumer(json!({ "max-attempts": 1 }));
    let sink = draft.act(failing(|id| id == 0, transient)).open().await;
    world.plain_source().await.send_many(0..2).await;
    sink.handles(1..2).await;
    sink.stays_at(2).await;
    world.dead_letters("g").await.handles(0..1).await;
}

/// Who sends the headers with which messages come back is not believed: it did not come back.
async fn headers_of_ours_from_outside_are_not_believed(world: World) {
    let backoff = json!({ "initial": "100ms", "jitter": 0 });
    let delayed = json!({ "max-attempts": 2, "ordering": "none", "retry": "delayed", "backoff": backoff });
    let sink = world.sink("g").consumer(delayed).act(failing(|_| true, transient)).open().await;
    let claims = [("x-retry-exchange", "elsewhere"), ("x-retry-routing-key", "elsewhere")];
    let message = Message::new(number(0)).with_header(RETRY_ATTEMPT, 9);
    let message = claims.into_iter().fold(message, |message, (name, value)| message.with_header(name, value));
    world.plain_source().await.message(message).await;
    world.dead_letters("g").await.handles(0..1).await;
    sink.stays_at(2).await;
    assert_eq!(attempts(&sink.seen(), 0), [1, 2]);
    for seen in sink.seen() {
        assert_eq!(&*seen.delivery.destination, world.destination());
    }
}

async fn backoff_has_a_floor(world: World) {
    let backoff = json!({ "initial": "100ms", "multiplier": 2, "max": "300ms", "jitter": 0 });
    let draft = world.sink("g").consumer(json!({ "max-attempts": 4, "backoff": backoff }));
    let sink = draft.act(failing(|_| true, transient)).open().await;
    world.plain_source().await.send(0).await;
    sink.sees(4).await;
    let times: Vec<_> = sink.seen().iter().map(|seen| seen.at).collect();
    let waits: Vec<_> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
    for (wait, floor) in waits.iter().zip([100, 200, 300]) {
        assert!((floor..floor + 2000).contains(wait), "waited {waits:?} ms");
    }
}

async fn only_a_transient_error_is_tried_again(world: World) {
    let sink = world.sink("g").act(failing(|id| id == 0, permanent)).open().await;
    world.plain_source().await.send_many(0..2).await;
    sink.handles(1..2).await;
    let letters = world.dead_letters("g").await;
    letters.handles(0..1).await;
    sink.stays_at(2).await;
}

/// Returns the text of all headers that a dead letter has beside those of the message.
fn added(letter: &Seen, original: &Headers) -> String {
    let added = letter.message.headers().iter().filter(|(name, _)| original.get(name).is_none());
    added.map(|(name, value)| format!("{name}={}\n", value.to_text())).collect()
}

async fn dead_letter_is_the_original_with_reason_and_origin(world: World) {
    let sink = world.sink("g").consumer(json!({ "max-attempts": 2 })).act(failing(|_| true, transient)).open().await;
    let headers = Headers::new()
        .with("tenant", "acme")
        .with("hops", 3)
        .with("total", 4_i64)
        .with("ratio", 0.5)
        .with("urgent", true)
        .with("raw", Bytes::from_static(&[0, 0xff]));
    let message = Message::new(Bytes::from_static(b" {\"id\" :7 } ")).with_key("order-7").with_headers(headers.clone());
    world.plain_source().await.message(message.with_content_type("application/vnd.order+json")).await;
    sink.sees(2).await;
    let letters = world.dead_letters("g").await;
    letters.sees(1).await;
    let letter = &letters.seen()[0];
    assert_eq!(letter.message.payload(), Some(&Bytes::from_static(b" {\"id\" :7 } ")), "the bytes");
    assert_eq!(letter.key(), Some("order-7"), "the key");
    assert_eq!(letter.message.content_type().map(|kind| kind.as_str()), Some("application/vnd.order+json"));
    for (name, value) in headers.iter() {
        assert_eq!(letter.message.headers().get(name), Some(value), "header `{name}`");
    }
    let added = added(letter, &headers);
    for what in ["x-exception-message", "x-exception-stacktrace", "the database is away", world.destination()] {
        assert!(added.contains(what), "the dead letter does not name {what:?}:\n{added}");
    }
}

async fn dead_letter_of_bytes_that_are_no_text(world: World) {
    let sink = world.sink("g").act(failing(|_| true, permanent)).open().await;
    let bytes: Bytes = (0..=255).rev().collect();
    let key = Bytes::from_static(&[0xff, 0, 1]);
    let source = world.plain_source().await;
    source.message(Message::new(bytes.clone()).with_key(key.clone()).with_content_type("image/png")).await;
    source.message(Message::tombstone().with_key("gone")).await;
    sink.sees(2).await;
    let letters = world.dead_letters("g").await;
    letters.sees(2).await;
    let seen = letters.seen();
    assert_eq!((seen[0].message.payload(), seen[0].message.key()), (Some(&bytes), Some(&key[..])));
    assert!(seen[1].message.is_tombstone(), "{:?}", seen[1]);
    assert_eq!(seen[1].key(), Some("gone"));
}

async fn undecodable_goes_to_the_dead_letters_and_the_lane_moves_on(world: World) {
    async fn handle(order: u32, State(log): State<tokio::sync::mpsc::UnboundedSender<u32>>) {
        let _ = log.send(order);
    }
    let app = world.sink("g").application();
    let input = app.bind::<SinkBinding<u32>>().await.expect("bound").input;
    let (sender, mut handled) = tokio::sync::mpsc::unbounded_channel();
    app.handle(input, handle.with_state(sender)).await.expect("handled");
    app.start().await.expect("started");
    let ready = world.wait("the input is ready", app.ready(Duration::from_secs(60))).await;
    ready.expect("ready");
    let source = world.plain_source().await;
    let bad = Bytes::from_static(b"{no json \xff");
    for payload in [number(1), bad.clone(), number(2)] {
        source.message(Message::new(payload).with_key("k")).await;
    }
    for wanted in [1, 2] {
        let next = world.wait(format!("{wanted} is handled"), handled.recv()).await;
        assert_eq!(next, Some(wanted));
    }
    let letters = world.dead_letters("g").await;
    letters.sees(1).await;
    let letter = &letters.seen()[0];
    assert_eq!((letter.message.payload(), letter.key()), (Some(&bad), Some("k")));
    assert!(added(letter, &Headers::new()).contains("application/json"), "{letter:?}");
    letters.stays_at(1).await;
}

async fn dead_letters_belong_to_the_group_that_failed(world: World) {
    let failing = world.sink("bad").act(failing(|_| true, permanent)).open().await;
    let good = world.plain_sink("good").await;
    world.plain_source().await.send_many(0..5).await;
    good.handles(0..5).await;
    failing.sees(5).await;
    world.dead_letters("bad").await.handles(0..5).await;
    world.dead_letters("good").await.stays_at(0).await;
    good.stays_at(5).await;
}

async fn dead_letters_keep_their_order(world: World) {
    let sink = world.sink("g").act(failing(|_| true, permanent)).open().await;
    world.plain_source().await.send_many(0..30).await;
    sink.sees(30).await;
    let letters = world.dead_letters("g").await;
    letters.handles(0..30).await;
    assert_eq!(letters.ids(), (0..30).collect::<Vec<_>>());
}

fn without_dead_letters(world: &World, exhausted: &str) -> SinkDraft {
    let settings = json!({ "dead-letters": false, "on-exhausted": exhausted, "max-attempts": 2 });
    world.sink("g").consumer(settings).act(failing(|id| id == 1, transient))
}

async fn discarded_when_exhausted(world: World) {
    let sink = without_dead_letters(&world, "discard").open().await;
    world.plain_source().await.send_many(0..3).await;
    sink.handles(2..3).await;
    sink.stop().await;
    assert_eq!(sink.ids(), [0, 1, 1, 2]);
    let next = world.sink("g").without_dead_letters().open().await;
    next.stays_at(0).await;
}

async fn stopped_when_exhausted(world: World) {
    let sink = without_dead_letters(&world, "stop").open().await;
    world.plain_source().await.send_many(0..3).await;
    sink.until("the binding stops", |_| matches!(sink.app.states()["input"], BindingState::Stopped(_))).await;
    assert!(!sink.app.health().is_live());
    assert_eq!(sink.ids(), [0, 1, 1]);
    sink.stop().await;
    let next = world.sink("g").without_dead_letters().open().await;
    next.handles(1..3).await;
    assert_eq!(next.ids(), [1, 2], "the message stayed unsettled");
}

async fn anonymous_discards_and_moves_on(world: World) {
    let sink = world.sink(None).act(failing(|id| id == 0, transient)).open().await;
    world.plain_source().await.send_many(0..2).await;
    sink.handles(1..2).await;
    assert_eq!(sink.ids(), [0, 0, 0, 1]);
}

async fn a_panic_is_a_failure(world: World) {
    let panics = act(|seen: Seen| async move {
        // not by `panic!`, whose hook would print it
        if seen.id == Some(0) && seen.delivery.attempt < 3 {
            std::panic::resume_unwind(Box::new("the handler is broken"));
        }
        Ok(())
    });
    let sink = world.sink("g").act(panics).open().await;
    world.plain_source().await.send_many(0..2).await;
    sink.handles(0..2).await;
    assert_eq!(sink.ids(), [0, 0, 0, 1]);
}

async fn batch_names_the_items_that_failed(world: World) {
    type Log = tokio::sync::mpsc::UnboundedSender<Vec<u32>>;
    async fn handle(batch: Batch<u32>, State(log): State<Log>) -> BatchOutcome {
        let ids: Vec<_> = batch.payloads().copied().collect();
        let mut outcome = BatchOutcome::ok();
        for (index, id) in ids.iter().enumerate() {
            if id % 4 == 3 {
                outcome.fail(index, HandlerError::permanent("every fourth"));
            }
        }
        let _ = log.send(ids);
        outcome
    }
    let app = world.sink("g").application();
    let input = app.bind::<SinkBinding<u32>>().await.expect("bound").input;
    let (sender, mut handled) = tokio::sync::mpsc::unbounded_channel();
    app.handle_batch(input, handle.with_state(sender)).await.expect("handled");
    app.start().await.expect("started");
    let ready = world.wait("the input is ready", app.ready(Duration::from_secs(60))).await;
    ready.expect("ready");
    world.plain_source().await.send_many(0..20).await;
    let letters = world.dead_letters("g").await;
    letters.sees(5).await;
    letters.stays_at(5).await;
    assert_eq!(letters.ids(), [3, 7, 11, 15, 19]);
    world.wait("the application to end", app.shutdown()).await.expect("it ends");
    drop(app);
    let mut all = Vec::new();
    while let Ok(ids) = handled.try_recv() {
        all.extend(ids);
    }
    assert_eq!(all, (0..20).collect::<Vec<_>>());
    world.plain_sink("g").await.stays_at(0).await;
}

/// `retry: delayed`: not before the wait is over, counted, to this group only, and what is behind goes on meanwhile.
async fn delayed_attempts_wait_their_time_and_hold_up_nobody(world: World) {
    let backoff = json!({ "initial": "1500ms", "multiplier": 2, "max": "3s", "jitter": 0 });
    let settings = json!({ "retry": "delayed", "ordering": "none", "max-attempts": 3, "backoff": backoff });
    let sink = world.sink("g").consumer(settings).act(failing(|id| id == 0, transient)).open().await;
    let other = world.plain_sink("other").await;
    world.plain_source().await.send_many(0..20).await;
    sink.handles(1..20).await;
    assert_eq!(attempts(&sink.seen(), 0), [1], "the others did not wait");
    let letters = world.dead_letters("g").await;
    letters.handles(0..1).await;
    assert_eq!(attempts(&sink.seen(), 0), [1, 2, 3]);
    let seen = sink.seen();
    let times: Vec<_> = seen.iter().filter(|seen| seen.id == Some(0)).map(|seen| seen.at).collect();
    let waits: Vec<_> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
    for (wait, floor) in waits.iter().zip([1500, 3000]) {
        assert!((floor..floor + 5000).contains(wait), "waited {waits:?} ms");
    }
    sink.stays_at(22).await;
    assert_eq!(other.len(), 20, "each once: {}", other.summary());
}

async fn a_redrive_goes_to_the_failed_group_only(world: World) {
    let failed = world.sink("g").act(failing(|id| id % 2 == 1, permanent)).open().await;
    let other = world.plain_sink("other").await;
    world.plain_source().await.send_many(0..10).await;
    failed.handles(8..9).await;
    failed.sees(10).await;
    other.handles(0..10).await;
    failed.stop().await;
    let well = world.plain_sink("g").await;
    let letters = well.app.dead_letters("input").expect("the input has dead letters");
    let count = async {
        while letters.count().await.expect("counted") < 5 {
            world.look_on().await;
        }
    };
    world.wait("five dead letters", count).await;
    let report = world.wait("a redrive", letters.redrive().run()).await.expect("sent");
    assert_eq!((report.sent, report.kept, report.refused.len()), (5, 0, 0), "{report:?}");
    well.until("what failed is handled", |log| log.done().len() == 5).await;
    assert_eq!(well.ids(), [1, 3, 5, 7, 9], "in order, and no other");
    other.stays_at(10).await;
    assert_eq!(world.wait("a count", letters.count()).await.expect("counted"), 0);
}

/// Leaves the numbers 0 to 3 in the dead letters of `g`, and returns the application that they belong to: its input is not started.
async fn four_dead(world: &World) -> Application {
    let failed = world.sink("g").act(failing(|_| true, permanent)).open().await;
    world.plain_source().await.send_many(0..4).await;
    failed.sees(4).await;
    let letters = failed.app.dead_letters("input").expect("the input has dead letters");
    let count = async {
        while letters.count().await.expect("counted") < 4 {
            world.look_on().await;
        }
    };
    world.wait("four dead letters", count).await;
    failed.stop().await;
    let (app, _) = world.sink("g").pull().await;
    app
}

/// Begins to go through the dead letters of `g` as a binder's own caller.
async fn resolving(world: &World) -> Box<dyn DeadLetterPass> {
    let binder = world.binder();
    let mut input = ConsumerBinding::new("in");
    input.destinations = vec![world.destination().to_owned()];
    input.group = Some(world.group("g"));
    let store = binder.dead_letter_store().expect("the capability says so");
    let opening = store.open(&input, Purpose::Resolve { all_groups: false });
    world.wait("a pass", opening).await.expect("opened")
}

async fn taken(world: &World, pass: &mut Box<dyn DeadLetterPass>, max: usize) -> Vec<u64> {
    ids(&world.wait("dead letters", pass.take(max)).await.expect("taken"))
}

fn ids(letters: &[DeadLetterEntry]) -> Vec<u64> {
    let id = |letter: &DeadLetterEntry| String::from_utf8_lossy(letter.payload.as_deref().unwrap_or_default()).parse();
    letters.iter().map(|letter| id(letter).expect("a number")).collect()
}

async fn resolved(world: &World, pass: &mut Box<dyn DeadLetterPass>, disposals: &[Disposal]) {
    let answers = world.wait("an answer", pass.resolve(disposals)).await.expect("resolved");
    assert_eq!(answers.len(), disposals.len());
    assert!(answers.iter().all(Option::is_none), "{answers:?}");
}

async fn refused(world: &World, pass: &mut Box<dyn DeadLetterPass>, disposals: &[Disposal]) {
    let error = world.wait("a refusal", pass.resolve(disposals)).await.expect_err("there are more or fewer letters");
    assert_eq!(error.kind(), ErrorKind::Unexpected, "{error:?}");
}

async fn close(world: &World, pass: Box<dyn DeadLetterPass>) {
    world.wait("the end of a pass", pass.close()).await.expect("closed");
}

/// Checks which dead letters are left, in their order.
async fn left(world: &World, app: &Application, expected: &[u64]) {
    let letters = app.dead_letters("input").expect("the input has dead letters");
    assert_eq!(ids(&world.wait("a list", letters.list(100)).await.expect("listed")), expected);
}

/// Too few disposals or too many are refused, nothing changes, and the pass goes on.
async fn letters_of_which_nothing_is_said_stay(world: World) {
    let app = four_dead(&world).await;
    let mut pass = resolving(&world).await;
    assert_eq!(taken(&world, &mut pass, 10).await, [0, 1, 2, 3]);
    for wrong in [0, 1, 3, 5] {
        refused(&world, &mut pass, &vec![Disposal::Discard; wrong]).await;
    }
    resolved(&world, &mut pass, &[Disposal::Discard, Disposal::Keep, Disposal::Discard, Disposal::Keep]).await;
    refused(&world, &mut pass, &[Disposal::Discard; 4]).await;
    close(&world, pass).await;
    left(&world, &app, &[1, 3]).await;
}

async fn letters_of_which_the_unknown_is_said_stay(world: World) {
    let app = four_dead(&world).await;
    let mut pass = resolving(&world).await;
    assert_eq!(taken(&world, &mut pass, 10).await, [0, 1, 2, 3]);
    resolved(&world, &mut pass, &[Disposal::Discard, Disposal::Unknown, Disposal::Keep, Disposal::Unknown]).await;
    close(&world, pass).await;
    left(&world, &app, &[1, 2, 3]).await;
}

/// Else a pass could go past letters of which nothing was said.
async fn letters_are_resolved_before_more_are_taken(world: World) {
    let app = four_dead(&world).await;
    let mut pass = resolving(&world).await;
    assert_eq!(taken(&world, &mut pass, 2).await, [0, 1]);
    let error = world.wait("a refusal", pass.take(2)).await.expect_err("two are not resolved");
    assert_eq!(error.kind(), ErrorKind::Unexpected, "{error:?}");
    resolved(&world, &mut pass, &[Disposal::Keep, Disposal::Discard]).await;
    assert_eq!(taken(&world, &mut pass, 1).await, [2]);
    resolved(&world, &mut pass, &[Disposal::Discard]).await;
    assert_eq!(taken(&world, &mut pass, 10).await, [3]);
    resolved(&world, &mut pass, &[Disposal::Keep]).await;
    close(&world, pass).await;
    left(&world, &app, &[0, 3]).await;
}
