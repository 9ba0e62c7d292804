//! The services that are running, and where they are.

use std::time::Duration;

use licensing::cache::Cache;
use tempfile::TempDir;

use crate::brokerctl::BrokerCtl;
use crate::error::Failure;
use crate::http::Http;
use crate::in_process::InProcess;
use crate::instance::Instance;
use crate::programs::Programs;
use crate::settings::{BinderKind, Settings};

const LOG_LINES: usize = 15;

/// A service of the demonstration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Organization,
    Licensing,
    Audit,
}

impl Service {
    pub(crate) const ALL: [Self; 3] = [Self::Organization, Self::Licensing, Self::Audit];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Organization => "organization",
            Self::Licensing => "licensing",
            Self::Audit => "audit",
        }
    }

    /// Returns its `stream.yaml`.
    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::Organization => include_str!("../../organization/stream.yaml"),
            Self::Licensing => include_str!("../../licensing/stream.yaml"),
            Self::Audit => include_str!("../../audit/stream.yaml"),
        }
    }

    /// Returns its profile for a broker; none for memory.
    pub(crate) fn profile(self, binder: BinderKind) -> &'static str {
        match (self, binder) {
            (_, BinderKind::Memory) => "",
            (Self::Organization, BinderKind::Kafka) => include_str!("../../organization/stream-kafka.yaml"),
            (Self::Organization, BinderKind::Rabbit) => include_str!("../../organization/stream-rabbit.yaml"),
            (Self::Licensing, BinderKind::Kafka) => include_str!("../../licensing/stream-kafka.yaml"),
            (Self::Licensing, BinderKind::Rabbit) => include_str!("../../licensing/stream-rabbit.yaml"),
            (Self::Audit, BinderKind::Kafka) => include_str!("../../audit/stream-kafka.yaml"),
            (Self::Audit, BinderKind::Rabbit) => include_str!("../../audit/stream-rabbit.yaml"),
        }
    }
}

/// What the services are told of each other.
#[derive(Clone, Debug)]
pub(crate) struct Urls {
    pub(crate) database: String,
    pub(crate) redis: String,
    pub(crate) organization: String,
}

#[derive(Debug)]
enum Place {
    Here(InProcess),
    Processes(Programs),
}

/// One service's name in the logs, its port once it is known, and the running thing.
#[derive(Debug)]
struct Slot {
    service: Service,
    name: String,
    port: u16,
    instance: Option<Instance>,
}

/// All services, and what they need.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) binder: BinderKind,
    pub(crate) http: Http,
    pub(crate) cache: Cache,
    pub(crate) brokerctl: Option<BrokerCtl>,
    /// Correlation ids of all changes that were announced.
    pub(crate) announced: Vec<String>,
    place: Place,
    urls: Urls,
    /// Organization, audit, and the licensing services.
    slots: Vec<Slot>,
    _folder: TempDir,
}

/// Which slot a service has.
pub(crate) const ORGANIZATION: usize = 0;
/// Which slot a service has.
pub(crate) const AUDIT: usize = 1;
const FIRST_LICENSING: usize = 2;

impl World {
    /// Prepares everything; starts nothing.
    pub(crate) fn new(settings: Settings) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("demo-").tempdir()?;
        let run = uuid::Uuid::new_v4().simple();
        let place = match settings.binder {
            BinderKind::Memory => Place::Here(InProcess::new()),
            broker => Place::Processes(Programs::new(broker, given(&settings)?, folder.path())?),
        };
        let redis = match settings.binder {
            BinderKind::Memory => format!("memory:demo-{run}"),
            _ => settings.redis_url.clone().ok_or_else(|| Failure::Setting("REDIS_URL is not set".to_owned()))?,
        };
        let database = format!("sqlite:{}?mode=rwc", folder.path().join("ostock.db").display());
        Ok(Self {
            binder: settings.binder,
            http: Http::new()?,
            cache: Cache::open(&redis)?,
            brokerctl: settings.brokerctl.filter(|_| settings.binder != BinderKind::Memory).map(BrokerCtl::new),
            announced: Vec::new(),
            place,
            urls: Urls { database, redis, organization: String::new() },
            slots: slots(settings.instances),
            _folder: folder,
        })
    }

    /// Returns the slots of the licensing services.
    pub(crate) fn licensings(&self) -> std::ops::Range<usize> {
        FIRST_LICENSING..self.slots.len()
    }

    /// Returns how a service is called.
    pub(crate) fn name(&self, slot: usize) -> &str {
        &self.slots[slot].name
    }

    /// Returns a URL of a service.
    pub(crate) fn url(&self, slot: usize, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.slots[slot].port)
    }

    /// Starts a service, on the port that it had before.
    pub(crate) async fn start(&mut self, slot: usize) -> Result<(), Failure> {
        let Slot { service, name, port, .. } = &self.slots[slot];
        let instance = match &self.place {
            Place::Here(place) => place.start(*service, *port, &self.urls).await?,
            Place::Processes(place) => place.start(*service, name, *port, &self.urls).await?,
        };
        self.slots[slot].port = instance.address().port();
        self.slots[slot].instance = Some(instance);
        if slot == ORGANIZATION {
            self.urls.organization = self.url(ORGANIZATION, "");
        }
        Ok(())
    }

    /// Stops a service gently.
    pub(crate) async fn stop_one(&mut self, slot: usize) {
        if let Some(instance) = self.slots[slot].instance.take() {
            instance.stop().await;
        }
    }

    /// Ends a service as `kill -9` does.
    pub(crate) async fn kill(&mut self, slot: usize) {
        if let Some(instance) = self.slots[slot].instance.take() {
            instance.kill().await;
        }
    }

    /// Stops all services.
    pub(crate) async fn stop(&mut self) {
        for slot in (0..self.slots.len()).rev() {
            self.stop_one(slot).await;
        }
    }

    /// Tells whether a service's channels work.
    pub(crate) async fn is_ready(&self, slot: usize) -> Result<(), String> {
        let answer = self.http.get(&self.url(slot, "/health")).await.map_err(|error| error.to_string())?;
        if answer.status.is_success() { Ok(()) } else { Err(answer.body.to_string()) }
    }

    /// Prints the end of each service's log.
    pub(crate) fn print_logs(&self) {
        let Place::Processes(programs) = &self.place else { return };
        for slot in &self.slots {
            let Ok(log) = std::fs::read_to_string(programs.log(&slot.name)) else { continue };
            println!("\n--- end of the log of {}", slot.name);
            let lines: Vec<_> = log.lines().collect();
            lines.iter().skip(lines.len().saturating_sub(LOG_LINES)).for_each(|line| println!("{line}"));
        }
    }
}

/// How long a service may take until its channels work, broker included.
pub(crate) const READY: Duration = Duration::from_secs(60);

fn given(settings: &Settings) -> Result<String, Failure> {
    let (url, name) = match settings.binder {
        BinderKind::Rabbit => (&settings.rabbit_url, "RABBIT_URL"),
        _ => (&settings.kafka_url, "KAFKA_URL"),
    };
    url.clone().ok_or_else(|| Failure::Setting(format!("{name} is not set")))
}

fn slots(instances: u32) -> Vec<Slot> {
    let slot = |service: Service, name: String| Slot { service, name, port: 0, instance: None };
    let others = [Service::Organization, Service::Audit].map(|service| slot(service, service.name().to_owned()));
    let licensings = (1..=instances).map(|index| slot(Service::Licensing, format!("licensing-{index}")));
    others.into_iter().chain(licensings).collect()
}
