//! Inputs that are sent to another position while they run, on the memory binder.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use binder_core::channel::ProcessorBinding;
use binder_core::config::Config;
use binder_core::memory::MemoryBinder;
use binder_core::message::Message;
use binder_core::prelude::*;
use binder_core::{BindingState, SeekTo};
use tokio::sync::Semaphore;

/// What handlers were given, and permits without which they do not end.
#[derive(Clone)]
struct Desk {
    started: Arc<Mutex<Vec<String>>>,
    permits: Arc<Semaphore>,
}

impl Desk {
    fn new(permits: usize) -> Self {
        Self { started: Arc::default(), permits: Arc::new(Semaphore::new(permits)) }
    }

    fn started(&self) -> Vec<String> {
        self.started.lock().expect("no panic").clone()
    }

    async fn until(&self, expected: &[&str]) {
        let waited = tokio::time::timeout(Duration::from_secs(60), async {
            while self.started().len() < expected.len() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        let _ = waited.await;
        assert_eq!(self.started(), expected);
    }
}

async fn handle(text: String, State(desk): State<Desk>) -> Result<(), std::io::Error> {
    desk.started.lock().expect("no panic").push(text.clone());
    desk.permits.acquire().await.expect("open").forget();
    if text == "bad" { Err(std::io::Error::other("no stock")) } else { Ok(()) }
}

async fn collect(batch: Batch<String>, State(desk): State<Desk>) {
    let texts = batch.into_iter().filter_map(|message| message.payload().cloned());
    desk.started.lock().expect("no panic").extend(texts);
}

fn application(memory: &MemoryBinder) -> Application {
    let text = "stream: { bindings: { input: { destination: orders, group: g } } }";
    let config = Config::builder().yaml(text).build().expect("the configuration is right");
    Application::builder().config(config).binder("memory", memory.clone()).build().expect("it builds")
}

fn publish(memory: &MemoryBinder, texts: &[&str]) {
    for text in texts {
        memory.publish("orders", Message::new(*text)).expect("there is room");
    }
}

async fn started(memory: &MemoryBinder, desk: &Desk) -> Application {
    let app = application(memory);
    let channels = app.bind::<ProcessorBinding<String, String>>().await.expect("it binds");
    app.handle(channels.input, handle.with_state(desk.clone())).await.expect("a handler");
    app.start().await.expect("it starts");
    app.ready(Duration::from_secs(5)).await.expect("ready");
    app
}

#[tokio::test(start_paused = true)]
async fn what_was_received_and_not_started_is_dropped() {
    let (memory, desk) = (MemoryBinder::new(), Desk::new(0));
    let app = started(&memory, &desk).await;
    publish(&memory, &["a", "b", "c", "d"]);
    desk.until(&["a"]).await;
    app.control("input").expect("known").seek(SeekTo::Offset(3)).await.expect("it seeks");
    desk.permits.add_permits(100);
    desk.until(&["a", "d"]).await;
    memory.idle().await;
    assert_eq!(desk.started(), ["a", "d"]);
}

#[tokio::test(start_paused = true)]
async fn a_handler_from_before_is_not_tried_again() {
    let (memory, desk) = (MemoryBinder::new(), Desk::new(0));
    let app = started(&memory, &desk).await;
    publish(&memory, &["bad", "b"]);
    desk.until(&["bad"]).await;
    app.control("input").expect("known").seek(SeekTo::Offset(1)).await.expect("it seeks");
    desk.permits.add_permits(100);
    desk.until(&["bad", "b"]).await;
    // longer than all attempts of the first would take
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(desk.started(), ["bad", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_handler_from_before_settles_nothing() {
    let (memory, desk) = (MemoryBinder::new(), Desk::new(0));
    let app = started(&memory, &desk).await;
    publish(&memory, &["a"]);
    desk.until(&["a"]).await;
    app.control("input").expect("known").seek(SeekTo::Beginning).await.expect("it seeks");
    desk.permits.add_permits(1);
    desk.until(&["a", "a"]).await;
    app.abort();
    let again = Desk::new(100);
    let _app = started(&memory, &again).await;
    again.until(&["a"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_input_seeks() {
    let (memory, desk) = (MemoryBinder::new(), Desk::new(100));
    let app = started(&memory, &desk).await;
    publish(&memory, &["a", "b"]);
    desk.until(&["a", "b"]).await;
    let control = app.control("input").expect("known");
    control.pause();
    while control.state() != BindingState::Paused {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    control.seek(SeekTo::Offset(1)).await.expect("it seeks");
    assert_eq!(desk.started(), ["a", "b"]);
    control.resume();
    desk.until(&["a", "b", "b"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_seek_before_the_start_is_kept() {
    let (memory, desk) = (MemoryBinder::new(), Desk::new(100));
    publish(&memory, &["a", "b"]);
    let app = application(&memory);
    let channels = app.bind::<ProcessorBinding<String, String>>().await.expect("it binds");
    app.handle(channels.input, handle.with_state(desk.clone())).await.expect("a handler");
    app.control("input").expect("known").seek(SeekTo::Offset(1)).await.expect("it is kept");
    app.start().await.expect("it starts");
    desk.until(&["b"]).await;
}

#[tokio::test(start_paused = true)]
async fn batches_are_sought_too() {
    let (memory, desk) = (MemoryBinder::new(), Desk::new(0));
    publish(&memory, &["a", "b"]);
    let app = application(&memory);
    let channels = app.bind::<ProcessorBinding<String, String>>().await.expect("it binds");
    app.handle_batch(channels.input, collect.with_state(desk.clone())).await.expect("a handler");
    app.start().await.expect("it starts");
    desk.until(&["a", "b"]).await;
    app.control("input").expect("known").seek(SeekTo::Offset(1)).await.expect("it seeks");
    desk.until(&["a", "b", "b"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_seek_of_a_binding_that_has_stopped_for_good_fails() {
    let memory = MemoryBinder::new();
    let text = "stream: { bindings: { input: { destination: orders, group: g, \
                consumer: { dead-letters: false, on-exhausted: stop, max-attempts: 1 } } } }";
    let config = Config::builder().yaml(text).build().expect("the configuration is right");
    let app = Application::builder().config(config).binder("memory", memory.clone()).build().expect("it builds");
    let channels = app.bind::<ProcessorBinding<String, String>>().await.expect("it binds");
    app.handle(channels.input, handle.with_state(Desk::new(1))).await.expect("a handler");
    app.start().await.expect("it starts");
    publish(&memory, &["bad"]);
    let control = app.control("input").expect("known");
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !matches!(control.state(), BindingState::Stopped(_)) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    waited.await.expect("it stops");
    control.seek(SeekTo::Beginning).await.expect_err("it has stopped");
}
