//! Going through the topic of dead letters.
//!
//! Up to where it is resolved stands in the offsets of a group of its own, `<topic>.redrive`. What was taken together is resolved in one
//! transaction: what is sent, what stays and is appended again, and the offset behind them. So a death in between changes nothing.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use binder_core::binder::{ConsumerBinding, DeadLetterEntry, DeadLetterPass, DeadLetterSource, Disposal, Purpose};
use binder_core::{Error, ErrorKind, Result};
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::error::from_kafka;
use crate::letter::Letter;
use crate::link::{Link, lock};
use crate::provision::{Listener, blocking, dead_letter_topic};
use crate::returned;

/// How long an answer of the broker is awaited.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);
const TICK: Duration = Duration::from_millis(1);

/// Bytes of the headers of the first letter, as a guess.
const HEADERS: usize = 1024;

/// So many bytes are taken at once, and a little more; as many are read ahead.
const MEMORY: usize = 16 * 1024 * 1024;

/// What becomes of the records of a transaction.
struct Outcome {
    failures: Mutex<Vec<(usize, KafkaError)>>,
    link: Link,
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

    fn delivery(&self, result: &DeliveryResult<'_>, index: usize) {
        if let Err((cause, _)) = result {
            lock(&self.failures).push((index, cause.clone()));
        }
    }
}

/// The dead letters of a group on one destination.
#[derive(Clone, Debug)]
struct Place {
    source: DeadLetterSource,
    letters: String,
    /// Where they are sent back to.
    target: String,
    purpose: Purpose,
}

/// What the clients of a pass are made of.
#[derive(Clone)]
struct Clients {
    consumer: ClientConfig,
    producer: ClientConfig,
    link: Link,
}

/// A partition, as far as it is read.
struct Progress {
    next: i64,
    end: i64,
    done: bool,
}

/// A place that is gone through.
struct Reading {
    reader: Reader,
    producer: Option<BaseProducer<Outcome>>,
    /// How many partitions the target has; none if it does not exist.
    target: Option<i32>,
    /// What is not resolved yet.
    taken: Vec<Arc<Letter>>,
    /// What was read and is not taken yet.
    ahead: Vec<Arc<Letter>>,
}

/// What reads the letters of a place.
struct Reader {
    place: Place,
    consumer: BaseConsumer<Listener>,
    partitions: BTreeMap<i32, Progress>,
    link: Link,
}

