//! A consumer group: its members, and which of them reads which partition.

use std::sync::Arc;
use std::task::Waker;

use super::assignment::assign;
use super::log::GroupId;
use super::mailbox::{Mail, Mailbox};
use super::partition::Partition;

/// One consumer in a group.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// The consumer's own number for this group.
    pub(super) seat: usize,
    /// Where the consumer is told, and who it is.
    pub(super) mailbox: Arc<Mailbox>,
}

impl Member {
    fn is(&self, mailbox: &Arc<Mailbox>) -> bool {
        Arc::ptr_eq(&self.mailbox, mailbox)
    }
}

/// Who reads a partition.
#[derive(Clone, Debug)]
enum Owner {
    Nobody,
    Holds(Arc<Mailbox>),
    /// Was told to give it back.
    Returns(Arc<Mailbox>),
}

/// A group, named or anonymous.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: GroupId,
    pub(super) name: Option<String>,
    members: Vec<Member>,
    owners: Vec<Owner>,
}

impl Group {
    pub(super) fn new(id: GroupId, name: Option<&str>) -> Self {
        Self { id, name: name.map(str::to_owned), members: Vec::new(), owners: Vec::new() }
    }

    /// Adds a member; [`rebalance`](Self::rebalance) follows.
    pub(super) fn join(&mut self, member: Member) {
        self.members.push(member);
    }

    /// Removes a member, whose partitions are free at once; [`rebalance`](Self::rebalance) follows.
    pub(super) fn leave(&mut self, mailbox: &Arc<Mailbox>, partitions: &[Arc<Partition>]) {
        self.members.retain(|member| !member.is(mailbox));
        for (owner, partition) in self.owners.iter_mut().zip(partitions) {
            let held = matches!(owner, Owner::Holds(known) | Owner::Returns(known) if Arc::ptr_eq(known, mailbox));
            if held {
                partition.lock().set_reader(self.id, None);
                *owner = Owner::Nobody;
            }
        }
    }

    /// Takes back a partition that its owner was asked for; [`rebalance`](Self::rebalance) follows.
    pub(super) fn release(&mut self, mailbox: &Arc<Mailbox>, partition: &Partition) {
        let owner = &mut self.owners[partition.index() as usize];
        if matches!(owner, Owner::Returns(known) if Arc::ptr_eq(known, mailbox)) {
            partition.lock().set_reader(self.id, None);
            *owner = Owner::Nobody;
        }
    }

    /// Gives free partitions to members and asks for those that somebody else should have; returns whom to wake.
    #[must_use]
    pub(super) fn rebalance(&mut self, partitions: &[Arc<Partition>]) -> Vec<Waker> {
        self.owners.resize(partitions.len(), Owner::Nobody);
        if self.members.is_empty() {
            return Vec::new();
        }
        let targets = assign(&self.holders(), self.members.len());
        let told = partitions.iter().zip(targets).filter_map(|(partition, target)| self.give(partition, target));
        told.collect::<Vec<_>>().iter().filter_map(|mailbox| mailbox.take_waker()).collect()
    }

    fn holders(&self) -> Vec<Option<usize>> {
        let holder = |owner: &Owner| match owner {
            Owner::Holds(mailbox) => self.members.iter().position(|member| member.is(mailbox)),
            Owner::Nobody | Owner::Returns(_) => None,
        };
        self.owners.iter().map(holder).collect()
    }

    /// Brings a partition one step nearer to a member; returns who was told something.
    fn give(&mut self, partition: &Arc<Partition>, target: usize) -> Option<Arc<Mailbox>> {
        let member = &self.members[target];
        let owner = &mut self.owners[partition.index() as usize];
        match owner {
            Owner::Nobody => {
                partition.lock().set_reader(self.id, Some(Arc::clone(&member.mailbox)));
                *owner = Owner::Holds(Arc::clone(&member.mailbox));
                member.mailbox.push(Mail::Assigned { seat: member.seat, partition: Arc::clone(partition) });
                Some(Arc::clone(&member.mailbox))
            }
            Owner::Holds(holder) if !member.is(holder) => {
                let holder = Arc::clone(holder);
                *owner = Owner::Returns(Arc::clone(&holder));
                let seat = self.members.iter().find(|member| member.is(&holder))?.seat;
                holder.push(Mail::Revoked { seat, partition: partition.index() });
                Some(holder)
            }
            Owner::Holds(_) | Owner::Returns(_) => None,
        }
    }
}
