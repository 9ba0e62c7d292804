//! How each case is measured, whoever plays.

use std::time::Instant;

use super::event::{Event, Source, WHOLE, events, numbered};
use super::latency::{Micros, Schedule};
use super::protocol::{Case, Task};
use super::sink::Sink;
use crate::measure::{Cost, Meter, resident};

/// How many messages may be unconfirmed.
pub const WINDOW: usize = 1000;

/// Someone who sends and receives, on one destination of one broker.
pub trait Player: Send + Sync {
    type Producer: Producer;
    type Consumer: Consumer;
    type Beside: Consumer;

    /// Why a case can't be done.
    fn cannot(&self, _task: &Task) -> Option<&'static str> {
        None
    }

    /// Whether what is sent is there for who comes later and begins anew.
    fn keeps(&self) -> bool {
        true
    }

    /// Makes the destination.
    fn prepare(&self) -> impl Future<Output = ()> + Send;

    fn producer(&self) -> impl Future<Output = Self::Producer> + Send;

    /// Starts to receive, in a task of its own.
    fn consumer(&self, sink: Sink) -> impl Future<Output = Self::Consumer> + Send;

    /// Opens so many inputs to which nothing comes.
    fn beside(&self, count: usize) -> impl Future<Output = Self::Beside> + Send;

    /// Deletes what the run leaves on the broker.
    fn remove(&self) -> impl Future<Output = ()> + Send;
}

pub trait Producer: Send {
    /// Sends, and returns when all are confirmed.
    fn send(&mut self, source: Source) -> impl Future<Output = ()> + Send;

    fn close(self) -> impl Future<Output = ()> + Send;
}

pub trait Consumer: Send {
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// What a run has measured.
#[derive(Clone, Debug)]
pub struct Figures {
    pub cost: Cost,
    /// How many messages the cost is of.
    pub messages: usize,
    pub micros: Option<Micros>,
    /// Memory, in KiB.
    pub resident: Vec<u64>,
}

impl Figures {
    fn new(cost: Cost, messages: usize) -> Self {
        Self { cost, messages, micros: None, resident: Vec::new() }
    }
}

/// Measures one case once; the error says why it can't be done.
pub async fn measure<P: Player>(player: P, task: Task) -> Result<Figures, String> {
    if let Some(why) = player.cannot(&task) {
        return Err(why.to_owned());
    }
    if task.case == Case::Latency && task.size < WHOLE {
        return Err(format!("a message of less than {WHOLE} bytes has no number"));
    }
    let events = match task.case {
        // each tells its number
        Case::Latency => numbered(task.messages, task.size)?,
        _ => events(task.size)?,
    };
    if task.case == Case::First && !player.keeps() {
        return Ok(first_of_all(&player, events).await);
    }
    player.prepare().await;
    let beside = if task.beside > 0 { Some(player.beside(task.beside).await) } else { None };
    let figures = match task.case {
        Case::Publish => publish(&player, events, task.messages).await,
        Case::Consume => consume(&player, events, task.messages).await,
        Case::Both => both(&player, events, task.messages).await,
        Case::Latency => latency(&player, events, task.messages, task.rate.expect("checked before")).await,
        Case::First => first(&player, events).await,
        Case::Hold => hold(&player, events, task.messages).await,
    };
    if let Some(beside) = beside {
        beside.close().await;
    }
    player.remove().await;
    Ok(figures)
}

/// Messages that open what is opened at first.
fn warm_up(count: usize) -> usize {
    (count / 10).clamp(1, WINDOW)
}

async fn publish(player: &impl Player, events: &'static [Event], count: usize) -> Figures {
    let mut producer = player.producer().await;
    producer.send(Source::ready(events, warm_up(count))).await;
    let meter = Meter::start();
    producer.send(Source::ready(events, count)).await;
    let cost = meter.cost();
    producer.close().await;
    Figures::new(cost, count)
}

async fn consume(player: &impl Player, events: &'static [Event], count: usize) -> Figures {
    consume_into(player, events, Sink::from_first(count), count).await
}

/// The same, and looks what the process keeps meanwhile.
async fn hold(player: &impl Player, events: &'static [Event], count: usize) -> Figures {
    let sink = Sink::looking(count);
    let figures = consume_into(player, events, sink.clone(), count).await;
    Figures { resident: sink.resident(), ..figures }
}

async fn consume_into(player: &impl Player, events: &'static [Event], sink: Sink, count: usize) -> Figures {
    let mut producer = player.producer().await;
    producer.send(Source::ready(events, count)).await;
    producer.close().await;
    let consumer = player.consumer(sink.clone()).await;
    let cost = sink.cost().await;
    consumer.close().await;
    Figures::new(cost, count - 1)
}

/// Both sides, warm.
async fn opened<P: Player>(
    player: &P,
    sink: &Sink,
    events: &'static [Event],
    warm: usize,
) -> (P::Producer, P::Consumer) {
    let consumer = player.consumer(sink.clone()).await;
    let mut producer = player.producer().await;
    producer.send(Source::ready(events, warm)).await;
    sink.warm().await;
    (producer, consumer)
}

async fn both(player: &impl Player, events: &'static [Event], count: usize) -> Figures {
    let warm = warm_up(count);
    let sink = Sink::after(warm, count);
    let (mut producer, consumer) = opened(player, &sink, events, warm).await;
    let resident = resident().into_iter().collect();
    sink.begin();
    producer.send(Source::ready(events, count)).await;
    let cost = sink.cost().await;
    consumer.close().await;
    producer.close().await;
    Figures { resident, ..Figures::new(cost, count) }
}

async fn latency(player: &impl Player, events: &'static [Event], count: usize, rate: f64) -> Figures {
    let warm = warm_up(count);
    let sink = Sink::recording(warm, count);
    let (mut producer, consumer) = opened(player, &sink, events, warm).await;
    let schedule = Schedule::new(Instant::now(), rate);
    sink.begin_by(schedule);
    producer.send(Source::Paced { events, due: schedule.pace(count) }).await;
    let cost = sink.cost().await;
    consumer.close().await;
    producer.close().await;
    Figures { micros: sink.micros(), ..Figures::new(cost, count) }
}

/// A message is there, and nothing else.
async fn first(player: &impl Player, events: &'static [Event]) -> Figures {
    let mut producer = player.producer().await;
    producer.send(Source::ready(events, 1)).await;
    producer.close().await;
    let sink = Sink::after(0, 1);
    sink.begin();
    let consumer = player.consumer(sink.clone()).await;
    let cost = sink.cost().await;
    consumer.close().await;
    Figures::new(cost, 1)
}

/// Nothing is there: the message is sent as well.
async fn first_of_all(player: &impl Player, events: &'static [Event]) -> Figures {
    let sink = Sink::after(0, 1);
    sink.begin();
    player.prepare().await;
    let consumer = player.consumer(sink.clone()).await;
    let mut producer = player.producer().await;
    producer.send(Source::ready(events, 1)).await;
    let cost = sink.cost().await;
    consumer.close().await;
    producer.close().await;
    Figures::new(cost, 1)
}
