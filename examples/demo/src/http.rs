//! Talks to the services as their users do.

use std::time::{Duration, Instant};

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::error::Failure;

/// Longer than any answer that is promised: a hang is a failure and not a wait.
const TIMEOUT: Duration = Duration::from_secs(15);

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
    pub(crate) warning: Option<String>,
    pub(crate) took: Duration,
}

impl Answer {
    /// Returns a text of the body, empty if it is not there.
    pub(crate) fn text(&self, field: &str) -> &str {
        self.body.get(field).and_then(Value::as_str).unwrap_or_default()
    }

    /// Returns a number of the body, 0 if it is not there.
    pub(crate) fn number(&self, field: &str) -> u64 {
        self.body.get(field).and_then(Value::as_u64).unwrap_or_default()
    }
}

/// A client of all services.
#[derive(Clone, Debug)]
pub(crate) struct Http(Client);

impl Http {
    pub(crate) fn new() -> Result<Self, Failure> {
        // A connection per request: a service that was killed and came back shall not be met on an old one.
        let builder = Client::builder().no_proxy().timeout(TIMEOUT).pool_max_idle_per_host(0);
        Ok(Self(builder.build()?))
    }

    pub(crate) async fn get(&self, url: &str) -> Result<Answer, Failure> {
        self.send(Method::GET, url, None, None).await
    }

    pub(crate) async fn delete(&self, url: &str, correlation: &str) -> Result<Answer, Failure> {
        self.send(Method::DELETE, url, None, Some(correlation)).await
    }

    pub(crate) async fn put(&self, url: &str, body: &Value, correlation: &str) -> Result<Answer, Failure> {
        self.send(Method::PUT, url, Some(body), Some(correlation)).await
    }

    pub(crate) async fn post(&self, url: &str, body: &Value, correlation: &str) -> Result<Answer, Failure> {
        self.send(Method::POST, url, Some(body), Some(correlation)).await
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        body: Option<&Value>,
        correlation: Option<&str>,
    ) -> Result<Answer, Failure> {
        let mut request = self.0.request(method, url);
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(correlation) = correlation {
            request = request.header(example_service::CORRELATION_HEADER, correlation);
        }
        let start = Instant::now();
        let response = request.send().await?;
        let status = response.status();
        let warning = response.headers().get("warning").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let text = response.text().await?;
        let took = start.elapsed();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer { status, body, warning, took })
    }
}

/// Body of an organization with this name.
pub(crate) fn organization(name: &str) -> Value {
    json!({"name": name, "contactName": "Demo", "contactEmail": "demo@example.com", "contactPhone": "555-0100"})
}

/// Body of a licence.
pub(crate) fn license() -> Value {
    json!({"productName": "Ostock", "licenseType": "complete", "description": "Software Product"})
}
