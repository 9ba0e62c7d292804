//! `demo --binder memory|rabbit|kafka [--instances N]`.

use std::process::ExitCode;

use binder_core::prelude::shutdown_signal;
use clap::Parser;
use demo::{Failure, Settings};

#[tokio::main]
async fn main() -> ExitCode {
    let settings = Settings::parse();
    // Whichever way it ends, dropping the demonstration ends what it has started.
    let played = tokio::select! {
        played = demo::run(settings) => played,
        () = shutdown_signal() => Err(Failure::Interrupted),
    };
    match played {
        Ok(checks) => {
            println!("\ndemo: {checks} checks passed");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("\ndemo: {failure}");
            ExitCode::FAILURE
        }
    }
}
