//! Full windows, slow handlers, many messages.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use tokio::sync::Semaphore;

use super::basics::all_handle;
use super::cases;
use super::faults::restart;
use super::log::{Act, Seen, act};
use super::sides::number;
use super::world::World;
use crate::Error;
use crate::handler::HandlerError;

cases!("load":
    saturated_unacked,
    prefetch_bounds_what_is_unsettled,
    window_of_one_still_sends_all,
    many_in_order,
    lossy_parallel,
    lossy_parallel_through_reconnect [Control] alone true,
    at_least_once_while_members_die,
);

/// When as many deliveries as allowed are unsettled, nothing locks up.
async fn saturated_unacked(world: World) {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let settings = json!({ "ordering": "none", "concurrency": 20, "prefetch": 20 });
    let draft = world.sink("g").consumer(settings).act(act(move |_| {
        let gate = Arc::clone(&held);
        async move {
            drop(gate.acquire().await.expect("open"));
            Ok(())
        }
    }));
    let sink = draft.open().await;
    world.plain_source().await.send_many(0..200).await;
    sink.sees(20).await;
    sink.stays_at(20).await;
    gate.add_permits(20);
    sink.handles(0..200).await;
    assert_eq!(sink.duplicates(), 0, "{}", sink.summary());
}

/// While one message is stuck no more are taken than `prefetch` allows: the rest stays with the broker, where another member gets it.
async fn prefetch_bounds_what_is_unsettled(world: World) {
    let settings = json!({ "ordering": "none", "concurrency": 2, "prefetch": 50 });
    let stuck = act(|seen: Seen| async move {
        if seen.id == Some(0) {
            std::future::pending::<()>().await;
        }
        Ok(())
    });
    let sink = world.sink("g").consumer(settings).act(stuck).open().await;
    world.plain_source().await.send_many(0..1000).await;
    sink.until("the window fills", |log| log.len() >= 50).await;
    world.look_on().await;
    world.look_on().await;
    // what one receive brings beyond the bound is the batch's, and a broker may count what is settled behind the stuck one as free
    assert!(sink.len() <= 100, "{} were taken with a prefetch of 50", sink.len());
    sink.kill();
    let other = world.plain_sink("g").await;
    other.handles(100..1000).await;
}

async fn window_of_one_still_sends_all(world: World) {
    let sink = world.plain_sink("g").await;
    let source = world.source().producer(json!({ "window": 1 })).open().await;
    let sends = (0..20_u64).map(|task| {
        let output = source.output.clone();
        async move { output.send_all((task * 10..task * 10 + 10).map(number)).await.map_err(Error::from) }
    });
    for sent in world.wait("all is sent", join_all(sends)).await {
        sent.expect("sent");
    }
    sink.handles(0..200).await;
    sink.stays_at(200).await;
}

async fn many_in_order(world: World) {
    let sink = world.plain_sink("g").await;
    world.source().producer(json!({ "window": 100 })).open().await.send_many(0..5000).await;
    sink.handles(0..5000).await;
    assert!(sink.ids() == (0..5000).collect::<Vec<_>>(), "out of order; {}", sink.summary());
}

/// One attempt in five fails, the same ones in every run.
fn lossy() -> Act {
    act(|seen: Seen| async move {
        let id = seen.id.unwrap_or(0);
        tokio::time::sleep(Duration::from_micros(id * 7919 % 2000)).await;
        let fails = (id * 31 + u64::from(seen.delivery.attempt) * 17).is_multiple_of(5);
        if fails { Err(HandlerError::transient("lossy")) } else { Ok(()) }
    })
}

async fn lossy_parallel(world: World) {
    let source = world.source().partitions(world.partitions(4)).open().await;
    let settings = json!({ "ordering": "none", "concurrency": 8, "max-attempts": 10 });
    let draft = || world.sink("g").consumer(settings.clone()).act(lossy()).open();
    let sinks = join_all((0..3).map(|_| draft())).await;
    source.send_keyed(0..600, |id| format!("k{id}")).await;
    all_handle(&world, &sinks, 600).await;
}

async fn lossy_parallel_through_reconnect(world: World) {
    let source =
        world.source().partitions(world.partitions(4)).producer(json!({ "send-timeout": "100s" })).open().await;
    let settings = json!({ "ordering": "none", "concurrency": 8, "max-attempts": 10 });
    let draft = || world.sink("g").consumer(settings.clone()).act(lossy()).open();
    let sinks = join_all((0..2).map(|_| draft())).await;
    source.send_keyed(0..300, |id| format!("k{id}")).await;
    futures::join!(restart(&world), source.send_keyed(300..900, |id| format!("k{id}")));
    all_handle(&world, &sinks, 900).await;
}

/// Member after member dies in its work; what each had not finished is finished by those after it.
async fn at_least_once_while_members_die(world: World) {
    let source = world.source().for_groups(&["g"]).open().await;
    source.send_many(0..300).await;
    let mut sinks = Vec::new();
    for life in 1..=3_usize {
        let slow = act(|_| async {
            tokio::time::sleep(Duration::from_millis(2)).await;
            Ok(())
        });
        let sink = world.sink("g").consumer(json!({ "prefetch": 50 })).act(slow).open().await;
        sink.until(&format!("life {life} works"), |log| log.done().len() >= 40).await;
        sink.kill();
        sinks.push(sink);
    }
    sinks.push(world.plain_sink("g").await);
    all_handle(&world, &sinks, 300).await;
}
