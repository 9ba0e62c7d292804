//! Whole applications on a broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use binder_core::channel::ProcessorBinding;
use binder_core::config::Config;
use binder_core::prelude::*;
use libtest_mimic::Trial;

use crate::support::{case, unique, until, url};

pub(crate) fn cases(ready: bool) -> Vec<Trial> {
    vec![case("a_long_handler_keeps_its_membership", ready, a_long_handler_keeps_its_membership)]
}

/// An application whose `input` and `output` are one topic; `consumer` is what its input is told beside that.
pub(crate) fn application(topic: &str, consumer: &str) -> Application {
    let broker = url().expect("checked before");
    let text = format!(
        "stream: {{
            bindings: {{
                input: {{ destination: {topic}, group: g, consumer: {{ {consumer} }} }},
                output: {{ destination: {topic} }}
            }},
            binders: {{ kafka: {{ type: kafka, brokers: '{broker}', configuration: {{ fetch.wait.max.ms: 50 }} }} }}
        }}"
    );
    let config = Config::builder().yaml(&text).build().expect("the configuration is right");
    Application::builder().config(config).binder("kafka", binder_kafka::factory()).build().expect("it builds")
}

#[derive(Clone)]
struct Calls(Arc<AtomicU32>);

async fn slowly(_: String, State(calls): State<Calls>) {
    calls.0.fetch_add(1, SeqCst);
    // longer than `max.poll.interval.ms`: the time itself is what this is about
    tokio::time::sleep(Duration::from_secs(9)).await;
}

async fn a_long_handler_keeps_its_membership() {
    let (topic, calls) = (unique("long"), Calls(Arc::default()));
    let limits = "max.poll.interval.ms: 3000, session.timeout.ms: 3000, heartbeat.interval.ms: 300";
    let consumer = format!("kafka: {{ configuration: {{ {limits} }} }}");
    let app = application(&topic, &consumer);
    let channels = app.bind::<ProcessorBinding<String, String>>().await.unwrap();
    app.handle(channels.input, slowly.with_state(calls.clone())).await.unwrap();
    app.start().await.unwrap();
    app.ready(Duration::from_secs(30)).await.unwrap();
    channels.output.send(&"a".to_owned()).await.unwrap();
    until("the handler runs", async || calls.0.load(SeqCst) == 1).await;
    until("it is settled", async || crate::support::committed(&topic, "g", 0).await == Some(1)).await;
    assert_eq!(calls.0.load(SeqCst), 1, "handled once");
    app.shutdown().await.unwrap();
}