impl Reading {
    /// Opens a place; nothing if there is no such topic.
    fn open(clients: &Clients, place: Place) -> Result<Option<Self>> {
        let link = &clients.link;
        let fail = |cause| link.fail(cause).with_context("destination", place.letters.as_str());
        let mut config = clients.consumer.clone();
        if config.get("fetch.queue.backoff.ms").is_none() {
            config.set("fetch.queue.backoff.ms", "10");
        }
        config
            .set("group.id", format!("{}.redrive", place.letters))
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "earliest")
            .set("allow.auto.create.topics", "false");
        let consumer = BaseConsumer::from_config_and_context(&config, Listener(link.clone()));
        let consumer = consumer.map_err(|cause| from_kafka(cause, None))?;
        let count = |topic: &str| partitions(&consumer, topic).map_err(fail);
        let Some(letters) = count(&place.letters)? else { return Ok(None) };
        let target = count(&place.target)?;
        let producer =
            if place.purpose != Purpose::Look { Some(open_producer(clients, &place).map_err(fail)?) } else { None };
        // after the producer: what an earlier run left open is decided by now
        let mut asked = TopicPartitionList::new();
        asked.add_partition_range(&place.letters, 0, letters - 1);
        let committed = consumer.committed_offsets(asked, PATIENCE).map_err(fail)?;
        let mut known = BTreeMap::new();
        let mut assigned = TopicPartitionList::new();
        for element in committed.elements() {
            let partition = element.partition();
            let (low, end) = consumer.fetch_watermarks(&place.letters, partition, PATIENCE).map_err(fail)?;
            let next = match element.offset() {
                Offset::Offset(offset) => offset.max(low),
                _ => low,
            };
            known.insert(partition, Progress { next, end, done: next >= end });
            if next < end {
                assigned.add_partition_offset(&place.letters, partition, Offset::Offset(next)).map_err(fail)?;
            }
        }
        consumer.assign(&assigned).map_err(fail)?;
        let reader = Reader { place, consumer, partitions: known, link: link.clone() };
        Ok(Some(Self { reader, producer, target, taken: Vec::new(), ahead: Vec::new() }))
    }

    /// Takes at most so many letters; none at the end.
    fn take(&mut self, max: usize) -> Result<()> {
        self.reader.place.purpose.check_take(self.taken.len())?;
        self.taken.clear();
        if self.ahead.is_empty() {
            self.reader.read(max, &mut self.ahead)?;
        }
        std::mem::swap(&mut self.taken, &mut self.ahead);
        self.ahead.extend(self.taken.drain(max.min(self.taken.len())..));
        Ok(())
    }

    /// Resolves what was taken, and meanwhile reads as many of those that come next.
    fn resolve(&mut self, disposals: &[Disposal]) -> Result<Vec<Option<Error>>> {
        let Self { reader, producer, target, taken, ahead } = self;
        reader.place.purpose.check_resolve(taken.len(), disposals)?;
        let (letters, link, max) = (reader.place.letters.clone(), reader.link.clone(), taken.len());
        let unprepared = || Error::new(ErrorKind::Unexpected, "the pass was opened to look");
        let producer = producer.as_ref().ok_or_else(unprepared)?;
        let group = reader.consumer.group_metadata();
        let resolving = Resolving { place: reader.place.clone(), producer, target: *target, taken, group, link };
        let resolved = std::thread::scope(|scope| {
            let reading = ahead.is_empty().then(|| scope.spawn(|| reader.read(max, ahead)));
            let resolved = resolving.transact(disposals);
            let read = reading.map_or(Ok(Ok(())), |reading| reading.join());
            let resolved = resolved.map_err(|error| error.with_context("destination", letters))?;
            // what was read stays, and the next take says what is wrong
            if let Ok(Err(error)) = read {
                tracing::debug!("letters are not read ahead: {error}");
            }
            Ok::<_, Error>(resolved)
        })?;
        taken.clear();
        Ok(resolved)
    }

    fn entries(&self) -> Vec<DeadLetterEntry> {
        self.taken.iter().map(|letter| letter.entry(&self.reader.place.source)).collect()
    }
}

impl Reader {
    /// Reads at most so many letters; none at the end.
    fn read(&mut self, max: usize, letters: &mut Vec<Arc<Letter>>) -> Result<()> {
        let mut heard = Instant::now();
        let (mut bytes, mut headers_size) = (0, HEADERS);
        while letters.len() < max && bytes < MEMORY && self.partitions.values().any(|partition| !partition.done) {
            match self.consumer.poll(POLL) {
                None if heard.elapsed() > PATIENCE => {
                    let error = self.link.fail_code(Code::RequestTimedOut);
                    return Err(error.with_context("destination", self.place.letters.as_str()));
                }
                None => continue,
                Some(Ok(message)) => {
                    let Some(progress) = self.partitions.get_mut(&message.partition()) else { continue };
                    if !progress.done && message.offset() < progress.end {
                        progress.next = message.offset() + 1;
                        let letter = Letter::copy(&message, headers_size);
                        headers_size = letter.headers_size();
                        bytes += letter.size();
                        letters.push(Arc::new(letter));
                    }
                    progress.done |= progress.next >= progress.end;
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    if let Some(progress) = self.partitions.get_mut(&partition) {
                        progress.done = true;
                    }
                }
                Some(Err(cause)) => {
                    let error = self.link.fail(cause);
                    if !error.is_retryable() {
                        return Err(error.with_context("destination", self.place.letters.as_str()));
                    }
                    continue;
                }
            }
            heard = Instant::now();
        }
        Ok(())
    }
}

/// Letters that are resolved together.
struct Resolving<'a> {
    place: Place,
    producer: &'a BaseProducer<Outcome>,
    target: Option<i32>,
    taken: &'a [Arc<Letter>],
    group: Option<ConsumerGroupMetadata>,
    link: Link,
}

