//! Going through the queue of dead letters.
//!
//! A letter is taken without being acknowledged: what is not resolved goes back to its place when the channel is closed, or lost. A
//! classic queue does not count how often that happens; a quorum queue does, and is declared without a limit.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use binder_core::binder::{
    ATTEMPTS, ConsumerBinding, DeadLetterDetails, DeadLetterEntry, DeadLetterPass, DeadLetterSource, Disposal, Purpose,
    REDRIVE_COUNT,
};
use binder_core::message::Headers;
use binder_core::{Error, ErrorKind, Result};
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use lapin::Channel;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicGetOptions, BasicQosOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use tokio::time::{sleep, timeout};

use crate::config::RabbitConsumerProperties;
use crate::courier::Courier;
use crate::dead_letters::{FAILURE, ORIGINAL_EXCHANGE, ORIGINAL_ROUTING_KEY, carried, with_id};
use crate::envelope::{Envelope, Properties, Route};
use crate::error;
use crate::link::Link;
use crate::{headers, names, returned};

/// How often what goes back is looked for, and how long is waited in between: 2 s if the broker answers at once.
const LOOKS: u32 = 200;
const LOOK: Duration = Duration::from_millis(10);

/// A broker that brings nothing for so long is asked.
const PAUSE: Duration = Duration::from_millis(100);

/// How many letters are brought at once; only one is taken while nobody knows how large they are. Larger ones are stopped when the memory is
/// used, but so many may be on their way.
const AT_ONCE: usize = 512;

/// How many letters are taken at once. They are hidden from others meanwhile.
const MOST: usize = 5000;

/// How many are taken at first; then up to twice as many each time.
const FIRST: usize = 1000;

/// How many letters are acknowledged at once.
const ACK_EVERY: usize = 64;

/// How many are on their way back before the first is confirmed.
const SENT_AT_ONCE: usize = 1000;

/// So many bytes are taken at once, and a little more; as many are taken ahead.
const MEMORY: usize = 16 * 1024 * 1024;

/// The dead letters of a group on one destination.
#[derive(Clone, Debug)]
struct Place {
    source: DeadLetterSource,
    exchange: String,
    /// The group's queue; with partitions there is one for each, and its name begins so.
    queue: String,
    partitioned: bool,
}

impl Place {
    fn letters(&self) -> String {
        names::dead_letter_queue(&self.queue)
    }

    /// Returns the partition of the queue that a letter came from. It was published to the dead letters with the name of that queue, unless
    /// they have no exchange.
    fn partition(&self, letter: &Delivery) -> Option<u32> {
        if !self.partitioned {
            return None;
        }
        let number = |text: &str| text.strip_prefix('-')?.parse().ok();
        let by_queue = letter.routing_key.as_str().strip_prefix(&self.queue).and_then(number);
        by_queue.or_else(|| {
            let key = text(letter, ORIGINAL_ROUTING_KEY)?;
            key.rfind('-').and_then(|dash| number(&key[dash..]))
        })
    }

    fn source_queue(&self, letter: &Delivery) -> String {
        self.partition(letter).map_or_else(|| self.queue.clone(), |index| names::partition(&self.queue, index))
    }
}

fn text(letter: &Delivery, name: &str) -> Option<String> {
    headers::get(&letter.properties, name).map(|value| value.to_text())
}

fn number<T: TryFrom<i64>>(letter: &Delivery, name: &str) -> Option<T> {
    headers::get(&letter.properties, name)?.as_i64()?.try_into().ok()
}

/// Returns how many bytes a letter has, with the headers that may be long.
fn size(letter: &Delivery) -> usize {
    let text = |(_, value): (_, &AMQPValue)| match value {
        AMQPValue::LongString(text) => text.len(),
        _ => 0,
    };
    let headers = letter.properties.headers().iter().flat_map(FieldTable::inner).map(text).sum::<usize>();
    letter.data.len() + headers
}

