//! The service on memory, a stand-in for the organization service, and the broker.

#![allow(dead_code, reason = "each test program uses a part")]

pub(crate) mod stub;

use std::time::Duration;

use binder_core::memory::MemoryBinder;
use binder_core::prelude::{Config, Message};
use example_service::{Binders, Running};
use licensing::Settings;
use licensing::cache::Cache;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use stub::Stub;

pub(crate) const GROWTH: &str = "d898a142-de44-466c-8c88-9ceb2c2429d3";
pub(crate) const GROWTH_LICENSE: &str = "f2a9c9d4-d2c0-44fa-97fe-724d77173c62";
pub(crate) const STOCK: &str = "e839ee96-28de-4f67-bb79-870ca89743a0";
pub(crate) const STOCK_LICENSE: &str = "279709ff-e6d5-4a54-8b55-a5c37542025b";

/// The service and all around it.
pub(crate) struct Fixture {
    pub(crate) service: Running,
    pub(crate) organizations: Stub,
    pub(crate) cache: Cache,
    pub(crate) broker: MemoryBinder,
    http: Client,
}

/// Starts the service with a cache in memory.
pub(crate) async fn start() -> Fixture {
    start_with(&format!("memory:{}", uuid::Uuid::new_v4()), Stub::start().await).await
}

/// Starts the service with this cache and this organization service.
pub(crate) async fn start_with(cache: &str, organizations: Stub) -> Fixture {
    let broker = MemoryBinder::new();
    let binders = Binders::new().with("memory", broker.clone());
    let config = Config::builder().yaml(include_str!("../../stream.yaml")).build().unwrap();
    let settings = Settings {
        common: Default::default(),
        port: 0,
        database_url: "sqlite::memory:".to_owned(),
        redis_url: cache.to_owned(),
        organization_url: organizations.url(),
        example_property: "I AM DEV".to_owned(),
    };
    let service = licensing::start(settings, config, binders).await.unwrap();
    service.application().ready(Duration::from_secs(10)).await.unwrap();
    let cache = Cache::open(cache).unwrap();
    Fixture { service, organizations, cache, broker, http: Client::new() }
}

impl Fixture {
    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(self.url(path))
    }

    pub(crate) fn put(&self, path: &str) -> RequestBuilder {
        self.http.put(self.url(path))
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.http.post(self.url(path))
    }

    pub(crate) fn delete(&self, path: &str) -> RequestBuilder {
        self.http.delete(self.url(path))
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.service.address())
    }

    /// Reads the licence of `GROWTH`.
    pub(crate) async fn read_growth(&self) -> Value {
        answer(self.get(&license_path(GROWTH, GROWTH_LICENSE))).await.1
    }

    /// Reads the licence of `STOCK`.
    pub(crate) async fn read_stock(&self) -> Value {
        answer(self.get(&license_path(STOCK, STOCK_LICENSE))).await.1
    }

    /// Announces a change.
    pub(crate) fn announce(&self, action: &str, organization: &str) {
        let change = json!({"type": "test", "action": action, "organizationId": organization, "correlationId": null});
        self.announce_raw(&change.to_string());
    }

    /// Sends what may be no change at all.
    pub(crate) fn announce_raw(&self, payload: &str) {
        self.broker.publish("orgChangeTopic", Message::new(payload)).unwrap();
    }

    /// Waits until all that was sent is settled.
    pub(crate) async fn settled(&self) {
        tokio::time::timeout(Duration::from_secs(10), self.broker.idle()).await.expect("settled within 10 s");
    }

    /// Returns what was put aside.
    pub(crate) fn dead_letters(&self) -> Vec<String> {
        let letters = self.broker.messages("error.orgChangeTopic.licensingGroup");
        letters.iter().map(|letter| String::from_utf8_lossy(letter.payload().unwrap()).into_owned()).collect()
    }

    pub(crate) async fn stat(&self, name: &str) -> u64 {
        answer(self.get("/stats")).await.1[name].as_u64().unwrap()
    }

    pub(crate) async fn cached(&self, organization: &str) -> bool {
        self.cache.contains(organization).await.unwrap()
    }

    pub(crate) async fn stop(self) {
        self.service.stop().await.unwrap();
    }
}

pub(crate) fn licenses_path(organization: &str) -> String {
    format!("/v1/organization/{organization}/license")
}

pub(crate) fn license_path(organization: &str, license: &str) -> String {
    format!("/v1/organization/{organization}/license/{license}")
}

/// Sends a request, and returns status and body: JSON, or text where it is none.
pub(crate) async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}
