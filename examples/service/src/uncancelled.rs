//! Work that goes on when the client has gone.

use tracing::Instrument;

use crate::ApiError;

/// Runs to the end what must not stop half-way, as between a commit and its announcement: a server drops the handler of a client that leaves.
pub async fn uncancelled<T, F>(work: F) -> Result<T, ApiError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, ApiError>> + Send + 'static,
{
    let done = tokio::spawn(work.in_current_span()).await;
    done.unwrap_or_else(|panic| Err(ApiError::internal(&panic)))
}
