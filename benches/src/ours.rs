//! The library's side of a comparison, as a service would write it.

use std::collections::VecDeque;
use std::time::Duration;

use binder_core::binder::{BinderContext, Outgoing, ProducerBinding, SharedBinder, TrySend};
use binder_core::config::Section;
use binder_core::message::ContentType;
use binder_core::prelude::*;
use futures::StreamExt;
use futures::stream;
use serde_json::{Value, json};

use crate::WINDOW;
use crate::change::{Change, changes};
use crate::measure::{Cost, Meter};
use crate::tally::Tally;

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Binding)]
struct Sending {
    #[output(key = "organization_id")]
    output: Output<Change>,
}

#[derive(Binding)]
struct Receiving {
    #[input]
    input: Input<Change>,
}

/// The library on one broker. What is not set here is as a user gets it.
pub struct Ours {
    pub kind: &'static str,
    pub factory: fn(&BinderContext) -> binder_core::Result<SharedBinder>,
    /// Settings of the binder.
    pub binder: Value,
    /// `bindings.output.producer`.
    pub producer: Value,
    /// `bindings.input.consumer`.
    pub consumer: Value,
}

impl Ours {
    /// Makes an application with these bindings.
    pub fn application(&self, bindings: Value) -> Application {
        let mut binder = self.binder.clone();
        binder["type"] = self.kind.into();
        let config = json!({ "stream": { "binders": { "bench": binder }, "bindings": bindings } });
        let config = Config::builder().yaml(config.to_string()).build().expect("the configuration is right");
        Application::builder().config(config).binder(self.kind, self.factory).build().expect("it builds")
    }

    async fn sending(&self, destination: &str) -> (Application, Output<Change>) {
        let app = self.application(json!({ "output": { "destination": destination, "producer": self.producer } }));
        let channels: Sending = app.bind().await.expect("it binds");
        started(&app).await;
        (app, channels.output)
    }

    /// Sends one by one: so many futures at once as the window holds.
    pub async fn publish_each(&self, destination: &str, count: usize) -> Cost {
        let (app, output) = self.sending(destination).await;
        send_each(&output, WINDOW).await;
        let meter = Meter::start();
        send_each(&output, count).await;
        let cost = meter.cost();
        app.shutdown().await.expect("it ends");
        cost
    }

    /// Sends all with one call, which makes batches of 128 of it.
    pub async fn publish_all(&self, destination: &str, count: usize) -> Cost {
        let (app, output) = self.sending(destination).await;
        output.send_all(changes(WINDOW)).await.expect("sent");
        let meter = Meter::start();
        output.send_all(changes(count)).await.expect("sent");
        let cost = meter.cost();
        app.shutdown().await.expect("it ends");
        cost
    }

    /// Sends one by one through the binder without the core: receipts are awaited in order.
    pub async fn publish_alone(&self, destination: &str, count: usize) -> Cost {
        let section = Section::new("binders.bench", self.binder.clone());
        let binder = (self.factory)(&BinderContext::new("bench", section)).expect("a binder");
        let producer = binder.bind_producer(&ProducerBinding::new(destination)).await.expect("a producer");
        let (headers, mut bytes, mut waiting) = (Headers::new(), Vec::new(), VecDeque::with_capacity(WINDOW));
        let mut meter = Meter::start();
        for (number, change) in changes(WINDOW + count).enumerate() {
            if number == WINDOW {
                producer.flush().await.expect("confirmed");
                meter = Meter::start();
            }
            bytes.clear();
            serde_json::to_writer(&mut bytes, change).expect("it is JSON");
            let message = Outgoing {
                payload: Some(&bytes),
                key: Some(change.organization_id.as_bytes()),
                content_type: &ContentType::JSON,
                headers: &headers,
                partition: None,
            };
            let receipt = loop {
                match producer.try_send(message).expect("taken") {
                    TrySend::Sent(receipt) => break receipt,
                    TrySend::Full => match waiting.pop_front() {
                        Some(receipt) => confirmed(receipt).await,
                        None => std::future::poll_fn(|context| producer.poll_ready(context)).await.expect("room"),
                    },
                }
            };
            waiting.push_back(receipt);
        }
        for receipt in waiting {
            confirmed(receipt).await;
        }
        let cost = meter.cost();
        producer.close().await.expect("closed");
        binder.close().await.expect("closed");
        cost
    }

    /// Handles what is there: decodes it, by the content type of its header.
    pub async fn consume(&self, destination: &str, group: &str, count: usize) -> Cost {
        let input = json!({ "destination": destination, "group": group, "consumer": self.consumer });
        let app = self.application(json!({ "input": input }));
        let channels: Receiving = app.bind().await.expect("it binds");
        let tally = Tally::new(count);
        app.handle(channels.input, handle.with_state(tally.clone())).await.expect("a handler");
        started(&app).await;
        let cost = tally.cost().await;
        app.shutdown().await.expect("it ends");
        cost
    }
}

async fn started(app: &Application) {
    app.start().await.expect("it starts");
    app.ready(PATIENCE).await.expect("the broker is there");
}

async fn send_each(output: &Output<Change>, count: usize) {
    let sends = stream::iter(changes(count)).map(|change| output.send(change));
    sends.buffer_unordered(WINDOW).for_each(async |sent| sent.expect("sent")).await;
}

async fn confirmed(receipt: binder_core::binder::Receipt<'_>) {
    receipt.await.expect("confirmed");
}

async fn handle(change: Change, State(tally): State<Tally>) {
    tally.take(change);
}
