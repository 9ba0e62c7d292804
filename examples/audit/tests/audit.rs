//! What the audit service logs.

#![allow(clippy::unwrap_used, reason = "helpers of tests are not in a test function")]

use std::time::Duration;

use binder_core::memory::MemoryBinder;
use binder_core::prelude::{Config, Message};
use example_service::Binders;
use serde_json::{Value, json};

fn event(number: i32) -> Value {
    json!({"action": "UPDATE", "organizationId": "x", "correlationId": number.to_string()})
}

#[tokio::test]
async fn every_event_from_the_first_on_is_logged_in_order() {
    let broker = MemoryBinder::new();
    let send = |number| broker.publish("orgChangeTopic", Message::new(event(number).to_string())).unwrap();
    (0..3).for_each(send);
    let config = Config::builder().yaml(include_str!("../stream.yaml")).build().unwrap();
    let binders = Binders::new().with("memory", broker.clone());
    let service = audit::start(audit::Settings { common: Default::default(), port: 0 }, config, binders).await.unwrap();
    service.application().ready(Duration::from_secs(10)).await.unwrap();
    send(3);
    tokio::time::timeout(Duration::from_secs(10), broker.idle()).await.unwrap();
    let url = format!("http://{}/events", service.address());
    let logged: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    assert_eq!(logged, json!({"count": 4, "events": [event(0), event(1), event(2), event(3)]}));
    service.stop().await.unwrap();
}
