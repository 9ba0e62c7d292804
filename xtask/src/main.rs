//! The project's own commands: `cargo xtask <command>`.
//!
//! Exit codes: 0 done, 1 a check or a server failed, 2 wrong usage or something missing, 130 interrupted.

mod bench;
mod brokers;
mod conformance;
mod demo;
mod error;
#[cfg(test)]
mod guide;
mod project;
mod run;
mod signals;
mod soak;
mod spring;
mod tiers;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{demo::Binder, error::Result, project::Project, tiers::Tier};

/// Commands of this project
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Install every Debian package that the other commands need and that is missing
    Setup,
    /// Run real servers on loopback
    #[command(subcommand)]
    Brokers(brokers::Action),
    /// Run the demonstration
    Demo {
        /// What carries the messages
        #[arg(long, value_enum, default_value_t)]
        binder: Binder,
        /// Processes of the licensing service (default: the demonstration's own)
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        instances: Option<u32>,
        /// Install missing Debian packages
        #[arg(long)]
        install: bool,
    },
    /// Run the tests
    Test {
        /// Install missing Debian packages
        #[arg(long)]
        install: bool,
        /// Also what takes long
        #[arg(long, conflicts_with = "fast")]
        full: bool,
        /// Only what needs no broker
        #[arg(long)]
        fast: bool,
    },
    /// Run the conformance suite on every binder and write its table into the guide
    Conformance {
        /// Install missing Debian packages
        #[arg(long)]
        install: bool,
    },
    /// Show what a configuration of Spring becomes, and what in it has no effect
    SpringConfig {
        /// application.yml, .yaml or .properties
        #[arg(required_unless_present = "guide")]
        file: Option<PathBuf>,
        /// A profile that is active, one after the other
        #[arg(long = "profile", value_name = "NAME")]
        profiles: Vec<String>,
        /// Write the table of all properties into the guide instead
        #[arg(long, conflicts_with_all = ["file", "profiles"])]
        guide: bool,
    },
    /// Run the benchmarks
    Bench(bench::Wish),
    /// Run producers and consumers under random faults, and count what was lost
    Soak {
        /// What carries the messages
        #[arg(long, value_enum, default_value_t)]
        binder: Binder,
        /// Install missing Debian packages
        #[arg(long)]
        install: bool,
        /// What the program takes: `--minutes 10 --faults --seed 7 --rate 1000 --producers 2 --consumers 3`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(&Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

fn run(action: &Action) -> Result<()> {
    signals::install()?;
    let project = &Project::locate()?;
    match action {
        Action::Setup => brokers::check_tests(project, true),
        Action::Brokers(action) => brokers::main(project, action),
        Action::Demo { binder, instances, install } => demo::main(project, *binder, *instances, *install),
        Action::Test { install, full, fast } => tiers::main(project, tier(*full, *fast), *install),
        Action::Conformance { install } => conformance::main(project, *install),
        Action::SpringConfig { file, profiles, guide } => spring::main(project, file.as_deref(), profiles, *guide),
        Action::Bench(wish) => bench::main(project, wish),
        Action::Soak { binder, rest, install } => soak::main(project, *binder, rest, *install),
    }
}

fn tier(full: bool, fast: bool) -> Tier {
    match (full, fast) {
        (_, true) => Tier::Fast,
        (true, _) => Tier::Full,
        _ => Tier::Default,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::brokers::Kind;

    #[test]
    fn command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn fast_and_full_exclude_each_other() {
        assert!(Arguments::try_parse_from(["xtask", "test", "--fast", "--full"]).is_err());
    }

    #[test]
    fn several_servers_can_be_named() {
        let parsed = Arguments::try_parse_from(["xtask", "brokers", "up", "kafka", "redis"]).unwrap();
        let Action::Brokers(brokers::Action::Up { servers, nodes, .. }) = parsed.command else { panic!() };
        assert_eq!((servers, nodes), (vec![Kind::Kafka, Kind::Redis], None));
    }
}
