//! What the demonstration can be told.

use std::fmt;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// What carries the messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum BinderKind {
    /// Everything in one process, nothing to install
    #[default]
    Memory,
    /// RabbitMQ and Redis
    Rabbit,
    /// Kafka and Redis
    Kafka,
}

impl BinderKind {
    /// Returns the name, as in configuration files and on command lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Rabbit => "rabbit",
            Self::Kafka => "kafka",
        }
    }
}

impl fmt::Display for BinderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Settings of the demonstration.
#[derive(Clone, Debug, Parser)]
#[command(name = "demo", about = "The services at work, step by step")]
pub struct Settings {
    /// What carries the messages
    #[arg(long, value_enum, default_value_t)]
    pub binder: BinderKind,
    /// How many licensing services run
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub instances: u32,
    /// Kafka, as `host:port`
    #[arg(long, env = "KAFKA_URL", hide_env_values = true)]
    pub kafka_url: Option<String>,
    /// RabbitMQ, as `amqp://user:password@host:port`
    #[arg(long, env = "RABBIT_URL", hide_env_values = true)]
    pub rabbit_url: Option<String>,
    /// Redis, as `redis://host:port`; its hash `organization` is emptied
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<String>,
    /// Program that starts and stops servers: `PROGRAM brokers stop|start kafka|rabbit|redis`; without it these steps are skipped
    #[arg(long, env = "DEMO_BROKERCTL")]
    pub brokerctl: Option<PathBuf>,
}
