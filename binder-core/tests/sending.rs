//! The sending end of a channel, on the memory binder.

use binder_core::binder::{Binder, ConsumerBinding};
use binder_core::config::Config;
use binder_core::memory::MemoryBinder;
use binder_core::prelude::*;
use futures::SinkExt;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Order {
    id: u32,
    customer: String,
}

fn order(id: u32) -> Order {
    Order { id, customer: format!("c{}", id % 2) }
}

#[derive(Binding)]
struct Orders {
    #[output("orders", key = "customer")]
    orders: Output<Order>,
}

async fn bound(memory: &MemoryBinder) -> (Application, Output<Order>) {
    let app = Application::builder().binder("memory", memory.clone()).build().expect("it builds");
    let channels = app.bind::<Orders>().await.expect("it binds");
    (app, channels.orders)
}

fn payloads(memory: &MemoryBinder, destination: &str) -> Vec<u32> {
    let read = |message: &Message<bytes::Bytes>| {
        let order: Order = serde_json::from_slice(message.payload().expect("no tombstone")).expect("an order");
        order.id
    };
    memory.messages(destination).iter().map(read).collect()
}

#[tokio::test]
async fn the_key_comes_from_the_payload_unless_it_is_given() {
    let memory = MemoryBinder::new();
    let (_app, orders) = bound(&memory).await;
    orders.send(&order(1)).await.expect("sent");
    orders.message(&order(2)).key("own").header("tenant", "acme").send().await.expect("sent");
    orders.tombstone().key(7).send().await.expect("sent");
    let sent = memory.messages("orders");
    let keys: Vec<_> = sent.iter().filter_map(|message| message.key_str()).collect();
    assert_eq!(keys, ["c1", "own", "7"]);
    assert!(sent[2].is_tombstone());
    assert_eq!(sent[1].headers().get("tenant").and_then(|value| value.as_str()), Some("acme"));
}

#[tokio::test]
async fn many_are_sent_in_order() {
    let memory = MemoryBinder::new();
    let (_app, orders) = bound(&memory).await;
    let all: Vec<_> = (0..1000).map(order).collect();
    orders.send_all(&all).await.expect("sent");
    assert_eq!(payloads(&memory, "orders"), (0..1000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_channel_sends_to_a_destination_that_is_known_only_at_run_time() {
    let memory = MemoryBinder::new();
    let (_app, orders) = bound(&memory).await;
    for id in 1..=2 {
        orders.to("orders-eu").send(&order(id)).await.expect("sent");
    }
    assert_eq!(payloads(&memory, "orders-eu"), [1, 2]);
    assert!(memory.messages("orders").is_empty());
    let refused = orders.to("no/slash").send(&order(1)).await.expect_err("a forbidden name");
    assert_eq!(refused.kind(), ErrorKind::Config, "{refused}");
}

#[tokio::test]
async fn an_output_is_a_sink_whose_flush_waits_for_the_broker() {
    let memory = MemoryBinder::new();
    let (_app, mut orders) = bound(&memory).await;
    for id in 0..300 {
        orders.feed(Message::new(order(id))).await.expect("taken");
    }
    SinkExt::<Message<Order>>::flush(&mut orders).await.expect("flushed");
    assert_eq!(payloads(&memory, "orders"), (0..300).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_full_destination_makes_a_send_wait_and_then_fail_as_timed_out() {
    let memory = MemoryBinder::with_retention(2);
    let mut slow = ConsumerBinding::new("orders");
    slow.group = Some("slow".to_owned());
    let _consumer = memory.bind_consumer(&slow).await.expect("bound");
    let config = Config::builder().set("bindings.orders.producer.send-timeout", "5s").build().expect("right");
    let app = Application::builder().config(config).binder("memory", memory.clone()).build().expect("it builds");
    let orders = app.bind::<Orders>().await.expect("it binds").orders;
    let all: Vec<_> = (0..3).map(order).collect();
    for order in &all[..2] {
        orders.send(order).await.expect("there is room");
    }
    let start = tokio::time::Instant::now();
    let error = orders.send(&all[2]).await.expect_err("no room");
    assert_eq!((error.kind(), error.is_retryable(), start.elapsed().as_secs()), (ErrorKind::Timeout, true, 5));
    let error = orders.send_all(&all).await.expect_err("no room");
    assert_eq!(error.failures().iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 1, 2]);
}

#[tokio::test]
async fn after_the_end_a_send_fails_as_closed() {
    let memory = MemoryBinder::new();
    let (app, orders) = bound(&memory).await;
    orders.send(&order(1)).await.expect("sent");
    app.shutdown().await.expect("a clean end");
    assert_eq!(orders.send(&order(2)).await.expect_err("closed").kind(), ErrorKind::Closed);
    let (app, orders) = bound(&memory).await;
    orders.send(&order(3)).await.expect("sent");
    app.abort();
    assert_eq!(orders.send(&order(4)).await.expect_err("aborted").kind(), ErrorKind::Closed);
    assert_eq!(payloads(&memory, "orders"), [1, 3]);
}
