//! The receiving half of a channel.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use binder_core::Result;
use binder_core::binder::{Assignment, Consumer, ConsumerBinding, DeadLetterSink, LaneId, Received, Status};
use binder_core::config::{HeaderMode, Start};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep};

use crate::backoff::Backoff;
use crate::config::RabbitConsumerProperties;
use crate::dead_letters::DeadLetters;
use crate::error;
use crate::lane::{Ended, Lane, Reading};
use crate::link::{Link, unheard};
use crate::stream::{ContainerType, Position};
use crate::topology::consumer_queues;
use crate::view::Batch;

/// How many deliveries may be unsettled at once unless the configuration says it.
pub(crate) const DEFAULT_PREFETCH: u32 = 256;

/// A pause that is shorter costs nothing: the consumer stays, and what arrives is kept, which the prefetch bounds. Core pauses for a
/// moment whenever all that may be unsettled is unsettled, and a consumer cancelled for that would only have to come back.
const PAUSE_GRACE: Duration = Duration::from_millis(500);

/// Reads the queues of one binding. A channel for each, so that one that fails leaves its siblings alone, and so that delivery tags, which
/// count by channel, grow in the order in which deliveries are handed out.
pub(crate) struct RabbitConsumer {
    link: Arc<Link>,
    status: Status,
    seats: Vec<Seat>,
    /// Where the next look for deliveries begins, so that no queue waits for ever.
    next: usize,
    lost: Vec<LaneId>,
    /// Lanes that core was not told of yet, if it wants to hear of them.
    assigned: Option<Vec<Assignment>>,
    paused: Arc<AtomicBool>,
    /// Runs while a pause is young.
    grace: Option<Pin<Box<Sleep>>>,
    acknowledging: Acknowledging,
    ids: LaneIds,
    dead_letters: Option<Arc<DeadLetters>>,
    /// Resolves when the broker falls silent, or is heard again.
    hearing: BoxFuture<'static, watch::Receiver<bool>>,
    /// Whether the broker is silent, as far as was told.
    silent: bool,
    ignored: u64,
}

/// Waits until the broker falls silent, or is heard again.
fn hearing(mut silent: watch::Receiver<bool>) -> BoxFuture<'static, watch::Receiver<bool>> {
    async move {
        if silent.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        silent
    }
    .boxed()
}

/// A queue and what reads it at the moment.
struct Seat {
    reading: Arc<Reading>,
    backoff: Backoff,
    state: Seated,
}

impl Seat {
    fn is_untold(&self) -> bool {
        matches!(&self.state, Seated::Reading(lane) if lane.is_untold())
    }
}

enum Seated {
    Reading(Box<Lane>),
    Opening(BoxFuture<'static, Result<Lane>>),
    Failed,
}

#[derive(Default)]
struct LaneIds(u32);

impl LaneIds {
    fn next(&mut self) -> LaneId {
        self.0 += 1;
        LaneId(self.0)
    }
}

impl RabbitConsumer {
    /// Connects, declares and starts to consume.
    pub(crate) async fn open(
        consume: &Arc<Link>,
        publish: &Arc<Link>,
        binding: &ConsumerBinding,
        settings: &RabbitConsumerProperties,
    ) -> Result<Self> {
        let properties = &binding.properties;
        let prefetch = properties.prefetch.unwrap_or(DEFAULT_PREFETCH);
        let is_stream = settings.container_type == ContainerType::Stream;
        let mut ids = LaneIds::default();
        let mut seats = Vec::new();
        let mut assigned = binding.tells_assignments.then(Vec::new);
        let mut fallback = None;
        for plan in consumer_queues(binding, settings) {
            let reading = Arc::new(Reading {
                link: Arc::clone(consume),
                plan,
                prefetch: u16::try_from(prefetch).unwrap_or(u16::MAX),
                concurrency: properties.concurrency,
                with_headers: properties.header_mode == HeaderMode::Headers,
                unpack_limit: settings.unpack_limit,
                position: is_stream.then(|| Arc::new(Position::new(properties.start.unwrap_or(Start::Latest)))),
            });
            let lane = reading.open(ids.next(), false).await?;
            if let Some(assigned) = &mut assigned {
                assigned.push(lane.assignment());
            }
            fallback = fallback.or_else(|| lane.origin.dead_letters.clone());
            let backoff = Backoff::new(&consume.settings().reconnect);
            seats.push(Seat { reading, backoff, state: Seated::Reading(Box::new(lane)) });
        }
        let dead_letters = fallback.map(|route| Arc::new(DeadLetters::new(Arc::clone(publish), route)));
        binding.status.hears(consume.silence());
        binding.status.up();
        Ok(Self {
            link: Arc::clone(consume),
            status: binding.status.clone(),
            seats,
            next: 0,
            lost: Vec::new(),
            assigned,
            paused: Arc::new(AtomicBool::new(false)),
            grace: None,
            acknowledging: Acknowledging::every(settings.ack_interval),
            ids,
            dead_letters,
            hearing: hearing(consume.silent()),
            silent: false,
            ignored: 0,
        })
    }

