//! What is settled, what is not, and what comes again.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::cases;
use super::log::{Act, Seen, act};
use super::world::World;
use crate::binder::SeekTo;
use crate::handler::HandlerError;

cases!("settlement":
    what_is_settled_does_not_come_again,
    what_is_unfinished_holds_back_what_is_behind_it,
    kill_in_a_handler_loses_nothing,
    kill_of_a_busy_member_leaves_the_rest_to_others,
    shutdown_waits_for_a_running_handler,
    shutdown_leaves_the_unfinished_and_never_dead_letters,
    shutdown_in_a_backoff_never_dead_letters,
    settling_one_settles_no_other,
    pulled_and_dropped_comes_again,
    pulled_and_rejected_is_tried_again,
    a_stopped_input_starts_again_where_it_was,
    a_seek_moves_the_group [Seek],
);

/// Holds the messages that `held` names, for ever.
fn holding(held: fn(u64) -> bool) -> Act {
    act(move |seen: Seen| async move {
        if seen.id.is_some_and(held) {
            std::future::pending::<()>().await;
        }
        Ok(())
    })
}

async fn what_is_settled_does_not_come_again(world: World) {
    let source = world.plain_source().await;
    let first = world.plain_sink("g").await;
    source.send_many(0..20).await;
    first.handles(0..20).await;
    first.stop().await;
    source.send_many(20..30).await;
    let second = world.plain_sink("g").await;
    second.handles(20..30).await;
    second.stays_at(10).await;
}

/// The commit never passes the lowest message in flight.
async fn what_is_unfinished_holds_back_what_is_behind_it(world: World) {
    let settings = json!({ "ordering": "none", "concurrency": 4 });
    let first = world.sink("g").consumer(settings).stream(json!({ "shutdown-timeout": "200ms" }));
    let first = first.act(holding(|id| id == 3)).open().await;
    world.plain_source().await.send_many(0..40).await;
    first.until("all but one are handled", |log| log.done().len() == 39 && log.running() == 1).await;
    world.look_on().await;
    first.stop().await;
    let second = world.plain_sink("g").await;
    second.handles(3..4).await;
    assert!(second.ids().iter().all(|id| *id >= 3), "{:?} were settled", second.ids());
}

async fn kill_in_a_handler_loses_nothing(world: World) {
    let first = world.sink("g").act(holding(|id| id == 10)).open().await;
    world.plain_source().await.send_many(0..20).await;
    first.until("the handler is busy", |log| log.len() == 11 && log.running() == 1).await;
    first.kill();
    let second = world.plain_sink("g").await;
    second.handles(10..20).await;
    let ids = second.ids();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "in order: {ids:?}");
    assert_eq!(ids.last(), Some(&19));
}

async fn kill_of_a_busy_member_leaves_the_rest_to_others(world: World) {
    let partitions = world.partitions(4);
    let source = world.source().partitions(partitions).open().await;
    let settings = json!({ "prefetch": 20 });
    let busy = world.sink("g").consumer(settings.clone()).act(holding(|_| true)).open().await;
    source.send_keyed(0..100, |id| format!("k{id}")).await;
    busy.sees(1).await;
    let other = world.sink("g").consumer(settings).open().await;
    busy.kill();
    other.handles(0..100).await;
    assert_eq!(other.duplicates(), 0, "{}", other.summary());
}

async fn shutdown_waits_for_a_running_handler(world: World) {
    let slow = act(|_| async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        Ok(())
    });
    let first = world.sink("g").act(slow).open().await;
    world.plain_source().await.send(0).await;
    first.sees(1).await;
    first.stop().await;
    assert!(first.has_done(0..1), "the handler was cut off");
    let second = world.plain_sink("g").await;
    second.stays_at(0).await;
}

/// The end of an application is no failure of its handlers.
async fn shutdown_leaves_the_unfinished_and_never_dead_letters(world: World) {
    let draft = world.sink("g").stream(json!({ "shutdown-timeout": "200ms" })).consumer(json!({ "max-attempts": 1 }));
    let first = draft.act(holding(|_| true)).open().await;
    world.plain_source().await.send_many(0..5).await;
    first.sees(1).await;
    first.stop().await;
    let letters = world.dead_letters("g").await;
    let second = world.plain_sink("g").await;
    second.handles(0..5).await;
    assert_eq!(second.ids(), [0, 1, 2, 3, 4]);
    letters.stays_at(0).await;
}

