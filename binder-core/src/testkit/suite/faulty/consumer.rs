//! A consumer with a fault.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use tokio::sync::watch;

use super::super::received::{Got, attempts, copied};
use super::{Fault, FaultySink};
use crate::binder::{
    BatchView, CommitError, Consumer, ConsumerTransaction, DeadLetter, DeadLetterSink, LaneId, Metadata, Parcel,
    RETRY_ATTEMPT, Received, SeekTo, Token,
};
use crate::message::{ContentType, HeaderValue, Headers};
use crate::{Error, ErrorKind, Result};

pub(super) struct FaultyConsumer {
    /// None once it is closed.
    consumer: Option<Box<dyn Consumer>>,
    fault: Fault,
    /// Whether such a consumer was there before, and has not brought anything since.
    again: bool,
    /// The last that was received in each lane.
    last: HashMap<LaneId, u64>,
    /// The last that was settled in each lane.
    settled: HashMap<LaneId, u64>,
    unsettled: Vec<Parcel>,
    replayed: Vec<Parcel>,
    round: u64,
    /// Tells when a binding was refused, for a binder that is ended by it.
    refused: watch::Receiver<bool>,
}

/// Deliveries that own their bytes.
struct Parcels {
    parcels: Vec<Parcel>,
    fault: Fault,
    attempts: HashMap<Token, u32>,
}

/// Room between the sequences of a consumer that repeats.
const ROUND: u64 = 1 << 40;

impl FaultyConsumer {
    pub(super) fn new(consumer: Box<dyn Consumer>, fault: Fault, again: bool, refused: watch::Receiver<bool>) -> Self {
        let (last, settled, unsettled, replayed) = Default::default();
        Self { consumer: Some(consumer), fault, again, last, settled, unsettled, replayed, round: 0, refused }
    }

    fn inner(&mut self) -> &mut dyn Consumer {
        self.consumer.as_deref_mut().expect("it is closed by value only")
    }

    /// Returns whether it does not look at the broker now.
    fn sleeps(&self) -> bool {
        self.fault == Fault::StopsPolling && self.last.iter().any(|(lane, last)| self.settled.get(lane) != Some(last))
    }

    fn asked(&self, max: usize) -> usize {
        if self.fault == Fault::IgnoresMax { max * 4 } else { max }
    }

    /// Takes note of what came, and does what is wrong to it.
    fn spoil(&mut self, mut parcels: Vec<Parcel>) -> Result<Vec<Parcel>> {
        if self.fault == Fault::LosesOnReconnect && std::mem::take(&mut self.again) {
            parcels.remove(0);
        }
        for Parcel { token, .. } in &parcels {
            self.last.insert(token.lane, token.sequence);
        }
        match self.fault {
            Fault::SettlesOnReceipt => self.settle_all()?,
            Fault::DeadLettersOnClose => self.unsettled.extend(parcels.iter().cloned()),
            Fault::SwapsMessages => {
                for pair in parcels.chunks_exact_mut(2) {
                    let (left, right) = (pair[0].token, pair[1].token);
                    pair.swap(0, 1);
                    (pair[0].token, pair[1].token) = (left, right);
                }
            }
            Fault::LosesEndOfBatch if parcels.len() > 1 => {
                parcels.pop();
            }
            Fault::DeliversTwice => {
                let twice = |parcel: Parcel| {
                    let Token { lane, sequence } = parcel.token;
                    let [mut first, mut second] = [parcel.clone(), parcel];
                    first.token = Token { lane, sequence: sequence * 2 };
                    second.token = Token { lane, sequence: sequence * 2 + 1 };
                    [first, second]
                };
                parcels = parcels.into_iter().flat_map(twice).collect();
            }
            Fault::DeliversForever => self.replayed.extend(parcels.iter().cloned()),
            Fault::TokensGoBack => {
                let mut tokens: Vec<_> = parcels.iter().map(|parcel| parcel.token).collect();
                tokens.reverse();
                parcels.iter_mut().zip(tokens).for_each(|(parcel, token)| parcel.token = token);
            }
            _ => {}
        }
        parcels.iter_mut().for_each(|parcel| self.spoil_one(parcel));
        Ok(parcels)
    }