    fn poll(&mut self, context: &mut Context<'_>, max: usize) -> Poll<Result<Received<'static>>> {
        if !self.lost.is_empty() {
            return Poll::Ready(Ok(Received::Lost(std::mem::take(&mut self.lost))));
        }
        if let Some(assigned) = self.take_assigned() {
            return Poll::Ready(Ok(Received::Assigned(assigned)));
        }
        if self.acknowledging.poll(context, self.seats.iter().any(Seat::is_untold)).is_ready() {
            self.lanes().for_each(Lane::flush);
        }
        let count = self.seats.len();
        for step in 0..count {
            let index = (self.next + step) % count;
            match self.poll_seat(index, context, max) {
                Poll::Ready(Ok(Some(batch))) => {
                    self.next = index + 1;
                    return Poll::Ready(Ok(Received::Batch(Box::new(batch))));
                }
                // there is something to tell before
                Poll::Ready(Ok(None)) => return self.poll(context, max),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {}
            }
        }
        self.poll_grace(context);
        self.poll_hearing(context);
        self.acknowledge_in_the_idle();
        Poll::Pending
    }

    /// Acknowledges what would be waited for: where the broker brings no more before.
    fn acknowledge_in_the_idle(&mut self) {
        let all = self.acknowledging.interval.is_zero();
        self.lanes().filter(|lane| all || lane.is_starved()).for_each(Lane::flush);
    }

    fn take_assigned(&mut self) -> Option<Vec<Assignment>> {
        let assigned = self.assigned.as_mut().filter(|assigned| !assigned.is_empty())?;
        Some(std::mem::take(assigned))
    }

    fn poll_hearing(&mut self, context: &mut Context<'_>) {
        while let Poll::Ready(mut silent) = self.hearing.as_mut().poll(context) {
            let now = *silent.borrow_and_update();
            self.note_silence(now);
            self.hearing = hearing(silent);
        }
    }

    /// Says so if the broker is silent, or no more. What is not consumed has told its own reason.
    #[cold]
    fn note_silence(&mut self, silent: bool) {
        self.silent = silent;
        match silent {
            _ if !self.is_seated() => {}
            true => self.status.connecting(unheard()),
            false => self.status.up(),
        }
    }

    fn is_seated(&self) -> bool {
        self.seats.iter().all(|seat| matches!(seat.state, Seated::Reading(_)))
    }

    fn poll_grace(&mut self, context: &mut Context<'_>) {
        let over = self.grace.as_mut().is_some_and(|grace| grace.as_mut().poll(context).is_ready());
        if over {
            self.grace = None;
            self.lanes().for_each(|lane| lane.give_back(context));
        }
    }

    /// Ready with a batch, or with nothing if the lane was lost, or is back and that has to be told.
    fn poll_seat(&mut self, index: usize, context: &mut Context<'_>, max: usize) -> Poll<Result<Option<Batch>>> {
        loop {
            let seat = &mut self.seats[index];
            match &mut seat.state {
                Seated::Failed => return Poll::Ready(Err(error::closed())),
                Seated::Opening(opening) => match opening.as_mut().poll(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(error)) => {
                        seat.state = Seated::Failed;
                        return Poll::Ready(Err(error));
                    }
                    Poll::Ready(Ok(lane)) => {
                        self.seated(index, lane);
                        if self.assigned.is_some() {
                            return Poll::Ready(Ok(None));
                        }
                    }
                },
                Seated::Reading(lane) => match lane.poll(context, max) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(deliveries)) => {
                        seat.backoff.reset();
                        let (lane, origin) = (lane.id, Arc::clone(&lane.origin));
                        if self.silent {
                            self.note_silence(false);
                        }
                        return Poll::Ready(Ok(Some(Batch { lane, origin, deliveries })));
                    }
                    Poll::Ready(Err(Ended(reason))) => {
                        self.lane_lost(index, reason);
                        return Poll::Ready(Ok(None));
                    }
                },
            }
        }
    }

    fn seated(&mut self, index: usize, mut lane: Lane) {
        let seat = &mut self.seats[index];
        // The intake may have been paused or resumed while the lane was opened.
        if self.paused.load(Ordering::Relaxed) {
            self.grace.get_or_insert_with(|| Box::pin(sleep(PAUSE_GRACE)));
            lane.pause()
        } else {
            lane.resume()
        }
        tracing::info!(binder = self.link.binder(), queue = seat.reading.plan.label(), "consuming again");
        if let Some(assigned) = &mut self.assigned {
            assigned.push(lane.assignment());
        }
        seat.state = Seated::Reading(Box::new(lane));
        if self.is_seated() {
            // the lane was just opened
            self.silent = false;
            self.status.up();
        }
    }

    fn lane_lost(&mut self, index: usize, reason: String) {
        let id = self.ids.next();
        let seat = &mut self.seats[index];
        let wait = seat.backoff.wait();
        let (reading, status) = (Arc::clone(&seat.reading), self.status.clone());
        let backoff = Backoff::new(&reading.link.settings().reconnect);
        let (binder, queue) = (self.link.binder(), reading.plan.label());
        tracing::warn!(binder, queue, reason, "no longer consuming");
        status.connecting(reason);
        let reopening = Reopening { reading, status, id, backoff, paused: Arc::clone(&self.paused) };
        let opening = Seated::Opening(reopening.run(wait).boxed());
        if let Seated::Reading(lane) = std::mem::replace(&mut seat.state, opening) {
            self.lost.push(lane.id);
        }
    }

    fn lanes(&mut self) -> impl Iterator<Item = &mut Lane> {
        self.seats.iter_mut().filter_map(|seat| match &mut seat.state {
            Seated::Reading(lane) => Some(&mut **lane),
            _ => None,
        })
    }
}

