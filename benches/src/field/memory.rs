//! Memory: the library, and a channel of tokio that carries encoded messages.

use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use binder_core::prelude::*;
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::event::{Event, Source};
use super::idle;
use super::ours::{GROUP, Receiver, Sender, handle, handle_slowly, put};
use super::player::{Consumer, Player, Producer, WINDOW};
use super::protocol::{Case, Task};
use super::sink::Sink;

/// What the library keeps for who is behind, where somebody reads along.
const KEPT: usize = 65_536;

/// How many messages must have a place.
fn room(task: &Task, enough: usize) -> usize {
    match task.case {
        Case::Publish | Case::Consume | Case::Hold => task.messages + WINDOW + 1,
        Case::Both | Case::Latency | Case::First => enough,
    }
}

#[derive(Binding)]
struct Channels {
    #[output(key = "key")]
    output: Output<Event>,
    #[input]
    input: Input<Event>,
}

/// The library. Both sides are of one application, since all is gone with it.
pub struct Ours {
    retention: usize,
    batch: bool,
    consumer: Value,
    pause: Duration,
    app: OnceLock<Application>,
    output: OnceLock<Output<Event>>,
    input: Mutex<Option<Input<Event>>>,
}

impl Ours {
    pub fn new(task: &Task, batch: bool) -> Self {
        let (app, output, input) = (OnceLock::new(), OnceLock::new(), Mutex::new(None));
        let (mut producer, mut consumer) = (json!({}), json!({}));
        task.set.iter().for_each(|set| put(&mut producer, &mut consumer, set));
        let pause = Duration::from_millis(task.handler);
        Self { retention: room(task, KEPT), batch, consumer, pause, app, output, input }
    }

    fn application(&self, bindings: Value) -> Application {
        let config = json!({ "stream": {
            "binders": { "memory": { "type": "memory", "retention": self.retention } },
            "bindings": bindings,
        } });
        let config = Config::builder().yaml(config.to_string()).build().expect("the configuration is right");
        Application::builder().config(config).build().expect("it builds")
    }

    fn app(&self) -> &Application {
        self.app.get().expect("it is prepared")
    }
}

impl Player for Ours {
    type Producer = Kept;
    type Consumer = ();
    type Beside = Receiver;

    fn keeps(&self) -> bool {
        false
    }

    async fn prepare(&self) {
        let app = self.application(json!({
            "output": { "destination": "events" },
            "input": { "destination": "events", "group": GROUP, "consumer": self.consumer },
        }));
        let channels: Channels = app.bind().await.expect("it binds");
        app.start().await.expect("it starts");
        self.app.get_or_init(|| app);
        self.output.get_or_init(|| channels.output);
        *self.input.lock().expect("nobody panics with it") = Some(channels.input);
    }

    async fn producer(&self) -> Kept {
        let output = self.output.get().expect("it is prepared").clone();
        Kept(Sender { app: self.app().clone(), output, batch: self.batch })
    }

    async fn consumer(&self, sink: Sink) {
        let input = self.input.lock().expect("nobody panics with it").take().expect("one consumer");
        // what is handled later starts by itself
        let handling = if self.pause.is_zero() {
            self.app().handle(input, handle.with_state(sink)).await
        } else {
            self.app().handle(input, handle_slowly.with_state((sink, self.pause))).await
        };
        handling.expect("a handler");
    }

    async fn beside(&self, count: usize) -> Receiver {
        let app = self.application(idle::bindings(count, "idle", &self.consumer));
        idle::open(&app).await;
        Receiver { app }
    }

    async fn remove(&self) {
        self.app().shutdown().await.expect("it ends");
    }
}

/// A sender whose application goes on when it is closed.
pub struct Kept(Sender);

impl Producer for Kept {
    async fn send(&mut self, source: Source) {
        self.0.send(source).await;
    }

    async fn close(self) {}
}

impl Consumer for () {
    async fn close(self) {}
}

/// A channel of tokio. Nothing is kept, confirmed or settled.
pub struct Raw {
    to: mpsc::Sender<Vec<u8>>,
    from: Mutex<Option<mpsc::Receiver<Vec<u8>>>>,
    /// How many messages are taken at once.
    run: usize,
}

impl Raw {
    pub fn new(task: &Task, tuned: bool) -> Self {
        let (enough, run) = if tuned { (KEPT, 128) } else { (WINDOW, 1) };
        let (to, from) = mpsc::channel(room(task, enough));
        Self { to, from: Mutex::new(Some(from)), run }
    }
}

impl Player for Raw {
    type Producer = RawProducer;
    type Consumer = RawConsumer;
    type Beside = ();

    fn cannot(&self, task: &Task) -> Option<&'static str> {
        (task.beside > 0).then_some("a channel has no client of which there could be many")
    }

    fn keeps(&self) -> bool {
        false
    }

    async fn prepare(&self) {}

    async fn producer(&self) -> RawProducer {
        RawProducer { to: self.to.clone() }
    }

    async fn consumer(&self, sink: Sink) -> RawConsumer {
        let mut from = self.from.lock().expect("nobody panics with it").take().expect("one consumer");
        let run = self.run;
        RawConsumer(tokio::spawn(async move {
            let mut taken = Vec::with_capacity(run);
            while from.recv_many(&mut taken, run).await > 0 {
                for bytes in taken.drain(..) {
                    let event: Event = serde_json::from_slice(&bytes).expect("JSON");
                    if sink.take(event) {
                        return;
                    }
                }
            }
        }))
    }

    async fn beside(&self, _: usize) {}

    async fn remove(&self) {}
}

pub struct RawProducer {
    to: mpsc::Sender<Vec<u8>>,
}

impl Producer for RawProducer {
    async fn send(&mut self, mut source: Source) {
        while let Some(event) = source.next().await {
            let bytes = serde_json::to_vec(&*event).expect("it is JSON");
            self.to.send(bytes).await.expect("somebody receives");
        }
    }

    async fn close(self) {}
}

pub struct RawConsumer(JoinHandle<()>);

impl Consumer for RawConsumer {
    async fn close(self) {
        self.0.await.expect("no panic");
    }
}
