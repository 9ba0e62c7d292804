//! What other libraries cost, by the protocol of the benchmarks: `peers measure WHO BROKER CASE` prints a line of JSON.

// What only some peers need.
#![cfg_attr(
    not(all(
        feature = "mq-bridge",
        feature = "omniqueue",
        feature = "ruststream",
        feature = "sea-streamer",
        feature = "shove"
    )),
    allow(unused)
)]

mod common;

#[cfg(feature = "mq-bridge")]
mod mq_bridge;
#[cfg(feature = "omniqueue")]
mod omniqueue;
#[cfg(feature = "ruststream")]
mod ruststream;
#[cfg(feature = "sea-streamer")]
mod sea_streamer;
#[cfg(feature = "shove")]
mod shove;

use std::process::ExitCode;

use common::cases::run;
use common::job::{Broker, Job};
use common::meter::peak_kib;
use common::report::{Outcome, line, version};
use common::watchdog;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

fn main() -> ExitCode {
    // Who panics in a task leaves others waiting for it.
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        watchdog::report(watchdog::FAILED);
    }));
    let words: Vec<String> = std::env::args().skip(1).collect();
    let measured = Job::parse(&words).and_then(located).and_then(|job| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|cause| cause.to_string())?;
        let outcome = runtime.block_on(measure(job.clone()))?;
        let (peak, version) = (peak_kib(), version(job.peer()));
        Ok(line(&job, &version, &outcome, peak))
    });
    match measured {
        Ok(line) => {
            println!("{line}");
            // What a peer has left running is not waited for.
            std::process::exit(0)
        }
        Err(why) => {
            eprintln!("peers: {why}");
            ExitCode::from(2)
        }
    }
}

/// Says where the broker is.
fn located(mut job: Job) -> Result<Job, String> {
    let variable = match job.broker {
        Broker::Memory => return Ok(job),
        Broker::Rabbit => "RABBIT_URL",
        Broker::Kafka => "KAFKA_URL",
    };
    let url = std::env::var(variable).ok().filter(|url| !url.trim().is_empty());
    job.url = url.ok_or_else(|| format!("{variable} is not set: where is the broker?"))?;
    Ok(job)
}

/// Measures one peer, by a type for each broker; `BROKER = why` where it has none.
macro_rules! peer {
    ($job:ident, $peer:ident: $($broker:ident $(= $why:literal)?),*) => {{
        if let Some(way) = $job.way().filter(|way| !$peer::WAYS.contains(way)) {
            return Err(format!("{} can't be used in a way called {way}", $job.peer()));
        }
        let outcome = match $job.broker {
            $(Broker::$broker => peer!(@run $job, $peer, $broker $(, $why)?),)*
        };
        Ok(outcome)
    }};
    (@run $job:ident, $peer:ident, $broker:ident) => { run::<$peer::$broker>($job).await };
    (@run $job:ident, $peer:ident, $broker:ident, $why:literal) => { Outcome::Unsupported($why.to_owned()) };
}

async fn measure(job: Job) -> Result<Outcome, String> {
    match job.peer() {
        #[cfg(feature = "mq-bridge")]
        "mq-bridge" => peer!(job, mq_bridge: Memory, Rabbit, Kafka),
        #[cfg(feature = "omniqueue")]
        "omniqueue" => peer!(job, omniqueue: Memory, Rabbit, Kafka = "it has no Kafka"),
        #[cfg(feature = "ruststream")]
        "ruststream" => peer!(job, ruststream: Memory, Rabbit, Kafka),
        #[cfg(feature = "sea-streamer")]
        "sea-streamer" => {
            peer!(job, sea_streamer: Memory = "it has no queue in memory", Rabbit = "it has no RabbitMQ", Kafka)
        }
        #[cfg(feature = "shove")]
        "shove" => peer!(job, shove: Memory, Rabbit, Kafka),
        who => Err(format!("no peer is called {who}, or it was not built")),
    }
}
