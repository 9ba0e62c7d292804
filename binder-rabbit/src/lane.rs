//! One queue that is read over one channel.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use binder_core::binder::{Assignment, LaneId};
use binder_core::{Error, ErrorKind, Result};
use futures::Stream;
use futures::future::BoxFuture;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};
use tokio::time::{Instant, Sleep, sleep};

use crate::compress::Received;
use crate::error;
use crate::link::Link;
use crate::poll::start;
use crate::stream::{Position, Trail};
use crate::topology::QueuePlan;
use crate::view::Origin;

/// How often a lane without a consumer looks whether its channel is still there: nothing else would tell it.
const LOOK: Duration = Duration::from_millis(500);

/// How a queue is read.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) link: Arc<Link>,
    pub(crate) plan: QueuePlan,
    pub(crate) prefetch: u16,
    /// How many deliveries may be handled at once.
    pub(crate) concurrency: u32,
    pub(crate) with_headers: bool,
    /// How many bytes a body that is packed may have when it is unpacked.
    pub(crate) unpack_limit: usize,
    /// Where the reader of a stream goes on.
    pub(crate) position: Option<Arc<Position>>,
}

/// A channel over which a queue is read.
pub(crate) struct Lane {
    pub(crate) id: LaneId,
    pub(crate) origin: Arc<Origin>,
    queue: String,
    channel: Channel,
    intake: Intake,
    look: Pin<Box<Sleep>>,
    anonymous: bool,
    /// What is not settled yet of a stream.
    trail: Option<Trail>,
    paused: bool,
    /// Whether core wants nothing more of it for now: the broker brings no more than may be unsettled anyway.
    held: bool,
    given_back: bool,
    /// What arrived during a pause and was not given back.
    kept: VecDeque<Delivery>,
    /// Why the lane ended, while its last deliveries are handed out.
    ended: Option<String>,
    /// Consumers that were cancelled; what still comes from them goes back to the queue.
    cancelled: Vec<Consumer>,
    received: u64,
    settled: u64,
    acked: u64,
    ack_every: u64,
    prefetch: u64,
    concurrency: u64,
    unpack_limit: usize,
}

enum Intake {
    Open(Consumer),
    Opening(BoxFuture<'static, lapin::Result<Consumer>>),
    Paused,
}

/// Why a lane ended.
pub(crate) struct Ended(pub(crate) String);

impl Reading {
    /// Declares the queue, opens a channel and consumes, unless the intake is paused.
    pub(crate) async fn open(&self, id: LaneId, paused: bool) -> Result<Lane> {
        let live = self.link.get().await?;
        let declared = self.plan.declare(&live).await?;
        let channel = live.channel().await?;
        let refused = |cause| error::declare("queue", &declared.name, cause);
        channel.basic_qos(self.prefetch, BasicQosOptions::default()).await.map_err(refused)?;
        let anonymous = self.plan.is_anonymous();
        let intake = if paused && !anonymous {
            Intake::Paused
        } else {
            let arguments = self.position.as_ref().map(|position| position.arguments(declared.is_new_stream));
            let arguments = arguments.unwrap_or_default();
            Intake::Open(consume(channel.clone(), declared.name.clone(), arguments).await.map_err(refused)?)
        };
        let origin = Arc::new(Origin {
            queue: declared.name.as_str().into(),
            destination: Arc::clone(&self.plan.destination),
            partition: self.plan.partition,
            dead_letters: declared.dead_letters.clone(),
            with_headers: self.with_headers,
            is_stream: self.position.is_some(),
        });
        let queue = declared.name;
        let prefetch = u64::from(self.prefetch);
        Ok(Lane {
            id,
            origin,
            queue,
            channel,
            anonymous,
            trail: self.position.clone().map(Trail::new),
            paused,
            held: false,
            given_back: paused && !anonymous,
            kept: VecDeque::new(),
            intake,
            look: Box::pin(sleep(LOOK)),
            ended: None,
            cancelled: Vec::new(),
            received: 0,
            settled: 0,
            acked: 0,
            ack_every: (prefetch / 4).max(1),
            prefetch,
            concurrency: self.concurrency.into(),
            unpack_limit: self.unpack_limit,
        })
    }
}

async fn consume(channel: Channel, queue: String, arguments: FieldTable) -> lapin::Result<Consumer> {
    channel.basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), arguments).await
}

