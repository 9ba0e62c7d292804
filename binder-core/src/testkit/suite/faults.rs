//! A broker that goes away, and sends that it refuses.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use serde_json::json;

use super::cases;
use super::log::{act, assert_order_of_keys};
use super::sides::{Source, number};
use super::world::World;
use crate::message::Message;
use crate::{BindingState, ErrorKind};

cases!("faults":
    reconnect [Control] alone true,
    restart_keeps_the_order_of_keys [Control] alone true,
    every_consumer_is_there_after_a_restart [Control] alone true,
    restart_in_a_handler_loses_nothing [Control] alone true,
    start_without_broker_and_work_when_it_comes [Control] alone true,
    health_tells_the_outage [Control] alone true,
    a_send_waits_for_the_broker [Control] alone true,
    a_send_without_broker_fails_at_its_deadline [Control] alone true,
    dead_letters_survive_a_restart [Control] alone true,
    what_nobody_takes_is_an_error [Unroutable],
    what_nobody_takes_may_be_discarded [Unroutable],
    too_large_is_an_error_at_once [SizeLimit],
    one_refused_message_fails_alone [SizeLimit],
    a_batch_names_what_was_refused [SizeLimit],
);

/// How long a send may wait for the broker in these cases.
const LONG: &str = "100s";

/// Unconfirmed messages of an output in these cases: they may be sent again after an outage.
const WINDOW: usize = 200;

/// Unsettled deliveries of an input in these cases: they are delivered again after an outage.
const PREFETCH: usize = 100;

async fn patient_source(world: &World) -> Source {
    world.source().producer(json!({ "send-timeout": LONG, "window": WINDOW })).open().await
}

/// Stops the broker, for long enough that everybody notices, and starts it.
pub(super) async fn restart(world: &World) {
    world.stop_broker().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    world.start_broker().await;
}

/// Senders that never rest and one subscription survive restarts: what was acknowledged is handled.
async fn reconnect(world: World) {
    let sink = world.sink("g").consumer(json!({ "prefetch": PREFETCH })).open().await;
    let sources = join_all((0..4).map(|_| patient_source(&world))).await;
    let stop = Arc::new(AtomicBool::new(false));
    let sending = sources.iter().enumerate().map(|(index, source)| {
        let (stop, output) = (Arc::clone(&stop), source.output.clone());
        tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for number_of in 0..100_000_u64 {
                if stop.load(SeqCst) {
                    break;
                }
                let id = number_of * 4 + index as u64;
                if output.send(&number(id)).await.is_ok() {
                    acknowledged.push(id);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            acknowledged
        })
    });
    let sending: Vec<_> = sending.collect();
    // a real broker takes long to come back
    let outages = if world.harness().paused { 2 } else { 1 };
    for outage in 1..=outages {
        let before = sink.done().len();
        let what = format!("messages flow before outage {outage}");
        sink.until(&what, |log| log.done().len() > before + 50).await;
        restart(&world).await;
    }
    let before = sink.done().len();
    sink.until("messages flow after the outages", |log| log.done().len() > before + 50).await;
    stop.store(true, SeqCst);
    let sent = world.wait("the senders to end", join_all(sending)).await;
    let acknowledged: BTreeSet<u64> = sent.into_iter().flat_map(|sent| sent.expect("no panic")).collect();
    sink.until("all that was acknowledged is handled", |log| log.done().is_superset(&acknowledged)).await;
    let bound = outages * (sources.len() + PREFETCH);
    assert!(sink.duplicates() <= bound, "more than {bound} came twice; {}", sink.summary());
}

async fn restart_keeps_the_order_of_keys(world: World) {
    let sink =
        world.sink("g").consumer(json!({ "ordering": "key", "concurrency": 4, "prefetch": PREFETCH })).open().await;
    let source = patient_source(&world).await;
    source.send_keyed(0..100, |id| format!("k{}", id % 7)).await;
    let sending = source.send_keyed(100..1500, |id| format!("k{}", id % 7));
    futures::join!(sending, restart(&world));
    sink.handles(0..1500).await;
    assert_order_of_keys(&sink.firsts());
    assert!(sink.duplicates() <= WINDOW + PREFETCH, "more came twice than were in flight: {}", sink.summary());
}

