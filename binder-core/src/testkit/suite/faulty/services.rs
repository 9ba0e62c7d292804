//! Delays, dead letters that are sent back, and transactions, with a fault.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::super::outage::copy_to;
use super::{Fault, Faulty};
use crate::Result;
use crate::binder::{
    CommitError, ConsumerBinding, DeadLetterEntry, DeadLetterPass, DeadLetterStore, Delay, DelaySink, Disposal,
    OutgoingBatch, Parcel, Purpose, TransactionPart, Transactions, Transactor,
};
use crate::{Error, ErrorKind};

impl Delay for Faulty {
    fn sink(&self, binding: &ConsumerBinding) -> Result<Arc<dyn DelaySink>> {
        let Some(delay) = self.binder.delay() else { return Err(missing()) };
        let hurry = binding.rungs().first().copied().filter(|_| self.fault == Fault::HurriesDelayed);
        Ok(Arc::new(FaultyDelays { sink: delay.sink(binding)?, fault: self.fault, hurry }))
    }
}

fn missing() -> Error {
    Error::new(ErrorKind::Unsupported, "the binder has no such thing")
}

#[derive(Debug)]
struct FaultyDelays {
    sink: Arc<dyn DelaySink>,
    fault: Fault,
    /// How long everything waits.
    hurry: Option<Duration>,
}

#[async_trait]
impl DelaySink for FaultyDelays {
    async fn send(&self, delivery: &Parcel, attempt: u32, wait: Duration) -> Result<()> {
        let attempt = if self.fault == Fault::ForgetsAttempts { 1 } else { attempt };
        self.sink.send(delivery, attempt, self.hurry.unwrap_or(wait)).await
    }
}

#[async_trait]
impl DeadLetterStore for Faulty {
    async fn open(&self, binding: &ConsumerBinding, purpose: Purpose) -> Result<Box<dyn DeadLetterPass>> {
        let Some(store) = self.binder.dead_letter_store() else { return Err(missing()) };
        let purpose = match purpose {
            Purpose::Resolve { .. } if self.fault == Fault::RedrivesToAll => Purpose::Resolve { all_groups: true },
            purpose => purpose,
        };
        let pass = store.open(&self.input(binding), purpose).await?;
        Ok(Box::new(FaultyPass { pass, fault: self.fault, unresolved: 0 }))
    }
}

#[derive(Debug)]
struct FaultyPass {
    pass: Box<dyn DeadLetterPass>,
    fault: Fault,
    unresolved: usize,
}

#[async_trait]
impl DeadLetterPass for FaultyPass {
    async fn take(&mut self, max: usize) -> Result<Vec<DeadLetterEntry>> {
        if self.fault == Fault::PassesUnresolved && self.unresolved > 0 {
            self.pass.resolve(&vec![Disposal::Discard; self.unresolved]).await?;
        }
        let letters = self.pass.take(max).await?;
        self.unresolved = letters.len();
        Ok(letters)
    }

    async fn resolve(&mut self, disposals: &[Disposal]) -> Result<Vec<Option<Error>>> {
        let lose = |disposal: &Disposal| match disposal {
            Disposal::Send if self.fault == Fault::LosesRedriven => Disposal::Discard,
            Disposal::Unknown if self.fault == Fault::DiscardsUnknown => Disposal::Discard,
            disposal => *disposal,
        };
        let mut disposals: Vec<_> = disposals.iter().map(lose).collect();
        if self.fault == Fault::GuessesDisposals {
            disposals.resize(self.unresolved, Disposal::Discard);
        }
        let answers = self.pass.resolve(&disposals).await?;
        self.unresolved = 0;
        Ok(answers)
    }

    async fn close(self: Box<Self>) -> Result<()> {
        self.pass.close().await
    }
}

#[async_trait]
impl Transactions for Faulty {
    async fn open(&self) -> Result<Box<dyn Transactor>> {
        let Some(transactions) = self.binder.transactions() else { return Err(missing()) };
        Ok(Box::new(FaultyTransactor { transactor: transactions.open().await?, fault: self.fault }))
    }
}

#[derive(Debug)]
struct FaultyTransactor {
    transactor: Box<dyn Transactor>,
    fault: Fault,
}

#[async_trait]
impl Transactor for FaultyTransactor {
    async fn commit(&mut self, parts: &[TransactionPart<'_>]) -> Result<(), CommitError> {
        if self.fault != Fault::SplitsTransactions {
            return self.transactor.commit(parts).await;
        }
        for part in parts {
            for message in part.messages.iter() {
                let mut alone = OutgoingBatch::default();
                copy_to(&mut alone, message).map_err(CommitError::Aborted)?;
                self.transactor.commit(&[TransactionPart::new(part.binding, &alone)]).await?;
            }
        }
        Ok(())
    }
}
