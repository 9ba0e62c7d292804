//! Logs every change of an organization: a second group on the same destination, which nobody else knows of.

mod log;

use binder_core::prelude::*;
use clap::Parser;
use example_service::{Binders, Common, Running, StartError};
use serde_json::Value;

pub use log::Log;

/// Channels of this service.
#[derive(Debug, Binding)]
pub struct AuditChannels {
    /// Changes of organizations, whatever they look like.
    #[input("inboundOrgChanges")]
    pub org_changes: Input<Value>,
}

/// Settings of the service; the channels have their own, in `stream.yaml`.
#[derive(Clone, Debug, Parser)]
#[command(name = "audit", about = "Logs every change of an organization")]
pub struct Settings {
    /// What all services have.
    #[command(flatten)]
    pub common: Common,
    /// Port on 127.0.0.1; 0 takes a free one
    #[arg(long, env = "PORT", default_value_t = 8082)]
    pub port: u16,
}

/// Runs the service until it is told to stop.
///
/// # Errors
/// As [`start`].
pub async fn run(settings: Settings, config: Config, binders: Binders) -> Result<(), StartError> {
    if settings.common.describe {
        let application = binders.build(config)?;
        let _channels = application.bind::<AuditChannels>().await?;
        print!("{}", application.describe()?);
        return Ok(());
    }
    let service = start(settings, config, binders).await?;
    println!("audit listening on http://{}", service.address());
    service.until(shutdown_signal()).await
}

/// Starts the service.
///
/// # Errors
/// What is wrong with the configuration; the port. A broker that is away is no error: see `/health`.
pub async fn start(settings: Settings, config: Config, binders: Binders) -> Result<Running, StartError> {
    let application = binders.build(config)?;
    let channels = application.bind::<AuditChannels>().await?;
    let log = Log::default();
    application.handle(channels.org_changes, record.with_state(log.clone())).await?;
    Running::start(application, settings.port, log::routes(log)).await
}

/// Logs one change.
#[allow(clippy::unused_async, reason = "a handler is async")]
async fn record(change: Value, State(log): State<Log>) {
    let text = |field: &str| change.get(field).and_then(Value::as_str).unwrap_or_default();
    let (action, organization) = (text("action"), text("organizationId"));
    tracing::info!(action, organization, correlation_id = text("correlationId"), "organization changed");
    log.add(change);
}
