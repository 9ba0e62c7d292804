//! What a batch says, waiting, pause, settlement.

use std::future::poll_fn;
use std::task::Poll;

use super::*;
use crate::config::HeaderMode;

fn batch<'a>(received: &'a Received<'_>) -> &'a dyn BatchView {
    match received {
        Received::Batch(batch) => batch.as_ref(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_comes_as_it_was_sent() {
    let binder = MemoryBinder::new();
    let message = Message::new("<a/>").with_key("k").with_header("n", 1).with_header("n", 2);
    binder.publish("orders", message.with_content_type("application/xml")).unwrap();
    let mut consumer = consumer(&binder, "orders", "billing");
    let received = consumer.try_recv_many(10).unwrap().unwrap();
    let view = batch(&received);
    assert_eq!((view.len(), view.payload(0), view.key(0)), (1, Some(&b"<a/>"[..]), Some(&b"k"[..])));
    assert_eq!(view.content_type(0), Some(ContentType::from("application/xml")));
    assert_eq!(view.header(0, "n").and_then(|value| value.as_i64()), Some(2));
    assert_eq!(view.headers(0), Headers::new().with("n", 1).with("n", 2));
    let metadata = view.metadata(0);
    assert_eq!((metadata.destination.as_ref(), metadata.partition, metadata.offset), ("orders", Some(0), Some(0)));
    assert!(metadata.timestamp.unwrap().elapsed().unwrap().as_secs() < 60);
}

#[test]
fn a_tombstone_has_no_payload() {
    let binder = MemoryBinder::new();
    binder.publish("orders", Message::<&str>::tombstone().with_key("k")).unwrap();
    let mut consumer = consumer(&binder, "orders", "billing");
    let parcels = drain(&mut *consumer);
    assert_eq!((parcels[0].payload.as_deref(), parcels[0].key.as_deref()), (None, Some(&b"k"[..])));
    assert!(binder.messages("orders")[0].is_tombstone());
}

#[test]
fn header_mode_none_reads_no_headers() {
    let binder = MemoryBinder::new();
    binder.publish("orders", Message::new("a").with_header("n", 1)).unwrap();
    let mut without = binding("orders", Some("billing"));
    without.properties.header_mode = HeaderMode::None;
    let mut consumer = bind(&binder, &without);
    let received = consumer.try_recv_many(10).unwrap().unwrap();
    let view = batch(&received);
    assert_eq!((view.content_type(0), view.header(0, "n"), view.headers(0)), (None, None, Headers::new()));
}

#[test]
fn a_batch_gathers_what_several_partitions_have() {
    let binder = MemoryBinder::new();
    for partition in 0..3 {
        publish(&binder, "orders", partition, &["a", "b"]);
    }
    let mut consumer = consumer(&binder, "orders", "billing");
    let received = consumer.try_recv_many(5).unwrap().unwrap();
    let view = batch(&received);
    let place = |index| (view.metadata(index).partition.unwrap(), view.token(index).sequence);
    assert_eq!((0..view.len()).map(place).collect::<Vec<_>>(), [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]);
    assert_eq!(view.payload(4), Some(&b"a"[..]));
}

#[test]
fn a_busy_partition_does_not_starve_the_others() {
    let binder = MemoryBinder::new();
    publish(&binder, "orders", 1, &["late"]);
    publish(&binder, "orders", 0, &["a", "b", "c", "d"]);
    let mut consumer = consumer(&binder, "orders", "billing");
    let mut seen = Vec::new();
    for _ in 0..2 {
        let received = consumer.try_recv_many(2).unwrap().unwrap();
        let view = batch(&received);
        seen.extend((0..view.len()).map(|index| view.metadata(index).partition.unwrap()));
    }
    assert!(seen.contains(&1), "{seen:?}");
}

#[test]
fn settlement_is_a_prefix_and_never_goes_back() {
    let binder = MemoryBinder::new();
    publish(&binder, "orders", 0, &["a", "b", "c"]);
    let mut consumer = consumer(&binder, "orders", "billing");
    let parcels = drain(&mut *consumer);
    settle(&mut *consumer, &parcels[1..2]);
    assert_eq!(binder.position("orders", "billing"), Some(vec![2]));
    settle(&mut *consumer, &parcels[..1]);
    assert_eq!(binder.position("orders", "billing"), Some(vec![2]));
}

#[test]
fn settlement_does_not_pass_what_was_delivered() {
    let binder = MemoryBinder::new();
    publish(&binder, "orders", 0, &["a", "b"]);
    let mut consumer = consumer(&binder, "orders", "billing");
    let lane = batch(&consumer.try_recv_many(1).unwrap().unwrap()).token(0).lane;
    consumer.settle(lane, u64::MAX).unwrap();
    assert_eq!(binder.position("orders", "billing"), Some(vec![1]));
}

#[test]
fn a_paused_consumer_keeps_its_partitions_and_takes_nothing_new() {
    let binder = MemoryBinder::new();
    let mut paused = consumer(&binder, "orders", "billing");
    paused.pause().unwrap();
    publish(&binder, "orders", 0, &["a"]);
    assert!(paused.recv_many(1).now_or_never().is_none());
    let mut other = consumer(&binder, "orders", "billing");
    assert!(drain(&mut *other).is_empty());
    paused.resume().unwrap();
    assert_eq!(texts(&drain(&mut *paused)), ["a"]);
}

#[test]
fn a_paused_consumer_hears_of_a_rebalance() {
    let binder = MemoryBinder::new();
    publish(&binder, "orders", 0, &["a"]);
    publish(&binder, "orders", 1, &["b"]);
    let mut paused = consumer(&binder, "orders", "billing");
    drain(&mut *paused);
    paused.pause().unwrap();
    let _other = consumer(&binder, "orders", "billing");
    assert_eq!(revoked(&mut *paused).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_consumer_is_woken_by_a_message() {
    let binder = MemoryBinder::new();
    let mut consumer = consumer(&binder, "orders", "billing");
    let waiting = tokio::spawn(async move { batch(&consumer.recv_many(10).await.unwrap()).len() });
    tokio::task::yield_now().await;
    publish(&binder, "orders", 0, &["a"]);
    assert_eq!(soon(waiting).await.unwrap(), 1);
}

/// Returns whether there may be something, when that has been asked twice; the task that asks is woken.
async fn ready(consumer: &mut dyn Consumer) -> bool {
    let asks = |context: &mut std::task::Context<'_>| consumer.poll_ready(context, 10).expect("it can be asked");
    soon(poll_fn(asks)).await;
    consumer.try_recv_many(10).is_ok_and(|received| received.is_some())
}

fn asleep(consumer: &mut dyn Consumer) -> bool {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    consumer.poll_ready(&mut context, 10).expect("it can be asked").is_pending()
}

#[tokio::test(start_paused = true)]
async fn who_asks_whether_there_is_something_is_woken() {
    let binder = MemoryBinder::new();
    let mut told = binding("orders", Some("billing"));
    told.tells_assignments = true;
    let mut consumer = bind(&binder, &told);
    assert!(ready(&mut *consumer).await && asleep(&mut *consumer), "it is told of its partition, and nothing else");

    let waiting = tokio::spawn(async move { (ready(&mut *consumer).await, consumer) });
    tokio::task::yield_now().await;
    publish(&binder, "orders", 0, &["a"]);
    let (came, mut consumer) = soon(waiting).await.unwrap();
    assert!(came && asleep(&mut *consumer), "a message");

    consumer.pause().unwrap();
    publish(&binder, "orders", 0, &["b"]);
    assert!(asleep(&mut *consumer), "it is paused");
    consumer.resume().unwrap();
    assert!(!asleep(&mut *consumer));
    assert!(ready(&mut *consumer).await && asleep(&mut *consumer));

    let waiting = tokio::spawn(async move { ready(&mut *consumer).await });
    tokio::task::yield_now().await;
    binder.close().await.unwrap();
    assert!(!soon(waiting).await.unwrap(), "it is closed");
}

#[test]
fn a_payload_that_is_kept_shares_the_bytes_of_the_log() {
    let binder = MemoryBinder::new();
    publish(&binder, "orders", 0, &["a"]);
    binder.publish("orders", Message::<String>::tombstone()).unwrap();
    let mut consumer = consumer(&binder, "orders", "billing");
    let received = consumer.try_recv_many(10).unwrap().unwrap();
    let view = batch(&received);
    assert_eq!(view.payload_bytes(0).unwrap().as_ptr(), view.payload(0).unwrap().as_ptr());
    assert_eq!(view.payload_bytes(1), None);
    let parcel = view.detach(0, &mut Default::default());
    assert_eq!(parcel.payload_bytes(0).unwrap().as_ptr(), view.payload(0).unwrap().as_ptr());
}

#[tokio::test(start_paused = true)]
async fn a_waiting_consumer_is_woken_by_a_partition() {
    let binder = MemoryBinder::new();
    let mut owner = consumer(&binder, "orders", "billing");
    publish(&binder, "orders", 0, &["a"]);
    drain(&mut *owner);
    let mut surplus = consumer(&binder, "orders", "billing");
    let waiting = tokio::spawn(async move { batch(&surplus.recv_many(10).await.unwrap()).len() });
    tokio::task::yield_now().await;
    drop(owner);
    assert_eq!(soon(waiting).await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn dropping_a_wait_loses_nothing() {
    let binder = MemoryBinder::new();
    let mut consumer = consumer(&binder, "orders", "billing");
    {
        let mut waiting = consumer.recv_many(10);
        let pending = poll_fn(|context| Poll::Ready(waiting.as_mut().poll(context).is_pending())).await;
        assert!(pending);
        publish(&binder, "orders", 0, &["a"]);
    }
    assert_eq!(texts(&drain(&mut *consumer)), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn closing_the_binder_ends_its_halves_and_no_other_connection() {
    let binder = MemoryBinder::new();
    let other = binder.connect();
    let mut waits = consumer(&binder, "orders", "billing");
    let sender = producer(&binder, "orders", 1);
    let mut survivor = consumer(&other, "orders", "billing");
    let waiting = tokio::spawn(async move { kind(waits.recv_many(10).await) });
    tokio::task::yield_now().await;
    binder.close().await.unwrap();
    assert_eq!(soon(waiting).await.unwrap(), Some(ErrorKind::Closed));
    assert_eq!(kind(sender.try_send(outgoing(b"a"))), Some(ErrorKind::Closed));
    assert_eq!(kind(poll_fn(|context| sender.poll_ready(context)).await), Some(ErrorKind::Closed));
    assert_eq!(kind(binder.bind_consumer(&binding("orders", None)).await), Some(ErrorKind::Closed));
    assert_eq!(kind(binder.bind_producer(&ProducerBinding::new("orders")).await), Some(ErrorKind::Closed));
    publish(&other, "orders", 0, &["a"]);
    assert_eq!(texts(&drain(&mut *survivor)), ["a"], "it took the partition over");
}

#[test]
fn the_consumer_of_a_closed_binder_settles_nothing() {
    let binder = MemoryBinder::new();
    publish(&binder, "orders", 0, &["a"]);
    let mut closed = consumer(&binder, "orders", "billing");
    let parcels = drain(&mut *closed);
    let _successor = consumer(&binder.connect(), "orders", "billing");
    binder.close().now_or_never().unwrap().unwrap();
    settle(&mut *closed, &parcels);
    assert_eq!(binder.position("orders", "billing"), Some(vec![0]));
    assert_eq!(kind(closed.try_recv_many(1)), Some(ErrorKind::Closed));
    assert_eq!(kind(closed.pause()), Some(ErrorKind::Closed));
}