impl Resolving<'_> {
    /// Resolves what was taken, in one transaction; again without a letter that the broker refuses to take.
    fn transact(&self, disposals: &[Disposal]) -> Result<Vec<Option<Error>>> {
        let producer = self.producer;
        let mut refused: Vec<Option<Error>> = (0..self.taken.len()).map(|_| None).collect();
        loop {
            producer.begin_transaction().map_err(|cause| self.link.fail(cause))?;
            let failures = match self.produce(disposals, &mut refused) {
                Ok(failures) if failures.is_empty() => match self.commit() {
                    Ok(()) => return Ok(refused),
                    Err(cause) => {
                        self.abort();
                        return Err(self.link.fail(cause));
                    }
                },
                Ok(failures) => failures,
                Err(cause) => {
                    self.abort();
                    return Err(self.link.fail(cause));
                }
            };
            self.abort();
            for (index, cause) in failures {
                let error = self.link.fail(cause);
                let was_sent = disposals.get(index) == Some(&Disposal::Send) && refused[index].is_none();
                if error.is_retryable() || !was_sent {
                    return Err(error);
                }
                refused[index] = Some(error);
            }
        }
    }

    /// Produces what is sent and what stays; returns what the broker did not take.
    fn produce(
        &self,
        disposals: &[Disposal],
        refused: &mut [Option<Error>],
    ) -> Result<Vec<(usize, KafkaError)>, KafkaError> {
        let producer = self.producer;
        let outcome = producer.context();
        lock(&outcome.failures).clear();
        for (index, (letter, disposal)) in self.taken.iter().zip(disposals).enumerate() {
            let sent = match disposal {
                Disposal::Discard => continue,
                Disposal::Send if refused[index].is_none() => {
                    self.returning(letter).map_err(|error| refused[index] = Some(error)).ok()
                }
                _ => None,
            };
            let (topic, partition, headers) = match sent {
                Some((partition, headers)) => (self.place.target.as_str(), partition, headers),
                None => (self.place.letters.as_str(), Some(letter.partition), letter.staying()),
            };
            let mut record = BaseRecord {
                topic,
                partition,
                payload: letter.payload(),
                key: letter.key(),
                timestamp: None,
                headers: Some(headers),
                delivery_opaque: index,
            };
            loop {
                match producer.send(record) {
                    Ok(()) => break,
                    Err((cause, back)) if cause.rdkafka_error_code() == Some(Code::QueueFull) => {
                        producer.poll(POLL);
                        record = back;
                    }
                    Err((cause, _)) => break lock(&outcome.failures).push((index, cause)),
                }
            }
        }
        confirm(producer)?;
        Ok(std::mem::take(&mut lock(&outcome.failures)))
    }

    /// Returns partition and headers with which a letter goes back.
    fn returning(&self, letter: &Letter) -> Result<(Option<i32>, OwnedHeaders)> {
        let Some(partitions) = self.target else {
            let text = "the topic does not exist: no consumer of this group and library has read from it; a group of another library \
                        is reached with `all_groups`";
            let error = Error::new(ErrorKind::Unroutable, text);
            return Err(error.with_context("destination", self.place.target.as_str()));
        };
        let (partition, headers) = letter.returning(self.place.purpose == Purpose::Resolve { all_groups: true })?;
        Ok((partition.filter(|partition| (0..partitions).contains(partition)), headers))
    }

    fn commit(&self) -> Result<(), KafkaError> {
        // elements come in the order of their offsets: the last one counts
        let next: BTreeMap<_, _> = self.taken.iter().map(|letter| (letter.partition, letter.offset + 1)).collect();
        let mut offsets = TopicPartitionList::new();
        for (partition, next) in next {
            offsets.add_partition_offset(&self.place.letters, partition, Offset::Offset(next))?;
        }
        if let Some(group) = &self.group {
            self.producer.send_offsets_to_transaction(&offsets, group, PATIENCE)?;
        }
        self.producer.commit_transaction(PATIENCE)
    }

    fn abort(&self) {
        if let Err(cause) = self.producer.abort_transaction(PATIENCE) {
            tracing::warn!(link = ?self.link, "the broker ends the transaction by itself: {cause}");
        }
    }
}

/// Waits until the broker has taken all records or refused them. The client's own `flush` looks every 100 ms only.
fn confirm(producer: &BaseProducer<Outcome>) -> Result<(), KafkaError> {
    let deadline = Instant::now() + PATIENCE;
    while producer.in_flight_count() > 0 {
        if Instant::now() >= deadline {
            return Err(KafkaError::Flush(Code::OperationTimedOut));
        }
        producer.poll(TICK);
    }
    Ok(())
}

