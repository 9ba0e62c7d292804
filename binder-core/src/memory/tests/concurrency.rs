//! Threads that send, join and leave at once.

use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use super::*;

const PRODUCERS: u32 = 3;
const KEYS: u32 = 20;
const MESSAGES: u32 = 6_000;

/// Every first delivery of (producer, number), in the order in which the members saw them.
#[derive(Default)]
struct Seen {
    all: HashSet<(u32, u32)>,
    last: HashMap<(u32, u32), u32>,
}

impl Seen {
    /// Notes a delivery; a message must not come for the first time after a later one of its producer and key has.
    fn note(&mut self, producer: u32, number: u32) {
        if self.all.insert((producer, number)) {
            let last = self.last.insert((producer, number % KEYS), number);
            assert!(last < Some(number), "producer {producer}: {number} after {last:?}");
        }
    }
}

async fn send_all(binder: MemoryBinder, id: u32) {
    let sender = producer(&binder, "orders", 6);
    for number in 0..MESSAGES {
        let (key, payload) = (format!("{id}-{}", number % KEYS), format!("{id} {number}"));
        loop {
            let message = Outgoing { key: Some(key.as_bytes()), ..outgoing(payload.as_bytes()) };
            match sender.try_send(message).unwrap() {
                TrySend::Sent(receipt) => break receipt.await.unwrap(),
                TrySend::Full => poll_fn(|context| sender.poll_ready(context)).await.unwrap(),
            }
        }
    }
}

fn parse(payload: &[u8]) -> (u32, u32) {
    let (producer, number) = std::str::from_utf8(payload).unwrap().split_once(' ').unwrap();
    (producer.parse().unwrap(), number.parse().unwrap())
}

/// Reads until `stop`, as core does: settles batch by batch, gives back what is asked for. Leaves of itself after `lifetime` batches;
/// every other time it is killed with its last batch unsettled.
async fn read_some(binder: MemoryBinder, seen: &Mutex<Seen>, lifetime: u32) {
    let mut consumer = consumer(&binder, "orders", "billing");
    for batch in 0..lifetime {
        let (mut last, mut revoked) = (Vec::new(), Vec::new());
        match consumer.recv_many(16).await.unwrap() {
            Received::Batch(view) => {
                let mut seen = seen.lock().unwrap();
                for index in 0..view.len() {
                    let (producer, number) = parse(view.payload(index).unwrap());
                    seen.note(producer, number);
                    last.push(view.token(index));
                }
            }
            Received::Revoked(lanes) => revoked = lanes,
            other => panic!("{other:?}"),
        }
        consumer.release(&revoked).await.unwrap();
        if batch + 1 == lifetime && lifetime.is_multiple_of(2) {
            return;
        }
        for token in last {
            consumer.settle(token.lane, token.sequence).unwrap();
        }
        tokio::task::yield_now().await;
    }
    consumer.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_and_keys_keep_their_order_while_members_come_and_go() {
    let binder = MemoryBinder::with_retention(256);
    let seen = Arc::new(Mutex::new(Seen::default()));
    let stop = Arc::new(AtomicBool::new(false));
    let lives = Arc::new(AtomicU32::new(0));
    drop(consumer(&binder, "orders", "billing"));
    let members: Vec<_> = (0..3)
        .map(|_| {
            let (binder, seen, stop, lives) =
                (binder.clone(), Arc::clone(&seen), Arc::clone(&stop), Arc::clone(&lives));
            tokio::spawn(async move {
                while !stop.load(Ordering::Acquire) {
                    let lifetime = lives.fetch_add(1, Ordering::Relaxed) % 37 + 1;
                    read_some(binder.connect(), &seen, lifetime).await;
                }
            })
        })
        .collect();
    let senders: Vec<_> = (0..PRODUCERS).map(|id| tokio::spawn(send_all(binder.connect(), id))).collect();
    let all = async {
        for sender in senders {
            sender.await.unwrap();
        }
        binder.idle().await;
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("nobody waits for ever");
    stop.store(true, Ordering::Release);
    members.iter().for_each(|member| member.abort());
    let seen = seen.lock().unwrap();
    assert_eq!(seen.all.len() as u32, PRODUCERS * MESSAGES);
    assert!(lives.load(Ordering::Relaxed) > 10, "members came and went");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_up_is_lost_when_messages_come_one_by_one() {
    let binder = MemoryBinder::new();
    let replies = MemoryBinder::new();
    let mut there = consumer(&binder, "ping", "player");
    let mut back = consumer(&replies, "pong", "player");
    let echo = tokio::spawn({
        let replies = replies.clone();
        async move {
            for _ in 0..20_000 {
                let Received::Batch(view) = there.recv_many(1).await.unwrap() else { panic!("nobody joins") };
                let token = view.token(0);
                drop(view);
                there.settle(token.lane, token.sequence).unwrap();
                replies.publish("pong", Message::new("")).unwrap();
            }
        }
    });
    let play = async {
        for _ in 0..20_000 {
            binder.publish("ping", Message::new("")).unwrap();
            let Received::Batch(view) = back.recv_many(1).await.unwrap() else { panic!("nobody joins") };
            let token = view.token(0);
            drop(view);
            back.settle(token.lane, token.sequence).unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(60), play).await.expect("no wake-up is lost");
    echo.await.unwrap();
}
