//! Transactions: a client that publishes one after the other.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use binder_core::binder::{
    CommitError, ConsumerBinding, DeadLetter, Outgoing, ProducerBinding, TransactionPart, Transactor,
};
use binder_core::config::HeaderMode;
use binder_core::message::Headers;
use binder_core::{Error, ErrorKind, Result};
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::util::Timeout;
use rdkafka::{ClientConfig, TopicPartitionList};

use crate::config::Settings;
use crate::dead_letters::{KafkaDeadLetters, headers_of as headers_of_letter};
use crate::error::from_kafka;
use crate::link::{Link, Shared, lock};
use crate::provision::blocking;
use crate::sender::Record;
use crate::{embedded, headers};

/// How long the broker may take over one transaction, after which it is aborted by itself. It holds what is ready to be sent, never the time of
/// a handler, so it can be short: after a crash readers wait that long.
const TIMEOUT: Duration = Duration::from_secs(15);
const _: () = assert!(usize::BITS >= u64::BITS, "number and index travel in the word that librdkafka gives back");

/// How long the broker has to say whether it has committed. It knows when it is back: what it was not asked in time it has aborted by then.
const COMMIT_PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);
const TICK: Duration = Duration::from_millis(1);
const PAUSE: Duration = Duration::from_millis(100);
const MOST_PURGED: u32 = 10;

/// What becomes of the records of a transaction.
struct Outcome {
    /// Which transaction it is; answers of an earlier one may come late.
    number: AtomicU32,
    failures: Mutex<Vec<(usize, KafkaError)>>,
    link: Link,
}

impl Outcome {
    fn begin(&self) {
        self.number.fetch_add(1, SeqCst);
        lock(&self.failures).clear();
    }

    /// Returns the word that comes back with the answer.
    fn word(&self, index: usize) -> usize {
        index << u32::BITS | self.number.load(SeqCst) as usize
    }
}

impl ClientContext for Outcome {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.link.on_log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.link.on_error(&error, reason);
    }
}

impl ProducerContext for Outcome {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, word: usize) {
        let index = word >> u32::BITS;
        match result {
            Ok(_) => self.link.worked(),
            Err((cause, _)) if word == self.word(index) => lock(&self.failures).push((index, cause.clone())),
            Err(_) => {}
        }
    }
}

type Client = BaseProducer<Outcome>;

/// Offsets that move with a transaction, and the member that moves them.
pub(crate) type Positions = (TopicPartitionList, ConsumerGroupMetadata);

/// Why a transaction is not committed.
struct Failure {
    cause: KafkaError,
    end: End,
}

/// How a failed transaction has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Aborted,
    /// Nobody will commit it; the broker aborts it when its time is over, or when the next client of this id asks.
    Left,
    /// The broker was asked to commit it and has not answered.
    Unknown,
}

/// A transactional client, made anew when it is of no use any more.
pub(crate) struct KafkaTransactor {
    config: ClientConfig,
    timeout: Duration,
    link: Link,
    shared: Arc<Shared>,
    client: Option<Arc<Client>>,
}

/// Refuses settings that contradict `transactional: true`.
pub(crate) fn check(common: &Settings, own: &Settings, binding: &ConsumerBinding) -> Result<()> {
    let level = own.iter().chain(common.iter()).find(|(name, _)| *name == "isolation.level");
    match level {
        // the position of a member that died may hang on a transaction that is not decided yet
        Some((_, level)) if binding.properties.transactional && level != "read_committed" => {
            let text = format!(
                "`isolation.level: {level}` can't be set with `transactional: true`: it needs `read_committed`"
            );
            Err(Error::new(ErrorKind::Config, text))
        }
        _ => Ok(()),
    }
}

/// Makes the settings of a client that sends those of one with transactions.
pub(crate) fn set(config: &mut ClientConfig, id: &str) {
    let timeout = timeout(config).as_millis().to_string();
    // the longer of the two must not be that of a message
    config.set("transaction.timeout.ms", &timeout).set("message.timeout.ms", &timeout);
    config.set("transactional.id", id).set("linger.ms", "0");
    // between two transactions nobody would take what it tells
    config.set("statistics.interval.ms", "0");
}

