//! Sending with confirms, over losses of the connection.
//!
//! A send queues its frames with the client at once, under a lock, and does not wait. One task for each publisher collects the confirms,
//! lets late sends time out, and brings a lost channel back; what was not confirmed by then is sent again first, in its order.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use binder_core::binder::{Receipt, Receipts, Slot, Status};
use binder_core::{Error, ErrorKind, Result};
use futures::task::AtomicWaker;
use lapin::Channel;
use lapin::options::ConfirmSelectOptions;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::backoff::Backoff;
use crate::envelope::Envelope;
use crate::error::{self, code};
use crate::link::{Link, Live, held_back};
use crate::poll::lock;
use crate::topology::ProducerPlan;
use crate::window::{Answer, Window};

/// How a publisher behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) window: u32,
    pub(crate) timeout: Duration,
    /// Whether a message that no queue takes fails.
    pub(crate) mandatory: bool,
}

/// A channel that is ready to publish.
pub(crate) type Ready = (Arc<Live>, Arc<Channel>);

struct State {
    window: Window,
    closed: bool,
}

/// Publishes over one channel. Dropping it sends what is in the window and then ends the task.
pub(crate) struct Publisher {
    shared: Arc<Shared>,
    task: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    link: Arc<Link>,
    options: Options,
    receipts: Receipts,
    state: Mutex<State>,
    task: AtomicWaker,
    trouble: Mutex<Option<String>>,
}

impl Publisher {
    /// Starts the task; without a channel it opens one.
    pub(crate) fn spawn(
        link: Arc<Link>,
        options: Options,
        plan: Option<Arc<ProducerPlan>>,
        status: Status,
        ready: Option<Ready>,
    ) -> Self {
        let shared = Arc::new(Shared {
            link,
            options,
            receipts: Receipts::new(options.window),
            state: Mutex::new(State { window: Window::new(options.mandatory), closed: false }),
            task: AtomicWaker::new(),
            trouble: Mutex::new(None),
        });
        let backoff = Backoff::new(&shared.link.settings().reconnect);
        let task =
            Task { shared: Arc::clone(&shared), plan, status, backoff, timer: Timer::new(), answers: Vec::new() };
        let task = tokio::spawn(task.run(ready));
        Self { shared, task: Mutex::new(Some(task)) }
    }

    /// Takes room for so many messages; `None` if there is not enough.
    pub(crate) fn reserve(&self, count: u32) -> Result<Option<Slot>> {
        if lock(&self.shared.state).closed {
            return Err(error::closed());
        }
        Ok(self.shared.receipts.reserve(count))
    }

    /// Gives room back that was not used.
    pub(crate) fn cancel(&self, slot: Slot, count: u32) {
        self.shared.receipts.cancel(slot, count);
    }

    /// Sends messages for which there is room; one that could not be made fails by itself.
    pub(crate) fn publish(&self, slot: Slot, envelopes: impl IntoIterator<Item = Result<Envelope>>) -> Receipt<'_> {
        let shared = &*self.shared;
        let deadline = Instant::now() + shared.options.timeout;
        let mut state = lock(&shared.state);
        let idle = state.window.is_empty();
        let refuse = state.closed;
        for (index, envelope) in (0..).zip(envelopes) {
            match envelope {
                Ok(_) if refuse => shared.receipts.complete(slot, index, Err(error::closed())),
                Ok(envelope) => state.window.push(slot, index, deadline, envelope),
                Err(cause) => shared.receipts.complete(slot, index, Err(cause)),
            }
        }
        drop(state);
        if idle {
            shared.task.wake();
        }
        shared.receipts.receipt(slot)
    }

    pub(crate) fn poll_room(&self, context: &mut Context<'_>) -> Poll<Result<()>> {
        if lock(&self.shared.state).closed {
            return Poll::Ready(Err(error::closed()));
        }
        self.shared.receipts.poll_room(context).map(Ok)
    }

    /// Waits until every send has its answer.
    pub(crate) async fn flush(&self) {
        poll_fn(|context| self.shared.receipts.poll_idle(context)).await;
    }

    /// Takes no more, waits for the answers, closes the channel.
    pub(crate) async fn close(&self) {
        self.shared.finish();
        self.flush().await;
        let task = lock(&self.task).take();
        if let Some(task) = task {
            let _ = task.await;
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.shared.finish();
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("receipts", &self.shared.receipts).finish_non_exhaustive()
    }
}

