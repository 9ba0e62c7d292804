//! Services in this process, on one memory binder and one cache in memory.

use binder_core::memory::MemoryBinder;
use binder_core::prelude::Config;
use example_service::{Binders, Running, StartError};

use crate::error::Failure;
use crate::instance::Instance;
use crate::world::{Service, Urls};

/// What the services of this process share.
#[derive(Debug)]
pub(crate) struct InProcess {
    binder: MemoryBinder,
}

impl InProcess {
    pub(crate) fn new() -> Self {
        Self { binder: MemoryBinder::new() }
    }

    /// Starts a service on a port, 0 for any.
    pub(crate) async fn start(&self, service: Service, port: u16, urls: &Urls) -> Result<Instance, Failure> {
        let started = self.start_it(service, port, urls).await;
        let failed = |error: StartError| Failure::Start { service: service.name().to_owned(), reason: error.chain() };
        started.map(Instance::Here).map_err(failed)
    }

    async fn start_it(&self, service: Service, port: u16, urls: &Urls) -> Result<Running, StartError> {
        let binders = Binders::new().with("memory", self.binder.clone());
        let config = Config::builder().yaml(service.file()).build()?;
        match service {
            Service::Organization => {
                let settings =
                    organization::Settings { common: Default::default(), port, database_url: urls.database.clone() };
                organization::start(settings, config, binders).await
            }
            Service::Licensing => {
                let settings = licensing::Settings {
                    common: Default::default(),
                    port,
                    database_url: urls.database.clone(),
                    redis_url: urls.redis.clone(),
                    organization_url: urls.organization.clone(),
                    example_property: "I AM DEV".to_owned(),
                };
                licensing::start(settings, config, binders).await
            }
            Service::Audit => audit::start(audit::Settings { common: Default::default(), port }, config, binders).await,
        }
    }
}
