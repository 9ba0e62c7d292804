//! The event that tells of a change, and the channel on which it goes out.

use binder_core::prelude::*;
use example_service::{ApiError, CORRELATION_HEADER, CorrelationId, Id};
use serde::{Deserialize, Serialize};

/// Channels of this service.
#[derive(Clone, Debug, Binding)]
pub struct OrganizationChannels {
    /// Where changes are announced.
    #[output(key = "organization_id")]
    pub output: Output<OrganizationChangeModel>,
}

/// What was done to an organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Action {
    /// It is new.
    Save,
    /// It was changed.
    Update,
    /// It is gone.
    Delete,
}

/// The event, field by field as the originals write it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrganizationChangeModel {
    /// The originals put the name of their class here.
    #[serde(rename = "type")]
    pub type_name: String,
    /// What was done.
    pub action: Action,
    /// To whom; also the message's key, so that the changes of one organization keep their order.
    pub organization_id: String,
    /// Because of which request.
    pub correlation_id: Option<String>,
}

const TYPE_NAME: &str = "com.optimagrowth.organization.events.model.OrganizationChangeModel";

impl OrganizationChannels {
    /// Announces a change that is already committed; returns when the broker has it.
    pub async fn announce(&self, action: Action, id: &Id, correlation: &CorrelationId) -> Result<(), ApiError> {
        let change = OrganizationChangeModel {
            type_name: TYPE_NAME.to_owned(),
            action,
            organization_id: id.to_string(),
            correlation_id: Some(correlation.to_string()),
        };
        let message = self.output.message(&change).header(CORRELATION_HEADER, correlation.to_string());
        message.send().await.map_err(|error| {
            tracing::error!(%error, organization = %id, ?action, "stored but not announced");
            ApiError::unavailable(format!("the change of organization {id} is stored but not announced: send it again"))
        })
    }
}