    fn spoil_one(&self, parcel: &mut Parcel) {
        match self.fault {
            Fault::TextHeaders => {
                let text = |(name, value): (&str, &HeaderValue)| (name.to_owned(), value.to_text());
                parcel.headers = parcel.headers.iter().map(text).collect();
            }
            Fault::LosesHeaders => parcel.headers = Headers::new(),
            Fault::OneHeaderOfAName => {
                let mut headers = Headers::new();
                parcel.headers.iter().for_each(|(name, value)| headers.set(name.to_owned(), value.clone()));
                parcel.headers = headers;
            }
            Fault::LosesKeys => parcel.key = None,
            Fault::TextKeys => parcel.key = parcel.key.take().map(|key| text(&key)),
            Fault::TextPayloads => parcel.payload = parcel.payload.take().map(|bytes| text(&bytes)),
            Fault::LosesContentType => parcel.content_type = None,
            Fault::EmptyIsTombstone => parcel.payload = parcel.payload.take().filter(|bytes| !bytes.is_empty()),
            Fault::TombstoneIsEmpty => parcel.payload = Some(parcel.payload.take().unwrap_or_default()),
            Fault::CutsPayloads => {
                parcel.payload = parcel.payload.take().map(|bytes| bytes.slice(..bytes.len().min(65_536)));
            }
            _ => {}
        }
    }

    fn settle_all(&mut self) -> Result<()> {
        let last: Vec<_> = self.last.iter().map(|(lane, sequence)| (*lane, *sequence)).collect();
        last.into_iter().try_for_each(|(lane, sequence)| self.inner().settle(lane, sequence))
    }

    /// Brings again what was there already.
    fn replay(&mut self) -> Vec<Parcel> {
        self.round += 1;
        let mut parcels = self.replayed.clone();
        parcels.truncate(8);
        parcels.iter_mut().for_each(|parcel| parcel.token.sequence += self.round * ROUND);
        parcels
    }

    /// Does what is wrong to the failure of a lost connection.
    fn lost(&self, error: Error) -> Error {
        if self.fault == Fault::StopsOnOutage { error.permanent() } else { error }
    }
}

/// Waits until another binding was refused.
async fn is_told(refused: &mut watch::Receiver<bool>) {
    let told = refused.wait_for(|refused| *refused).await.is_ok();
    if !told {
        std::future::pending::<()>().await;
    }
}

fn text(bytes: &[u8]) -> Bytes {
    String::from_utf8_lossy(bytes).into_owned().into()
}

