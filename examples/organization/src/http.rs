//! The routes: `/v1/organization`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use example_service::{ApiError, CorrelationId, Id, Json, Path, uncancelled};
use serde::Serialize;

use crate::changes::{Action, OrganizationChannels};
use crate::organization::{Organization, Organizations};

/// What the routes work on.
#[derive(Clone, Debug)]
pub struct Api {
    organizations: Organizations,
    channels: OrganizationChannels,
    requests: Arc<AtomicU64>,
}

impl Api {
    /// Works on a table of organizations, and announces what is changed.
    pub fn new(organizations: Organizations, channels: OrganizationChannels) -> Self {
        Self { organizations, channels, requests: Arc::default() }
    }
}

/// Returns the routes of the service.
pub fn routes(api: Api) -> Router {
    let count = middleware::from_fn_with_state(api.clone(), count);
    Router::new()
        .route("/v1/organization", post(create))
        .route("/v1/organization/", post(create))
        .route("/v1/organization/{organization}", get(read).put(update).delete(delete))
        .route_layer(count)
        .route("/stats", get(stats))
        .with_state(api)
}

async fn read(State(api): State<Api>, Path(id): Path<Id>) -> Result<Json<Organization>, ApiError> {
    let found = api.organizations.find(id.as_str()).await?;
    found.map(Json).ok_or_else(|| missing(&id))
}

async fn create(
    State(api): State<Api>,
    correlation: CorrelationId,
    Json(body): Json<Organization>,
) -> Result<Json<Organization>, ApiError> {
    let id = Id::random();
    let new = Organization { id: id.to_string(), ..body };
    uncancelled(async move {
        api.organizations.insert(&new).await?;
        api.channels.announce(Action::Save, &id, &correlation).await?;
        Ok(Json(new))
    })
    .await
}

async fn update(
    State(api): State<Api>,
    Path(id): Path<Id>,
    correlation: CorrelationId,
    Json(body): Json<Organization>,
) -> Result<(), ApiError> {
    if !body.id.is_empty() && body.id != id.as_str() {
        return Err(ApiError::bad_request("id in the body is not the one in the path"));
    }
    let changed = Organization { id: id.to_string(), ..body };
    uncancelled(async move {
        if !api.organizations.update(&changed).await? {
            return Err(missing(&id));
        }
        api.channels.announce(Action::Update, &id, &correlation).await
    })
    .await
}

async fn delete(
    State(api): State<Api>,
    Path(id): Path<Id>,
    correlation: CorrelationId,
) -> Result<StatusCode, ApiError> {
    uncancelled(async move {
        if !api.organizations.delete(id.as_str()).await.map_err(|error| referred_to(error, &id))? {
            return Err(missing(&id));
        }
        api.channels.announce(Action::Delete, &id, &correlation).await?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// The database refuses to delete what other records refer to; which these are is theirs to know.
fn referred_to(error: sqlx::Error, id: &Id) -> ApiError {
    match &error {
        sqlx::Error::Database(cause) if cause.is_foreign_key_violation() => {
            ApiError::conflict(format!("Other records refer to the organization with id {id}"))
        }
        _ => error.into(),
    }
}

fn missing(id: &Id) -> ApiError {
    ApiError::not_found(format!("Unable to find organization with id {id}"))
}

/// What `GET /stats` answers.
#[derive(Debug, Serialize)]
struct Stats {
    /// Requests below `/v1/organization` since the start.
    requests: u64,
}

async fn stats(State(api): State<Api>) -> Json<Stats> {
    Json(Stats { requests: api.requests.load(Ordering::Relaxed) })
}

async fn count(State(api): State<Api>, request: Request, next: Next) -> Response {
    api.requests.fetch_add(1, Ordering::Relaxed);
    next.run(request).await
}