/// A place that is gone through, over a channel of its own.
struct Reading {
    place: Place,
    channel: Channel,
    /// Letters that were there at the beginning and were not taken yet.
    left: u32,
    /// Letters that were taken and not resolved: they go back.
    taken: u32,
    /// What was taken while the letters before it were resolved.
    ahead: Vec<Arc<Delivery>>,
    /// The delivery tag up to which nothing stays: no letter that is kept, and none that the client was not given.
    all_gone: u64,
    /// At most so many letters are taken at once.
    most: usize,
}

impl Reading {
    /// Takes letters that are left, at most `max`; few if none were read ahead, so that sending begins soon.
    async fn fill(&mut self, letters: &mut Vec<Arc<Delivery>>, max: usize) -> Result<()> {
        self.most = max;
        if !self.ahead.is_empty() {
            std::mem::swap(letters, &mut self.ahead);
            self.ahead.extend(letters.drain(max.min(letters.len())..));
            return Ok(());
        }
        let queue = self.place.letters();
        let read = read(&self.channel, &queue, &mut self.left, letters, max.min(FIRST)).await;
        self.taken += u32::try_from(letters.len()).unwrap_or(u32::MAX);
        read
    }

    /// Closes the channel: the broker returns what is not acknowledged to its place. Waits until it is there again, so that who looks next
    /// finds it: the broker answers before the queue knows, unless a classic queue has a consumer on the channel, and it is counted before that.
    async fn close(self, link: &Link) -> Result<()> {
        let (letters, close) = (self.place.letters(), self.channel.close(200, "done".into()));
        if self.taken == 0 {
            return close.await.map_err(error::lost);
        }
        let all = match count(&self.channel, &letters).await {
            Ok(there) => there + self.taken,
            Err(cause) if error::is_missing(&cause) => return Ok(()),
            Err(cause) => return Err(error::lost(cause)),
        };
        close.await.map_err(error::lost)?;
        let channel = link.get().await?.channel().await?;
        for _ in 0..LOOKS {
            // somebody else may take some, or delete the queue
            if count(&channel, &letters).await.is_ok_and(|there| there < all) {
                sleep(LOOK).await;
            } else {
                break;
            }
        }
        let _ = channel.close(200, "done".into()).await;
        Ok(())
    }
}

/// Takes letters of which so many are left, at most `max`. The first is asked for, the others are brought, which costs the broker less. If
/// too few come, the broker is asked for the others: only to that it answers that there are none.
async fn read(
    channel: &Channel,
    queue: &str,
    left: &mut u32,
    letters: &mut Vec<Arc<Delivery>>,
    max: usize,
) -> Result<()> {
    let (mut bytes, mut brings) = (0, true);
    while *left > 0 && letters.len() < max && bytes < MEMORY {
        let room = match letters.len() {
            0 => 1,
            known => (MEMORY - bytes) * known / bytes.max(1) + 1,
        };
        let count = AT_ONCE.min(room).min(max - letters.len()).min(*left as usize);
        let bring = brings && !letters.is_empty();
        let got = if bring {
            brought(channel, queue, count, MEMORY - bytes).await
        } else {
            asked(channel, queue, count).await
        };
        let got = got.map_err(error::lost)?;
        bytes += got.iter().map(size).sum::<usize>();
        *left = left.saturating_sub(u32::try_from(got.len()).unwrap_or(u32::MAX));
        match got.len() < count {
            true if bring => brings = false,
            true => *left = 0,
            false => {}
        }
        letters.extend(got.into_iter().map(Arc::new));
    }
    Ok(())
}

/// Asks for so many letters, for each by itself.
async fn asked(channel: &Channel, queue: &str, count: usize) -> lapin::Result<Vec<Delivery>> {
    let asked = (0..count).map(|_| channel.basic_get(queue.into(), BasicGetOptions::default()));
    let got = futures::future::try_join_all(asked).await?;
    Ok(got.into_iter().flatten().map(|got| got.delivery).collect())
}