#[deny(clippy::missing_trait_methods, reason = "what is not forwarded would be the default")]
impl Consumer for FaultyConsumer {
    fn try_recv_many(&mut self, max: usize) -> Result<Option<Received<'_>>> {
        if *self.refused.borrow()
            || matches!(self.fault, Fault::LosesOnCancel | Fault::DeliversForever | Fault::StaysDeaf)
            || self.sleeps()
        {
            return Ok(None);
        }
        let max = self.asked(max);
        let received = self.inner().try_recv_many(max);
        let received = received.map(|received| received.map(|received| (attempts(&received), copied(received))));
        let Some((attempts, got)) = received.map_err(|error| self.lost(error))? else { return Ok(None) };
        Ok(match got {
            Got::Assigned(lanes) => Some(Received::Assigned(lanes)),
            Got::Revoked(lanes) => Some(Received::Revoked(lanes)),
            Got::Lost(lanes) => Some(Received::Lost(lanes)),
            Got::Parcels(parcels) => {
                let (parcels, fault) = (self.spoil(parcels)?, self.fault);
                if parcels.is_empty() {
                    return Ok(None);
                }
                Some(Received::Batch(Box::new(Parcels { parcels, fault, attempts })))
            }
        })
    }

    /// What spoils receiving needs a future.
    fn poll_ready(&mut self, _: &mut Context<'_>, _: usize) -> Option<Poll<()>> {
        None
    }

    fn recv_many(&mut self, max: usize) -> BoxFuture<'_, Result<Received<'_>>> {
        let max = self.asked(max);
        Box::pin(async move {
            if self.sleeps() {
                // until something is settled, which drops this
                std::future::pending::<()>().await;
            }
            loop {
                let replays = self.fault == Fault::DeliversForever && !self.replayed.is_empty();
                let received = tokio::select! {
                    biased;
                    () = is_told(&mut self.refused) => std::future::pending().await,
                    received = self.consumer.as_deref_mut().expect("open").recv_many(max) => {
                        received.map(|received| (attempts(&received), copied(received)))
                    }
                    () = tokio::time::sleep(Duration::from_millis(1)), if replays => {
                        Ok((HashMap::new(), Got::Parcels(Vec::new())))
                    }
                };
                let (attempts, received) = match received {
                    Ok((attempts, got)) => (attempts, Ok(got)),
                    Err(error) => (HashMap::new(), Err(error)),
                };
                let parcels = match received {
                    Err(_) if self.fault == Fault::StaysDeaf => std::future::pending().await,
                    Err(error) => return Err(self.lost(error)),
                    Ok(Got::Assigned(lanes)) => return Ok(Received::Assigned(lanes)),
                    Ok(Got::Revoked(lanes)) => return Ok(Received::Revoked(lanes)),
                    Ok(Got::Lost(lanes)) => return Ok(Received::Lost(lanes)),
                    Ok(Got::Parcels(parcels)) if parcels.is_empty() => self.replay(),
                    Ok(Got::Parcels(parcels)) => {
                        if self.fault == Fault::LosesOnCancel {
                            tokio::task::yield_now().await;
                        }
                        self.spoil(parcels)?
                    }
                };
                if !parcels.is_empty() {
                    return Ok(Received::Batch(Box::new(Parcels { parcels, fault: self.fault, attempts })));
                }
            }
        })
    }

    fn settle(&mut self, lane: LaneId, sequence: u64) -> Result<()> {
        let sequence = match self.fault {
            Fault::NeverSettles | Fault::SettlesOnReceipt => return Ok(()),
            Fault::DeliversTwice => sequence / 2,
            Fault::DeliversForever => sequence % ROUND,
            _ => sequence,
        };
        match self.fault {
            Fault::SettlesAll => return self.settle_all(),
            Fault::FailsOnUnknownLane if !self.last.contains_key(&lane) => {
                return Err(Error::new(ErrorKind::Unexpected, "no such lane"));
            }
            _ => {}
        }
        self.settled.insert(lane, sequence);
        self.unsettled.retain(|parcel| parcel.token.lane != lane || parcel.token.sequence > sequence);
        self.inner().settle(lane, sequence)
    }

    fn settle_apart(&mut self, lane: LaneId, sequences: &[u64]) -> Result<bool> {
        let sequences = match self.fault {
            // these number deliveries anew, or hold back what is settled
            Fault::NeverSettles | Fault::SettlesOnReceipt | Fault::DeliversTwice | Fault::TokensGoBack => {
                return Ok(false);
            }
            Fault::DeliversForever => sequences.iter().map(|sequence| sequence % ROUND).collect(),
            _ => sequences.to_vec(),
        };
        self.unsettled.retain(|parcel| parcel.token.lane != lane || !sequences.contains(&parcel.token.sequence));
        self.inner().settle_apart(lane, &sequences)
    }

    fn seek(&mut self, partition: Option<u32>, to: SeekTo) -> Result<Vec<LaneId>> {
        if self.fault == Fault::IgnoresSeek { Ok(Vec::new()) } else { self.inner().seek(partition, to) }
    }

    fn commit<'a>(&'a mut self, transaction: ConsumerTransaction<'a>) -> BoxFuture<'a, Result<(), CommitError>> {
        if self.fault == Fault::SplitsCommits {
            let ConsumerTransaction { parts, dead_letters, .. } = transaction;
            return self.inner().commit(ConsumerTransaction::new(parts, dead_letters, &[]));
        }
        self.inner().commit(transaction)
    }

    fn release<'a>(&'a mut self, lanes: &'a [LaneId]) -> BoxFuture<'a, Result<()>> {
        self.inner().release(lanes)
    }

    fn pause(&mut self) -> Result<()> {
        if self.fault == Fault::IgnoresPause { Ok(()) } else { self.inner().pause() }
    }

    fn resume(&mut self) -> Result<()> {
        if self.fault == Fault::IgnoresResume { Ok(()) } else { self.inner().resume() }
    }

    fn hold(&mut self, lanes: &[LaneId], hold: bool) -> Result<bool> {
        match self.fault {
            Fault::HoldsNoLanes => Ok(false),
            Fault::HoldsForEver if !hold => Ok(true),
            _ => self.inner().hold(lanes, hold),
        }
    }

    fn dead_letters(&self) -> Option<Arc<dyn DeadLetterSink>> {
        let sink = self.consumer.as_ref()?.dead_letters()?;
        Some(Arc::new(FaultySink { sink, fault: self.fault }))
    }

    fn default_prefetch(&self) -> u32 {
        self.consumer.as_ref().map_or(1, |consumer| consumer.default_prefetch())
    }

    fn close(mut self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move {
            if self.fault == Fault::SettlesOnClose {
                self.settle_all()?;
            }
            if let Some(sink) = self.dead_letters().filter(|_| self.fault == Fault::DeadLettersOnClose) {
                let reason = Error::new(ErrorKind::Closed, "the consumer is closed");
                for delivery in &self.unsettled {
                    sink.send(DeadLetter::new(delivery, &reason, 0)).await?;
                }
                self.settle_all()?;
            }
            match self.consumer.take() {
                Some(consumer) => consumer.close().await,
                None => Ok(()),
            }
        })
    }
}

