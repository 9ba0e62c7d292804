//! Error answers: a status that says so, and a JSON body.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// An answer that is an error. Its body has the shape of the originals, `{"metadata":{"status":"NOT_FOUND"},"errors":[{"message":"…"}]}`; its
/// status, unlike theirs, is never 200.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    status: StatusCode,
    message: String,
}

impl ApiError {
    /// Creates an error answer.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// 400: the request contradicts itself or is not what is served here.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 404: there is no such thing.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// 409: other records forbid it.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    /// 503: something that is needed is away; the same request may succeed later.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// 500: logged with its cause, answered without.
    pub fn internal(cause: &dyn std::error::Error) -> Self {
        tracing::error!(error = %cause, "request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
    }

    /// Returns the status.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

#[derive(Serialize)]
struct Body<'a> {
    metadata: Metadata,
    errors: [Item<'a>; 1],
}

#[derive(Serialize)]
struct Metadata {
    status: String,
}

#[derive(Serialize)]
struct Item<'a> {
    message: &'a str,
    code: Option<&'a str>,
    detail: &'a str,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let name = self.status.canonical_reason().unwrap_or("error");
        let metadata = Metadata { status: name.to_uppercase().replace(' ', "_") };
        let item = Item { message: &self.message, code: None, detail: &self.message };
        (self.status, axum::Json(Body { metadata, errors: [item] })).into_response()
    }
}

#[cfg(feature = "database")]
impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolTimedOut | sqlx::Error::Io(_) => {
                tracing::error!(%error, "database not reached");
                Self::unavailable("the database is not reached")
            }
            other => Self::internal(&other),
        }
    }
}
