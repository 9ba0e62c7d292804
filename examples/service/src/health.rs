//! `/health` (ready?) and `/health/live` (would a restart help?).

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use binder_core::Health;
use binder_core::prelude::Application;

use crate::Json;

/// Returns the routes that tell how the bindings of an application do: 200 or 503, and each binding's state in either case.
pub fn health_routes(application: &Application) -> Router {
    let (ready, live) = (application.clone(), application.clone());
    Router::new()
        .route("/health", get(async move || answer(ready.health(), |health| health.is_ready())))
        .route("/health/live", get(async move || answer(live.health(), |health| health.is_live())))
}

fn answer(health: Health, good: fn(&Health) -> bool) -> (StatusCode, Json<Health>) {
    let status = if good(&health) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(health))
}
