//! The cases, which are the same for all peers.

use std::time::Instant;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use super::change::{self, Change, Changes, Load};
use super::job::{Broker, Case, Job};
use super::meter::{Cost, Meter};
use super::pace::pace;
use super::report::Outcome;
use super::tally::Tally;
use super::{WINDOW, kafka, rabbit, watchdog};

/// A peer on one broker.
pub trait Peer: Send + Sync + Sized + 'static {
    /// Sends, for as long as it lives.
    type Sender: Send + Sync;

    /// Handles, for as long as it lives.
    type Receiver: Send;

    /// Why it can't do this, if it can't.
    fn refuses(_job: &Job) -> Option<String> {
        None
    }

    fn new(job: &Job) -> Self;

    fn sender(&self) -> impl Future<Output = Self::Sender> + Send;

    /// Sends in the fastest way that the peer has, with at most [`WINDOW`] messages unconfirmed, until all are confirmed.
    fn send_all(sender: &Self::Sender, load: Load) -> impl Future<Output = ()> + Send;

    /// Sends one, until it is confirmed.
    fn send(sender: &Self::Sender, change: &'static Change) -> impl Future<Output = ()> + Send;

    /// Starts to handle what is there and what comes.
    fn receiver(&self, tally: Tally) -> impl Future<Output = Self::Receiver> + Send;
}

/// Measures, with what the broker needs before and after.
pub async fn run<P: Peer>(job: Job) -> Outcome {
    let refused = P::refuses(&job).or_else(|| change::refuses(job.size)).or_else(|| impossible(&job));
    if let Some(why) = refused {
        return Outcome::Unsupported(why);
    }
    prepare(&job).await;
    let measured = job.clone();
    let outcome = tokio::spawn(async move { measure::<P>(&measured).await }).await;
    remove(&job).await;
    outcome.expect("it is measured")
}

fn impossible(job: &Job) -> Option<String> {
    let why = match (job.broker, job.case) {
        (Broker::Memory, Case::Publish) => {
            "in memory, sending is only done when there is somebody who handles: see both"
        }
        (Broker::Memory, Case::First) => "in memory, nothing is there before the start",
        _ => return None,
    };
    Some(why.to_owned())
}

async fn prepare(job: &Job) {
    match job.broker {
        Broker::Memory => {}
        Broker::Rabbit => rabbit::declare(job).await,
        Broker::Kafka => kafka::create(job).await,
    }
}

async fn fill(job: &Job, count: usize) {
    let load = Changes::new(job.size).take(count);
    match job.broker {
        Broker::Memory => {}
        Broker::Rabbit => rabbit::fill(job, load.one_by_one()).await,
        Broker::Kafka => kafka::fill(job, load.one_by_one()).await,
    }
}

async fn remove(job: &Job) {
    match job.broker {
        Broker::Memory => {}
        Broker::Rabbit => rabbit::remove(job).await,
        Broker::Kafka => kafka::remove(job).await,
    }
}

async fn measure<P: Peer>(job: &Job) -> Outcome {
    let (peer, messages) = (P::new(job), job.messages);
    match job.case {
        Case::Publish => Outcome::Measured { messages, cost: publish(&peer, job).await },
        Case::Consume => Outcome::Measured { messages: messages - 1, cost: consume(&peer, job).await },
        Case::Both => Outcome::Measured { messages, cost: both(&peer, job).await },
        Case::Latency => latency(&peer, job).await,
        Case::First => first::<P>(job).await,
    }
}

fn watched(tally: Tally) -> Tally {
    let handled = tally.clone();
    watchdog::start(move || handled.handled());
    tally
}

/// What is opened by the first messages is no part of it.
async fn publish<P: Peer>(peer: &P, job: &Job) -> Cost {
    watchdog::start(|| 0);
    let (sender, changes) = (peer.sender().await, Changes::new(job.size));
    P::send_all(&sender, changes.take(WINDOW)).await;
    let meter = Meter::start();
    P::send_all(&sender, changes.take(job.messages)).await;
    meter.cost()
}

async fn consume<P: Peer>(peer: &P, job: &Job) -> Cost {
    let tally = watched(Tally::draining(job.messages));
    if job.broker != Broker::Memory {
        fill(job, job.messages).await;
        let _receiver = peer.receiver(tally.clone()).await;
        return tally.cost().await;
    }
    tally.close();
    let _receiver = peer.receiver(tally.clone()).await;
    let sender = peer.sender().await;
    P::send_all(&sender, Changes::new(job.size).take(job.messages)).await;
    tally.open();
    tally.cost().await
}

/// Both sides are there, and one message has gone all the way.
async fn both<P: Peer>(peer: &P, job: &Job) -> Cost {
    let (tally, changes) = (watched(Tally::beginning(job.messages)), Changes::new(job.size));
    let _receiver = peer.receiver(tally.clone()).await;
    let sender = peer.sender().await;
    P::send(&sender, changes.get(0)).await;
    tally.started().await;
    tally.begin();
    P::send_all(&sender, changes.take(job.messages)).await;
    tally.cost().await
}

/// Sends at an even rate, however long it takes.
async fn latency<P: Peer>(peer: &P, job: &Job) -> Outcome {
    let (tally, changes) = (watched(Tally::timing(job.messages, job.rate)), Changes::numbered(job.messages, job.size));
    let _receiver = peer.receiver(tally.clone()).await;
    let sender = peer.sender().await;
    P::send(&sender, changes.get(0)).await;
    tally.started().await;
    let mut due = pace(tally.begin(), job.rate, job.messages);
    let mut flying = FuturesUnordered::new();
    loop {
        tokio::select! {
            number = due.recv(), if flying.len() < WINDOW => match number {
                Some(number) => flying.push(P::send(&sender, changes.get(number))),
                None => break,
            },
            Some(()) = flying.next() => {}
        }
    }
    flying.for_each(async |()| ()).await;
    let cost = tally.cost().await;
    Outcome::Latency { messages: job.messages, cost, micros: tally.micros() }
}

async fn first<P: Peer>(job: &Job) -> Outcome {
    let tally = watched(Tally::draining(1));
    fill(job, 1).await;
    let start = Instant::now();
    let peer = P::new(job);
    let _receiver = peer.receiver(tally.clone()).await;
    tally.started().await;
    Outcome::First { seconds: start.elapsed().as_secs_f64() }
}