impl Shared {
    fn finish(&self) {
        lock(&self.state).closed = true;
        self.task.wake();
    }

    fn timed_out(&self) -> Error {
        let limit = self.options.timeout;
        let message = match &*lock(&self.trouble) {
            Some(trouble) => format!("not confirmed within {limit:?}: {trouble}"),
            None => format!("not confirmed within {limit:?}"),
        };
        Error::new(ErrorKind::Timeout, message).retryable()
    }

    fn give(&self, answers: &mut Vec<Answer>) {
        for Answer { slot, index, result } in answers.drain(..) {
            self.receipts.complete(slot, index, result);
        }
    }
}

/// Opens a channel that confirms, after the topology was declared.
pub(crate) async fn open(link: &Link, plan: Option<&ProducerPlan>) -> Result<Ready> {
    let live = link.get().await?;
    if let Some(plan) = plan {
        plan.declare(&live).await?;
    }
    let channel = live.channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(error::lost)?;
    Ok((live, Arc::new(channel)))
}

/// Fires when the first message of the window is due.
struct Timer {
    sleep: Pin<Box<Sleep>>,
    armed: bool,
}

impl Timer {
    fn new() -> Self {
        Self { sleep: Box::pin(sleep_until(Instant::now())), armed: false }
    }

    /// Ready when it is time to look; the first message may have been confirmed meanwhile, so most shots are blank and the timer is
    /// seldom set.
    fn poll(&mut self, context: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        if !self.armed {
            let Some(deadline) = deadline else { return Poll::Pending };
            self.sleep.as_mut().reset(deadline);
            self.armed = true;
        }
        let fired = self.sleep.as_mut().poll(context);
        self.armed = fired.is_pending();
        fired
    }
}

enum Event {
    Finished,
    ChannelLost(lapin::Error),
    ConnectionLost(String),
}

struct Task {
    shared: Arc<Shared>,
    plan: Option<Arc<ProducerPlan>>,
    status: Status,
    backoff: Backoff,
    timer: Timer,
    answers: Vec<Answer>,
}

impl Task {
    async fn run(mut self, mut ready: Option<Ready>) {
        loop {
            let opened = match ready.take() {
                Some(opened) => Some(opened),
                None => self.reopen().await,
            };
            let Some((live, channel)) = opened else { return };
            lock(&self.shared.state).window.online(Arc::clone(&channel));
            match self.online(&live).await {
                Event::Finished => {
                    let _ = channel.close(200, "closed".into()).await;
                    return;
                }
                Event::ConnectionLost(reason) => self.offline(reason),
                Event::ChannelLost(cause) => self.channel_lost(cause).await,
            }
        }
    }

    /// Brings the channel back; `None` if the publisher is done.
    async fn reopen(&mut self) -> Option<Ready> {
        loop {
            let link = Arc::clone(&self.shared.link);
            let plan = self.plan.clone();
            let opening = async move { open(&link, plan.as_deref()).await };
            match self.while_offline(opening).await? {
                Ok(opened) => return Some(opened),
                Err(cause) if cause.kind() == ErrorKind::Closed => {
                    self.fail_all(error::closed);
                    self.shared.finish();
                    return None;
                }
                Err(cause) => {
                    self.note(cause.message().to_owned());
                    if !cause.is_retryable() {
                        self.fail_all(|| Error::new(cause.kind(), cause.message().to_owned()));
                    }
                }
            }
            let wait = self.backoff.wait();
            self.while_offline(tokio::time::sleep(wait)).await?;
        }
    }