fn timeout(config: &ClientConfig) -> Duration {
    let set = config.get("transaction.timeout.ms").and_then(|text| text.trim().parse().ok());
    set.map_or(TIMEOUT, Duration::from_millis)
}

impl KafkaTransactor {
    /// Connects; `config` has been through [`set`].
    pub(crate) async fn open(config: ClientConfig, link: Link, shared: Arc<Shared>) -> Result<Self> {
        let mut transactor = Self { timeout: timeout(&config), config, link, shared, client: None };
        transactor.client().await?;
        Ok(transactor)
    }

    /// Returns the client. A new one first ends what the one before has left open; its id is the same.
    async fn client(&mut self) -> Result<Arc<Client>> {
        if self.shared.is_closed() {
            return Err(Error::new(ErrorKind::Closed, "the binder is closed"));
        }
        if let Some(client) = &self.client {
            return Ok(Arc::clone(client));
        }
        let outcome = Outcome { number: AtomicU32::new(0), failures: Mutex::default(), link: self.link.clone() };
        let client = Client::from_config_and_context(&self.config, outcome);
        let client = Arc::new(client.map_err(|cause| from_kafka(cause, None))?);
        let (opened, patience) = (Arc::clone(&client), self.timeout);
        let begun = blocking(move || {
            let deadline = Instant::now() + patience;
            while_polling(&opened, || again(deadline, |left| opened.init_transactions(left)))
        });
        begun.await?.map_err(|cause| self.not_opened(cause))?;
        self.client = Some(Arc::clone(&client));
        Ok(client)
    }

    /// What the broker was still at when it was late, it will have done in time: it ends what the client before has left.
    #[cold]
    fn not_opened(&self, cause: KafkaError) -> Error {
        let passes = may_be_called_again(&cause);
        let error = self.link.fail(cause);
        if passes { error.retryable() } else { error }
    }