/// Consumes so many letters, or fewer: when they are larger than the room, or when nothing comes for a while.
async fn brought(channel: &Channel, queue: &str, count: usize, mut room: usize) -> lapin::Result<Vec<Delivery>> {
    let prefetch = u16::try_from(count).unwrap_or(u16::MAX);
    let ((), mut consumer) = futures::future::try_join(
        channel.basic_qos(prefetch, BasicQosOptions::default()),
        channel.basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default()),
    )
    .await?;
    let mut letters = Vec::with_capacity(count);
    while letters.len() < count && room > 0 {
        let Ok(next) = timeout(PAUSE, consumer.next()).await else { break };
        // the queue was deleted
        let Some(letter) = next.transpose()? else { return Ok(letters) };
        room = room.saturating_sub(size(&letter));
        letters.push(letter);
    }
    channel.basic_cancel(consumer.tag(), BasicCancelOptions::default()).await?;
    // what was on its way; the client ends it when the broker has answered
    while let Some(letter) = consumer.next().await {
        letters.push(letter?);
    }
    Ok(letters)
}

/// Acknowledges letters that are gone, in their order, many at once as long as nothing before them stays.
struct Acks<'a> {
    channel: &'a Channel,
    all_gone: &'a mut u64,
    tags: Vec<u64>,
}

impl Acks<'_> {
    async fn add(&mut self, tag: u64) -> Result<()> {
        if tag == *self.all_gone + 1 {
            *self.all_gone = tag;
        }
        self.tags.push(tag);
        if self.tags.len() < ACK_EVERY { Ok(()) } else { self.send().await }
    }

    async fn send(&mut self) -> Result<()> {
        let together = self.tags.partition_point(|tag| *tag <= *self.all_gone);
        let (together, alone) = self.tags.split_at(together);
        let together = together.last().map(|last| (*last, BasicAckOptions { multiple: true }));
        let alone = alone.iter().map(|tag| (*tag, BasicAckOptions::default()));
        let acks = together.into_iter().chain(alone).map(|(tag, options)| self.channel.basic_ack(tag, options));
        let acked = futures::future::try_join_all(acks).await.map(drop).map_err(error::lost);
        self.tags.clear();
        acked
    }
}

/// Asks how many letters are there and can be taken.
async fn count(channel: &Channel, letters: &str) -> lapin::Result<u32> {
    let passive = QueueDeclareOptions { passive: true, ..Default::default() };
    Ok(channel.queue_declare(letters.into(), passive, FieldTable::default()).await?.message_count())
}

/// One way through. Dropping it returns what was taken when its channels are collected.
pub(crate) struct Pass {
    link: Arc<Link>,
    courier: Courier,
    purpose: Purpose,
    places: VecDeque<Place>,
    reading: Option<Reading>,
    /// What is not resolved yet.
    taken: Vec<Arc<Delivery>>,
    /// A call failed or was dropped: which letters it took or acknowledged is not known.
    broken: bool,
}

impl Pass {
    pub(crate) fn new(
        consume: &Arc<Link>,
        publish: &Arc<Link>,
        binding: &ConsumerBinding,
        settings: &RabbitConsumerProperties,
        purpose: Purpose,
    ) -> Self {
        let group = binding.group.as_deref().unwrap_or_default();
        let place = |destination: &String| Place {
            source: DeadLetterSource::new(destination.as_str(), group),
            exchange: format!("{}{destination}", settings.prefix),
            queue: names::queue(&settings.prefix, destination, group),
            partitioned: binding.properties.partitioned,
        };
        Self {
            link: Arc::clone(consume),
            courier: Courier::new(Arc::clone(publish)),
            purpose,
            places: binding.destinations.iter().map(place).collect(),
            reading: None,
            taken: Vec::new(),
            broken: false,
        }
    }

    fn check(&self) -> Result<()> {
        if self.broken {
            return Err(Error::new(ErrorKind::Closed, "an earlier call failed or was dropped; begin another pass"));
        }
        Ok(())
    }

