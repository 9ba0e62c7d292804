//! Organizations over HTTP; each change is announced on a channel, to whom is none of this service's business.

pub mod changes;
pub mod http;
pub mod organization;

use binder_core::prelude::*;
use clap::Parser;
use example_service::{Binders, Common, Running, StartError, database};

use crate::changes::OrganizationChannels;
use crate::http::Api;
use crate::organization::Organizations;

/// Settings of the service; the channels have their own, in `stream.yaml`.
#[derive(Clone, Debug, Parser)]
#[command(name = "organization", about = "Organizations; each change is announced")]
pub struct Settings {
    /// What all services have.
    #[command(flatten)]
    pub common: Common,
    /// Port on 127.0.0.1; 0 takes a free one
    #[arg(long, env = "PORT", default_value_t = 8081)]
    pub port: u16,
    /// `sqlite::memory:`, `sqlite:FILE?mode=rwc` or `postgres://…`
    #[arg(long, env = "DATABASE_URL", default_value = "sqlite::memory:", hide_env_values = true)]
    pub database_url: String,
}

/// Runs the service until it is told to stop.
///
/// # Errors
/// As [`start`].
pub async fn run(settings: Settings, config: Config, binders: Binders) -> Result<(), StartError> {
    if settings.common.describe {
        let application = binders.build(config)?;
        let _channels = application.bind::<OrganizationChannels>().await?;
        print!("{}", application.describe()?);
        return Ok(());
    }
    let service = start(settings, config, binders).await?;
    println!("organization listening on http://{}", service.address());
    service.until(shutdown_signal()).await
}

/// Starts the service.
///
/// # Errors
/// What is wrong with the configuration; the database; the port. A broker that is away is no error: see `/health`.
pub async fn start(settings: Settings, config: Config, binders: Binders) -> Result<Running, StartError> {
    let application = binders.build(config)?;
    let channels = application.bind::<OrganizationChannels>().await?;
    let organizations = Organizations::new(database::open(&settings.database_url).await?);
    Running::start(application, settings.port, http::routes(Api::new(organizations, channels))).await
}
