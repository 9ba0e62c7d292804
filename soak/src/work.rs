//! What a producer and a consumer do.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use binder_core::channel::{SinkBinding, SourceBinding};
use binder_core::prelude::*;
use tokio::task::JoinSet;

use crate::broker::Switch;
use crate::journal::{ACKNOWLEDGED, HANDLED, Journal, SENT};
use crate::order::{Fate, Order};
use crate::setup::{KEYS, application};
use crate::{Fallible, Role, WorkerArguments};

/// Runs a worker as a process, until SIGTERM.
pub(crate) async fn process(arguments: WorkerArguments) -> Fallible<()> {
    let broker = Switch::new(arguments.binder);
    let worker = start(&arguments, &broker).await?;
    shutdown_signal().await;
    worker.stop().await
}

/// A worker at work.
pub(crate) struct Worker {
    app: Application,
    sending: JoinSet<()>,
}

impl Worker {
    /// Finishes what it does.
    pub(crate) async fn stop(mut self) -> Fallible<()> {
        self.sending.shutdown().await;
        Ok(self.app.shutdown().await?)
    }

    /// Ends at once, as `kill -9` does.
    pub(crate) async fn kill(mut self) {
        self.app.abort();
        self.sending.shutdown().await;
    }
}

/// Starts a worker in this process.
pub(crate) async fn start(arguments: &WorkerArguments, broker: &Switch) -> Fallible<Worker> {
    let app = application(arguments.role, broker, &arguments.destination)?.build()?;
    let mut sending = JoinSet::new();
    match arguments.role {
        Role::Producer => {
            let channels = app.bind::<SourceBinding<Order>>().await?;
            app.start().await?;
            send(channels.output, arguments, &mut sending)?;
        }
        Role::Consumer => {
            let channels = app.bind::<SinkBinding<Order>>().await?;
            let handled = Journal::open(&arguments.folder, HANDLED)?;
            app.handle(channels.input, handle.with_state(Arc::new(handled))).await?;
            app.start().await?;
        }
    }
    Ok(Worker { app, sending })
}

/// Starts a task for each key; the next message of a key is sent when the last is acknowledged.
fn send(output: Output<Order>, arguments: &WorkerArguments, sending: &mut JoinSet<()>) -> io::Result<()> {
    let (sent, acknowledged) = journals(&arguments.folder)?;
    let pause = Duration::from_secs(1) * KEYS / arguments.rate.max(1);
    for key in (0..KEYS).map(|key| arguments.index as u32 * KEYS + key) {
        let (output, sent, acknowledged) = (output.clone(), sent.clone(), acknowledged.clone());
        let first = u64::from(arguments.life) << 32;
        sending.spawn(async move {
            let mut ticks = tokio::time::interval(pause);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            for number in first.. {
                ticks.tick().await;
                let order = Order { key, number };
                sent.note(order).expect("the journal takes a line");
                // a failed send is sent again: the next of the key comes after it
                while let Err(error) = output.message(&order).key(key).send().await {
                    eprintln!("soak: {order:?} is sent again: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                acknowledged.note(order).expect("the journal takes a line");
            }
        });
    }
    Ok(())
}

fn journals(folder: &Path) -> io::Result<(Journal, Journal)> {
    Ok((Journal::open(folder, SENT)?, Journal::open(folder, ACKNOWLEDGED)?))
}

/// Notes a message when it is done, before it can be settled.
async fn handle(order: Order, delivery: Delivery, State(handled): State<Arc<Journal>>) -> Result<(), HandlerError> {
    let told = || io::Error::other("told to fail");
    match order.fate() {
        Fate::Dead => return Err(HandlerError::permanent(told())),
        Fate::OnceFailed if delivery.attempt == 1 => return Err(HandlerError::transient(told())),
        Fate::Slowly(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
        Fate::OnceFailed | Fate::Handled => {}
    }
    Ok(handled.note(order)?)
}
