//! Why the demonstration stops.

use std::io;

/// Why the demonstration stops.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// A claim does not hold.
    #[error("check failed in step {step}: {claim} ({detail})")]
    Check {
        /// The number of the step.
        step: u32,
        /// What should have been so.
        claim: String,
        /// What was.
        detail: String,
    },
    /// A step can't go on.
    #[error("step {step} can't go on: {cause}")]
    Step {
        /// The number of the step.
        step: u32,
        /// Why.
        cause: Box<Failure>,
    },
    /// A service does not start.
    #[error("{service} does not start: {reason}")]
    Start {
        /// Which.
        service: String,
        /// Why.
        reason: String,
    },
    /// A service does not answer.
    #[error("no answer from a service: {0}")]
    Http(#[from] reqwest::Error),
    /// The cache does not answer.
    #[error("no answer from the cache: {0:?}")]
    Cache(#[from] licensing::cache::CacheError),
    /// The program that starts and stops servers failed.
    #[error("`{command}` failed: {reason}")]
    BrokerCtl {
        /// What was run.
        command: String,
        /// How it ended.
        reason: String,
    },
    /// Something that has to be given is not.
    #[error("{0}")]
    Setting(String),
    /// The system refused something.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A signal came.
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    /// Adds the step to what does not name it itself.
    pub(crate) fn in_step(self, step: u32) -> Self {
        match self {
            Self::Check { .. } | Self::Step { .. } => self,
            cause => Self::Step { step, cause: Box::new(cause) },
        }
    }
}