    /// Begins with the next place that has letters. A queue that does not exist has none.
    async fn open_next(&mut self) -> Result<bool> {
        while let Some(place) = self.places.pop_front() {
            let channel = self.link.get().await?.channel().await?;
            let letters = place.letters();
            match count(&channel, &letters).await {
                Ok(left) => {
                    self.reading =
                        Some(Reading { place, channel, left, taken: 0, ahead: Vec::new(), all_gone: 0, most: 0 });
                    return Ok(true);
                }
                Err(cause) if error::is_missing(&cause) => {}
                Err(cause) => return Err(error::declare("queue", &letters, cause)),
            }
        }
        Ok(false)
    }

    async fn close_place(&mut self) -> Result<()> {
        match self.reading.take() {
            Some(reading) => reading.close(&self.link).await,
            None => Ok(()),
        }
    }

    async fn take_next(&mut self, max: usize) -> Result<Vec<DeadLetterEntry>> {
        self.taken.clear();
        loop {
            if self.reading.is_none() && !self.open_next().await? {
                return Ok(Vec::new());
            }
            let Some(reading) = &mut self.reading else { return Ok(Vec::new()) };
            reading.fill(&mut self.taken, max).await?;
            if !self.taken.is_empty() {
                let place = reading.place.clone();
                return Ok(self.taken.iter().map(|letter| self.entry(&place, letter)).collect());
            }
            self.close_place().await?;
        }
    }

    /// Does what is said; there is one disposal for each letter.
    async fn resolve_taken(&mut self, disposals: &[Disposal]) -> Result<Vec<Option<Error>>> {
        let Self { reading, courier, purpose, taken, .. } = self;
        let Some(reading) = reading else { return Ok(Vec::new()) };
        let Reading { place, channel, left, taken: unresolved, ahead, all_gone, most } = reading;
        let (count, queue) = (taken.len(), place.letters());
        let back = Return { place, courier, all_groups: *purpose == Purpose::Resolve { all_groups: true } };
        let resolving = async {
            let mut acks = Acks { channel, all_gone, tags: Vec::with_capacity(ACK_EVERY) };
            let mut answers = Vec::with_capacity(count);
            let sending = (0..count).map(|index| back.send_if(&taken[index], disposals[index]));
            let mut sending = stream::iter(sending).buffered(SENT_AT_ONCE);
            while let Some(refused) = sending.next().await {
                let index = answers.len();
                if leaves(disposals[index], &refused) {
                    acks.add(taken[index].delivery_tag).await?;
                }
                answers.push(refused);
            }
            acks.send().await?;
            Ok::<_, Error>(answers)
        };
        let reading_ahead = async {
            if ahead.is_empty() {
                // what is wrong with the channel is told by whoever needs it next
                let _ = read(channel, &queue, left, ahead, (2 * count).min(*most)).await;
                ahead.len()
            } else {
                0
            }
        };
        let (answers, read) = futures::join!(resolving, reading_ahead);
        let answers = answers?;
        let gone = answers.iter().zip(disposals).filter(|(refused, disposal)| leaves(**disposal, refused)).count();
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        *unresolved = (*unresolved + number(read)).saturating_sub(number(gone));
        Ok(answers)
    }

    fn entry(&self, place: &Place, letter: &Arc<Delivery>) -> DeadLetterEntry {
        let properties = &letter.properties;
        let mut entry = DeadLetterEntry::new(place.source.clone());
        entry.partition = place.partition(letter);
        entry.timestamp = properties.timestamp().and_then(|sent| UNIX_EPOCH.checked_add(Duration::from_secs(sent)));
        entry.attempts = number(letter, ATTEMPTS);
        entry.redriven = number(letter, REDRIVE_COUNT).unwrap_or(0);
        entry.key = headers::key(properties).map(Bytes::copy_from_slice);
        let tombstone = letter.data.is_empty() && headers::is_tombstone(properties);
        entry.payload = (!tombstone).then(|| Bytes::copy_from_slice(&letter.data));
        entry.with_details(Arc::new(Details(Arc::clone(letter))))
    }
}

