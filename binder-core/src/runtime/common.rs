//! What all channels of an application share.

use super::hooks::HookSet;
use super::layer::Layers;
use crate::codec::Codecs;

/// Formats, layers and hooks; a clone is cheap.
#[derive(Clone, Default)]
pub(crate) struct Common {
    pub(crate) codecs: Codecs,
    pub(crate) layers: Layers,
    pub(crate) hooks: HookSet,
}
