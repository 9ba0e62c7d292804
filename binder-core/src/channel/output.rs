//! The sending end.

use std::fmt;
use std::sync::Arc;

use super::KeyOf;

/// A named channel that sends payloads of type `T`.
pub struct Output<T> {
    core: Arc<OutputCore>,
    key: Option<KeyOf<T>>,
}

/// What all clones of an output share.
#[derive(Debug)]
pub(crate) struct OutputCore {
    pub(crate) channel: Arc<str>,
}

impl<T> Output<T> {
    pub(crate) fn new(core: Arc<OutputCore>, key: Option<KeyOf<T>>) -> Self {
        Self { core, key }
    }

    /// Returns the channel's name.
    pub fn name(&self) -> &str {
        &self.core.channel
    }
}

impl<T> Clone for Output<T> {
    fn clone(&self) -> Self {
        Self { core: Arc::clone(&self.core), key: self.key }
    }
}

impl<T> fmt::Debug for Output<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("channel", &self.core.channel).finish_non_exhaustive()
    }
}
