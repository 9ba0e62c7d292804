//! Partitions by Spring's formula, against what a Spring Cloud Stream 5.0.2 application chose on Kafka and RabbitMQ.

use std::time::Duration;

use binder_core::channel::SourceBinding;
use binder_core::config::Config;
use binder_core::memory::MemoryBinder;
use binder_core::message::HeaderValue;
use binder_core::prelude::*;
use serde_json::Value;

/// A key of the given Java type, and its partition of 3, 4 and 7.
#[derive(Deserialize)]
struct Chosen {
    r#type: String,
    key: Value,
    p3: u32,
    p4: u32,
    p7: u32,
}

fn chosen() -> Vec<Chosen> {
    serde_json::from_str(include_str!("fixtures/java-partitions.json")).expect("the fixture is JSON")
}

/// Serializes as the bytes of a UUID, as the crate `uuid` does.
struct Uuid([u8; 16]);

impl Serialize for Uuid {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl Uuid {
    fn parse(text: &str) -> Self {
        let digits = text.replace('-', "");
        Self(u128::from_str_radix(&digits, 16).expect("hexadecimal digits").to_be_bytes())
    }
}

async fn output(count: u32, producer: &str) -> (MemoryBinder, Application, Output<Value>) {
    let text = format!(
        "stream: {{ bindings: {{ output: {{ destination: orders, producer: {{ partition-count: {count}, {producer} }} }} }} }}"
    );
    let config = Config::builder().yaml(&text).build().expect("the configuration is right");
    let memory = MemoryBinder::new();
    let app = Application::builder().config(config).binder("memory", memory.clone()).build().expect("it builds");
    let channels = app.bind::<SourceBinding<Value>>().await.expect("it binds");
    app.start().await.expect("it starts");
    app.ready(Duration::from_secs(5)).await.expect("ready");
    (memory, app, channels.output)
}

/// Sees where the next message lands.
struct Watch<'a> {
    memory: &'a MemoryBinder,
    seen: Vec<u32>,
}

impl<'a> Watch<'a> {
    fn new(memory: &'a MemoryBinder) -> Self {
        Self { memory, seen: Vec::new() }
    }

    /// Returns the partition of the one message that came since the last call.
    fn landed(&mut self) -> u32 {
        let all = self.memory.messages("orders");
        let now: Vec<_> = all.iter().map(|message| message.partition().expect("it has one")).collect();
        let new = now.iter().find(|p| count(&now, **p) > count(&self.seen, **p)).copied();
        assert_eq!(now.len(), self.seen.len() + 1);
        self.seen = now;
        new.expect("a new message")
    }
}

fn count(partitions: &[u32], wanted: u32) -> usize {
    partitions.iter().filter(|partition| **partition == wanted).count()
}

async fn send(output: &Output<Value>, chosen: &Chosen) -> binder_core::Result<()> {
    let payload = Value::Null;
    let draft = output.message(&payload);
    let integer = || chosen.key.as_i64().expect("an integer");
    let number = || chosen.key.as_f64().expect("a number");
    let text = || chosen.key.as_str().expect("text");
    let draft = match chosen.r#type.as_str() {
        "string" => draft.partition_key(text()),
        "int" => draft.partition_key(&i32::try_from(integer()).expect("an int")),
        "short" => draft.partition_key(&i16::try_from(integer()).expect("a short")),
        "byte" => draft.partition_key(&i8::try_from(integer()).expect("a byte")),
        "long" => draft.partition_key(&integer()),
        "bool" => draft.partition_key(&chosen.key.as_bool().expect("a boolean")),
        "double" => draft.partition_key(&number()),
        "float" => draft.partition_key(&(number() as f32)),
        "char" => draft.partition_key(&text().chars().next().expect("a character")),
        "uuid" => draft.partition_key(&Uuid::parse(text())),
        "list" => {
            let elements = chosen.key.as_array().expect("a list");
            if elements.is_empty() { draft.partition_key(&[0_i32; 0][..]) } else { draft.partition_key(&("a", 1_i32)) }
        }
        other => panic!("a type that is not known: {other}"),
    };
    draft.send().await
}

#[tokio::test]
async fn partitions_are_those_that_spring_chooses() {
    let all = chosen();
    assert_eq!(all.len(), 268, "the fixture is whole");
    for (count, expected) in [(3, (|c| c.p3) as fn(&Chosen) -> u32), (4, |c| c.p4), (7, |c| c.p7)] {
        let (memory, _app, output) = output(count, "").await;
        let mut watch = Watch::new(&memory);
        for one in &all {
            send(&output, one).await.expect("sent");
            assert_eq!(watch.landed(), expected(one), "{} {} of {count}", one.r#type, one.key);
        }
    }
}

#[tokio::test]
async fn the_configuration_names_the_key() {
    let (memory, _app, by_payload) = output(7, "partition-key: payload.org.id").await;
    let mut watch = Watch::new(&memory);
    by_payload.send(&serde_json::json!({ "org": { "id": "org-1" } })).await.expect("sent");
    assert_eq!(watch.landed(), 6, "as the fixture says of `org-1`");
    by_payload.send_all([serde_json::json!({ "org": { "id": "日本語" } })]).await.expect("sent");
    assert_eq!(watch.landed(), 5);

    let (memory, _app, by_header) = output(7, "partition-key: header.pk").await;
    let mut watch = Watch::new(&memory);
    by_header.message(&Value::Null).header("pk", "org-1").send().await.expect("sent");
    assert_eq!(watch.landed(), 6);
    by_header.message(&Value::Null).header("pk", HeaderValue::Bool(false)).send().await.expect("sent");
    assert_eq!(watch.landed(), 5);

    let (memory, _app, by_key) = output(7, "partition-key: key").await;
    let mut watch = Watch::new(&memory);
    by_key.message(&Value::Null).key("org-1").send().await.expect("sent");
    assert_eq!(watch.landed(), 6);
}

#[tokio::test]
async fn an_explicit_partition_wins_and_then_a_key_in_code() {
    let (memory, _app, output) = output(7, "partition-key: header.pk").await;
    let mut watch = Watch::new(&memory);
    let payload = Value::Null;
    output.message(&payload).header("pk", "org-1").partition_key("Key").send().await.expect("sent");
    assert_eq!(watch.landed(), 0);
    output.message(&payload).header("pk", "org-1").partition_key("Key").partition(3).send().await.expect("sent");
    assert_eq!(watch.landed(), 3);
}

#[tokio::test]
async fn a_message_without_its_key_is_refused_with_the_name_of_the_key() {
    for (producer, payload) in [("partition-key: payload.id", Value::Null), ("partition-key: header.pk", Value::Null)] {
        let (memory, _app, output) = output(3, producer).await;
        let error = output.send(&payload).await.expect_err("no key");
        assert_eq!(error.kind(), ErrorKind::Codec);
        let key = producer.rsplit(' ').next().expect("a key");
        assert!(error.message().contains(&format!("no partition key (`{key}`)")), "{error}");
        let all = output.send_all([payload]).await.expect_err("no key");
        assert!(all.to_string().contains(key), "{all}");
        assert!(memory.messages("orders").is_empty());
    }
}
