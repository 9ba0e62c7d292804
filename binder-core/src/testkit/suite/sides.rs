//! The two ends of a case: an application that sends, an application that receives.

use std::ops::{Deref, Range};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::log::{Act, Log, act, record};
use super::world::{World, merge};
use crate::channel::{SinkBinding, SourceBinding};
use crate::handler::HandlerExt;
use crate::message::Message;
use crate::{Application, Error, Input, Output, Result};

/// How long bindings may take to be ready.
const READY: Duration = Duration::from_secs(60);

/// An input that is put together.
pub(super) struct SinkDraft {
    world: World,
    stream: Value,
    act: Act,
}

/// An application whose input is handled.
pub(super) struct Sink {
    pub(super) app: Application,
    log: Log,
    world: World,
}

impl SinkDraft {
    pub(super) fn new(world: World, group: Option<&str>) -> Self {
        let mut consumer = json!({ "backoff": { "initial": "20ms", "max": "100ms" } });
        if !is_empty(&world.harness().consumer) {
            consumer[world.harness().type_name] = world.harness().consumer.clone();
        }
        let mut input = json!({ "destination": world.destination(), "consumer": consumer });
        if let Some(group) = group {
            input["group"] = json!(group);
        }
        let stream = json!({ "bindings": { "input": input } });
        Self { world, stream, act: act(|_| async { Ok(()) }) }
    }

    /// Adds settings of the binding.
    pub(super) fn binding(mut self, settings: Value) -> Self {
        merge(&mut self.stream["bindings"]["input"], settings);
        self
    }

    /// Adds settings of the consumer.
    pub(super) fn consumer(self, settings: Value) -> Self {
        self.binding(json!({ "consumer": settings }))
    }

    pub(super) fn destination(self, name: &str) -> Self {
        self.binding(json!({ "destination": name }))
    }

    pub(super) fn without_dead_letters(self) -> Self {
        self.consumer(json!({ "dead-letters": false, "on-exhausted": "stop" }))
    }

    /// Adds settings of the application.
    pub(super) fn stream(mut self, settings: Value) -> Self {
        merge(&mut self.stream, settings);
        self
    }

    /// Sets what the handler does.
    pub(super) fn act(mut self, act: Act) -> Self {
        self.act = act;
        self
    }

    /// Binds and starts; does not wait until the binding works.
    pub(super) async fn start(self) -> Sink {
        let Self { world, stream, act } = self;
        let app = world.application(stream);
        let log = Log::new(act);
        let input = app.bind::<SinkBinding<Bytes>>().await.expect("the input is bound").input;
        app.handle(input, record.with_state(log.clone())).await.expect("the input is handled");
        app.start().await.expect("the application starts");
        Sink { app, log, world }
    }

    /// Binds, starts and waits until the binding works.
    pub(super) async fn open(self) -> Sink {
        let sink = self.start().await;
        sink.ready().await;
        sink
    }

    /// Binds an input that is pulled from.
    pub(super) async fn pull(self) -> (Application, Input<Bytes>) {
        let app = self.world.application(self.stream);
        let input = app.bind::<SinkBinding<Bytes>>().await.expect("the input is bound").input;
        (app, input)
    }

    /// Returns world and settings for a case that binds by itself.
    pub(super) fn application(self) -> Application {
        self.world.application(self.stream)
    }
}

impl Deref for Sink {
    type Target = Log;

    fn deref(&self) -> &Log {
        &self.log
    }
}

impl Sink {
    pub(super) async fn ready(&self) {
        let ready = self.world.wait("the input is ready", self.app.ready(READY)).await;
        ready.unwrap_or_else(|error| panic!("the input is not ready: {error:?}"));
    }

    /// Waits until all these are handled with success.
    pub(super) async fn handles(&self, ids: Range<u64>) {
        let what = format!("{ids:?} are handled");
        self.world.until(&self.log, what, |log| log.has_done(ids.clone())).await;
    }

    /// Waits for so many deliveries.
    pub(super) async fn sees(&self, count: usize) {
        self.world.until(&self.log, format!("{count} deliveries come"), |log| log.len() >= count).await;
    }

    pub(super) async fn until(&self, what: &str, holds: impl Fn(&Log) -> bool + Send + Sync) {
        self.world.until(&self.log, what, holds).await;
    }

