//! What all clones of a binder share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::task::Waker;

use super::destination::Destination;
use super::lock;
use super::log::GroupId;
use super::mailbox::Mailbox;
use super::progress::Progress;
use super::returns::Clock;
use crate::config::Provision;
use crate::{Error, ErrorKind, Result};

/// Messages that a partition keeps unless the configuration says it.
const DEFAULT_RETENTION: usize = 65_536;

/// The destinations.
#[derive(Debug, Default)]
pub(super) struct Hub {
    destinations: Mutex<BTreeMap<String, Arc<Destination>>>,
    retention: OnceLock<usize>,
    clock: OnceLock<Clock>,
    /// Up to where dead letters are resolved, by destination and partition.
    resolved: Mutex<BTreeMap<(Arc<str>, u32), u64>>,
    /// Held by who resolves dead letters.
    pub(super) resolving: Arc<tokio::sync::Mutex<()>>,
    pub(super) progress: Arc<Progress>,
}

impl Hub {
    /// Creates a hub whose partitions keep so many messages.
    pub(super) fn keeping(retention: usize) -> Self {
        Self { retention: OnceLock::from(retention), ..Self::default() }
    }

    /// Sets how many messages a partition keeps; fails if it is something else already.
    pub(super) fn set_retention(&self, retention: usize) -> Result<()> {
        let known = *self.retention.get_or_init(|| retention);
        if known == retention {
            return Ok(());
        }
        let message = format!("`retention` is {retention} here, but the binder is shared and keeps {known} already");
        Err(Error::new(ErrorKind::Config, message))
    }

    /// Returns a destination with at least so many partitions.
    pub(super) fn open(&self, name: &str, partitions: u32, provision: Provision) -> Result<Arc<Destination>> {
        match provision {
            Provision::Create => Ok(self.create(name, partitions)),
            Provision::None => Ok(self.create(name, 1)),
            Provision::Check => self.find(name).ok_or_else(|| missing(name)),
        }
    }

    /// Returns a destination, created if need be, that has at least so many partitions.
    pub(super) fn create(&self, name: &str, partitions: u32) -> Arc<Destination> {
        let mut destinations = lock(&self.destinations);
        let known = destinations.get(name).map(Arc::clone);
        let destination = known.unwrap_or_else(|| {
            let retention = *self.retention.get_or_init(|| DEFAULT_RETENTION);
            let new = Arc::new(Destination::new(name, retention, Arc::clone(&self.progress)));
            new.grow(partitions);
            destinations.insert(name.to_owned(), Arc::clone(&new));
            new
        });
        drop(destinations);
        destination.grow(partitions);
        destination
    }

    /// Returns a destination that is there.
    pub(super) fn find(&self, name: &str) -> Option<Arc<Destination>> {
        lock(&self.destinations).get(name).map(Arc::clone)
    }

    /// Returns the clock of what waits.
    pub(super) fn clock(&self) -> &Clock {
        self.clock.get_or_init(Clock::new)
    }

    /// Returns up to where the dead letters of a partition are resolved.
    pub(super) fn resolved(&self, letters: &Arc<str>, partition: u32) -> u64 {
        lock(&self.resolved).get(&(Arc::clone(letters), partition)).copied().unwrap_or(0)
    }

    /// Notes up to where the dead letters of a partition are resolved.
    pub(super) fn set_resolved(&self, letters: &Arc<str>, partition: u32, position: u64) {
        lock(&self.resolved).insert((Arc::clone(letters), partition), position);
    }

    /// Returns all destinations.
    pub(super) fn all(&self) -> Vec<Arc<Destination>> {
        lock(&self.destinations).values().map(Arc::clone).collect()
    }
}

fn missing(name: &str) -> Error {
    Error::new(ErrorKind::Refused, "the destination does not exist, and `provision: check` creates nothing")
        .with_context("destination", name)
}

/// One connection to a hub, as one application has it: it can be closed without the others noticing.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) hub: Arc<Hub>,
    closed: AtomicBool,
    memberships: Mutex<Vec<Weak<Membership>>>,
}

impl Session {
    pub(super) fn new(hub: Arc<Hub>) -> Self {
        Self { hub, closed: AtomicBool::new(false), memberships: Mutex::default() }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Fails if the session is closed.
    pub(super) fn check_open(&self) -> Result<()> {
        if self.is_closed() { Err(closed("the memory binder is closed")) } else { Ok(()) }
    }

    /// Notes a consumer that leaves its groups when the session is closed.
    pub(super) fn add(&self, membership: &Arc<Membership>) -> Result<()> {
        let mut memberships = lock(&self.memberships);
        self.check_open()?;
        memberships.retain(|known| known.strong_count() > 0);
        memberships.push(Arc::downgrade(membership));
        Ok(())
    }

    /// Ends all halves that were opened by this session.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let memberships = std::mem::take(&mut *lock(&self.memberships));
        memberships.iter().filter_map(Weak::upgrade).for_each(|membership| membership.leave());
        self.hub.all().iter().for_each(|destination| destination.wake_writers());
    }
}

/// The error of a half that is closed.
#[cold]
pub(super) fn closed(message: &'static str) -> Error {
    Error::new(ErrorKind::Closed, message)
}

/// A consumer's place in a group.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) destination: Arc<Destination>,
    pub(super) group: GroupId,
    /// Where the messages came from at first, if they come back here.
    pub(super) source: Option<Arc<str>>,
}

/// A consumer's places in its groups, until it leaves.
#[derive(Debug)]
pub(super) struct Membership {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) seats: Vec<Seat>,
}

impl Membership {
    /// Leaves the groups: others get the partitions at once, from what is settled. Only the first call does something.
    pub(super) fn leave(&self) {
        if self.mailbox.close() {
            self.seats.iter().for_each(|seat| seat.destination.leave(seat.group, &self.mailbox));
            self.mailbox.take_waker().into_iter().for_each(Waker::wake);
        }
    }
}
