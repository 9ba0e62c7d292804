//! Inputs to which nothing comes.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use binder_core::binding::{Declare, Open};
use binder_core::prelude::*;
use serde_json::{Map, Value, json};

use super::event::Event;

const PATIENCE: Duration = Duration::from_secs(120);

/// How many there are. A process measures once.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// The group that reads nothing with input `number`.
pub fn group(number: usize) -> String {
    format!("idle-{number}")
}

/// The destination to which nobody sends.
#[cfg(any(feature = "kafka", feature = "rabbit"))]
pub fn destination(busy: &str) -> String {
    format!("{busy}-idle")
}

/// The configuration of so many inputs.
pub fn bindings(count: usize, destination: &str, consumer: &Value) -> Value {
    COUNT.store(count, Relaxed);
    let input = |number| json!({ "destination": destination, "group": group(number), "consumer": consumer });
    Value::Object((0..count).map(|number| (group(number), input(number))).collect::<Map<_, _>>())
}

struct Inputs(Vec<Input<Event>>);

impl Binding for Inputs {
    fn declare(channels: &mut Declare) {
        (0..COUNT.load(Relaxed)).for_each(|number| channels.input(&group(number)));
    }

    fn open(channels: &mut Open<'_>) -> binder_core::Result<Self> {
        (0..COUNT.load(Relaxed)).map(|number| channels.input(&group(number))).collect::<Result<_, _>>().map(Self)
    }
}

/// Opens the inputs that [`bindings`] has configured, and waits until all are there.
pub async fn open(app: &Application) {
    let inputs: Inputs = app.bind().await.expect("it binds");
    for input in inputs.0 {
        app.handle(input, ignore).await.expect("a handler");
    }
    app.start().await.expect("it starts");
    app.ready(PATIENCE).await.expect("all are there");
}

async fn ignore(_: Event) {}