/// When the broker is told what is settled: so long after the first that it was not told of. Those that come later do not prolong it.
struct Acknowledging {
    /// Zero if it is told as soon as there is nothing else to do.
    interval: Duration,
    due: Pin<Box<Sleep>>,
    runs: bool,
}

impl Acknowledging {
    fn every(interval: Duration) -> Self {
        Self { interval, due: Box::pin(sleep(interval)), runs: false }
    }

    /// Starts if something is untold; ready when it is time.
    fn poll(&mut self, context: &mut Context<'_>, is_untold: bool) -> Poll<()> {
        if !is_untold || self.interval.is_zero() {
            self.runs = false;
            return Poll::Pending;
        }
        if !self.runs {
            self.due.as_mut().reset(Instant::now() + self.interval);
            self.runs = true;
        }
        let due = self.due.as_mut().poll(context);
        self.runs = due.is_pending();
        due
    }
}

/// Brings a lane back.
struct Reopening {
    reading: Arc<Reading>,
    status: Status,
    id: LaneId,
    backoff: Backoff,
    paused: Arc<AtomicBool>,
}

impl Reopening {
    async fn run(mut self, first: Duration) -> Result<Lane> {
        let mut wait = first;
        loop {
            sleep(wait).await;
            match self.reading.open(self.id, self.paused.load(Ordering::Relaxed)).await {
                Ok(lane) => return Ok(lane),
                Err(error) if !error.is_retryable() => return Err(error),
                Err(error) => {
                    let queue = self.reading.plan.label();
                    tracing::debug!(binder = self.reading.link.binder(), queue, %error, "not consuming yet");
                    self.status.connecting(error.message());
                }
            }
            wait = self.backoff.wait();
        }
    }
}

