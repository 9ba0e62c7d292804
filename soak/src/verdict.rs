//! What came of it.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use binder_core::channel::SinkBinding;
use binder_core::prelude::*;
use tokio::time::Instant;

use crate::broker::Switch;
use crate::faults::Drawn;
use crate::journal::{ACKNOWLEDGED, HANDLED, Journal, SENT};
use crate::order::Order;
use crate::setup::dead_letters;
use crate::{Carrier, Fallible, RunArguments};

/// How long the consumers may take for what is left when nobody sends any more.
const PATIENCE: Duration = Duration::from_secs(180);

type Orders = Arc<Mutex<HashSet<Order>>>;

/// What was moved aside, read from the broker while it goes on.
pub(crate) struct DeadLetters {
    found: Orders,
    _app: Application,
}

impl DeadLetters {
    pub(crate) async fn collect(broker: &Switch, destination: &str) -> Fallible<Self> {
        async fn note(order: Order, State(found): State<Orders>) {
            found.lock().unwrap_or_else(PoisonError::into_inner).insert(order);
        }
        let found = Orders::default();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let app = dead_letters(broker, destination)?.build()?;
            let channels = app.bind::<SinkBinding<Order>>().await?;
            app.handle(channels.input, note.with_state(Arc::clone(&found))).await?;
            app.start().await?;
            match app.ready(PATIENCE).await {
                Ok(()) => return Ok(Self { found, _app: app }),
                // the consumers declare the place, and may not have come to it
                Err(error) if Instant::now() > deadline => return Err(error.into()),
                Err(_) => {
                    app.shutdown().await?;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    fn found(&self) -> HashSet<Order> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The figures of the table.
pub(crate) struct Verdict {
    sent: usize,
    acknowledged: usize,
    handled: usize,
    duplicates: usize,
    dead: usize,
    lost: Vec<Order>,
    /// First deliveries that came after a later one of their key; not counted where consumers compete for one queue.
    disorder: Option<usize>,
}

impl Verdict {
    /// Waits until everything that was acknowledged is handled or moved aside, or for as long as that may take.
    pub(crate) async fn wait(folder: &Path, dead: &DeadLetters, carrier: Carrier) -> Fallible<Self> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let verdict = Self::read(folder, &dead.found(), carrier)?;
            if verdict.lost.is_empty() || Instant::now() > deadline {
                return Ok(verdict);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    fn read(folder: &Path, dead: &HashSet<Order>, carrier: Carrier) -> Fallible<Self> {
        let acknowledged: HashSet<_> = Journal::read(folder, ACKNOWLEDGED)?.into_iter().collect();
        let lines = Journal::read(folder, HANDLED)?;
        let mut handled = HashSet::new();
        let mut last = HashMap::<u32, u64>::new();
        let mut disorder = 0;
        for order in &lines {
            if handled.insert(*order) {
                let last = last.entry(order.key).or_default();
                disorder += usize::from(order.number < *last);
                *last = order.number.max(*last);
            }
        }
        let lost = acknowledged.iter().filter(|order| !handled.contains(order) && !dead.contains(order));
        Ok(Self {
            sent: Journal::read(folder, SENT)?.len(),
            acknowledged: acknowledged.len(),
            handled: handled.len(),
            duplicates: lines.len() - handled.len(),
            dead: dead.len(),
            lost: lost.copied().collect(),
            disorder: (carrier != Carrier::Rabbit).then_some(disorder),
        })
    }

    pub(crate) fn is_good(&self) -> bool {
        self.lost.is_empty() && self.disorder.unwrap_or_default() == 0 && self.acknowledged > 0
    }

    pub(crate) fn print(&self, arguments: &RunArguments, seed: u64, time: Duration, drawn: &Drawn, peak: u64) {
        let faults: Vec<_> = drawn.iter().map(|(name, count)| format!("{name} ×{count}")).collect();
        println!(
            "\n{}, {} min, seed {seed}, {} producers, {} consumers, {} messages in a second\n",
            arguments.binder.name(),
            time.as_secs_f64() / 60.0,
            arguments.producers,
            arguments.consumers,
            arguments.rate
        );
        println!("faults: {}\n", if faults.is_empty() { "none".to_owned() } else { faults.join(", ") });
        println!("| sent | acknowledged | handled | duplicated | dead-lettered | lost | out of order | peak memory |");
        println!("|---|---|---|---|---|---|---|---|");
        let disorder = self.disorder.map_or_else(|| "not kept".to_owned(), |count| count.to_string());
        println!(
            "| {} | {} | {} | {} | {} | {} | {disorder} | {peak} MiB |",
            self.sent,
            self.acknowledged,
            self.handled,
            self.duplicates,
            self.dead,
            self.lost.len()
        );
        for order in self.lost.iter().take(10) {
            println!("lost: {order:?}");
        }
    }
}