/// Returns how many partitions a topic has; nothing if there is none.
fn partitions(consumer: &BaseConsumer<Listener>, topic: &str) -> Result<Option<i32>, KafkaError> {
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE)?;
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(None) };
    match found.error().map(Code::from) {
        None => Ok(i32::try_from(found.partitions().len()).ok().filter(|count| *count > 0)),
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => Ok(None),
        Some(code) => Err(KafkaError::MetadataFetch(code)),
    }
}

fn open_producer(clients: &Clients, place: &Place) -> Result<BaseProducer<Outcome>, KafkaError> {
    let mut config = clients.producer.clone();
    // one at a time: who comes later ends what the earlier has begun
    config.set("transactional.id", format!("{}.redrive", place.letters));
    let outcome = Outcome { failures: Mutex::default(), link: clients.link.clone() };
    let producer = BaseProducer::from_config_and_context(&config, outcome)?;
    producer.init_transactions(PATIENCE)?;
    Ok(producer)
}

/// One way through.
pub(crate) struct Pass {
    clients: Clients,
    purpose: Purpose,
    places: VecDeque<Place>,
    reading: Option<Reading>,
    /// A call was dropped: where it had come is not known.
    broken: bool,
}

impl Pass {
    pub(crate) fn new(
        consumer: ClientConfig,
        producer: ClientConfig,
        link: Link,
        binding: &ConsumerBinding,
        purpose: Purpose,
    ) -> Self {
        let group = binding.group.as_deref().unwrap_or_default();
        let all_groups = matches!(purpose, Purpose::Resolve { all_groups: true });
        let place = |source: &String| Place {
            source: DeadLetterSource::new(source.as_str(), group),
            letters: dead_letter_topic(source, group),
            target: if all_groups { source.clone() } else { returned::redrive_topic(source, group) },
            purpose,
        };
        let places = binding.destinations.iter().map(place).collect();
        let clients = Clients { consumer, producer, link };
        Self { clients, purpose, places, reading: None, broken: false }
    }

    /// Runs a call of the clients, which block, on a thread of its own.
    async fn with<R: Send + 'static>(
        &mut self,
        mut reading: Reading,
        call: impl FnOnce(&mut Reading) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        self.broken = true;
        let (reading, answer) = blocking(move || {
            let answer = call(&mut reading);
            (reading, answer)
        })
        .await?;
        self.broken = false;
        self.reading = Some(reading);
        answer
    }

    async fn open_next(&mut self) -> Result<bool> {
        while let Some(place) = self.places.pop_front() {
            let clients = self.clients.clone();
            self.broken = true;
            self.reading = blocking(move || Reading::open(&clients, place)).await??;
            self.broken = false;
            if self.reading.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn check(&self) -> Result<()> {
        if self.broken {
            return Err(Error::new(ErrorKind::Closed, "an earlier call failed or was dropped; begin another pass"));
        }
        Ok(())
    }
}

#[async_trait]
impl DeadLetterPass for Pass {
    async fn take(&mut self, max: usize) -> Result<Vec<DeadLetterEntry>> {
        self.check()?;
        loop {
            if self.reading.is_none() && !self.open_next().await? {
                return Ok(Vec::new());
            }
            let Some(reading) = self.reading.take() else { return Ok(Vec::new()) };
            let entries = self.with(reading, move |reading| {
                reading.take(max)?;
                Ok(reading.entries())
            });
            let entries = entries.await?;
            if !entries.is_empty() {
                return Ok(entries);
            }
            if let Some(done) = self.reading.take() {
                blocking(move || drop(done)).await?;
            }
        }
    }

    async fn resolve(&mut self, disposals: &[Disposal]) -> Result<Vec<Option<Error>>> {
        self.check()?;
        let Some(reading) = self.reading.take() else {
            self.purpose.check_resolve(0, disposals)?;
            return Ok(Vec::new());
        };
        let disposals = disposals.to_vec();
        self.with(reading, move |reading| reading.resolve(&disposals)).await
    }

    async fn close(mut self: Box<Self>) -> Result<()> {
        match self.reading.take() {
            Some(reading) => blocking(move || drop(reading)).await,
            None => Ok(()),
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(reading) = self.reading.take() {
            drop(std::thread::Builder::new().name("kafka-letters".to_owned()).spawn(move || drop(reading)));
        }
    }
}

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pass").field("places", &self.places).finish_non_exhaustive()
    }
}
