//! The library on a broker: an application that sends and one that receives.

use std::time::Duration;

use binder_core::binder::{BinderContext, SharedBinder};
use binder_core::prelude::*;
use serde_json::{Value, json};

use super::event::Event;
use super::idle;
use super::ours::{GROUP, Receiver, Sender, handle, handle_slowly, put};
use super::protocol::Task;
use super::sink::Sink;

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Binding)]
struct Sending {
    #[output(key = "key")]
    output: Output<Event>,
}

#[derive(Binding)]
struct Receiving {
    #[input]
    input: Input<Event>,
}

/// The library on one broker. What is not set here is as a user gets it.
pub struct Service {
    pub kind: &'static str,
    pub factory: fn(&BinderContext) -> binder_core::Result<SharedBinder>,
    /// Settings of the binder.
    pub binder: Value,
    pub destination: String,
    /// `bindings.output.producer`.
    pub producer: Value,
    /// `bindings.input.consumer`.
    pub consumer: Value,
    /// Sends all with one call.
    pub batch: bool,
    /// How long a handler takes.
    pub pause: Duration,
}

impl Service {
    /// As a task wants it.
    pub fn asked(mut self, task: &Task) -> Self {
        if task.bare {
            ["producer/header-mode=none", "consumer/header-mode=none", "consumer/content-type-from=binding"]
                .into_iter()
                .for_each(|set| put(&mut self.producer, &mut self.consumer, set));
        }
        task.set.iter().for_each(|set| put(&mut self.producer, &mut self.consumer, set));
        self.pause = Duration::from_millis(task.handler);
        self
    }

    fn application(&self, bindings: Value) -> Application {
        let mut binder = self.binder.clone();
        binder["type"] = self.kind.into();
        let config = json!({ "stream": { "binders": { "bench": binder }, "bindings": bindings } });
        let config = Config::builder().yaml(config.to_string()).build().expect("the configuration is right");
        Application::builder().config(config).binder(self.kind, self.factory).build().expect("it builds")
    }

    pub async fn sender(&self) -> Sender {
        let app = self.application(json!({ "output": { "destination": self.destination, "producer": self.producer } }));
        let channels: Sending = app.bind().await.expect("it binds");
        started(&app).await;
        Sender { app, output: channels.output, batch: self.batch }
    }

    pub async fn receiver(&self, sink: Sink) -> Receiver {
        let input = json!({ "destination": self.destination, "group": GROUP, "consumer": self.consumer });
        let app = self.application(json!({ "input": input }));
        let channels: Receiving = app.bind().await.expect("it binds");
        let handling = if self.pause.is_zero() {
            app.handle(channels.input, handle.with_state(sink)).await
        } else {
            app.handle(channels.input, handle_slowly.with_state((sink, self.pause))).await
        };
        handling.expect("a handler");
        started(&app).await;
        Receiver { app }
    }

    /// So many inputs to which nothing comes.
    pub async fn beside(&self, count: usize) -> Receiver {
        let app = self.application(idle::bindings(count, &idle::destination(&self.destination), &self.consumer));
        idle::open(&app).await;
        Receiver { app }
    }
}

async fn started(app: &Application) {
    app.start().await.expect("it starts");
    app.ready(PATIENCE).await.expect("the broker is there");
}
