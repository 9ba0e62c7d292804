//! The cases, which are the same for all peers.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use super::change::{self, Change, Changes, Load, WHOLE};
use super::job::{Broker, Case, Job};
use super::meter::{Cost, Meter};
use super::pace::pace;
use super::report::Outcome;
use super::tally::Tally;
use super::{WINDOW, kafka, rabbit, watchdog};

/// How long a peer may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// A peer on one broker.
pub trait Peer: Send + Sync + Sized + 'static {
    /// Sends, for as long as it lives.
    type Sender: Send + Sync;

    /// What handles.
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
    fn send(sender: &Self::Sender, change: &Change) -> impl Future<Output = ()> + Send;

    /// Starts to handle what is there and what comes.
    fn receiver(&self, tally: Tally) -> impl Future<Output = Self::Receiver> + Send;

    /// Ends that, before its queue is deleted.
    fn close(receiver: Self::Receiver) -> impl Future<Output = ()> + Send;
}

/// Measures, with what the broker needs before and after.
pub async fn run<P: Peer>(job: Job) -> Outcome {
    let refused = P::refuses(&job).or_else(|| change::refuses(job.size)).or_else(|| impossible(&job));
    if let Some(why) = refused {
        return Outcome::Unsupported(why);
    }
    prepare(&job).await;
    let measured = job.clone();
    let task = tokio::spawn(async move { measure::<P>(&measured).await });
    let outcome = tokio::select! {
        outcome = task => outcome.map_err(|_| watchdog::FAILED),
        code = watchdog::trouble() => Err(code),
    };
    remove(&job).await;
    outcome.unwrap_or_else(|code| std::process::exit(code))
}

fn impossible(job: &Job) -> Option<String> {
    let why = match (job.broker, job.case) {
        (Broker::Memory, Case::Publish) => "in memory, messages are only sent where somebody handles them: see both",
        (_, Case::Latency) if job.size < WHOLE => "a message of less than 130 bytes has no number",
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

/// How many messages open what is opened at first.
fn warm_up(count: usize) -> usize {
    (count / 10).clamp(1, WINDOW)
}

async fn close<P: Peer>(receiver: P::Receiver) {
    if tokio::time::timeout(PATIENCE, P::close(receiver)).await.is_err() {
        eprintln!("it does not end");
    }
}

async fn publish<P: Peer>(peer: &P, job: &Job) -> Cost {
    watchdog::start(|| 0);
    let (sender, changes) = (peer.sender().await, Changes::new(job.size));
    P::send_all(&sender, changes.take(warm_up(job.messages))).await;
    let meter = Meter::start();
    P::send_all(&sender, changes.take(job.messages)).await;
    meter.cost()
}

async fn consume<P: Peer>(peer: &P, job: &Job) -> Cost {
    let tally = watched(Tally::draining(job.messages));
    let receiver = if job.broker == Broker::Memory {
        tally.close();
        let receiver = peer.receiver(tally.clone()).await;
        P::send_all(&peer.sender().await, Changes::new(job.size).take(job.messages)).await;
        tally.open();
        receiver
    } else {
        fill(job, job.messages).await;
        peer.receiver(tally.clone()).await
    };
    let cost = tally.cost().await;
    close::<P>(receiver).await;
    cost
}

/// Both sides, warm.
async fn opened<P: Peer>(peer: &P, tally: &Tally, changes: Changes, warm: usize) -> (P::Sender, P::Receiver) {
    let receiver = peer.receiver(tally.clone()).await;
    let sender = peer.sender().await;
    P::send_all(&sender, changes.take(warm)).await;
    tally.warm().await;
    (sender, receiver)
}

async fn both<P: Peer>(peer: &P, job: &Job) -> Cost {
    let (changes, warm) = (Changes::new(job.size), warm_up(job.messages));
    let tally = watched(Tally::beginning(warm, job.messages));
    let (sender, receiver) = opened(peer, &tally, changes, warm).await;
    tally.begin();
    P::send_all(&sender, changes.take(job.messages)).await;
    let cost = tally.cost().await;
    close::<P>(receiver).await;
    cost
}

/// Sends at an even rate, however long it takes.
async fn latency<P: Peer>(peer: &P, job: &Job) -> Outcome {
    let (changes, warm) = (Changes::new(job.size), warm_up(job.messages));
    let tally = watched(Tally::timing(warm, job.messages, job.rate));
    let (sender, receiver) = opened(peer, &tally, changes, warm).await;
    let send = async |number| P::send(&sender, &changes.numbered(number)).await;
    let mut due = pace(tally.begin(), job.rate, job.messages);
    let mut flying = FuturesUnordered::new();
    loop {
        tokio::select! {
            number = due.recv(), if flying.len() < WINDOW => match number {
                Some(number) => flying.push(send(number)),
                None => break,
            },
            Some(()) = flying.next() => {}
        }
    }
    while flying.next().await.is_some() {}
    drop(flying);
    let cost = tally.cost().await;
    close::<P>(receiver).await;
    Outcome::Latency { messages: job.messages, cost, nanos: tally.nanos() }
}

/// From the start until a message is handled that is there, or is sent as well in memory.
async fn first<P: Peer>(job: &Job) -> Outcome {
    let tally = watched(Tally::beginning(0, 1));
    fill(job, 1).await;
    let start = tally.begin();
    let peer = P::new(job);
    let receiver = peer.receiver(tally.clone()).await;
    if job.broker == Broker::Memory {
        P::send(&peer.sender().await, &Changes::new(job.size).numbered(0)).await;
    }
    tally.cost().await;
    let seconds = start.elapsed().as_secs_f64();
    close::<P>(receiver).await;
    Outcome::First { seconds }
}
