//! What `main` of each service does.

use std::process::ExitCode;

use binder_core::prelude::*;
use clap::{Args, Parser};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

use crate::{Binders, StartError};

/// What every service can be told.
#[derive(Clone, Debug, Default, Args)]
pub struct Common {
    /// Print the configuration that results from files and environment, and exit
    #[arg(long)]
    pub describe: bool,
}

/// Runs a service to its end: settings from the command line and the environment, configuration from files and the environment, log on
/// standard error by `RUST_LOG` (default: `info`).
///
/// The exit code is 2 if the configuration is wrong.
pub fn main<S, F, R>(binders: Binders, run: F) -> ExitCode
where
    S: Parser,
    F: FnOnce(S, Config, Binders) -> R,
    R: Future<Output = Result<(), StartError>>,
{
    log();
    let settings = S::parse();
    match block_on(settings, binders, run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", error.chain());
            error.exit_code()
        }
    }
}

fn block_on<S, F, R>(settings: S, binders: Binders, run: F) -> Result<(), StartError>
where
    F: FnOnce(S, Config, Binders) -> R,
    R: Future<Output = Result<(), StartError>>,
{
    let config = Config::load()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(StartError::Runtime)?;
    runtime.block_on(run(settings, config, binders))
}

fn log() {
    let wanted = std::env::var("RUST_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    let filter = wanted.unwrap_or_else(|| Targets::new().with_default(tracing::Level::INFO));
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(std::io::stderr);
    tracing_subscriber::registry().with(lines).with(filter).init();
}
