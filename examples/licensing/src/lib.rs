//! Licences with the data of their organization, read through a cache that events keep true.

pub mod cache;
pub mod client;
pub mod events;
pub mod http;
pub mod license;
mod links;
pub mod organization;
pub mod read_through;
pub mod stats;

use binder_core::prelude::*;
use clap::Parser;
use example_service::{Binders, Common, Running, StartError, database};

use crate::cache::Cache;
use crate::client::OrganizationClient;
use crate::events::{LicensingChannels, invalidate};
use crate::http::Api;
use crate::license::Licenses;
use crate::read_through::Organizations;

/// Settings of the service; the channels have their own, in `stream.yaml`.
#[derive(Clone, Debug, Parser)]
#[command(name = "licensing", about = "Licences; organizations are read through a cache that events keep true")]
pub struct Settings {
    /// What all services have.
    #[command(flatten)]
    pub common: Common,
    /// Port on 127.0.0.1; 0 takes a free one
    #[arg(long, env = "PORT", default_value_t = 8080)]
    pub port: u16,
    /// `sqlite::memory:`, `sqlite:FILE?mode=rwc` or `postgres://…`
    #[arg(long, env = "DATABASE_URL", default_value = "sqlite::memory:", hide_env_values = true)]
    pub database_url: String,
    /// The cache that all instances share: `redis://host:port`; `memory:` where they are in one process
    #[arg(long, env = "REDIS_URL", default_value = "redis://127.0.0.1:6379", hide_env_values = true)]
    pub redis_url: String,
    /// The organization service
    #[arg(long, env = "ORGANIZATION_URL", default_value = "http://127.0.0.1:8081")]
    pub organization_url: String,
    /// What stands in `comment` of an answer
    #[arg(long, env = "EXAMPLE_PROPERTY", default_value = "I AM DEV")]
    pub example_property: String,
}

/// Runs the service until it is told to stop.
///
/// # Errors
/// As [`start`].
pub async fn run(settings: Settings, config: Config, binders: Binders) -> Result<(), StartError> {
    if settings.common.describe {
        let application = binders.build(config)?;
        let _channels = application.bind::<LicensingChannels>().await?;
        print!("{}", application.describe()?);
        return Ok(());
    }
    let service = start(settings, config, binders).await?;
    println!("licensing listening on http://{}", service.address());
    service.until(shutdown_signal()).await
}

/// Starts the service.
///
/// # Errors
/// What is wrong with settings and configuration; the database; the port. Redis, the broker and the organization service may be away.
pub async fn start(settings: Settings, config: Config, binders: Binders) -> Result<Running, StartError> {
    let application = binders.build(config)?;
    let channels = application.bind::<LicensingChannels>().await?;
    let cache = Cache::open(&settings.redis_url).map_err(|error| StartError::Setting(error.to_string()))?;
    let client =
        OrganizationClient::new(&settings.organization_url).map_err(|error| StartError::Setting(error.to_string()))?;
    let organizations = Organizations::new(cache, client);
    application.handle(channels.org_changes, invalidate.with_state(organizations.clone())).await?;
    let licenses = Licenses::new(database::open(&settings.database_url).await?);
    let api = Api { licenses, organizations, comment: settings.example_property };
    Running::start(application, settings.port, http::routes(api)).await
}
