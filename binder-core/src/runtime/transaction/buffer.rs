//! What a transaction holds before it is committed.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::binder::{Envelope, Outgoing, OutgoingBatch, TransactionPart};
use crate::channel::OutputCore;
use crate::{Error, ErrorKind, Result};

/// Messages to one output, in their order.
pub(crate) struct Part {
    pub(crate) core: Arc<OutputCore>,
    messages: OutgoingBatch,
}

impl Part {
    pub(crate) fn as_contract(&self) -> TransactionPart<'_> {
        TransactionPart::new(&self.core.binding, &self.messages)
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("core", &self.core).field("messages", &self.messages.len()).finish()
    }
}

/// Messages that wait for the end of their transaction.
#[derive(Debug)]
pub(crate) struct Buffer {
    /// The binder that it belongs to, if that is known before the first message.
    binder: Option<Arc<str>>,
    /// None when the transaction is over.
    parts: Mutex<Option<Vec<Part>>>,
}

impl Buffer {
    pub(crate) fn new(binder: Option<Arc<str>>) -> Self {
        Self { binder, parts: Mutex::new(Some(Vec::new())) }
    }

    /// Fails if an output can't be part of this transaction.
    pub(crate) fn check(&self, core: &OutputCore) -> Result<()> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(parts) = parts.as_ref() else { return Err(over()) };
        if !core.has_transactions() {
            return Err(Error::new(ErrorKind::Unsupported, "the binder has no transactions"));
        }
        let first = parts.first().map(|part| &part.core.binder_name);
        match self.binder.as_ref().or(first) {
            Some(others) if *others != core.binder_name => {
                Err(Error::new(ErrorKind::Config, format!("the transaction belongs to the binder `{others}`")))
            }
            _ => Ok(()),
        }
    }

    /// Copies a message.
    pub(crate) fn push(&self, core: &Arc<OutputCore>, message: Outgoing<'_>) -> Result<()> {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(parts) = parts.as_mut() else { return Err(over()) };
        let known = parts.iter().position(|part| Arc::ptr_eq(&part.core, core));
        let place = known.unwrap_or_else(|| {
            let messages = OutgoingBatch::new(core.binding.content_type.clone());
            parts.push(Part { core: Arc::clone(core), messages });
            parts.len() - 1
        });
        let Outgoing { payload, key, content_type, headers, partition } = message;
        let content_type = (*content_type != core.binding.content_type).then(|| content_type.clone());
        let envelope = Envelope { key, headers: headers.clone(), content_type, partition };
        parts[place].messages.push_with(envelope, |bytes| {
            bytes.extend_from_slice(payload.unwrap_or_default());
            Ok(payload.is_some())
        })
    }

    /// Takes what is there; nothing can be added any more.
    pub(crate) fn end(&self) -> Vec<Part> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
    }
}

#[cold]
fn over() -> Error {
    Error::new(ErrorKind::Closed, "the transaction is over")
}
