//! The messages that the broker has not confirmed yet, in the order in which they were sent.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use binder_core::binder::Slot;
use binder_core::{Error, ErrorKind};
use lapin::message::BasicReturnMessage;
use lapin::{Channel, Confirmation};
use tokio::time::Instant;

use crate::call::{Call, Calls};
use crate::envelope::Envelope;
use crate::poll::start;

/// An answer for a receipt.
pub(crate) struct Answer {
    pub(crate) slot: Slot,
    pub(crate) index: u32,
    pub(crate) result: Result<(), Error>,
}

struct Entry {
    slot: Slot,
    index: u32,
    deadline: Instant,
    envelope: Envelope,
    confirm: Option<Confirm>,
    verdict: Option<Verdict>,
    returned: Option<String>,
}

enum Confirm {
    Waiting(Call),
    Here(Box<lapin::Result<Confirmation>>),
}

#[derive(Clone, Copy)]
enum Verdict {
    Taken,
    Refused,
}

impl Entry {
    fn answer(self) -> Answer {
        let result = match (self.verdict, self.returned) {
            (Some(Verdict::Refused), _) => Err(Error::new(
                ErrorKind::Refused,
                "the broker refused the message: a queue is full, or has no leader at the moment",
            )
            .retryable()),
            (_, Some(reason)) => {
                let Envelope { route, .. } = &self.envelope;
                let message = format!(
                    "no queue takes messages of exchange `{}` with key `{}`: {reason}",
                    route.exchange, route.key
                );
                Err(Error::new(ErrorKind::Unroutable, message))
            }
            _ => Ok(()),
        };
        Answer { slot: self.slot, index: self.index, result }
    }
}

/// What is sent and not confirmed, and what waits to be sent.
///
/// Entries fall into three runs: those with a verdict, those that are published, those that are not. The client's futures are polled at
/// the front of the second run only, so that a confirm wakes the task once and not once a message.
pub(crate) struct Window {
    entries: VecDeque<Entry>,
    judged: usize,
    published: usize,
    channel: Option<Arc<Channel>>,
    calls: Calls,
    mandatory: bool,
    /// So many entries are to be sent one by one, because one of them made the broker close the channel.
    doubtful: usize,
}

