//! Members of a group under load; pause; slow, parallel and stuck handlers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use serde_json::json;

use super::basics::all_handle;
use super::cases;
use super::log::{Act, Seen, act, assert_order_of_keys, firsts};
use super::sides::number;
use super::world::World;
use crate::BindingState;
use crate::handler::HandlerError;

cases!("membership":
    members_come_and_go_under_load,
    order_of_keys_over_a_rebalance [Rebalance],
    pause_keeps_its_place_in_the_group,
    pause_takes_nothing,
    slow_handler_stays_a_member [ConsumerTimeout],
    parallel_handlers_keep_the_order_of_keys,
    one_stuck_key_stops_only_itself,
    one_stuck_message_stops_its_partition,
    one_stuck_message_takes_no_room_of_other_partitions [Partitions, Rebalance],
    concurrency_is_a_bound,
);

/// A handler that takes a moment, another for each message.
fn taking(most: Duration) -> Act {
    act(move |seen: Seen| async move {
        let share = seen.id.unwrap_or(0) * 7919 % 100;
        tokio::time::sleep(most * share as u32 / 100).await;
        Ok(())
    })
}

/// No message is lost and few come twice when members join, leave and die under load.
async fn members_come_and_go_under_load(world: World) {
    let source = world.source().partitions(world.partitions(4)).open().await;
    let draft = || world.sink("g").consumer(json!({ "prefetch": 30 })).act(taking(Duration::from_millis(10)));
    let mut sinks = vec![draft().open().await];
    let sending = async {
        for round in 0..20_u64 {
            source.send_keyed(round * 30..round * 30 + 30, |id| format!("k{}", id % 24)).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let changing = async {
        sinks.push(draft().open().await);
        sinks.push(draft().open().await);
        tokio::time::sleep(Duration::from_millis(200)).await;
        sinks[0].stop().await;
        sinks[1].kill();
    };
    futures::join!(sending, changing);
    all_handle(&world, &sinks, 600).await;
    let ids: Vec<_> = sinks.iter().flat_map(|sink| sink.ids()).collect();
    let twice = ids.len() - ids.iter().collect::<BTreeSet<_>>().len();
    // one member died and one left, each with at most its prefetch for each of four partitions, and the rebalances move what is in flight
    let bound = 3 * 30 * world.partitions(4) as usize;
    assert!(twice <= bound, "{twice} came twice, at most {bound} were in flight");
}

/// Among first deliveries the order of each key holds over all members, also while partitions move.
async fn order_of_keys_over_a_rebalance(world: World) {
    let source = world.source().partitions(4).open().await;
    let draft = || world.sink("g").act(taking(Duration::from_millis(4)));
    let mut sinks = vec![draft().open().await];
    let sending = async {
        for round in 0..20_u64 {
            source.send_keyed(round * 20..round * 20 + 20, |id| format!("k{}", id % 12)).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let changing = async {
        sinks.push(draft().open().await);
        tokio::time::sleep(Duration::from_millis(100)).await;
        sinks.push(draft().open().await);
        sinks[0].stop().await;
    };
    futures::join!(sending, changing);
    all_handle(&world, &sinks, 400).await;
    assert_order_of_keys(&firsts(sinks.iter().map(|sink| &**sink)));
}

async fn pause_keeps_its_place_in_the_group(world: World) {
    let source = world.plain_source().await;
    let sink = world.plain_sink("g").await;
    source.send_many(0..10).await;
    sink.handles(0..10).await;
    for round in 1..=3_u64 {
        let control = sink.app.control("input").expect("it is there");
        control.pause();
        sink.until("the input is paused", |_| control.state() == BindingState::Paused).await;
        world.look_on().await;
        control.resume();
        source.send_many(round * 10..round * 10 + 10).await;
        sink.handles(round * 10..round * 10 + 10).await;
    }
    sink.stays_at(40).await;
    assert_eq!(sink.ids(), (0..40).collect::<Vec<_>>());
}

async fn pause_takes_nothing(world: World) {
    let source = world.plain_source().await;
    let sink = world.plain_sink("g").await;
    source.send(0).await;
    sink.handles(0..1).await;
    let control = sink.app.control("input").expect("it is there");
    control.pause();
    sink.until("the input is paused", |_| control.state() == BindingState::Paused).await;
    world.look_on().await;
    source.send_many(1..50).await;
    sink.stays_at(1).await;
    assert_eq!(sink.app.health().bindings["input"].oldest_unsettled_seconds, 0.0, "nothing was received");
    control.resume();
    sink.handles(0..50).await;
    assert_eq!(sink.ids(), (0..50).collect::<Vec<_>>());
}

/// A handler that runs for longer than the broker waits costs no membership: its message comes once.
async fn slow_handler_stays_a_member(world: World) {
    let (limit, section) = world.harness().consumer_timeout.clone().expect("the case needs it");
    let slow = act(move |seen: Seen| async move {
        if seen.id == Some(0) {
            tokio::time::sleep(limit * 3 / 2).await;
        }
        Ok(())
    });
    let type_name = world.harness().type_name;
    let draft = || world.sink("g").consumer(json!({ type_name: section }));
    let source = world.source().for_groups(&["g"]).open().await;
    let sink = draft().act(slow).open().await;
    source.send_many(0..10).await;
    sink.sees(1).await;
    let other = draft().open().await;
    let sinks = [sink, other];
    all_handle(&world, &sinks, 10).await;
    let counts = sinks.iter().map(|sink| sink.len()).sum::<usize>();
    assert_eq!(counts, 10, "each message once: {} | {}", sinks[0].summary(), sinks[1].summary());
}

async fn parallel_handlers_keep_the_order_of_keys(world: World) {
    let settings = json!({ "ordering": "key", "concurrency": 8 });
    let sink = world.sink("g").consumer(settings).act(taking(Duration::from_millis(10))).open().await;
    world.plain_source().await.send_keyed(0..400, |id| format!("k{}", id % 16)).await;
    sink.handles(0..400).await;
    assert_eq!(sink.duplicates(), 0, "{}", sink.summary());
    assert_order_of_keys(&sink.seen());
    assert!(sink.most() > 2, "only {} handlers ran at once", sink.most());
}

async fn one_stuck_key_stops_only_itself(world: World) {
    let settings = json!({ "ordering": "key", "concurrency": 2, "max-attempts": 100, "backoff": { "initial": "10m", "max": "10m" } });
    let stuck = act(|seen: Seen| async move {
        if seen.key() == Some("k0") { Err(HandlerError::transient("stuck")) } else { Ok(()) }
    });
    let sink = world.sink("g").consumer(settings).act(stuck).open().await;
    world.plain_source().await.send_keyed(0..100, |id| format!("k{}", id % 10)).await;
    sink.until("the other keys are handled", |log| log.done().len() == 90).await;
    let of_stuck = sink.seen().iter().filter(|seen| seen.key() == Some("k0")).count();
    assert_eq!(of_stuck, 1, "only the first of the stuck key was tried");
}

async fn one_stuck_message_stops_its_partition(world: World) {
    let settings = json!({ "max-attempts": 100, "backoff": { "initial": "200ms", "max": "200ms", "jitter": 0 } });
    let fails = act(|seen: Seen| async move {
        let fails = seen.id == Some(1) && seen.delivery.attempt < 4;
        if fails { Err(HandlerError::transient("not yet")) } else { Ok(()) }
    });
    let sink = world.sink("g").consumer(settings).act(fails).open().await;
    world.plain_source().await.send_many(0..4).await;
    sink.handles(0..4).await;
    assert_eq!(sink.ids(), [0, 1, 1, 1, 1, 2, 3], "nothing passes it");
}

/// Far more lies behind the stuck message than may be unsettled; the other partition goes on all the same, and in the end all is handled.
async fn one_stuck_message_takes_no_room_of_other_partitions(world: World) {
    let settings = json!({
        "prefetch": 10, "concurrency": 2, "partitioned": true,
        "max-attempts": 100, "backoff": { "initial": "500ms", "max": "500ms", "jitter": 0 },
    });
    let free = Arc::new(AtomicBool::new(false));
    let stuck = act({
        let free = Arc::clone(&free);
        move |seen: Seen| {
            let fails = seen.id == Some(0) && !free.load(SeqCst);
            async move { if fails { Err(HandlerError::transient("stuck")) } else { Ok(()) } }
        }
    });
    let source = world.source().for_groups(&["g"]).partitions(2).open().await;
    for id in 0..120 {
        let partition = u32::from(id >= 60);
        source.output.message(&number(id)).partition(partition).send().await.expect("sent");
    }
    let sink = world.sink("g").consumer(settings).act(stuck).open().await;
    sink.until("the other partition is handled", |log| log.done().len() == 60).await;
    assert!(sink.seen().iter().all(|seen| seen.id.is_some_and(|id| id == 0 || id >= 60)));
    free.store(true, SeqCst);
    sink.handles(0..120).await;
}

async fn concurrency_is_a_bound(world: World) {
    let settings = json!({ "ordering": "none", "concurrency": 3 });
    let sink = world.sink("g").consumer(settings).act(taking(Duration::from_millis(20))).open().await;
    world.plain_source().await.send_many(0..60).await;
    sink.handles(0..60).await;
    assert_eq!(sink.most(), 3);
}