    async fn channel_lost(&mut self, cause: lapin::Error) {
        match error::channel_code(&cause) {
            Some(code::PRECONDITION_FAILED) => {
                let culprit = lock(&self.shared.state).window.suspect();
                if let Some((slot, index)) = culprit {
                    let said = error::text(&cause);
                    let kind = if said.contains("message size") { ErrorKind::TooLarge } else { ErrorKind::Refused };
                    let refused = Error::new(kind, format!("the broker refuses the message: {said}"));
                    self.shared.receipts.complete(slot, index, Err(refused.with_source(cause)));
                } else {
                    let (binder, reason) = (self.shared.link.binder(), error::text(&cause));
                    tracing::warn!(binder, reason, "a message made the broker close the channel; sending one by one");
                }
            }
            Some(code::ACCESS_REFUSED) => {
                let said = error::text(&cause);
                self.fail_all(|| Error::new(ErrorKind::Refused, format!("no right to publish: {said}")));
            }
            _ => {
                self.offline(error::text(&cause));
                let wait = self.backoff.wait();
                let _ = self.while_offline(tokio::time::sleep(wait)).await;
            }
        }
    }

    fn offline(&mut self, reason: String) {
        lock(&self.shared.state).window.offline();
        self.note(reason);
    }

    fn note(&mut self, reason: String) {
        tracing::warn!(binder = self.shared.link.binder(), reason, "not publishing");
        self.status.connecting(reason.clone());
        *lock(&self.shared.trouble) = Some(reason);
    }

    fn fail_all(&mut self, error: impl Fn() -> Error) {
        lock(&self.shared.state).window.drain(&mut self.answers, error);
        self.shared.give(&mut self.answers);
    }

    /// Waits for a future while messages may fall due; `None` if the publisher was closed and nothing is left.
    async fn while_offline<T>(&mut self, future: impl Future<Output = T> + Send) -> Option<T> {
        let mut future = std::pin::pin!(future);
        poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Some(output));
            }
            self.shared.task.register(context.waker());
            self.poll_deadlines(context);
            let state = lock(&self.shared.state);
            if state.closed && state.window.is_empty() { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }

    /// Collects confirms until the channel is lost or the publisher was closed and nothing is left.
    async fn online(&mut self, live: &Live) -> Event {
        let mut lost = std::pin::pin!(live.lost());
        let reporting = report_blocking(live.blocked(), self.status.clone(), Arc::clone(&self.shared));
        let mut reporting = std::pin::pin!(reporting);
        poll_fn(|context| {
            let _ = reporting.as_mut().poll(context);
            self.shared.task.register(context.waker());
            self.poll_deadlines(context);
            if let Err(cause) = self.poll_window(context) {
                return Poll::Ready(Event::ChannelLost(cause));
            }
            if let Poll::Ready(reason) = lost.as_mut().poll(context) {
                return Poll::Ready(Event::ConnectionLost(reason));
            }
            let state = lock(&self.shared.state);
            if state.closed && state.window.is_empty() { Poll::Ready(Event::Finished) } else { Poll::Pending }
        })
        .await
    }

    fn poll_window(&mut self, context: &mut Context<'_>) -> Result<(), lapin::Error> {
        let polled = lock(&self.shared.state).window.poll(context, &mut self.answers);
        if !self.answers.is_empty() {
            self.backoff.reset();
            self.shared.give(&mut self.answers);
        }
        polled
    }

    fn poll_deadlines(&mut self, context: &mut Context<'_>) {
        loop {
            let deadline = lock(&self.shared.state).window.deadline();
            if self.timer.poll(context, deadline).is_pending() {
                return;
            }
            let shared = &self.shared;
            lock(&shared.state).window.expire(Instant::now(), &mut self.answers, || shared.timed_out());
            shared.give(&mut self.answers);
        }
    }
}

/// Says in the status that the broker holds back publishers, and that it no longer does.
async fn report_blocking(mut blocked: watch::Receiver<Option<String>>, status: Status, shared: Arc<Shared>) {
    loop {
        let reason = blocked.borrow_and_update().clone();
        let reason = reason.map(|reason| held_back(&reason));
        match &reason {
            Some(reason) => status.connecting(reason.clone()),
            None => status.up(),
        }
        *lock(&shared.trouble) = reason;
        if blocked.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