fn give_back(channel: &Channel, delivery: &Delivery) {
    let requeue = BasicNackOptions { multiple: false, requeue: true };
    let _ = start(channel.basic_nack(delivery.delivery_tag, requeue));
}

impl Lane {
    pub(crate) fn assignment(&self) -> Assignment {
        Assignment::new(self.id, Arc::clone(&self.origin.destination), self.origin.partition)
    }

    /// Takes what is there, at most `max` deliveries, at least one.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>, max: usize) -> Poll<Result<Vec<Received>, Ended>> {
        if let Some(reason) = self.ended.take() {
            return Poll::Ready(Err(Ended(reason)));
        }
        self.return_cancelled(context)?;
        let deliveries = if self.paused || self.held {
            while let Some(delivery) = self.next(context) {
                self.kept.push_back(delivery);
            }
            Vec::new()
        } else {
            self.take(context, max)
        };
        // What lies in the buffer of a channel that is gone will come again, and could not be settled.
        if !self.channel.status().connected() {
            let reason = self.ended.take().unwrap_or_else(|| "the channel was closed".to_owned());
            return Poll::Ready(Err(Ended(reason)));
        }
        if !deliveries.is_empty() {
            return Poll::Ready(Ok(deliveries));
        }
        match self.ended.take() {
            Some(reason) => Poll::Ready(Err(Ended(reason))),
            None => Poll::Pending,
        }
    }

    /// What is unpacked of one batch is little more than one body may have.
    fn take(&mut self, context: &mut Context<'_>, max: usize) -> Vec<Received> {
        let (mut deliveries, mut unpacked) = (Vec::new(), 0);
        while deliveries.len() < max && unpacked <= self.unpack_limit {
            let Some(delivery) = self.kept.pop_front().or_else(|| self.next(context)) else { break };
            self.received = delivery.delivery_tag;
            if let Some(trail) = &mut self.trail {
                trail.read(&delivery);
            }
            let received = Received::new(delivery, self.unpack_limit);
            unpacked += received.unpacked_len();
            deliveries.push(received);
        }
        deliveries
    }

    fn next(&mut self, context: &mut Context<'_>) -> Option<Delivery> {
        match self.poll_delivery(context) {
            Poll::Ready(Ok(delivery)) => Some(delivery),
            Poll::Ready(Err(Ended(reason))) => {
                self.ended = Some(reason);
                None
            }
            Poll::Pending => None,
        }
    }

    fn poll_delivery(&mut self, context: &mut Context<'_>) -> Poll<Result<Delivery, Ended>> {
        loop {
            match &mut self.intake {
                Intake::Paused => {
                    while self.look.as_mut().poll(context).is_ready() {
                        self.look.as_mut().reset(Instant::now() + LOOK);
                    }
                    return Poll::Pending;
                }
                Intake::Opening(opening) => match opening.as_mut().poll(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(consumer)) => {
                        self.opened(consumer);
                        // All that the one before was given has come by now. It goes back before anything of this one is handed out, or
                        // acknowledging that would acknowledge it too.
                        if let Err(ended) = self.return_cancelled(context) {
                            return Poll::Ready(Err(ended));
                        }
                    }
                    Poll::Ready(Err(cause)) => return Poll::Ready(Err(Ended(error::text(&cause)))),
                },
                Intake::Open(consumer) => {
                    return Pin::new(consumer).poll_next(context).map(|next| match next {
                        Some(Ok(delivery)) => Ok(delivery),
                        Some(Err(cause)) => Err(Ended(error::text(&cause))),
                        None => Err(Ended(format!("the broker cancelled the consumer of queue `{}`", self.queue))),
                    });
                }
            }
        }
    }

    fn opened(&mut self, consumer: Consumer) {
        if self.given_back {
            self.cancel(consumer);
        } else {
            self.intake = Intake::Open(consumer);
        }
    }

    fn cancel(&mut self, consumer: Consumer) {
        let _ = start(self.channel.basic_cancel(consumer.tag(), BasicCancelOptions::default()));
        self.cancelled.push(consumer);
        self.intake = Intake::Paused;
    }

    fn return_cancelled(&mut self, context: &mut Context<'_>) -> Result<(), Ended> {
        let channel = &self.channel;
        let mut ended = None;
        self.cancelled.retain_mut(|consumer| {
            loop {
                match Pin::new(&mut *consumer).poll_next(context) {
                    Poll::Pending => return true,
                    Poll::Ready(None) => return false,
                    Poll::Ready(Some(Ok(delivery))) => give_back(channel, &delivery),
                    Poll::Ready(Some(Err(cause))) => {
                        ended = Some(Ended(error::text(&cause)));
                        return false;
                    }
                }
            }
        });
        ended.map_or(Ok(()), Err)
    }

    /// Notes that everything up to `sequence` is done, and tells the broker now and then.
    pub(crate) fn settle(&mut self, sequence: u64) -> Result<()> {
        if sequence > self.received {
            let text = format!("delivery {sequence} is settled, {} was the last", self.received);
            return Err(Error::new(ErrorKind::Unexpected, text));
        }
        self.settled = self.settled.max(sequence);
        if let Some(trail) = &mut self.trail {
            trail.settled(sequence);
        }
        if self.settled - self.acked >= self.ack_every {
            self.flush();
        }
        Ok(())
    }

    /// Whether something is settled that the broker does not know.
    pub(crate) fn is_untold(&self) -> bool {
        self.settled > self.acked
    }

    /// Whether the broker brings nothing more before it is told, while handlers could do more than they have.
    pub(crate) fn is_starved(&self) -> bool {
        self.received - self.acked >= self.prefetch && self.received - self.settled < self.concurrency
    }

    /// Tells the broker what is settled. Does not wait: frames keep their order, so that a close comes after it. The tag that is named is
    /// always one that was handed out and not acknowledged yet; the broker closes the channel on any other.
    pub(crate) fn flush(&mut self) {
        if self.is_untold() && self.channel.status().connected() {
            let _ = start(self.channel.basic_ack(self.settled, BasicAckOptions { multiple: true }));
            self.acked = self.settled;
        }
    }

    /// Tells the broker one by one what is done behind a delivery that is not.
    pub(crate) fn settle_apart(&mut self, sequences: &[u64]) {
        // first what is noted: its tag must not be named after one of these
        self.flush();
        for sequence in sequences {
            if self.channel.status().connected() {
                let _ = start(self.channel.basic_ack(*sequence, BasicAckOptions { multiple: false }));
            }
        }
    }

    /// Hands out nothing more. What is on its way is kept, at most as much as may be unsettled.
    pub(crate) fn pause(&mut self) {
        self.paused = true;
    }

    /// Ends the consumer of a paused lane and gives back what was not handed out, so that others may have it. An anonymous lane keeps
    /// both: its queue would go with its consumer, or its place in a stream.
    pub(crate) fn give_back(&mut self, context: &mut Context<'_>) {
        if !self.paused || self.given_back || self.anonymous {
            return;
        }
        self.given_back = true;
        match std::mem::replace(&mut self.intake, Intake::Paused) {
            Intake::Open(consumer) => self.cancel(consumer),
            // It can be cancelled only when the broker has said its tag.
            opening @ Intake::Opening(_) => self.intake = opening,
            Intake::Paused => {}
        }
        // After the cancel, else the broker would hand it back at once.
        for delivery in self.kept.drain(..) {
            give_back(&self.channel, &delivery);
        }
        if let Err(Ended(reason)) = self.return_cancelled(context) {
            self.ended = Some(reason);
        }
    }

    /// Hands out nothing of a held lane; what is on its way is kept.
    pub(crate) fn hold(&mut self, hold: bool, paused: bool) {
        self.held = hold;
        if !hold && !paused {
            self.resume();
        }
    }

    /// Hands out again, unless the lane is held, and consumes again if it had stopped.
    pub(crate) fn resume(&mut self) {
        self.paused = false;
        self.given_back = false;
        if matches!(self.intake, Intake::Paused) {
            self.intake =
                Intake::Opening(Box::pin(consume(self.channel.clone(), self.queue.clone(), FieldTable::default())));
        }
    }

    /// Tells the broker what is settled and leaves; the rest goes back to the queue.
    pub(crate) async fn close(mut self) -> Result<()> {
        let untold = self.is_untold();
        self.flush();
        match self.channel.close(200, "closed".into()).await {
            Ok(()) => Ok(()),
            // The broker forgot the channel already; nothing settled is left untold.
            Err(_) if !untold => Ok(()),
            Err(cause) => Err(error::lost(cause)),
        }
    }
}

impl Drop for Lane {
    /// An input that ends by an error drops its consumer; what it has settled does not come again. The channel closes behind this.
    fn drop(&mut self) {
        self.flush();
    }
}
