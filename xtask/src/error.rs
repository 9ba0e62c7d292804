//! Why a command ends early, and with which exit code.

use std::fmt;

/// The result of everything that can end a command.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// A message for the person at the terminal and the exit code that goes with it.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// A check or a server failed: exit code 1.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into() }
    }

    /// Wrong usage, or something that has to be there first: exit code 2.
    pub(crate) fn setup(message: impl Into<String>) -> Self {
        Self { code: 2, message: message.into() }
    }

    /// Ctrl-C or a termination signal: exit code 130.
    pub(crate) fn interrupted() -> Self {
        Self { code: 130, message: "interrupted".into() }
    }

    /// Passes on the exit code of a program that has said itself what is wrong.
    pub(crate) fn exit(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The exit code of this process.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    /// Puts lines below the message, if there are any.
    pub(crate) fn with_note(mut self, note: &str) -> Self {
        if !note.is_empty() {
            self.message.push('\n');
            self.message.push_str(note);
        }
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Says what was being done when an operation failed.
pub(crate) trait Context<T> {
    /// Turns an error into a [`Failure`] that begins with `what`.
    fn context(self, what: impl fmt::Display) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|err| Failure::failed(format!("{what}: {err}")))
    }
}
