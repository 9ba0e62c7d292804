//! A binder whose destinations are files, one message a line; a group's position stands in a file beside it.
//!
//! It shows what a binder has to do, and no more: it reads and writes while it should wait, polls, and lets one member of a group work at a
//! time. What is confirmed is with the operating system, so it outlives the process.

mod consumer;
mod record;

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use async_trait::async_trait;
use binder_core::binder::{
    Binder, BinderContext, BinderFactory, BinderHealth, Capability, Consumer, ConsumerBinding, DeadLetterStore, Delay,
    Outgoing, OutgoingBatch, Producer, ProducerBinding, Receipt, Seek, SharedBinder, Transactions, TrySend,
};
use binder_core::config::{HeaderMode, Provision, RetryMode};
use binder_core::{Error, ErrorKind, Result};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Deserialize;

use consumer::FileConsumer;
use record::Record;

/// Settings of the binder: `binders.<name>.*`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    /// Where the files are; is created. Has no default.
    directory: Option<PathBuf>,
}

/// The files, and which groups have a member. All binders of one factory share it.
#[derive(Debug, Default)]
struct Shared {
    /// Destination and group of those that have a member; also held while a file is written.
    members: Mutex<HashSet<(String, String)>>,
}

impl Shared {
    fn members(&self) -> MutexGuard<'_, HashSet<(String, String)>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes file binders; `binders.<name>.directory` says where the files are.
pub fn factory() -> impl BinderFactory {
    let shared = Arc::<Shared>::default();
    move |context: &BinderContext| {
        let Settings { directory } = context.section.read()?;
        let missing = || Error::new(ErrorKind::Config, "`directory` is missing: where are the files?");
        let directory = directory.ok_or_else(missing)?;
        let files = Files { directory, shared: Arc::clone(&shared), closed: Arc::default() };
        Ok(SharedBinder::new(FileBinder(files)))
    }
}

/// One connection, if files were a broker.
#[derive(Clone, Debug)]
struct Files {
    directory: PathBuf,
    shared: Arc<Shared>,
    closed: Arc<AtomicBool>,
}

impl Files {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn position(&self, destination: &str, group: &str) -> PathBuf {
        self.path(&format!("{destination}@{group}"))
    }

    fn check_open(&self) -> Result<()> {
        if self.closed.load(SeqCst) { Err(Error::new(ErrorKind::Closed, "the binder is closed")) } else { Ok(()) }
    }

    /// Refuses a destination that must be there and is not.
    fn check_there(&self, destination: &str, provision: Provision) -> Result<()> {
        if provision != Provision::Check || self.path(destination).exists() {
            return Ok(());
        }
        let text = format!("there is no file for `{destination}`; `provision: create` makes it");
        Err(Error::new(ErrorKind::Config, text))
    }

    /// Appends whole lines.
    fn append(&self, destination: &str, lines: &[u8]) -> Result<()> {
        let _one_at_a_time = self.shared.members();
        let file = OpenOptions::new().create(true).append(true).open(self.path(destination));
        file.and_then(|mut file| file.write_all(lines)).map_err(unreached)
    }
}

/// A disk that does not answer may answer later.
fn unreached(cause: std::io::Error) -> Error {
    Error::new(ErrorKind::Connection, "the file is not reached").with_source(cause).retryable()
}

fn check_name(what: &str, name: &str) -> Result<()> {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    if !name.is_empty() && name.len() <= 100 && name.chars().all(allowed) {
        return Ok(());
    }
    let text =
        format!("{what} `{}`: 1 to 100 letters, digits, `.`, `_` and `-` make a file's name", name.escape_debug());
    Err(Error::new(ErrorKind::Config, text))
}

fn check_mode(mode: HeaderMode) -> Result<()> {
    match mode {
        HeaderMode::Headers | HeaderMode::None => Ok(()),
        _ => Err(Error::new(
            ErrorKind::Unsupported,
            "files do not embed headers; `header-mode` must be `headers` or `none`",
        )),
    }
}

#[derive(Debug)]
struct FileBinder(Files);

#[async_trait]
impl Binder for FileBinder {
    fn capability(&self) -> Capability {
        let mut capability = Capability::default();
        capability.native_keys = true;
        capability.durable = true;
        capability
    }

