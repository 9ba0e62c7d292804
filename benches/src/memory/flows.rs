//! Other ways of a message through memory: raw bytes, the message of the comparisons, and a consumer that sleeps between two messages.

use std::sync::Arc;

use binder_core::channel::ProcessorBinding;
use binder_core::codec::Payload;
use binder_core::prelude::*;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{Done, ORDER, Order, on_current_thread};
use crate::change::{Change, changes};
use crate::measure::{Cost, Meter, cost};

/// As long as the JSON of the other cases.
const BYTES: Bytes = Bytes::from_static(b"{\"id\":1234567,\"amount\":12345}");

/// An application whose output and input meet on one destination.
pub(super) async fn met<T: Payload + 'static>(
    retention: u64,
    output: Value,
    input: Value,
) -> (Application, ProcessorBinding<T, T>) {
    let (mut to, mut from) = (json!({ "destination": "orders" }), json!({ "destination": "orders", "group": "bench" }));
    merge(&mut to, output);
    merge(&mut from, input);
    let config = json!({ "stream": {
        "binders": { "memory": { "type": "memory", "retention": retention } },
        "bindings": { "output": to, "input": from },
    } });
    let config = Config::builder().yaml(config.to_string()).build().expect("the configuration is right");
    let app = Application::builder().config(config).build().expect("it builds");
    let channels = app.bind().await.expect("it binds");
    (app, channels)
}

fn merge(into: &mut Value, more: Value) {
    let (Some(into), Value::Object(more)) = (into.as_object_mut(), more) else { return };
    into.extend(more);
}

async fn met_bytes(count: u64) -> (Application, ProcessorBinding<Bytes, Bytes>) {
    let content_type = json!({ "content-type": "application/octet-stream" });
    met(count + 1, content_type.clone(), content_type).await
}

/// Publishes raw bytes.
pub(super) fn fill_bytes(count: u64) -> Cost {
    on_current_thread(async {
        let (app, channels) = met_bytes(count).await;
        let messages = vec![BYTES; count as usize];
        app.start().await.expect("it starts");
        let meter = Meter::start();
        channels.output.send_all(&messages).await.expect("sent");
        let cost = meter.cost();
        app.shutdown().await.expect("it ends");
        cost
    })
}

/// Hands raw bytes that are there to a handler.
pub(super) fn drain_bytes(count: u64) -> Cost {
    on_current_thread(async {
        let (app, channels) = met_bytes(count).await;
        channels.output.send_all(vec![BYTES; count as usize]).await.expect("sent");
        let done = Done::new(count);
        app.handle(channels.input, take::<Bytes>.with_state(done.clone())).await.expect("a handler");
        let meter = Meter::start();
        app.start().await.expect("it starts");
        done.wait().await;
        let cost = meter.cost();
        app.shutdown().await.expect("it ends");
        cost
    })
}

async fn take<T>(message: T, State(done): State<Done>) {
    std::hint::black_box(message);
    done.note();
}

/// Writes and reads the message of the comparisons.
pub(super) fn codec_change(count: u64) -> Cost {
    let mut bytes = Vec::new();
    cost(|| {
        for change in changes(count as usize) {
            bytes.clear();
            serde_json::to_writer(&mut bytes, std::hint::black_box(change)).expect("it is JSON");
            let change: Change = serde_json::from_slice(std::hint::black_box(&bytes)).expect("it is JSON");
            std::hint::black_box(change);
        }
    })
}

/// Publishes and handles the message of the comparisons, one by one.
pub(super) fn changes_one_by_one(count: u64) -> Cost {
    on_current_thread(changing(count, async |output| {
        for change in changes(count as usize) {
            output.send(change).await.expect("sent");
        }
    }))
}

/// Publishes and handles the message of the comparisons, 128 at once.
pub(super) fn changes_in_batches(count: u64) -> Cost {
    on_current_thread(changing(count, async |output| output.send_all(changes(count as usize)).await.expect("sent")))
}

/// Measures until everything that is sent is handled.
pub(super) async fn changing(count: u64, send: impl AsyncFnOnce(&Output<Change>)) -> Cost {
    let (app, channels) = met::<Change>(65_536, json!({}), json!({})).await;
    let done = Done::new(count);
    app.handle(channels.input, take::<Change>.with_state(done.clone())).await.expect("a handler");
    app.start().await.expect("it starts");
    app.ready(std::time::Duration::from_secs(5)).await.expect("ready");
    let meter = Meter::start();
    send(&channels.output).await;
    done.wait().await;
    let cost = meter.cost();
    app.shutdown().await.expect("it ends");
    cost
}

/// Sends a message when the one before is handled: the consumer sleeps and is woken for each.
pub(super) fn wake(count: u64) -> Cost {
    on_current_thread(async {
        let (app, channels) = met::<Order>(65_536, json!({}), json!({})).await;
        let handled = Arc::<Notify>::default();
        app.handle(channels.input, tell.with_state(Arc::clone(&handled))).await.expect("a handler");
        app.start().await.expect("it starts");
        app.ready(std::time::Duration::from_secs(5)).await.expect("ready");
        // The future that a runtime is blocked on is no task: each time it is woken, tokio asks the kernel for news.
        let sending = tokio::spawn(async move {
            let meter = Meter::start();
            for _ in 0..count {
                channels.output.send(&ORDER).await.expect("sent");
                handled.notified().await;
            }
            meter.cost()
        });
        let cost = sending.await.expect("no panic");
        app.shutdown().await.expect("it ends");
        cost
    })
}

async fn tell(order: Order, State(handled): State<Arc<Notify>>) {
    std::hint::black_box(order);
    handled.notify_one();
}
