//! The organization service, over HTTP.

use std::time::Duration;

use example_service::{CORRELATION_HEADER, CorrelationId};
use reqwest::{StatusCode, Url};

use crate::organization::Organization;

const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_millis(1500);

/// The organization service gave no usable answer in time.
#[derive(Debug, thiserror::Error)]
#[error("the organization service gave no answer")]
pub struct NoAnswer(#[from] reqwest::Error);

/// The base URL of the organization service is not one.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not the URL of a service, such as http://127.0.0.1:8081")]
pub struct BadUrl(String);

/// Asks the organization service; gives up after 1.5 s.
#[derive(Clone, Debug)]
pub struct OrganizationClient {
    http: reqwest::Client,
    base: Url,
}

impl OrganizationClient {
    /// Creates a client for a base URL such as `http://127.0.0.1:8081`; does not connect.
    pub fn new(base: &str) -> Result<Self, BadUrl> {
        let url = Url::parse(base).ok().filter(|url| url.scheme() == "http" && url.has_host());
        let base = url.ok_or_else(|| BadUrl(base.to_owned()))?;
        let builder = reqwest::Client::builder().no_proxy().connect_timeout(CONNECT_TIMEOUT).timeout(TIMEOUT);
        let http = builder.build().expect("a client without TLS has nothing that could fail");
        Ok(Self { http, base })
    }

    /// Returns the organization, or none if the service knows none of this id.
    pub async fn find(&self, id: &str, correlation: &CorrelationId) -> Result<Option<Organization>, NoAnswer> {
        let request = self.http.get(self.url(id)).header(CORRELATION_HEADER, correlation.header_value());
        let response = request.send().await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        Ok(Some(response.error_for_status()?.json().await?))
    }

    fn url(&self, id: &str) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["v1", "organization", id]);
        }
        url
    }
}
