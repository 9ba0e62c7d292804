//! Publish and subscribe, after Watermill's universal suite.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use tokio::sync::Semaphore;

use super::cases;
use super::log::{act, assert_order_of_keys, firsts};
use super::sides::{Sink, Source, number};
use super::world::World;
use crate::handler::HandlerError;
use crate::message::Message;

cases!("basics":
    publish_subscribe,
    concurrent_subscribe,
    concurrent_subscribe_multiple_topics,
    resend_on_error,
    no_ack,
    publish_subscribe_in_order,
    topic,
    new_subscriber_receives_old_messages [History],
    consumer_groups,
);

/// What was sent before the subscriber came arrives with payload and headers, and the channel is closed at the end.
async fn publish_subscribe(world: World) {
    let source = world.source().for_groups(&["g"]).open().await;
    for id in 0..100 {
        source.message(Message::new(number(id)).with_header("test", format!("header of {id}"))).await;
    }
    let (app, mut input) = world.sink("g").pull().await;
    for id in 0..100_u64 {
        let pulled = world.wait(format!("message {id}"), input.recv()).await.expect("received").expect("not closed");
        assert_eq!(pulled.payload(), Some(&number(id)));
        let header = pulled.message().headers().get("test").and_then(|value| value.as_str());
        assert_eq!(header, Some(format!("header of {id}").as_str()));
        pulled.settle().await.expect("settled");
    }
    let ending = tokio::spawn(async move { app.shutdown().await });
    let end = world.wait("the channel to close", input.recv()).await.expect("no error");
    assert!(end.is_none(), "nothing more was to come: {end:?}");
    world.wait("the application to end", ending).await.expect("no panic").expect("it ends");
}

/// Members of one group get everything that many senders send at once.
async fn concurrent_subscribe(world: World) {
    let partitions = world.partitions(4);
    let sources = join_all((0..4).map(|_| world.source().partitions(partitions).open())).await;
    let sinks = join_all((0..4).map(|_| world.plain_sink("g"))).await;
    join_all(sources.iter().enumerate().map(|(index, source)| {
        let first = index as u64 * 100;
        source.send_keyed(first..first + 100, |id| format!("k{}", id % 13))
    }))
    .await;
    all_handle(&world, &sinks, 400).await;
}

/// Waits until the sinks together have handled all of `0..count`.
pub(super) async fn all_handle(world: &World, sinks: &[Sink], count: u64) {
    let all = async {
        loop {
            let done: BTreeSet<u64> = sinks.iter().flat_map(|sink| sink.done()).collect();
            if done.len() as u64 >= count {
                return;
            }
            sinks.iter().for_each(|sink| sink.check());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let shown = || sinks.iter().map(|sink| sink.summary()).collect::<Vec<_>>().join(" | ");
    world.wait_and_show(format!("{count} are handled"), all, shown).await;
}

/// Destinations that are made and used at the same time do not disturb each other.
async fn concurrent_subscribe_multiple_topics(world: World) {
    join_all((0..5).map(|index| {
        let world = world.clone();
        async move {
            let name = world.other(index);
            let sink = world.sink("g").destination(&name).open().await;
            let source = world.source().destination(&name).open().await;
            source.send_many(index * 100..index * 100 + 50).await;
            sink.handles(index * 100..index * 100 + 50).await;
            assert_eq!(sink.len(), 50, "{}", sink.summary());
        }
    }))
    .await;
}

/// A message whose handler fails comes again.
async fn resend_on_error(world: World) {
    let failures = Arc::new(AtomicUsize::new(0));
    let draft = world.sink("g").act(act(move |_| {
        let failures = Arc::clone(&failures);
        async move {
            let failed = failures.fetch_add(1, SeqCst) < 2;
            if failed { Err(HandlerError::transient("one of the first two")) } else { Ok(()) }
        }
    }));
    let sink = draft.open().await;
    world.plain_source().await.send_many(0..100).await;
    sink.handles(0..100).await;
    assert_eq!(sink.len(), 102, "{}", sink.summary());
}

/// While a handler runs the next message of its partition does not start.
async fn no_ack(world: World) {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let draft = world.sink("g").act(act(move |_| {
        let gate = Arc::clone(&held);
        async move {
            gate.acquire().await.expect("open").forget();
            Ok(())
        }
    }));
    let sink = draft.open().await;
    world.plain_source().await.send_many(0..2).await;
    sink.sees(1).await;
    sink.stays_at(1).await;
    gate.add_permits(1);
    sink.sees(2).await;
    gate.add_permits(1);
    sink.handles(0..2).await;
    assert_eq!(sink.ids(), [0, 1]);
}

/// The order of each key survives several members where partitions are shared out, and one member where they are not.
async fn publish_subscribe_in_order(world: World) {
    let members = world.partitions(4) as usize;
    let source = world.source().partitions(world.partitions(4)).open().await;
    let sinks = join_all((0..members).map(|_| world.plain_sink("g"))).await;
    source.send_keyed(0..1000, |id| format!("type-{}", id % 16)).await;
    all_handle(&world, &sinks, 1000).await;
    assert_order_of_keys(&firsts(sinks.iter().map(|sink| &**sink)));
}

/// Each destination gets its own.
async fn topic(world: World) {
    let names = [world.other("a"), world.other("b")];
    let sinks = join_all(names.iter().map(|name| world.sink("g").destination(name).open())).await;
    for (id, name) in (0..).zip(&names) {
        let source: Source = world.source().destination(name).open().await;
        source.send(id).await;
    }
    for (id, sink) in (0..).zip(&sinks) {
        sink.handles(id..id + 1).await;
        sink.stays_at(1).await;
        assert_eq!(sink.ids(), [id]);
    }
}

/// A new group reads from the start, however late it comes.
async fn new_subscriber_receives_old_messages(world: World) {
    let source = world.plain_source().await;
    for round in 0..3_u64 {
        source.send_many(round * 20..round * 20 + 20).await;
        let sink = world.plain_sink(&format!("late-{round}")).await;
        sink.handles(0..round * 20 + 20).await;
        assert_eq!(sink.ids(), (0..round * 20 + 20).collect::<Vec<_>>());
        sink.stop().await;
    }
}

/// Every group gets everything.
async fn consumer_groups(world: World) {
    let sinks = join_all(["one", "two"].map(|group| world.plain_sink(group))).await;
    let source = world.source().producer(json!({ "window": 10 })).open().await;
    source.send_many(0..50).await;
    for sink in &sinks {
        sink.handles(0..50).await;
        sink.stays_at(50).await;
    }
}
