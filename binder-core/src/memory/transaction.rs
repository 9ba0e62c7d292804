//! Transactions: all partitions are locked, then everything is appended.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;

use async_trait::async_trait;

use super::MemoryBinder;
use super::dead_letters::Prepared;
use super::destination::Destination;
use super::hub::Session;
use super::item::Record;
use super::partition::{Appender, Partition};
use super::producer::check_size;
use super::stamp;
use crate::binder::{CommitError, Outgoing, TransactionPart, Transactions, Transactor};
use crate::config::HeaderMode;
use crate::{Error, Result};

#[async_trait]
impl Transactions for MemoryBinder {
    async fn open(&self) -> Result<Box<dyn Transactor>> {
        self.session.check_open()?;
        Ok(Box::new(MemoryTransactor(Arc::clone(&self.session))))
    }
}

#[derive(Debug)]
struct MemoryTransactor(Arc<Session>);

#[async_trait]
impl Transactor for MemoryTransactor {
    async fn commit(&mut self, parts: &[TransactionPart<'_>]) -> Result<(), CommitError> {
        append(&self.0, parts, &[], || Ok(())).await
    }
}

/// What goes to one partition, in its order.
struct Share<'a> {
    partition: Arc<Partition>,
    records: Vec<Record<'a>>,
}

/// Shares by destination and partition: everybody locks in this order.
type Shares<'a> = BTreeMap<(Arc<str>, u32), Share<'a>>;

/// Appends all messages as soon as there is room for all of them, if `may` says so at that moment.
pub(super) async fn append(
    session: &Session,
    parts: &[TransactionPart<'_>],
    letters: &[Prepared<'_>],
    may: impl Fn() -> Result<()> + Send + Sync,
) -> Result<(), CommitError> {
    let mut shares = share_out(session, parts)?;
    for letter in letters {
        add(&mut shares, &letter.destination, letter.partition, letter.record());
    }
    loop {
        session.check_open().and_then(|()| may()).map_err(CommitError::Aborted)?;
        let Some(full) = try_append(&shares) else { return Ok(()) };
        let room = poll_fn(|context| full.poll_room(context, || session.check_open())).await;
        room.map_err(CommitError::Aborted)?;
    }
}

fn share_out<'a>(session: &Session, parts: &[TransactionPart<'a>]) -> Result<Shares<'a>, CommitError> {
    let mut shares = Shares::new();
    for (part, TransactionPart { binding, messages }) in parts.iter().enumerate() {
        let destination = session.hub.create(&binding.destination, binding.properties.partition_count);
        let with_headers = binding.properties.header_mode != HeaderMode::None;
        for (message, outgoing) in (0..messages.len()).map(|index| messages.get(index)).enumerate() {
            let choice = choose(&destination, &outgoing);
            let index = choice.map_err(|error| CommitError::Refused { part, message, error })?;
            add(&mut shares, &destination, index, Record::outgoing(&outgoing, with_headers));
        }
    }
    Ok(shares)
}

fn add<'a>(shares: &mut Shares<'a>, destination: &Destination, index: u32, record: Record<'a>) {
    let share = shares.entry((Arc::clone(destination.name()), index));
    let new = || Share { partition: Arc::clone(destination.partition(index)), records: Vec::new() };
    share.or_insert_with(new).records.push(record);
}

fn choose(destination: &Destination, message: &Outgoing<'_>) -> Result<u32, Error> {
    check_size(message, destination)?;
    destination.choose(message.partition, message.key)
}

/// Appends all, or returns a partition that has no room.
fn try_append(shares: &Shares<'_>) -> Option<Arc<Partition>> {
    let mut appenders: Vec<(Appender<'_>, &Share<'_>)> = Vec::with_capacity(shares.len());
    for share in shares.values() {
        let mut appender = share.partition.appender();
        if !appender.claim_room(share.records.len()) {
            return Some(Arc::clone(&share.partition));
        }
        appenders.push((appender, share));
    }
    let now = stamp::now();
    for (appender, share) in &mut appenders {
        share.records.iter().for_each(|record| appender.append(*record, now));
    }
    appenders.into_iter().for_each(|(appender, _)| appender.publish());
    None
}
