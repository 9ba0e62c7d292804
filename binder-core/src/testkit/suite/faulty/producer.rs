//! A producer with a fault.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::task::{Context, Poll};

use futures::future::BoxFuture;

use super::super::outage::copy_to;
use super::Fault;
use crate::Result;
use crate::binder::{Outgoing, OutgoingBatch, Producer, Receipt, Receipts, TrySend};

pub(super) struct FaultyProducer {
    producer: Arc<dyn Producer>,
    fault: Fault,
    partitions: u32,
    sent: AtomicU32,
    closed: AtomicBool,
    open: Receipts,
}

impl FaultyProducer {
    pub(super) fn new(producer: Arc<dyn Producer>, fault: Fault, partitions: u32) -> Self {
        let (sent, closed) = (AtomicU32::new(0), AtomicBool::new(false));
        Self { producer, fault, partitions, sent, closed, open: Receipts::new(1_000_000) }
    }

    /// Returns the message as it is sent, how often, and whether the answer is to be believed.
    fn spoiled<'a>(&self, mut message: Outgoing<'a>) -> (Outgoing<'a>, usize) {
        let number = self.sent.fetch_add(1, SeqCst);
        match self.fault {
            Fault::ScattersKeys => {
                message.partition = Some((number.wrapping_mul(2_654_435_761) >> 16) % self.partitions)
            }
            Fault::IgnoresPartition => message.partition = None,
            _ => {}
        }
        let times = match self.fault {
            Fault::LosesSends if number % 7 == 6 => 0,
            Fault::SendsTwice => 2,
            _ => 1,
        };
        (message, times)
    }

    fn believed<'a>(&'a self, answer: Result<TrySend<'a>>) -> Result<TrySend<'a>> {
        match (self.fault, answer) {
            (Fault::ConfirmsEarly, Ok(TrySend::Sent(_)) | Err(_)) => Ok(TrySend::Sent(Receipt::confirmed())),
            (Fault::NeverConfirms, Ok(TrySend::Sent(_))) => match self.open.reserve(1) {
                Some(slot) => Ok(TrySend::Sent(self.open.receipt(slot))),
                None => Ok(TrySend::Full),
            },
            (Fault::SendsWhenClosed, Err(_)) if self.closed.load(SeqCst) => Ok(TrySend::Sent(Receipt::confirmed())),
            (_, answer) => answer,
        }
    }
}

#[deny(clippy::missing_trait_methods, reason = "what is not forwarded would be the default")]
impl Producer for FaultyProducer {
    fn try_send(&self, message: Outgoing<'_>) -> Result<TrySend<'_>> {
        let (message, times) = self.spoiled(message);
        if times == 0 {
            return Ok(TrySend::Sent(Receipt::confirmed()));
        }
        if times == 2 {
            drop(self.producer.try_send(message)?);
        }
        self.believed(self.producer.try_send(message))
    }

    fn try_send_batch(&self, messages: &OutgoingBatch) -> Result<TrySend<'_>> {
        let mut batch = OutgoingBatch::default();
        for message in messages.iter() {
            let (message, times) = self.spoiled(message);
            (0..times).try_for_each(|_| copy_to(&mut batch, message))?;
        }
        if batch.is_empty() {
            return Ok(TrySend::Sent(Receipt::confirmed()));
        }
        self.believed(self.producer.try_send_batch(&batch))
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.producer.poll_ready(context)
    }

    fn partitions(&self) -> Option<u32> {
        self.producer.partitions()
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        self.producer.flush()
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        self.closed.store(true, SeqCst);
        self.producer.close()
    }
}

impl fmt::Debug for FaultyProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyProducer").field("fault", &self.fault).finish_non_exhaustive()
    }
}
