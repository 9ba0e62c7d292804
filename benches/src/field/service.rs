//! The library on a broker: an application that sends and one that receives.

use std::time::Duration;

use binder_core::binder::{BinderContext, SharedBinder};
use binder_core::prelude::*;
use serde_json::{Value, json};

use super::event::Event;
use super::ours::{GROUP, Sender, handle};
use super::player::Consumer;
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
}

impl Service {
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
        app.handle(channels.input, handle.with_state(sink)).await.expect("a handler");
        started(&app).await;
        Receiver { app }
    }
}

async fn started(app: &Application) {
    app.start().await.expect("it starts");
    app.ready(PATIENCE).await.expect("the broker is there");
}

pub struct Receiver {
    app: Application,
}

impl Consumer for Receiver {
    async fn close(self) {
        self.app.shutdown().await.expect("it ends");
    }
}
