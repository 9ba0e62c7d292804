//! Producers and consumers under a random schedule of faults; in the end nothing that the broker has acknowledged may be missing.
//!
//! `cargo xtask soak` builds and starts it. On a broker every producer and consumer is a process of its own, so that `kill -9` is real; on memory
//! they are applications that share one binder, and a kill is an abort without drain.

mod broker;
mod crew;
mod faults;
mod journal;
mod order;
mod setup;
mod verdict;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// What carries the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Carrier {
    Memory,
    Rabbit,
    Kafka,
}

impl Carrier {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Rabbit => "rabbit",
            Self::Kafka => "kafka",
        }
    }
}

/// A soak test
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Run producers, consumers and faults, and print the table
    Run(RunArguments),
    /// Be one of them
    Worker(WorkerArguments),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct RunArguments {
    /// What carries the messages
    #[arg(long, value_enum)]
    pub(crate) binder: Carrier,
    /// How long messages are sent
    #[arg(long, default_value_t = 10.0)]
    pub(crate) minutes: f64,
    /// Let things go wrong
    #[arg(long)]
    pub(crate) faults: bool,
    /// What the schedule is drawn from; the same seed draws the same schedule
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Messages in a second, of all producers
    #[arg(long, default_value_t = 1000)]
    pub(crate) rate: u32,
    #[arg(long, default_value_t = 2)]
    pub(crate) producers: usize,
    #[arg(long, default_value_t = 3)]
    pub(crate) consumers: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    Producer,
    Consumer,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct WorkerArguments {
    #[arg(long, value_enum)]
    pub(crate) role: Role,
    #[arg(long, value_enum)]
    pub(crate) binder: Carrier,
    #[arg(long)]
    pub(crate) destination: String,
    /// Where the journals are
    #[arg(long)]
    pub(crate) folder: PathBuf,
    /// Which of its role it is
    #[arg(long)]
    pub(crate) index: usize,
    /// How often it was started before
    #[arg(long)]
    pub(crate) life: u32,
    /// Messages in a second
    #[arg(long)]
    pub(crate) rate: u32,
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_max_level(setup::log_level()).with_writer(std::io::stderr).init();
    let done = match Arguments::parse().action {
        Action::Run(arguments) => run(arguments).await,
        Action::Worker(arguments) => work::process(arguments).await.map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

pub(crate) type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

async fn run(arguments: RunArguments) -> Fallible<bool> {
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
    let folder = tempfile::tempdir()?;
    let time = Duration::from_secs_f64(arguments.minutes * 60.0);
    println!("soak: {} for {time:?}, seed {seed}, faults {}", arguments.binder.name(), arguments.faults);
    let broker = broker::Switch::new(arguments.binder);
    let destination = format!("soak-{seed}-{}", std::process::id());
    let mut crew = crew::Crew::start(&arguments, &broker, &destination, folder.path()).await?;
    let dead = verdict::DeadLetters::collect(&broker, &destination).await?;
    let drawn = faults::let_go_wrong(&mut crew, &broker, &arguments, seed, time).await?;
    crew.stop_producers().await?;
    let verdict = verdict::Verdict::wait(folder.path(), &dead, arguments.binder).await?;
    let peak = crew.peak_memory();
    crew.stop_all().await?;
    verdict.print(&arguments, seed, time, &drawn, peak);
    Ok(verdict.is_good())
}