/// What a letter says when it is asked.
#[derive(Debug)]
struct Details(Arc<Delivery>);

impl DeadLetterDetails for Details {
    fn reason(&self) -> Option<String> {
        text(&self.0, "x-exception-message")
    }

    fn headers(&self) -> Headers {
        let all = headers::application(&self.0.properties).into_iter();
        all.filter(|(name, _)| !FAILURE.contains(&name.as_ref())).collect()
    }
}

/// Returns whether a letter leaves the queue.
fn leaves(disposal: Disposal, refused: &Option<Error>) -> bool {
    match disposal {
        Disposal::Send => refused.is_none(),
        Disposal::Discard => true,
        _ => false,
    }
}

/// What sends letters back.
struct Return<'a> {
    place: &'a Place,
    courier: &'a Courier,
    all_groups: bool,
}

impl Return<'_> {
    /// Returns why a letter could not be sent that is to be sent.
    async fn send_if(&self, letter: &Delivery, disposal: Disposal) -> Option<Error> {
        match disposal {
            Disposal::Send => self.send(letter).await.err().map(Error::permanent),
            _ => None,
        }
    }

    async fn send(&self, letter: &Delivery) -> Result<()> {
        let place = self.place;
        let properties = with_id(carried(&letter.properties));
        let mut table = FieldTable::default();
        let of_failure = |name: &str| FAILURE.contains(&name) || headers::BROKERS_OWN.contains(&name);
        for (name, value) in properties.headers().iter().flat_map(FieldTable::inner) {
            if !of_failure(name.as_str()) {
                table.insert(name.clone(), value.clone());
            }
        }
        let exchange = text(letter, ORIGINAL_EXCHANGE).unwrap_or_else(|| place.exchange.clone());
        let routing_key = text(letter, ORIGINAL_ROUTING_KEY).unwrap_or_else(|| place.source.destination().to_owned());
        let name = |text: &str| ShortString::try_new(text).unwrap_or_default();
        let (exchange, routing_key) = (name(&exchange), name(&routing_key));
        let redriven = number::<u32>(letter, REDRIVE_COUNT).unwrap_or(0);
        table.insert(REDRIVE_COUNT.into(), AMQPValue::LongLongInt(i64::from(redriven) + 1));
        let route = if self.all_groups {
            Route { exchange, key: routing_key }
        } else {
            returned::insert_origin(&mut table, &exchange, &routing_key);
            Route { exchange: "".into(), key: place.source_queue(letter).into() }
        };
        let properties = properties.with_headers(table).with_delivery_mode(2);
        let body = Bytes::copy_from_slice(&letter.data);
        self.courier
            .send(
                Envelope { route: Arc::new(route), body, properties: Properties::Whole(Box::new(properties)) },
                "a message that is sent back",
            )
            .await
    }
}

#[async_trait]
impl DeadLetterPass for Pass {
    async fn take(&mut self, max: usize) -> Result<Vec<DeadLetterEntry>> {
        self.check()?;
        self.purpose.check_take(self.taken.len())?;
        self.broken = true;
        let letters = self.take_next(max.min(MOST)).await?;
        self.broken = false;
        Ok(letters)
    }

    async fn resolve(&mut self, disposals: &[Disposal]) -> Result<Vec<Option<Error>>> {
        self.check()?;
        self.purpose.check_resolve(self.taken.len(), disposals)?;
        self.broken = true;
        let answers = self.resolve_taken(disposals).await?;
        self.taken.clear();
        self.broken = false;
        Ok(answers)
    }

    async fn close(mut self: Box<Self>) -> Result<()> {
        self.close_place().await
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(reading) = self.reading.take() {
            let closing = reading.channel.close(200, "dropped".into());
            drop(crate::poll::start(closing));
        }
    }
}

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pass").field("places", &self.places).finish_non_exhaustive()
    }
}