/// Not only what was busy comes back: each of several idle consumers gets what is sent afterwards.
async fn every_consumer_is_there_after_a_restart(world: World) {
    let groups = join_all(["one", "two"].map(|group| world.plain_sink(group))).await;
    let anonymous = join_all((0..2).map(|_| world.sink(None).open())).await;
    let source = patient_source(&world).await;
    source.send(0).await;
    for sink in groups.iter().chain(&anonymous) {
        sink.handles(0..1).await;
    }
    restart(&world).await;
    for sink in groups.iter().chain(&anonymous) {
        sink.until("the outage is over", |_| sink.app.health().is_ready()).await;
    }
    // an anonymous subscription starts anew, at what comes then; until it has, it is not there
    source.send(1).await;
    for sink in &groups {
        sink.handles(0..2).await;
    }
    for (id, sink) in (2..).zip(&anonymous) {
        let mut sent = id * 1000;
        while sink.done().iter().all(|done| *done < 2000) {
            source.send(sent).await;
            sent += 1;
            world.look_on().await;
            assert!(sent < id * 1000 + 100, "the anonymous consumer gets nothing any more");
        }
    }
    let sinks = groups.iter().chain(&anonymous);
    assert!(sinks.clone().all(|sink| sink.app.states()["input"] == BindingState::Running));
}

async fn restart_in_a_handler_loses_nothing(world: World) {
    let slow = act(|_| async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        Ok(())
    });
    let sink = world.sink("g").consumer(json!({ "ordering": "none", "concurrency": 10 })).act(slow).open().await;
    let source = patient_source(&world).await;
    source.send_many(0..60).await;
    sink.sees(5).await;
    restart(&world).await;
    source.send_many(60..80).await;
    sink.handles(0..80).await;
}

async fn start_without_broker_and_work_when_it_comes(world: World) {
    let known = world.source().for_groups(&["g"]).open().await;
    known.stop().await;
    world.stop_broker().await;
    let sink = world.sink("g").start().await;
    let source = world.source().producer(json!({ "send-timeout": LONG })).start().await;
    sink.until("both say that they connect", |_| {
        let states = [sink.app.states(), source.app.states()];
        states.iter().flat_map(|states| states.values()).all(|state| matches!(state, BindingState::Connecting(_)))
    })
    .await;
    let error = sink.app.ready(Duration::from_millis(300)).await.expect_err("there is no broker");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
    assert!(sink.app.health().is_live() && !sink.app.health().is_ready());
    let BindingState::Connecting(reason) = &sink.app.states()["input"] else { panic!("{:?}", sink.app.states()) };
    assert!(reason.len() > 5, "the reason says nothing: {reason:?}");
    let output = source.output.clone();
    let waiting = tokio::spawn(async move { output.send(&number(0)).await });
    world.start_broker().await;
    sink.ready().await;
    world.wait("the send that waited", waiting).await.expect("no panic").expect("sent");
    sink.handles(0..1).await;
}

async fn health_tells_the_outage(world: World) {
    let sink = world.plain_sink("g").await;
    let source = world.plain_source().await;
    source.send(0).await;
    sink.handles(0..1).await;
    let ready = || [sink.app.health().is_ready(), source.app.health().is_ready()];
    assert_eq!(ready(), [true, true]);
    world.stop_broker().await;
    sink.until("both are not ready", |_| ready() == [false, false]).await;
    assert!(sink.app.health().is_live() && source.app.health().is_live(), "an outage is no reason to end");
    world.start_broker().await;
    sink.until("both are ready", |_| ready() == [true, true]).await;
    source.send(1).await;
    sink.handles(0..2).await;
}

