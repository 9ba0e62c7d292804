//! What this service hears of organizations.

use binder_core::prelude::*;
use serde::Deserialize;
use tracing::Instrument;

use crate::cache::CacheError;
use crate::read_through::Organizations;

/// Channels of this service.
#[derive(Debug, Binding)]
pub struct LicensingChannels {
    /// Changes of organizations.
    #[input("inboundOrgChanges")]
    pub org_changes: Input<OrganizationChangeModel>,
}

/// The event, as far as this service needs it: what else it holds is ignored.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrganizationChangeModel {
    /// The sender's name for this kind of event.
    #[serde(rename = "type", default)]
    pub type_name: Option<String>,
    /// `GET`, `SAVE`, `UPDATE`, `DELETE`, or what a later version may send.
    pub action: String,
    /// Whose change it is.
    pub organization_id: String,
    /// Because of which request.
    #[serde(default)]
    pub correlation_id: Option<String>,
}

header!(
    /// Names the request that caused an event; the payload's field wins.
    pub Correlation: String = "tmx-correlation-id"
);

/// Drops the cached organization that was changed or deleted. If the cache fails, the event is tried again.
///
/// # Errors
/// The cache's.
pub async fn invalidate(
    change: OrganizationChangeModel,
    State(organizations): State<Organizations>,
    header: Option<Header<Correlation>>,
) -> Result<(), CacheError> {
    let correlation_id = change.correlation_id.clone().or(header.map(|header| header.0));
    let span = tracing::info_span!("change", organization = %change.organization_id, correlation_id);
    handle(change, organizations).instrument(span).await
}

async fn handle(change: OrganizationChangeModel, organizations: Organizations) -> Result<(), CacheError> {
    let kind = change.type_name.as_deref().unwrap_or_default();
    tracing::info!(action = %change.action, "received a message of type {kind}");
    match change.action.as_str() {
        "UPDATE" | "DELETE" => organizations.invalidate(&change.organization_id).await?,
        "GET" | "SAVE" => {}
        unknown => {
            tracing::error!("received an UNKNOWN event from the organization service: action {unknown}, type {kind}")
        }
    }
    Ok(())
}