    /// Looks on that nothing more comes.
    pub(super) async fn stays_at(&self, count: usize) {
        self.world.look_on().await;
        assert_eq!(self.log.len(), count, "nothing more was to come; {}", self.log.summary());
    }

    /// Drains and ends.
    pub(super) async fn stop(&self) {
        let stopped = self.world.wait("the application of the input ends", self.app.shutdown()).await;
        stopped.expect("the application ends");
    }

    /// Ends as `kill -9` does.
    pub(super) fn kill(&self) {
        self.app.abort();
    }
}

/// An output that is put together.
pub(super) struct SourceDraft {
    world: World,
    stream: Value,
}

/// An application with an output.
pub(super) struct Source {
    pub(super) app: Application,
    pub(super) output: Output<Bytes>,
    world: World,
}

impl SourceDraft {
    pub(super) fn new(world: World) -> Self {
        let mut output = json!({ "destination": world.destination(), "producer": {} });
        if !is_empty(&world.harness().producer) {
            output["producer"][world.harness().type_name] = world.harness().producer.clone();
        }
        let stream = json!({ "bindings": { "output": output } });
        Self { world, stream }
    }

    pub(super) fn destination(mut self, name: &str) -> Self {
        self.stream["bindings"]["output"]["destination"] = json!(name);
        self
    }

    /// Adds settings of the producer.
    pub(super) fn producer(mut self, settings: Value) -> Self {
        merge(&mut self.stream["bindings"]["output"]["producer"], settings);
        self
    }

    pub(super) fn partitions(self, count: u32) -> Self {
        self.producer(json!({ "partition-count": count }))
    }

    /// Makes sure that these groups get what is sent before they come.
    pub(super) fn for_groups(self, groups: &[&str]) -> Self {
        let groups: Vec<_> = groups.iter().map(|group| self.world.group(group)).collect();
        self.producer(json!({ "required-groups": groups }))
    }

    /// Binds and starts; does not wait until the binding works.
    pub(super) async fn start(self) -> Source {
        let app = self.world.application(self.stream);
        let output = app.bind::<SourceBinding<Bytes>>().await.expect("the output is bound").output;
        app.start().await.expect("the application starts");
        Source { app, output, world: self.world }
    }

    pub(super) async fn open(self) -> Source {
        let source = self.start().await;
        let ready = source.world.wait("the output is ready", source.app.ready(READY)).await;
        ready.unwrap_or_else(|error| panic!("the output is not ready: {error:?}"));
        source
    }
}

/// A number as a payload.
pub(super) fn number(id: u64) -> Bytes {
    Bytes::from(id.to_string())
}

impl Source {
    /// Sends one number.
    pub(super) async fn send(&self, id: u64) {
        let sent = self.world.wait(format!("{id} is sent"), self.try_send(id)).await;
        sent.unwrap_or_else(|error| panic!("{id} was not sent: {error:?}"));
    }

    pub(super) async fn try_send(&self, id: u64) -> Result<()> {
        self.output.send(&number(id)).await
    }

    /// Sends numbers, many at once and in order.
    pub(super) async fn send_many(&self, ids: Range<u64>) {
        let messages = ids.clone().map(|id| Message::new(number(id)));
        self.send_all(format!("{ids:?} are sent"), messages.collect()).await;
    }

    /// Sends numbers, each with its key.
    pub(super) async fn send_keyed(&self, ids: Range<u64>, key: fn(u64) -> String) {
        let messages = ids.clone().map(|id| Message::new(number(id)).with_key(key(id)));
        self.send_all(format!("{ids:?} are sent"), messages.collect()).await;
    }

    async fn send_all(&self, what: String, messages: Vec<Message<Bytes>>) {
        let sent = self.world.wait(what, self.output.send_all_messages(messages)).await;
        sent.map_err(Error::from).unwrap_or_else(|error| panic!("not all was sent: {error:?}"));
    }

    /// Sends one message.
    pub(super) async fn message(&self, message: Message<Bytes>) {
        let sent = self.world.wait("a message is sent", self.output.send_message(message)).await;
        sent.unwrap_or_else(|error| panic!("a message was not sent: {error:?}"));
    }

    pub(super) async fn stop(&self) {
        let stopped = self.world.wait("the application of the output ends", self.app.shutdown()).await;
        stopped.expect("the application ends");
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_none_or(serde_json::Map::is_empty)
}