async fn a_send_waits_for_the_broker(world: World) {
    let sink = world.plain_sink("g").await;
    let source = patient_source(&world).await;
    source.send(0).await;
    world.stop_broker().await;
    let output = source.output.clone();
    let waiting = tokio::spawn(async move { output.send_all((1..200).map(number)).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished(), "nobody can have taken it");
    world.start_broker().await;
    world.wait("the sends that waited", waiting).await.expect("no panic").expect("sent");
    sink.handles(0..200).await;
    let firsts: Vec<_> = sink.firsts().iter().filter_map(|seen| seen.id).collect();
    assert_eq!(firsts, (0..200).collect::<Vec<_>>(), "in order");
}

async fn a_send_without_broker_fails_at_its_deadline(world: World) {
    let source = world.source().for_groups(&["g"]).producer(json!({ "send-timeout": "3s" })).open().await;
    source.send(0).await;
    world.stop_broker().await;
    let begun = tokio::time::Instant::now();
    let error = world.wait("a send to fail", source.try_send(1)).await.expect_err("there is no broker");
    let waited = begun.elapsed();
    world.start_broker().await;
    assert!((Duration::from_secs(2)..Duration::from_secs(5)).contains(&waited), "{waited:?}");
    assert!(matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Connection), "{error:?}");
    assert!(error.is_retryable(), "{error:?}");
}

/// A dead letter that can't be published is tried again; its message is not settled before.
async fn dead_letters_survive_a_restart(world: World) {
    let failing = act(|seen: super::log::Seen| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let id = seen.id.unwrap_or(0);
        if id % 2 == 1 { Err(crate::handler::HandlerError::permanent("odd")) } else { Ok(()) }
    });
    let sink = world.sink("g").act(failing).open().await;
    let source = patient_source(&world).await;
    source.send_many(0..100).await;
    sink.sees(10).await;
    restart(&world).await;
    sink.handles(98..99).await;
    let letters = world.dead_letters("g").await;
    let odd: BTreeSet<u64> = (0..100).filter(|id| id % 2 == 1).collect();
    letters.until("all odd ones are dead letters", |log| log.done().is_superset(&odd)).await;
    assert!(letters.done().iter().all(|id| id % 2 == 1), "{:?}", letters.done());
}

async fn what_nobody_takes_is_an_error(world: World) {
    let source = world.plain_source().await;
    let error = world.wait("a send to fail", source.try_send(0)).await.expect_err("nobody takes it");
    assert_eq!(error.kind(), ErrorKind::Unroutable, "{error:?}");
    let sink = world.plain_sink("g").await;
    source.send(1).await;
    sink.handles(1..2).await;
    assert_eq!(sink.ids(), [1]);
}

async fn what_nobody_takes_may_be_discarded(world: World) {
    let source = world.source().producer(json!({ "unroutable": "discard" })).open().await;
    source.send(0).await;
}

fn large(world: &World) -> Bytes {
    Bytes::from(vec![b'x'; world.harness().too_large.expect("the case needs it")])
}

async fn too_large_is_an_error_at_once(world: World) {
    let sink = world.plain_sink("g").await;
    let source = world.plain_source().await;
    let begun = tokio::time::Instant::now();
    let error = world.wait("a send to fail", source.output.send(&large(&world))).await.expect_err("it is too large");
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::TooLarge, false), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "before the deadline of a send");
    source.send(1).await;
    sink.handles(1..2).await;
    sink.stays_at(1).await;
}

async fn one_refused_message_fails_alone(world: World) {
    let sink = world.plain_sink("g").await;
    let source = world.plain_source().await;
    let sends = (0..100_u64).map(|id| {
        let (output, large) = (source.output.clone(), large(&world));
        async move { if id == 40 { output.send(&large).await } else { output.send(&number(id)).await } }
    });
    let answers = world.wait("all answers", join_all(sends)).await;
    for (id, answer) in answers.iter().enumerate() {
        assert_eq!(answer.is_ok(), id != 40, "{id}: {answer:?}");
    }
    sink.until("the others are handled", |log| log.done().len() == 99).await;
    sink.stays_at(99).await;
}

async fn a_batch_names_what_was_refused(world: World) {
    let sink = world.plain_sink("g").await;
    let source = world.plain_source().await;
    let messages = (0..50_u64).map(|id| Message::new(if id == 17 { large(&world) } else { number(id) }));
    let messages: Vec<_> = messages.collect();
    let error = world.wait("an answer", source.output.send_all_messages(messages)).await.expect_err("one is too large");
    let failed: Vec<_> = error.failures().iter().map(|(index, error)| (*index, error.kind())).collect();
    assert_eq!(failed, [(17, ErrorKind::TooLarge)]);
    sink.until("the others are handled", |log| log.done().len() == 49).await;
    sink.stays_at(49).await;
}