impl Window {
    pub(crate) fn new(mandatory: bool) -> Self {
        Self {
            entries: VecDeque::new(),
            judged: 0,
            published: 0,
            channel: None,
            calls: Calls::default(),
            mandatory,
            doubtful: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes a message and publishes it at once if there is a channel.
    pub(crate) fn push(&mut self, slot: Slot, index: u32, deadline: Instant, envelope: Envelope) {
        self.entries.push_back(Entry { slot, index, deadline, envelope, confirm: None, verdict: None, returned: None });
        if self.doubtful == 0 {
            self.publish_up_to(self.entries.len());
        }
    }

    /// Publishes what waits, in order, on a new channel.
    pub(crate) fn online(&mut self, channel: Arc<Channel>) {
        self.channel = Some(channel);
        self.pump();
    }

    /// Forgets the channel; everything without an answer will be sent again.
    pub(crate) fn offline(&mut self) {
        self.channel = None;
        self.judged = 0;
        self.published = 0;
        for entry in &mut self.entries {
            if let Some(Confirm::Waiting(call)) = entry.confirm.take() {
                self.calls.end(call);
            }
            entry.verdict = None;
            entry.returned = None;
        }
    }

    /// The broker closed the channel because of one of the published messages. Returns the culprit if it is known; otherwise they
    /// will be sent again one by one.
    pub(crate) fn suspect(&mut self) -> Option<(Slot, u32)> {
        let suspects = self.published;
        let alone = self.doubtful > 0 && suspects == 1;
        self.offline();
        if !alone {
            self.doubtful = suspects;
            return None;
        }
        self.doubtful -= 1;
        self.entries.pop_front().map(|entry| (entry.slot, entry.index))
    }

    /// Publishes what may be published now; returns whether that was anything.
    fn pump(&mut self) -> bool {
        let before = self.published;
        match self.doubtful {
            0 => self.publish_up_to(self.entries.len()),
            _ if self.published == 0 => self.publish_up_to(self.entries.len().min(1)),
            _ => {}
        }
        self.published > before
    }

    fn publish_up_to(&mut self, end: usize) {
        let Some(channel) = &self.channel else { return };
        while self.published < end {
            let entry = &mut self.entries[self.published];
            let called = self.calls.publish(Arc::clone(channel), &entry.envelope, self.mandatory);
            entry.confirm = Some(called.map_or_else(Confirm::Here, Confirm::Waiting));
            self.published += 1;
        }
    }

    /// Collects the broker's answers; an error is the end of the channel.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>, answers: &mut Vec<Answer>) -> Result<(), lapin::Error> {
        loop {
            self.poll_answers(context, answers)?;
            if !self.pump() {
                return Ok(());
            }
        }
    }

    /// The client hands a returned message to whichever confirm it resolves next, so one confirmation of many messages may put it
    /// anywhere among them. It is therefore found by its id, and an answer is given only when the client has resolved all that was
    /// confirmed together with it, and that was looked at.
    fn poll_answers(&mut self, context: &mut Context<'_>, answers: &mut Vec<Answer>) -> Result<(), lapin::Error> {
        let mut complete = 0;
        loop {
            let news = self.judge(context)?;
            let certain = if self.mandatory { complete } else { self.judged };
            self.answer(certain, answers);
            if news == 0 {
                return Ok(());
            }
            complete = self.judged;
            self.fence();
        }
    }

    /// Waits, for microseconds, until the client is through with the confirmation that it is working on: it holds a lock for so long
    /// that this call needs as well.
    fn fence(&self) {
        if let Some(channel) = self.channel.as_ref().filter(|_| self.mandatory) {
            let _ = start(channel.wait_for_confirms());
        }
    }

    fn judge(&mut self, context: &mut Context<'_>) -> Result<usize, lapin::Error> {
        let before = self.judged;
        while self.judged < self.published {
            let entry = &mut self.entries[self.judged];
            let answer = match entry.confirm.take() {
                Some(Confirm::Waiting(mut call)) => match call.poll(context) {
                    Poll::Pending => {
                        entry.confirm = Some(Confirm::Waiting(call));
                        break;
                    }
                    Poll::Ready(answer) => {
                        self.calls.end(call);
                        answer
                    }
                },
                Some(Confirm::Here(answer)) => *answer,
                None => break,
            };
            let confirmation = answer?;
            entry.verdict = Some(if confirmation.is_nack() { Verdict::Refused } else { Verdict::Taken });
            self.judged += 1;
            if let Some(message) = confirmation.take_message() {
                self.note_return(&message);
            }
        }
        Ok(self.judged - before)
    }

    fn note_return(&mut self, message: &BasicReturnMessage) {
        let Some(id) = message.properties.message_id() else { return };
        let same = |entry: &&mut Entry| entry.returned.is_none() && entry.envelope.has_id(id.as_str());
        let found = self.entries.iter_mut().take(self.published).find(same);
        if let Some(entry) = found {
            entry.returned = Some(format!("{} {}", message.reply_code, message.reply_text));
        }
    }

    fn answer(&mut self, count: usize, answers: &mut Vec<Answer>) {
        answers.extend(self.entries.drain(..count).map(Entry::answer));
        self.judged -= count;
        self.published -= count;
        self.doubtful = self.doubtful.saturating_sub(count);
    }

    /// Returns when the first message is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.entries.front().map(|entry| entry.deadline)
    }

    /// Takes out what is due: it will not be sent again.
    pub(crate) fn expire(&mut self, now: Instant, answers: &mut Vec<Answer>, error: impl Fn() -> Error) {
        let due = |entry: &Entry| entry.deadline <= now && entry.verdict.is_none();
        while self.entries.front().is_some_and(due) {
            let Some(entry) = self.entries.pop_front() else { return };
            answers.push(Answer { slot: entry.slot, index: entry.index, result: Err(error()) });
            self.published = self.published.saturating_sub(1);
            self.doubtful = self.doubtful.saturating_sub(1);
        }
    }

    /// Takes out everything.
    pub(crate) fn drain(&mut self, answers: &mut Vec<Answer>, error: impl Fn() -> Error) {
        self.offline();
        self.doubtful = 0;
        let failed = |entry: Entry| Answer { slot: entry.slot, index: entry.index, result: Err(error()) };
        answers.extend(self.entries.drain(..).map(failed));
    }
}