async fn shutdown_in_a_backoff_never_dead_letters(world: World) {
    let settings = json!({ "max-attempts": 2, "backoff": { "initial": "10m", "max": "10m" } });
    let fails = act(|_| async { Err(HandlerError::transient("once")) });
    let first = world.sink("g").consumer(settings).act(fails).open().await;
    world.plain_source().await.send_many(0..3).await;
    first.until("the first attempt is over", |log| log.len() == 1 && log.running() == 0).await;
    first.stop().await;
    assert_eq!(first.len(), 1);
    let letters = world.dead_letters("g").await;
    let second = world.plain_sink("g").await;
    second.handles(0..3).await;
    assert_eq!(second.ids(), [0, 1, 2]);
    letters.stays_at(0).await;
}

/// Concurrent handlers that finish in any order settle only what is theirs.
async fn settling_one_settles_no_other(world: World) {
    let settings = json!({ "ordering": "none", "concurrency": 16 });
    let first = world.sink("g").consumer(settings).act(holding(|id| id % 5 == 2)).open().await;
    world.plain_source().await.send_many(0..60).await;
    let held: BTreeSet<u64> = (0..60).filter(|id| id % 5 == 2).collect();
    first.until("all others are handled", |log| log.done().len() == 60 - held.len()).await;
    world.look_on().await;
    first.kill();
    let second = world.plain_sink("g").await;
    second.until("what was held comes again", |log| log.done().is_superset(&held)).await;
}

async fn pulled_and_dropped_comes_again(world: World) {
    let (app, mut input) = world.sink("g").pull().await;
    let ready = world.source().for_groups(&["g"]).open().await;
    ready.send_many(0..2).await;
    for attempt in 1..=2 {
        let pulled = world.wait("a delivery", input.recv()).await.expect("received").expect("open");
        assert_eq!((pulled.payload().map(|bytes| &bytes[..]), pulled.delivery().attempt), (Some(&b"0"[..]), attempt));
        drop(pulled);
    }
    for text in ["0", "1"] {
        let pulled = world.wait("a delivery", input.recv()).await.expect("received").expect("open");
        assert_eq!(pulled.payload().map(|bytes| &bytes[..]), Some(text.as_bytes()));
        pulled.settle().await.expect("settled");
    }
    world.wait("the application to end", app.shutdown()).await.expect("it ends");
    drop(input);
    world.plain_sink("g").await.stays_at(0).await;
}

async fn pulled_and_rejected_is_tried_again(world: World) {
    let (_app, mut input) = world.sink("g").consumer(json!({ "max-attempts": 2 })).pull().await;
    let source = world.source().for_groups(&["g"]).open().await;
    source.send_many(0..2).await;
    for attempt in 1..=2 {
        let pulled = world.wait("a delivery", input.recv()).await.expect("received").expect("open");
        assert_eq!((pulled.payload().map(|bytes| &bytes[..]), pulled.delivery().attempt), (Some(&b"0"[..]), attempt));
        pulled.reject(std::io::Error::other("not this one")).await.expect("answered");
    }
    let pulled = world.wait("the next delivery", input.recv()).await.expect("received").expect("open");
    assert_eq!(pulled.payload().map(|bytes| &bytes[..]), Some(&b"1"[..]));
    pulled.settle().await.expect("settled");
    world.dead_letters("g").await.handles(0..1).await;
}

/// An input that was stopped by hand and started again goes on, and its siblings did not notice.
async fn a_stopped_input_starts_again_where_it_was(world: World) {
    let other = world.other("sibling");
    let sink = world.plain_sink("g").await;
    let sibling = world.sink("g").destination(&other).open().await;
    let source = world.plain_source().await;
    source.send_many(0..5).await;
    sink.handles(0..5).await;
    let control = sink.app.control("input").expect("it is there");
    world.wait("the input to stop", control.stop()).await;
    source.send_many(5..10).await;
    sink.stays_at(5).await;
    world.source().destination(&other).open().await.send(77).await;
    sibling.handles(77..78).await;
    control.start();
    sink.handles(0..10).await;
    assert_eq!(sink.ids(), (0..10).collect::<Vec<_>>());
}

/// A group that is sent back reads again from there, and goes on from there when it comes back.
async fn a_seek_moves_the_group(world: World) {
    let sink = world.plain_sink("g").await;
    let source = world.plain_source().await;
    source.send_many(0..10).await;
    sink.handles(0..10).await;
    let control = sink.app.control("input").expect("it is there");
    world.wait("a seek", control.seek(SeekTo::Beginning)).await.expect("moved");
    sink.sees(20).await;
    source.send(10).await;
    sink.handles(10..11).await;
    assert_eq!(sink.ids(), (0..10).chain(0..11).collect::<Vec<_>>());
    sink.stop().await;
    source.send(11).await;
    let next = world.plain_sink("g").await;
    next.handles(11..12).await;
    assert_eq!(next.ids(), [11]);
}
