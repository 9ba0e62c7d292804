//! A destination: partitions and groups.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::Waker;

use super::group::{Group, Member};
use super::lock;
use super::log::GroupId;
use super::mailbox::Mailbox;
use super::partition::Partition;
use super::partitioner::partition_of;
use super::progress::Progress;
use crate::config::Start;
use crate::{Error, ErrorKind, Result};

const CHUNKS: usize = 16;

/// The most partitions that a destination can have.
pub(super) const MAX_PARTITIONS: u32 = (1 << CHUNKS) - 1;

/// A named set of partitions with the groups that read it.
///
/// Partitions are added and never removed, chunk by chunk, so that a sender finds its own without a lock.
#[derive(Debug)]
pub(super) struct Destination {
    name: Arc<str>,
    retention: usize,
    count: AtomicU32,
    chunks: [OnceLock<Box<[Arc<Partition>]>>; CHUNKS],
    next: AtomicU32,
    groups: Mutex<Groups>,
    progress: Arc<Progress>,
}

#[derive(Debug, Default)]
struct Groups {
    next: u64,
    list: Vec<Group>,
}

impl Destination {
    pub(super) fn new(name: &str, retention: usize, progress: Arc<Progress>) -> Self {
        Self {
            name: name.into(),
            retention,
            count: AtomicU32::new(0),
            chunks: std::array::from_fn(|_| OnceLock::new()),
            next: AtomicU32::new(0),
            groups: Mutex::default(),
            progress,
        }
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Returns how many partitions there are.
    pub(super) fn count(&self) -> u32 {
        self.count.load(Ordering::Acquire)
    }

    /// Returns partition `index`, which is below [`count`](Self::count).
    pub(super) fn partition(&self, index: u32) -> &Arc<Partition> {
        let (chunk, place) = chunk_of(index);
        &self.chunk(chunk)[place]
    }

    /// Returns all partitions.
    pub(super) fn partitions(&self) -> Vec<Arc<Partition>> {
        (0..self.count()).map(|index| Arc::clone(self.partition(index))).collect()
    }

    fn chunk(&self, chunk: usize) -> &[Arc<Partition>] {
        self.chunks[chunk].get_or_init(|| {
            let first = (1 << chunk) - 1;
            (first..first + (1 << chunk)).map(|index| Arc::new(Partition::new(index, self.retention))).collect()
        })
    }

    /// Chooses the partition of a message: the explicit one, else by key, else in turn.
    #[inline(always)]
    pub(super) fn choose(&self, explicit: Option<u32>, key: Option<&[u8]>) -> Result<u32> {
        let count = self.count();
        if explicit.is_none() && count == 1 { Ok(0) } else { self.choose_among(count, explicit, key) }
    }

    #[inline(never)]
    fn choose_among(&self, count: u32, explicit: Option<u32>, key: Option<&[u8]>) -> Result<u32> {
        match (explicit, key) {
            (Some(index), _) if index >= count => Err(no_partition(&self.name, index, count)),
            (Some(index), _) => Ok(index),
            (None, Some(key)) => Ok(partition_of(key, count)),
            (None, None) => Ok(self.next.fetch_add(1, Ordering::Relaxed) % count),
        }
    }

    /// Makes sure that there are so many partitions, at least one; groups take the new ones over from their start.
    pub(super) fn grow(&self, wanted: u32) {
        let woken = {
            let mut groups = lock(&self.groups);
            let known = self.count();
            let wanted = wanted.clamp(1, MAX_PARTITIONS);
            if wanted <= known {
                return;
            }
            for index in known..wanted {
                let mut log = self.partition(index).lock();
                groups.list.iter().for_each(|group| log.add_group(group.id, Start::Earliest));
            }
            self.count.store(wanted, Ordering::Release);
            let partitions = self.partitions();
            groups.list.iter_mut().flat_map(|group| group.rebalance(&partitions)).collect::<Vec<_>>()
        };
        woken.into_iter().for_each(Waker::wake);
    }

    /// Creates a named group unless it is there.
    pub(super) fn ensure_group(&self, name: &str, start: Start) {
        self.find_or_add(&mut lock(&self.groups), Some(name), start);
    }

    /// Adds a member to a group, which is created if it is not there.
    pub(super) fn join(&self, name: Option<&str>, start: Start, member: Member) -> GroupId {
        let (id, woken) = {
            let mut groups = lock(&self.groups);
            let group = self.find_or_add(&mut groups, name, start);
            group.join(member);
            (group.id, group.rebalance(&self.partitions()))
        };
        woken.into_iter().for_each(Waker::wake);
        id
    }

    fn find_or_add<'a>(&self, groups: &'a mut Groups, name: Option<&str>, start: Start) -> &'a mut Group {
        let known = groups.list.iter().position(|group| name.is_some() && group.name.as_deref() == name);
        let place = known.unwrap_or_else(|| {
            let id = GroupId(groups.next);
            groups.next += 1;
            self.partitions().iter().for_each(|partition| partition.lock().add_group(id, start));
            groups.list.push(Group::new(id, name));
            groups.list.len() - 1
        });
        &mut groups.list[place]
    }

    /// Removes a member; an anonymous group goes with it.
    pub(super) fn leave(&self, id: GroupId, mailbox: &Arc<Mailbox>) {
        let woken = {
            let mut groups = lock(&self.groups);
            let Some(place) = groups.list.iter().position(|group| group.id == id) else { return };
            let partitions = self.partitions();
            if groups.list[place].name.is_none() {
                groups.list.swap_remove(place);
                partitions.iter().flat_map(|partition| partition.lock().remove_group(id)).collect()
            } else {
                let group = &mut groups.list[place];
                group.leave(mailbox, &partitions);
                group.rebalance(&partitions)
            }
        };
        woken.into_iter().for_each(Waker::wake);
    }

    /// Takes a partition back that its owner was asked for.
    pub(super) fn release(&self, id: GroupId, mailbox: &Arc<Mailbox>, partition: u32) {
        let woken = {
            let mut groups = lock(&self.groups);
            let Some(group) = groups.list.iter_mut().find(|group| group.id == id) else { return };
            group.release(mailbox, self.partition(partition));
            group.rebalance(&self.partitions())
        };
        woken.into_iter().for_each(Waker::wake);
    }

    /// Returns the position of a named group in each partition.
    pub(super) fn position(&self, name: &str) -> Option<Vec<u64>> {
        let groups = lock(&self.groups);
        let id = groups.list.iter().find(|group| group.name.as_deref() == Some(name))?.id;
        self.partitions().iter().map(|partition| partition.lock().committed(id)).collect()
    }

    /// Returns whether every named group has settled everything.
    pub(super) fn is_idle(&self) -> bool {
        let groups = lock(&self.groups);
        let partitions = self.partitions();
        groups.list.iter().filter(|group| group.name.is_some()).all(|group| {
            partitions.iter().all(|partition| {
                let log = partition.lock();
                log.committed(group.id) == Some(log.end())
            })
        })
    }

    /// Makes all senders that wait look again.
    pub(super) fn wake_writers(&self) {
        self.partitions().iter().for_each(|partition| partition.wake_writers());
    }
}

/// Returns the chunk of a partition, and its place there: chunk n holds 2^n partitions.
fn chunk_of(index: u32) -> (usize, usize) {
    let chunk = (index + 1).ilog2();
    (chunk as usize, (index + 1 - (1 << chunk)) as usize)
}

/// The error of a message for a partition that does not exist.
#[cold]
pub(super) fn no_partition(destination: &str, index: u32, count: u32) -> Error {
    Error::new(ErrorKind::Refused, format!("there is no partition {index}, the destination has {count}"))
        .with_context("destination", destination)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_its_place() {
        let destination = Destination::new("orders", 8, Arc::default());
        destination.grow(100);
        assert_eq!((0..100).filter(|index| destination.partition(*index).index() == *index).count(), 100);
        assert_eq!(chunk_of(MAX_PARTITIONS - 1), (CHUNKS - 1, (1 << (CHUNKS - 1)) - 1));
    }

    #[test]
    fn a_destination_never_shrinks() {
        let destination = Destination::new("orders", 8, Arc::default());
        destination.grow(3);
        destination.grow(2);
        assert_eq!(destination.count(), 3);
    }
}
