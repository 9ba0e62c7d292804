//! The correlation id: in by HTTP or made here, out in the answer, the log, the calls and the events.

use std::convert::Infallible;
use std::fmt;

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;

/// Header that carries the id, on HTTP and on messages.
pub const CORRELATION_HEADER: &str = "tmx-correlation-id";

const LONGEST: usize = 128;

/// What ties together all that one request causes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorrelationId(String);

impl CorrelationId {
    /// Makes a new id.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().to_string())
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads the id of a request; a value that could not be passed on as it is counts as absent.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(CORRELATION_HEADER)?.to_str().ok()?;
        (1..=LONGEST).contains(&text.len()).then(|| Self(text.to_owned()))
    }

    /// Returns the id as the value of a header.
    pub fn header_value(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("an id is made of what a header may hold")
    }
}

impl fmt::Display for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Middleware: gives each request an id and a span that shows it.
pub async fn correlate(mut request: Request, next: Next) -> Response {
    let id = CorrelationId::of(request.headers()).unwrap_or_else(CorrelationId::random);
    let span =
        tracing::info_span!("request", method = %request.method(), path = request.uri().path(), correlation_id = %id);
    request.extensions_mut().insert(id.clone());
    let mut response = answer(request, next).instrument(span).await;
    response.headers_mut().insert(CORRELATION_HEADER, id.header_value());
    response
}

async fn answer(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    tracing::info!(status = response.status().as_u16(), "answered");
    response
}

impl<S: Send + Sync> FromRequestParts<S> for CorrelationId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get().cloned().unwrap_or_else(Self::random))
    }
}
