//! Services as processes of their own, on a broker.

use std::path::{Path, PathBuf};

use crate::error::Failure;
use crate::instance::Instance;
use crate::process::Program;
use crate::settings::BinderKind;
use crate::world::{Service, Urls};

/// What the services' programs are started with.
#[derive(Debug)]
pub(crate) struct Programs {
    binder: BinderKind,
    broker: String,
    /// Makes the names of this run its own on a broker that keeps those of earlier runs.
    run: String,
    folder: PathBuf,
}

impl Programs {
    /// Writes the services' configuration files into a folder of this run.
    pub(crate) fn new(binder: BinderKind, broker: String, folder: &Path) -> Result<Self, Failure> {
        for service in Service::ALL {
            let own = folder.join(service.name());
            std::fs::create_dir_all(&own)?;
            std::fs::write(own.join("stream.yaml"), service.file())?;
            std::fs::write(own.join(format!("stream-{binder}.yaml")), service.profile(binder))?;
        }
        let run = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
        Ok(Self { binder, broker, run, folder: folder.to_owned() })
    }

    /// Starts a service on a port, 0 for any; `name` is that of its log.
    pub(crate) async fn start(
        &self,
        service: Service,
        name: &str,
        port: u16,
        urls: &Urls,
    ) -> Result<Instance, Failure> {
        let program = Program {
            name: service.name(),
            log: &self.log(name),
            environment: self.environment(service, port, urls),
            folder: self.folder.join(service.name()),
        };
        Ok(Instance::Process(program.start().await?))
    }

    /// Returns where the log of a service is.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    fn environment(&self, service: Service, port: u16, urls: &Urls) -> Vec<(String, String)> {
        let broker = match self.binder {
            BinderKind::Rabbit => ("STREAM__BINDERS__RABBIT__URL", self.broker.clone()),
            _ => ("STREAM__BINDERS__KAFKA__BROKERS", self.broker.clone()),
        };
        let mut pairs = vec![
            broker,
            ("STREAM_PROFILE", self.binder.to_string()),
            ("PORT", port.to_string()),
            ("DATABASE_URL", urls.database.clone()),
        ];
        let destination = format!("orgChangeTopic-{}", self.run);
        match service {
            Service::Organization => pairs.push(("STREAM__BINDINGS__OUTPUT__DESTINATION", destination)),
            _ => pairs.push(("STREAM__BINDINGS__INBOUNDORGCHANGES__DESTINATION", destination)),
        }
        if service == Service::Licensing {
            pairs.push(("REDIS_URL", urls.redis.clone()));
            pairs.push(("ORGANIZATION_URL", urls.organization.clone()));
        }
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}