    fn check_consumer(&self, binding: &ConsumerBinding) -> Result<()> {
        binding.section.read::<NoSettings>()?;
        binding.destinations.iter().try_for_each(|name| check_name("destination", name))?;
        binding.group.iter().try_for_each(|name| check_name("group", name))?;
        if binding.properties.retry == RetryMode::Delayed {
            return Err(Error::new(ErrorKind::Unsupported, "files can't do `retry: delayed`; use `in-place`"));
        }
        check_mode(binding.properties.header_mode)
    }

    fn check_producer(&self, binding: &ProducerBinding) -> Result<()> {
        binding.section.read::<NoSettings>()?;
        check_name("destination", &binding.destination)?;
        if binding.properties.partition_count > 1 {
            return Err(Error::new(ErrorKind::Unsupported, "a file has no partitions; `partition-count` must be 1"));
        }
        check_mode(binding.properties.header_mode)
    }

    async fn bind_consumer(&self, binding: &ConsumerBinding) -> Result<Box<dyn Consumer>> {
        self.0.check_open()?;
        fs::create_dir_all(&self.0.directory).map_err(unreached)?;
        binding.destinations.iter().try_for_each(|name| self.0.check_there(name, binding.provision))?;
        let consumer = FileConsumer::open(self.0.clone(), binding)?;
        binding.status.up();
        Ok(Box::new(consumer))
    }

    async fn bind_producer(&self, binding: &ProducerBinding) -> Result<Arc<dyn Producer>> {
        self.0.check_open()?;
        fs::create_dir_all(&self.0.directory).map_err(unreached)?;
        self.0.check_there(&binding.destination, binding.provision)?;
        binding.status.up();
        let with_headers = binding.properties.header_mode != HeaderMode::None;
        let (destination, closed) = (binding.destination.clone(), AtomicBool::new(false));
        Ok(Arc::new(FileProducer { files: self.0.clone(), destination, with_headers, closed }))
    }

    fn health(&self) -> BinderHealth {
        BinderHealth::Up
    }

    async fn close(&self) -> Result<()> {
        self.0.closed.store(true, SeqCst);
        Ok(())
    }

    fn delay(&self) -> Option<&dyn Delay> {
        None
    }

    fn seek(&self) -> Option<&dyn Seek> {
        None
    }

    fn dead_letter_store(&self) -> Option<&dyn DeadLetterStore> {
        None
    }

    fn transactions(&self) -> Option<&dyn Transactions> {
        None
    }
}

/// Settings of a binding under the binder's own name: there are none.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct NoSettings {}

/// Appends to one file. What is written is confirmed, so there is no window.
#[derive(Debug)]
struct FileProducer {
    files: Files,
    destination: String,
    with_headers: bool,
    closed: AtomicBool,
}

impl FileProducer {
    fn write(&self, messages: impl Iterator<Item = Record>) -> Result<TrySend<'_>> {
        self.files.check_open()?;
        if self.closed.load(SeqCst) {
            return Err(Error::new(ErrorKind::Closed, "the output is closed"));
        }
        let mut lines = Vec::new();
        for message in messages {
            message.write(&mut lines)?;
        }
        self.files.append(&self.destination, &lines)?;
        Ok(TrySend::Sent(Receipt::confirmed()))
    }
}

impl Producer for FileProducer {
    fn try_send(&self, message: Outgoing<'_>) -> Result<TrySend<'_>> {
        self.write(std::iter::once(Record::of(&message, self.with_headers)))
    }

    fn try_send_batch(&self, batch: &OutgoingBatch) -> Result<TrySend<'_>> {
        self.write(batch.iter().map(|message| Record::of(&message, self.with_headers)))
    }

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(self.files.check_open())
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        async { Ok(()) }.boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        self.closed.store(true, SeqCst);
        async { Ok(()) }.boxed()
    }
}