impl Consumer for RabbitConsumer {
    fn try_recv_many(&mut self, max: usize) -> Result<Option<Received<'_>>> {
        match self.poll(&mut Context::from_waker(Waker::noop()), max.max(1)) {
            Poll::Ready(received) => received.map(Some),
            Poll::Pending => Ok(None),
        }
    }

    fn recv_many(&mut self, max: usize) -> BoxFuture<'_, Result<Received<'_>>> {
        Box::pin(poll_fn(move |context| self.poll(context, max.max(1))))
    }

    fn settle(&mut self, lane: LaneId, sequence: u64) -> Result<()> {
        if let Some(lane) = self.lanes().find(|known| known.id == lane) {
            return lane.settle(sequence);
        }
        self.ignored += 1;
        tracing::debug!(binder = self.link.binder(), ignored = self.ignored, "settled too late, ignored");
        Ok(())
    }

    fn settle_apart(&mut self, lane: LaneId, sequences: &[u64]) -> Result<bool> {
        if self.seats.iter().any(|seat| seat.reading.position.is_some()) {
            // Of a stream only the first message that is not settled is remembered.
            return Ok(false);
        }
        if let Some(lane) = self.lanes().find(|known| known.id == lane) {
            lane.settle_apart(sequences);
        }
        Ok(true)
    }

    fn release<'a>(&'a mut self, _: &'a [LaneId]) -> BoxFuture<'a, Result<()>> {
        // Nothing is ever revoked.
        Box::pin(std::future::ready(Ok(())))
    }

    fn pause(&mut self) -> Result<()> {
        self.paused.store(true, Ordering::Relaxed);
        self.lanes().for_each(Lane::pause);
        self.grace = Some(Box::pin(sleep(PAUSE_GRACE)));
        Ok(())
    }

    fn resume(&mut self) -> Result<()> {
        self.paused.store(false, Ordering::Relaxed);
        self.lanes().for_each(Lane::resume);
        self.grace = None;
        Ok(())
    }

    fn hold(&mut self, lanes: &[LaneId], hold: bool) -> Result<bool> {
        let paused = self.paused.load(Ordering::Relaxed);
        self.lanes().filter(|lane| lanes.contains(&lane.id)).for_each(|lane| lane.hold(hold, paused));
        Ok(true)
    }

    fn dead_letters(&self) -> Option<Arc<dyn DeadLetterSink>> {
        let sink = Arc::clone(self.dead_letters.as_ref()?);
        Some(sink)
    }

    fn default_prefetch(&self) -> u32 {
        DEFAULT_PREFETCH
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        let lanes = self.seats.into_iter().filter_map(|seat| match seat.state {
            Seated::Reading(lane) => Some(lane.close()),
            _ => None,
        });
        let closing = futures::future::join_all(lanes);
        async move { closing.await.into_iter().find(Result::is_err).unwrap_or(Ok(())) }.boxed()
    }
}

impl fmt::Debug for RabbitConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queues: Vec<_> = self.seats.iter().map(|seat| seat.reading.plan.label()).collect();
        f.debug_struct("RabbitConsumer")
            .field("queues", &queues)
            .field("ignored", &self.ignored)
            .finish_non_exhaustive()
    }
}
