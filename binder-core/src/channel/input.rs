//! The receiving end.

use std::fmt;
use std::marker::PhantomData;

/// A named channel that receives payloads of type `T`.
pub struct Input<T> {
    core: InputCore,
    payload: PhantomData<fn() -> T>,
}

/// What an input knows before it is started.
#[derive(Debug)]
pub(crate) struct InputCore {
    pub(crate) channel: std::sync::Arc<str>,
}

impl<T> Input<T> {
    pub(crate) fn new(core: InputCore) -> Self {
        Self { core, payload: PhantomData }
    }

    /// Returns the channel's name.
    pub fn name(&self) -> &str {
        &self.core.channel
    }
}

impl<T> fmt::Debug for Input<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input").field("channel", &self.core.channel).finish_non_exhaustive()
    }
}
