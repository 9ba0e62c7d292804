//! Callers that share transactions: what comes while one is committed goes into the next.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Part;
use crate::binder::{CommitError, SharedBinder, TransactionPart, Transactor};
use crate::runtime::batch::copy;
use crate::runtime::{backoff, bind_waits};
use crate::{Error, ErrorKind, Result};

/// Callers that share a transaction at most.
const MOST: usize = 1000;

/// What one caller wants to be published.
struct Asked {
    parts: Vec<Part>,
    deadline: Instant,
    answer: oneshot::Sender<Result<()>>,
}

impl Asked {
    fn answer(self, done: Result<()>) {
        let done = done.map_err(|error| match self.parts.first() {
            Some(part) => part.core.in_context(error),
            None => error,
        });
        // nobody waits if the caller was dropped
        let _ = self.answer.send(done);
    }
}

/// Who publishes, by binder.
#[derive(Default)]
pub(in crate::runtime) struct Publishers {
    by_binder: HashMap<Arc<str>, Publisher>,
    closed: bool,
}

struct Publisher {
    asks: mpsc::UnboundedSender<Asked>,
    task: JoinHandle<()>,
}

impl Publishers {
    /// Hands messages over, at least one part; they are published even if the future is dropped.
    pub(in crate::runtime) fn publish(&mut self, parts: Vec<Part>) -> impl Future<Output = Result<()>> + Send + use<> {
        let (answer, answered) = oneshot::channel();
        let patience = parts.iter().map(|part| part.core.binding.properties.send_timeout).max();
        let deadline = Instant::now() + patience.unwrap_or_default();
        if let Some(first) = parts.first().filter(|_| !self.closed) {
            let publisher = self.by_binder.entry(Arc::clone(&first.core.binder_name));
            let publisher = publisher.or_insert_with(|| Publisher::start(first.core.binder().clone()));
            // a publisher that has ended drops the answer
            let _ = publisher.asks.send(Asked { parts, deadline, answer });
        }
        async move { answered.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Closed, "the application is closed"))) }
    }

    /// Takes those who publish, to be ended; later callers are refused.
    pub(in crate::runtime) fn close(&mut self) -> Closing {
        self.closed = true;
        Closing(self.by_binder.drain().map(|(_, publisher)| publisher).collect())
    }

    /// Ends at once.
    pub(in crate::runtime) fn abort(&mut self) {
        self.close().0.iter().for_each(|publisher| publisher.task.abort());
    }
}

/// Publishers that get nothing more.
pub(in crate::runtime) struct Closing(Vec<Publisher>);

impl Closing {
    /// Waits until what was handed over is decided, at most so long.
    pub(in crate::runtime) async fn end(self, patience: Duration) {
        let end = Instant::now() + patience;
        for Publisher { asks, mut task } in self.0 {
            drop(asks);
            if tokio::time::timeout_at(end, &mut task).await.is_err() {
                tracing::warn!("transactions are not committed at the end of the shutdown");
                task.abort();
            }
        }
    }
}

impl Publisher {
    fn start(binder: SharedBinder) -> Self {
        let (asks, asked) = mpsc::unbounded_channel();
        let task = tokio::spawn(run(binder, asked));
        Self { asks, task }
    }
}

async fn run(binder: SharedBinder, mut asked: mpsc::UnboundedReceiver<Asked>) {
    let mut transactor = None;
    while let Some(first) = asked.recv().await {
        let mut together = vec![first];
        while together.len() < MOST
            && let Ok(next) = asked.try_recv()
        {
            together.push(next);
        }
        commit(&binder, &mut transactor, together).await;
    }
}

/// Publishes together; who can't be published is answered, the others are tried again until they are late.
async fn commit(binder: &SharedBinder, transactor: &mut Option<Box<dyn Transactor>>, mut together: Vec<Asked>) {
    let mut random = fastrand::Rng::new();
    let mut failed = 0;
    loop {
        together.retain(|asked| !asked.answer.is_closed());
        let Some(deadline) = together.iter().map(|asked| asked.deadline).max() else { return };
        let tried = match transactor {
            Some(open) => try_commit(open.as_mut(), &together).await,
            None => match tokio::time::timeout_at(deadline, open(binder)).await {
                Ok(Ok(open)) => {
                    *transactor = Some(open);
                    continue;
                }
                Ok(Err(error)) => Err(Failure::All(error)),
                Err(_) => Err(Failure::All(Error::new(ErrorKind::Timeout, "the broker is not reached"))),
            },
        };
        match tried {
            Ok(()) => return together.into_iter().for_each(|asked| asked.answer(Ok(()))),
            Err(Failure::One(index, error)) => together.remove(index).answer(Err(error)),
            Err(Failure::All(error)) => {
                failed += 1;
                let wait = backoff::wait(&bind_waits(), failed, &mut random);
                let again = Instant::now() + wait;
                let is_late = |asked: &mut Asked| !error.is_retryable() || asked.deadline < again;
                for late in together.extract_if(.., is_late).collect::<Vec<_>>() {
                    late.answer(Err(copy(&error)));
                }
                if !together.is_empty() {
                    tracing::warn!(?wait, "a transaction was not committed, will be tried again: {error:?}");
                    tokio::time::sleep_until(again).await;
                }
            }
        }
    }
}

async fn open(binder: &SharedBinder) -> Result<Box<dyn Transactor>> {
    let transactions = binder.transactions();
    let transactions =
        transactions.ok_or_else(|| Error::new(ErrorKind::Unsupported, "the binder has no transactions"))?;
    transactions.open().await
}

/// Whom a failed commit concerns.
enum Failure {
    /// One of the callers; the others can be tried without it.
    One(usize, Error),
    All(Error),
}

async fn try_commit(transactor: &mut dyn Transactor, together: &[Asked]) -> Result<(), Failure> {
    let all: Vec<TransactionPart<'_>> = together.iter().flat_map(|asked| &asked.parts).map(Part::as_contract).collect();
    let owner = |part: usize| {
        let mut end = 0;
        together.iter().position(|asked| {
            end += asked.parts.len();
            part < end
        })
    };
    transactor.commit(&all).await.map_err(|failure| match failure {
        CommitError::Aborted(error) => Failure::All(error),
        CommitError::Refused { part, error, .. } => match owner(part) {
            Some(index) => Failure::One(index, error),
            None => Failure::All(error.permanent()),
        },
        // trying again could publish it twice
        CommitError::Unknown(error) => Failure::All(error.permanent()),
    })
}