    /// Publishes parts, and moves positions with them.
    pub(crate) async fn publish(
        &mut self,
        parts: &[TransactionPart<'_>],
        letters: Option<(&KafkaDeadLetters, &[DeadLetter<'_>])>,
        positions: &Arc<Vec<Positions>>,
    ) -> Result<(), CommitError> {
        check_embedded(parts)?;
        let (mut one_by_one, mut purged) = (false, 0);
        loop {
            match self.try_publish(parts, letters, positions, one_by_one).await {
                // the broker refuses records together that came together, so the one that it means is found by sending each for itself
                Err(CommitError::Refused { error, .. }) if error.kind() == ErrorKind::TooLarge && !one_by_one => {
                    one_by_one = true;
                }
                // the client clears its queues for the transaction before, and may take what is new along
                Err(CommitError::Aborted(error)) if self.was_purged(&error) && purged < MOST_PURGED => {
                    purged += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                ended => return ended,
            }
        }
    }

    fn was_purged(&self, error: &Error) -> bool {
        error.kind() == ErrorKind::Closed && !self.shared.is_closed()
    }

    async fn try_publish(
        &mut self,
        parts: &[TransactionPart<'_>],
        letters: Option<(&KafkaDeadLetters, &[DeadLetter<'_>])>,
        positions: &Arc<Vec<Positions>>,
        one_by_one: bool,
    ) -> Result<(), CommitError> {
        let client = self.client().await.map_err(CommitError::Aborted)?;
        client.context().begin();
        let produced = match client.begin_transaction() {
            Ok(()) => {
                let mut records = Records { client: &client, index: 0, one_by_one, timeout: self.timeout };
                let produced = records.produce_parts(parts).await;
                match (produced, letters) {
                    (Ok(()), Some((sink, letters))) => records.produce_letters(sink, letters).await,
                    (produced, _) => produced,
                }
            }
            Err(cause) => Err(cause),
        };
        let ended = match produced {
            Ok(()) => self.finish(&client, Arc::clone(positions)).await,
            Err(cause) => self.abort(&client, cause).await,
        };
        ended.map_err(|failure| self.fail(&client, parts, failure))
    }

    async fn finish(&self, client: &Arc<Client>, positions: Arc<Vec<Positions>>) -> Result<(), Failure> {
        let (finished, patience) = (Arc::clone(client), self.timeout);
        let ended = blocking(move || finish(&finished, &positions, Instant::now() + patience));
        ended.await.unwrap_or(Err(Failure { cause: KafkaError::Canceled, end: End::Unknown }))
    }

    async fn abort(&self, client: &Arc<Client>, cause: KafkaError) -> Result<(), Failure> {
        let (aborted, patience) = (Arc::clone(client), self.timeout);
        let ended = blocking(move || abort(&aborted, cause, Instant::now() + patience));
        Err(ended.await.unwrap_or(Failure { cause: KafkaError::Canceled, end: End::Left }))
    }

    #[cold]
    fn fail(&mut self, client: &Client, parts: &[TransactionPart<'_>], failure: Failure) -> CommitError {
        let failures = std::mem::take(&mut *lock(&client.context().failures));
        let Failure { cause, end } = failure;
        // a client that was late may know no broker any more
        let late = matches!(cause.rdkafka_error_code(), Some(Code::OperationTimedOut | Code::MessageTimedOut));
        if end != End::Aborted || late || client.client().fatal_error().is_some() {
            // the next one, of the same id, has the broker decide what this one has left
            self.let_go();
        }
        if end == End::Unknown {
            let error = Error::new(ErrorKind::Timeout, "the broker did not say whether the transaction is committed");
            return CommitError::Unknown(error.with_source(cause));
        }
        let refused = failures.into_iter().find(|(_, cause)| is_of_message(cause));
        if let Some((index, cause)) = refused
            && let Some((part, message)) = place_of(parts, index)
        {
            let destination = parts[part].binding.destination.as_str();
            let error = self.link.fail(cause).with_context("destination", destination);
            return CommitError::Refused { part, message, error };
        }
        let error = self.link.fail(cause);
        // whatever else it is, it is not about what was sent: the same may succeed in a transaction of its own
        CommitError::Aborted(if is_denied(&error) { error } else { error.retryable() })
    }
}

impl KafkaTransactor {
    /// Drops the client, on a thread of its own: that blocks.
    fn let_go(&mut self) {
        let Some(client) = self.client.take() else { return };
        if let Err(cause) = std::thread::Builder::new().name("kafka-leave".to_owned()).spawn(move || drop(client)) {
            tracing::warn!("no thread to drop a producer in: {cause}");
        }
    }
}

impl Drop for KafkaTransactor {
    fn drop(&mut self) {
        self.let_go();
    }
}

#[async_trait]
impl Transactor for KafkaTransactor {
    async fn commit(&mut self, parts: &[TransactionPart<'_>]) -> Result<(), CommitError> {
        self.publish(parts, None, &Arc::default()).await
    }
}

impl fmt::Debug for KafkaTransactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaTransactor").field("link", &self.link).finish_non_exhaustive()
    }
}

/// Returns the headers of a message that has none of its own.
fn headers_of(binding: &ProducerBinding) -> Option<OwnedHeaders> {
    let written = || headers::write(&binding.content_type, &Headers::new());
    (binding.properties.header_mode == HeaderMode::Headers).then(written)
}

/// Returns the payload with its headers in front, where they are to stand there; a tombstone has none.
fn embed(binding: &ProducerBinding, message: &Outgoing<'_>) -> Result<Option<Vec<u8>>> {
    let payload = message.payload.filter(|_| binding.properties.header_mode == HeaderMode::Embedded);
    payload.map(|payload| embedded::write(message.content_type, message.headers, payload)).transpose()
}

/// Finds a message whose headers can't be in front of it.
fn check_embedded(parts: &[TransactionPart<'_>]) -> Result<(), CommitError> {
    for (part, TransactionPart { binding, messages, .. }) in parts.iter().enumerate() {
        for (message, sent) in messages.iter().enumerate() {
            if let Err(error) = embed(binding, &sent) {
                let error = error.with_context("destination", binding.destination.as_str());
                return Err(CommitError::Refused { part, message, error });
            }
        }
    }
    Ok(())
}

/// The records of a transaction, handed over one by one.
struct Records<'a> {
    client: &'a Arc<Client>,
    index: usize,
    /// Whether each is awaited for itself.
    one_by_one: bool,
    timeout: Duration,
}

impl Records<'_> {
    async fn produce_parts(&mut self, parts: &[TransactionPart<'_>]) -> Result<(), KafkaError> {
        for part in parts {
            let (binding, common) = (part.binding, headers_of(part.binding));
            for message in part.messages.iter() {
                // that it can be done is checked before
                let embedded = embed(binding, &message).ok().flatten();
                self.produce(|| record(binding, common.as_ref(), &message, embedded.as_deref())).await?;
            }
        }
        Ok(())
    }

    async fn produce_letters(&mut self, sink: &KafkaDeadLetters, letters: &[DeadLetter<'_>]) -> Result<(), KafkaError> {
        for letter in letters {
            let (topic, partition) = sink.target(letter);
            let (key, payload) = (letter.delivery.key.as_deref(), letter.delivery.payload.as_deref());
            let headers = || Some(headers_of_letter(letter));
            self.produce(|| Ok(Record { topic: &topic, partition, key, payload, headers: headers() })).await?;
        }
        Ok(())
    }

    /// Hands a record over, made anew for each try.
    async fn produce<'r>(
        &mut self,
        record: impl Fn() -> Result<Record<'r>, KafkaError> + Send,
    ) -> Result<(), KafkaError> {
        let outcome = self.client.context();
        while let Err(cause) = record().and_then(|record| hand_over(self.client, record, outcome.word(self.index))) {
            if cause.rdkafka_error_code() != Some(Code::QueueFull) {
                lock(&outcome.failures).insert(0, (self.index, cause.clone()));
                return Err(cause);
            }
            let full = Arc::clone(self.client);
            // a join error is a panic of `poll`, which has none
            let _ = blocking(move || full.poll(POLL)).await;
        }
        self.index += 1;
        if self.one_by_one {
            let (flushed, patience) = (Arc::clone(self.client), self.timeout);
            let confirmed = blocking(move || confirm(&flushed, Instant::now() + patience));
            return confirmed.await.unwrap_or(Err(KafkaError::Canceled));
        }
        Ok(())
    }
}

fn record<'a>(
    binding: &'a ProducerBinding,
    common: Option<&OwnedHeaders>,
    message: &Outgoing<'a>,
    embedded: Option<&'a [u8]>,
) -> Result<Record<'a>, KafkaError> {
    let is_common = message.headers.is_empty() && *message.content_type == binding.content_type;
    let headers = common.map(|common| match is_common {
        true => common.clone(),
        false => headers::write(message.content_type, message.headers),
    });
    let partition = message.partition.map(i32::try_from).transpose();
    let partition = partition.map_err(|_| KafkaError::MessageProduction(Code::UnknownPartition))?;
    let payload = embedded.or(message.payload);
    Ok(Record { topic: &binding.destination, partition, key: message.key, payload, headers })
}

fn hand_over(client: &Client, record: Record<'_>, word: usize) -> Result<(), KafkaError> {
    let sent = client.send(BaseRecord {
        topic: record.topic,
        partition: record.partition,
        payload: record.payload,
        key: record.key,
        timestamp: None,
        headers: record.headers,
        delivery_opaque: word,
    });
    sent.map_err(|(cause, _)| cause)
}

/// Has all records confirmed, moves the positions, and commits. Blocks.
fn finish(client: &Client, positions: &[Positions], deadline: Instant) -> Result<(), Failure> {
    if let Err(cause) = prepare(client, positions, deadline) {
        return Err(abort(client, cause, deadline));
    }
    let decided = Instant::now() + COMMIT_PATIENCE;
    again(decided, |left| client.commit_transaction(left)).map_err(|cause| match &cause {
        KafkaError::Transaction(error) if error.txn_requires_abort() => abort(client, cause, decided),
        _ => Failure { cause, end: End::Unknown },
    })
}

fn prepare(client: &Client, positions: &[Positions], deadline: Instant) -> Result<(), KafkaError> {
    confirm(client, deadline)?;
    positions.iter().try_for_each(|(offsets, member)| {
        again(deadline, |left| client.send_offsets_to_transaction(offsets, member, left))
    })
}

/// Waits until the broker has taken all records, or one has failed. The client's own `flush` looks every 100 ms only.
fn confirm(client: &Client, deadline: Instant) -> Result<(), KafkaError> {
    let failed = || {
        let failed = lock(&client.context().failures).first().map(|(_, cause)| cause.clone());
        client.client().fatal_error().map(|(code, _)| KafkaError::Global(code)).or(failed)
    };
    while client.in_flight_count() > 0 {
        if let Some(cause) = failed() {
            return Err(cause);
        }
        if Instant::now() >= deadline {
            return Err(KafkaError::Flush(Code::OperationTimedOut));
        }
        client.poll(TICK);
    }
    failed().map_or(Ok(()), Err)
}

/// Aborts, if the client can still do so. Blocks.
fn abort(client: &Client, cause: KafkaError, deadline: Instant) -> Failure {
    let aborted = while_polling(client, || again(deadline, |left| client.abort_transaction(left)));
    let end = match aborted {
        Ok(()) => End::Aborted,
        Err(second) => {
            tracing::debug!(link = ?client.context().link, "a transaction is left to the broker: {second}");
            End::Left
        }
    };
    Failure { cause, end }
}

/// Calls until it is done, has failed for good, or it is late.
fn again(deadline: Instant, call: impl Fn(Timeout) -> Result<(), KafkaError>) -> Result<(), KafkaError> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match call(Timeout::After(left.max(POLL))) {
            Err(cause) if may_be_called_again(&cause) && Instant::now() < deadline => std::thread::sleep(PAUSE),
            done => return done,
        }
    }
}

fn may_be_called_again(cause: &KafkaError) -> bool {
    match cause {
        KafkaError::Transaction(error) => error.is_retriable(),
        _ => false,
    }
}

/// Serves the client's events during a call that waits for them and does not serve them itself.
fn while_polling<R>(client: &Client, call: impl FnOnce() -> R) -> R {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(SeqCst) {
                client.poll(POLL);
            }
        });
        let result = call();
        done.store(true, SeqCst);
        result
    })
}

/// Returns whether a record failed for what it is, and not with its transaction.
fn is_of_message(cause: &KafkaError) -> bool {
    matches!(
        cause.rdkafka_error_code(),
        Some(
            Code::MessageSizeTooLarge
                | Code::MessageBatchTooLarge
                | Code::InvalidMessageSize
                | Code::UnknownPartition
                | Code::UnknownTopic
                | Code::UnknownTopicOrPartition
                | Code::TopicAuthorizationFailed
                | Code::InvalidRecord
                | Code::InvalidTimestamp
                | Code::InvalidMessage
                | Code::PolicyViolation
        )
    )
}

fn is_denied(error: &Error) -> bool {
    error.kind() == ErrorKind::Refused && !error.is_retryable()
}

/// Returns part and message of a record.
fn place_of(parts: &[TransactionPart<'_>], index: usize) -> Option<(usize, usize)> {
    let mut first = 0;
    parts.iter().enumerate().find_map(|(part, known)| {
        let message = index.checked_sub(first).filter(|message| *message < known.messages.len());
        first += known.messages.len();
        message.map(|message| (part, message))
    })
}
