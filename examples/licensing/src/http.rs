//! The routes: `/v1/organization/{organizationId}/license`.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, http};
use example_service::{ApiError, CorrelationId, Id, Json, Path};

use crate::license::{License, Licenses};
use crate::links::Linked;
use crate::read_through::Organizations;

const NO_ORGANIZATION: HeaderValue = HeaderValue::from_static(
    "199 licensing \"the organization service gives no answer: fields of the organization are missing\"",
);

/// What the routes work on.
#[derive(Clone, Debug)]
pub struct Api {
    /// The table of licences.
    pub licenses: Licenses,
    /// The organizations, read through the cache.
    pub organizations: Organizations,
    /// What stands in `comment` of an answer.
    pub comment: String,
}

/// Returns the routes of the service.
pub fn routes(api: Api) -> Router {
    const LICENSES: &str = "/v1/organization/{organization}/license";
    let all = get(list).post(create).put(update);
    Router::new()
        .route(LICENSES, all.clone())
        .route(&format!("{LICENSES}/"), all)
        .route(&format!("{LICENSES}/{{license}}"), get(read).delete(delete))
        .route(&format!("{LICENSES}/{{license}}/{{client}}"), get(read_by))
        .route("/stats", get(stats))
        .with_state(api)
}

async fn list(State(api): State<Api>, Path(organization): Path<Id>) -> Result<Json<Vec<License>>, ApiError> {
    Ok(Json(api.licenses.list(organization.as_str()).await?))
}

async fn read(
    State(api): State<Api>,
    Path((organization, license)): Path<(Id, Id)>,
    correlation: CorrelationId,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let license = api.stored(&organization, &license).await?;
    let found = api.organizations.find(organization.as_str(), &correlation).await;
    let (known, warning) = degrade(found);
    let license = license.with_organization(known).with_comment(&api.comment);
    Ok((warning, Json(Linked::new(license, headers.get(header::HOST)))).into_response())
}

/// As the originals: `feign` and `discovery` ask the organization service, `rest` and all else read through the cache.
async fn read_by(
    State(api): State<Api>,
    Path((organization, license, client)): Path<(Id, Id, String)>,
    correlation: CorrelationId,
) -> Result<Response, ApiError> {
    let license = api.stored(&organization, &license).await?;
    let found = match client.as_str() {
        "feign" | "discovery" => api.organizations.find_uncached(organization.as_str(), &correlation).await,
        _ => api.organizations.find(organization.as_str(), &correlation).await,
    };
    let (known, warning) = degrade(found);
    Ok((warning, Json(license.with_organization(known).with_comment(&api.comment))).into_response())
}

/// A licence is worth more than no answer: without the organization service its own fields are served, with a warning.
fn degrade<T>(found: Result<Option<T>, crate::client::NoAnswer>) -> (Option<T>, HeaderMap) {
    let mut headers = HeaderMap::new();
    let known = found.unwrap_or_else(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        tracing::warn!(%error, cause, "answered without the organization");
        headers.insert(http::header::WARNING, NO_ORGANIZATION);
        None
    });
    (known, headers)
}

async fn create(
    State(api): State<Api>,
    Path(organization): Path<Id>,
    Json(body): Json<License>,
) -> Result<Json<License>, ApiError> {
    let license = License { license_id: Id::random().to_string(), ..owned(body, &organization)? };
    let stored = api.licenses.insert(&license).await;
    stored.map_err(|error| match &error {
        sqlx::Error::Database(cause) if cause.is_foreign_key_violation() => {
            ApiError::not_found(format!("Unable to find organization with id {organization}"))
        }
        _ => error.into(),
    })?;
    Ok(Json(license.with_comment(&api.comment)))
}

async fn update(
    State(api): State<Api>,
    Path(organization): Path<Id>,
    Json(body): Json<License>,
) -> Result<Json<License>, ApiError> {
    let license = owned(body, &organization)?;
    let id =
        Id::try_from(license.license_id.clone()).map_err(|odd| ApiError::bad_request(format!("licenseId: {odd}")))?;
    if !api.licenses.update(&license).await? {
        return Err(missing(&organization, &id));
    }
    Ok(Json(license.with_comment(&api.comment)))
}

async fn delete(State(api): State<Api>, Path((organization, license)): Path<(Id, Id)>) -> Result<String, ApiError> {
    if !api.licenses.delete(organization.as_str(), license.as_str()).await? {
        return Err(missing(&organization, &license));
    }
    Ok(format!("Deleting license with id {license}"))
}

async fn stats(State(api): State<Api>) -> Response {
    Json(api.organizations.stats()).into_response()
}

impl Api {
    async fn stored(&self, organization: &Id, license: &Id) -> Result<License, ApiError> {
        let found = self.licenses.find(organization.as_str(), license.as_str()).await?;
        found.ok_or_else(|| missing(organization, license))
    }
}

/// The body's organization is the path's, or absent.
fn owned(license: License, organization: &Id) -> Result<License, ApiError> {
    if !license.organization_id.is_empty() && license.organization_id != organization.as_str() {
        return Err(ApiError::bad_request("organizationId in the body is not the one in the path"));
    }
    Ok(License { organization_id: organization.to_string(), ..license })
}

fn missing(organization: &Id, license: &Id) -> ApiError {
    ApiError::not_found(format!("Unable to find license with License id {license} and Organization id {organization}"))
}
