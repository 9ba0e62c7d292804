//! Members that end, fail, and come again, after Watermill's universal suite.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use tokio::sync::mpsc;

use super::cases;
use super::log::act;
use super::sides::number;
use super::world::World;
use crate::Error;
use crate::handler::HandlerError;

cases!("lives":
    continue_after_subscriber_close,
    concurrent_close,
    continue_after_errors,
    publisher_close,
    message_ctx,
    subscribe_ctx,
    twenty_lives_of_a_service,
    closing_twice_is_no_error,
);

/// Nothing is lost over restarts of the only member.
async fn continue_after_subscriber_close(world: World) {
    let source = world.source().for_groups(&["g"]).open().await;
    source.send_many(0..500).await;
    let mut done = std::collections::BTreeSet::new();
    for life in 1..=5 {
        let sink = world.plain_sink("g").await;
        let wanted = (life * 100).min(500 - done.len());
        sink.until(&format!("life {life} handles some"), |log| log.done().len() >= wanted.min(100)).await;
        sink.stop().await;
        done.extend(sink.done());
        if done.len() == 500 {
            break;
        }
    }
    if done.len() < 500 {
        let sink = world.plain_sink("g").await;
        let missing = 500 - done.len();
        sink.until("the last life handles the rest", |log| log.done().difference(&done).count() == missing).await;
    }
}

/// Members that come and go at the same time leave a group that works.
async fn concurrent_close(world: World) {
    join_all((0..5).map(|_| {
        let world = world.clone();
        async move {
            let sink = world.sink("g").start().await;
            sink.stop().await;
        }
    }))
    .await;
    let source = world.source().for_groups(&["g"]).open().await;
    source.send_many(0..50).await;
    let sink = world.plain_sink("g").await;
    sink.handles(0..50).await;
}

/// Members whose handlers always fail, and that end, take nothing with them.
async fn continue_after_errors(world: World) {
    let source = world.source().for_groups(&["g"]).open().await;
    source.send_many(0..50).await;
    for _ in 0..3 {
        let draft = world.sink("g").consumer(json!({ "max-attempts": 1_000_000, "ordering": "none" }));
        let draft = draft.consumer(json!({ "backoff": { "initial": "1ms", "max": "5ms" } }));
        let sink = draft.act(act(|_| async { Err(HandlerError::transient("always")) })).open().await;
        sink.sees(100).await;
        sink.stop().await;
    }
    let sink = world.plain_sink("g").await;
    sink.handles(0..50).await;
    let letters = world.dead_letters("g").await;
    letters.stays_at(0).await;
}

/// What a send has promised before its application ended is there.
async fn publisher_close(world: World) {
    let sink = world.plain_sink("g").await;
    let source = world.plain_source().await;
    let sending = (0..20_u64).map(|task| {
        let output = source.output.clone();
        tokio::spawn(async move {
            let ids = task * 100..task * 100 + 100;
            output.send_all(ids.map(number)).await.map_err(Error::from)
        })
    });
    let sending: Vec<_> = sending.collect();
    for sent in join_all(sending).await {
        sent.expect("no panic").expect("sent");
    }
    let last = tokio::spawn({
        let output = source.output.clone();
        async move { output.send(&number(2000)).await }
    });
    tokio::task::yield_now().await;
    source.stop().await;
    let taken = world.wait("the last send to be answered", last).await.expect("no panic").is_ok();
    sink.handles(0..2000 + u64::from(taken)).await;
    source.try_send(2001).await.expect_err("the application is closed");
}

/// A handler ends with its application, and what it had not finished comes again.
async fn message_ctx(world: World) {
    struct Dropped(mpsc::UnboundedSender<()>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let (sender, mut dropped) = mpsc::unbounded_channel();
    let draft = world.sink("g").stream(json!({ "shutdown-timeout": "200ms" })).act(act(move |seen| {
        let guard = Dropped(sender.clone());
        async move {
            if seen.id == Some(1) {
                std::future::pending::<()>().await;
            }
            drop(guard);
            Ok(())
        }
    }));
    let sink = draft.open().await;
    world.plain_source().await.send_many(0..2).await;
    sink.sees(2).await;
    world.wait("the first handler to end", dropped.recv()).await.expect("it ended");
    assert!(dropped.try_recv().is_err(), "the second handler runs");
    sink.stop().await;
    world.wait("the second handler to be dropped", dropped.recv()).await.expect("it was dropped");
    let next = world.plain_sink("g").await;
    next.handles(1..2).await;
    next.stays_at(1).await;
}

/// A subscription that is dropped leaves its messages to the next one.
async fn subscribe_ctx(world: World) {
    let source = world.source().for_groups(&["g"]).open().await;
    source.send_many(0..20).await;
    let (app, mut input) = world.sink("g").pull().await;
    let held = world.wait("a delivery", input.recv()).await.expect("received").expect("open");
    drop(input);
    drop(held);
    world.wait("the application to end", app.shutdown()).await.expect("it ends");
    let sink = world.plain_sink("g").await;
    sink.handles(0..20).await;
    assert_eq!(sink.ids(), (0..20).collect::<Vec<_>>());
}

/// A service that lives twenty times handles everything, each message once.
async fn twenty_lives_of_a_service(world: World) {
    let mut handled = Vec::new();
    for life in 0..20_u64 {
        let source = world.source().for_groups(&["g"]).open().await;
        source.send_many(life * 5..life * 5 + 5).await;
        let sink = world.plain_sink("g").await;
        sink.handles(life * 5..life * 5 + 5).await;
        sink.stop().await;
        source.stop().await;
        handled.extend(sink.ids());
    }
    assert_eq!(handled, (0..100).collect::<Vec<_>>());
}

/// An application that is ended twice, also by two at once, ends without error.
async fn closing_twice_is_no_error(world: World) {
    let sink = world.sink("g").act(act(|_| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok(())
    }));
    let sink = sink.open().await;
    world.plain_source().await.send(0).await;
    sink.sees(1).await;
    let both = futures::future::join(sink.app.shutdown(), sink.app.shutdown());
    let (first, second) = world.wait("both to end", both).await;
    first.and(second).expect("no error");
    assert!(sink.has_done(0..1), "the running handler was waited for");
    sink.stop().await;
    let binder = world.binder();
    world.wait("the binder to close", binder.close()).await.expect("closed");
    world.wait("the binder to close again", binder.close()).await.expect("closed");
}