impl Drop for FaultyConsumer {
    fn drop(&mut self) {
        if self.fault == Fault::SettlesOnClose && self.consumer.is_some() {
            let _ = self.settle_all();
        }
    }
}

impl fmt::Debug for FaultyConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyConsumer").field("fault", &self.fault).finish_non_exhaustive()
    }
}

#[deny(clippy::missing_trait_methods, reason = "what is not forwarded would be the default")]
impl BatchView for Parcels {
    fn len(&self) -> usize {
        self.parcels.len()
    }

    fn payload(&self, index: usize) -> Option<&[u8]> {
        self.parcels[index].payload.as_deref()
    }

    fn payload_bytes(&self, index: usize) -> Option<Bytes> {
        self.parcels[index].payload.clone()
    }

    fn key(&self, index: usize) -> Option<&[u8]> {
        self.parcels[index].key.as_deref()
    }

    fn token(&self, index: usize) -> Token {
        self.parcels[index].token
    }

    fn content_type(&self, index: usize) -> Option<ContentType> {
        self.parcels[index].content_type.clone()
    }

    fn header(&self, index: usize, name: &str) -> Option<HeaderValue> {
        self.parcels[index].headers.get(name).cloned()
    }

    fn headers(&self, index: usize) -> Headers {
        let headers = self.parcels[index].headers.clone();
        if self.fault == Fault::InventsHeaders { headers.with("missing", "invented") } else { headers }
    }

    fn metadata(&self, index: usize) -> Metadata {
        self.parcels[index].metadata.clone()
    }

    fn body(&self, index: usize) -> (Option<&[u8]>, Option<ContentType>) {
        (self.payload(index), self.content_type(index))
    }

    fn run_end(&self, index: usize) -> usize {
        index + 1
    }

    fn is_empty(&self) -> bool {
        self.parcels.is_empty()
    }

    fn attempt(&self, index: usize) -> u32 {
        let attempt = self.attempts.get(&self.token(index)).copied().unwrap_or(1);
        let claimed = self.header(index, RETRY_ATTEMPT).filter(|_| self.fault == Fault::BelievesAttempts);
        claimed.and_then(|claimed| u32::try_from(claimed.as_i64()?).ok()).unwrap_or(attempt)
    }

    fn detach(&self, index: usize, _: &mut BytesMut) -> Parcel {
        Parcel { headers: self.headers(index), ..self.parcels[index].clone() }
    }
}
