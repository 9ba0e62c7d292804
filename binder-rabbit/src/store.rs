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
    ATTEMPTS, ConsumerBinding, DeadLetterEntry, DeadLetterPass, Disposal, Purpose, REDRIVE_COUNT,
};
use binder_core::message::Headers;
use binder_core::{Error, Result};
use bytes::Bytes;
use lapin::Channel;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicGetOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use tokio::time::{Instant, sleep};

use crate::config::RabbitConsumerProperties;
use crate::courier::Courier;
use crate::dead_letters::{FAILURE, ORIGINAL_EXCHANGE, ORIGINAL_ROUTING_KEY, carried, with_id};
use crate::envelope::{Envelope, Properties, Route};
use crate::error;
use crate::link::Link;
use crate::{headers, names, returned};

/// How long what goes back to a quorum queue is waited for, and how often it is looked for.
const RETURN: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(10);

/// How many letters are asked for before the first has come.
const AT_ONCE: u32 = 32;

/// So many bytes are taken at once, and a little more.
const MEMORY: usize = 16 * 1024 * 1024;

/// The dead letters of a group on one destination.
#[derive(Clone, Debug)]
struct Place {
    destination: Arc<str>,
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

    fn source(&self, letter: &Delivery) -> String {
        self.partition(letter).map_or_else(|| self.queue.clone(), |index| names::partition(&self.queue, index))
    }
}

fn text(letter: &Delivery, name: &str) -> Option<String> {
    headers::get(&letter.properties, name).map(|value| value.to_text())
}

fn number<T: TryFrom<i64>>(letter: &Delivery, name: &str) -> Option<T> {
    headers::get(&letter.properties, name)?.as_i64()?.try_into().ok()
}

/// A place that is gone through, over a channel of its own.
struct Reading {
    place: Place,
    channel: Channel,
    /// Letters that were there at the beginning and were not taken yet.
    left: u32,
    /// Letters that were taken and not resolved: they go back.
    taken: u32,
}

impl Reading {
    /// Closes the channel: the broker returns what is not acknowledged to its place. A classic queue does so before the broker answers.
    async fn close(self) -> Result<()> {
        self.channel.close(200, "done".into()).await.map_err(error::lost)
    }

    /// Closes the channel of a quorum queue, and waits until what goes back is there again, so that who looks next finds it.
    async fn close_quorum(self, link: &Link) -> Result<()> {
        let letters = self.place.letters();
        let all = count(&self.channel, &letters).await.map_err(error::lost)? + self.taken;
        self.close().await?;
        let channel = link.get().await?.channel().await?;
        let deadline = Instant::now() + RETURN;
        // Somebody else may take some, or delete the queue.
        while Instant::now() < deadline && count(&channel, &letters).await.is_ok_and(|there| there < all) {
            sleep(LOOK).await;
        }
        let _ = channel.close(200, "done".into()).await;
        Ok(())
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
    group: Arc<str>,
    all_groups: bool,
    quorum: bool,
    places: VecDeque<Place>,
    reading: Option<Reading>,
    taken: Vec<Delivery>,
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
            destination: destination.as_str().into(),
            exchange: format!("{}{destination}", settings.prefix),
            queue: names::queue(&settings.prefix, destination, group),
            partitioned: binding.properties.partitioned,
        };
        Self {
            link: Arc::clone(consume),
            courier: Courier::new(Arc::clone(publish)),
            group: group.into(),
            all_groups: matches!(purpose, Purpose::Resolve { all_groups: true }),
            quorum: settings.dlq_quorum.enabled,
            places: binding.destinations.iter().map(place).collect(),
            reading: None,
            taken: Vec::new(),
        }
    }

    /// Begins with the next place that has letters. A queue that does not exist has none.
    async fn open_next(&mut self) -> Result<bool> {
        while let Some(place) = self.places.pop_front() {
            let channel = self.link.get().await?.channel().await?;
            let letters = place.letters();
            match count(&channel, &letters).await {
                Ok(left) => {
                    self.reading = Some(Reading { place, channel, left, taken: 0 });
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
            Some(reading) if self.quorum && reading.taken > 0 => reading.close_quorum(&self.link).await,
            Some(reading) => reading.close().await,
            None => Ok(()),
        }
    }

    fn entry(&self, place: &Place, letter: &Delivery) -> DeadLetterEntry {
        let properties = &letter.properties;
        let mut entry = DeadLetterEntry::new(Arc::clone(&place.destination), Arc::clone(&self.group));
        entry.partition = place.partition(letter);
        entry.timestamp = properties.timestamp().and_then(|sent| UNIX_EPOCH.checked_add(Duration::from_secs(sent)));
        entry.attempts = number(letter, ATTEMPTS);
        entry.reason = text(letter, "x-exception-message");
        entry.redriven = number(letter, REDRIVE_COUNT).unwrap_or(0);
        entry.key = headers::key(properties).map(Bytes::copy_from_slice);
        let all = headers::application(properties).into_iter();
        entry.headers = all.filter(|(name, _)| !FAILURE.contains(&name.as_ref())).collect::<Headers>();
        let tombstone = letter.data.is_empty() && headers::is_tombstone(properties);
        entry.payload = (!tombstone).then(|| Bytes::copy_from_slice(&letter.data));
        entry
    }

    async fn resolve_one(&self, reading: &Reading, letter: &Delivery, disposal: Disposal) -> Result<Option<Error>> {
        if disposal == Disposal::Send
            && let Err(refused) = self.send(&reading.place, letter).await
        {
            return Ok(Some(refused.permanent()));
        }
        if disposal != Disposal::Keep {
            let acked = reading.channel.basic_ack(letter.delivery_tag, BasicAckOptions::default()).await;
            acked.map_err(error::lost)?;
        }
        Ok(None)
    }

    async fn send(&self, place: &Place, letter: &Delivery) -> Result<()> {
        let properties = with_id(carried(&letter.properties));
        let mut table = FieldTable::default();
        let of_failure = |name: &str| FAILURE.contains(&name) || headers::BROKERS_OWN.contains(&name);
        for (name, value) in properties.headers().iter().flat_map(FieldTable::inner) {
            if !of_failure(name.as_str()) {
                table.insert(name.clone(), value.clone());
            }
        }
        let exchange = text(letter, ORIGINAL_EXCHANGE).unwrap_or_else(|| place.exchange.clone());
        let routing_key = text(letter, ORIGINAL_ROUTING_KEY).unwrap_or_else(|| place.destination.to_string());
        let name = |text: &str| ShortString::try_new(text).unwrap_or_default();
        let (exchange, routing_key) = (name(&exchange), name(&routing_key));
        let redriven = number::<u32>(letter, REDRIVE_COUNT).unwrap_or(0);
        table.insert(REDRIVE_COUNT.into(), AMQPValue::LongLongInt(i64::from(redriven) + 1));
        let route = if self.all_groups {
            Route { exchange, key: routing_key }
        } else {
            returned::insert_origin(&mut table, &exchange, &routing_key);
            Route { exchange: "".into(), key: place.source(letter).into() }
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
        self.taken.clear();
        loop {
            if self.reading.is_none() && !self.open_next().await? {
                return Ok(Vec::new());
            }
            let Some(reading) = &mut self.reading else { return Ok(Vec::new()) };
            let letters = reading.place.letters();
            let mut bytes = 0;
            while self.taken.len() < max && bytes < MEMORY && reading.left > 0 {
                let wanted = AT_ONCE.min(reading.left).min(u32::try_from(max - self.taken.len()).unwrap_or(AT_ONCE));
                let get = |_| reading.channel.basic_get(letters.as_str().into(), BasicGetOptions::default());
                let got = futures::future::join_all((0..wanted).map(get)).await;
                reading.left -= wanted;
                for got in got {
                    match got.map_err(error::lost)? {
                        Some(got) => {
                            bytes += got.delivery.data.len();
                            self.taken.push(got.delivery);
                        }
                        None => reading.left = 0,
                    }
                }
            }
            reading.taken += u32::try_from(self.taken.len()).unwrap_or(u32::MAX);
            if !self.taken.is_empty() {
                let place = reading.place.clone();
                return Ok(self.taken.iter().map(|letter| self.entry(&place, letter)).collect());
            }
            self.close_place().await?;
        }
    }

    async fn resolve(&mut self, disposals: &[Disposal]) -> Result<Vec<Option<Error>>> {
        let Some(reading) = &self.reading else { return Ok(Vec::new()) };
        let letters = self.taken.iter().zip(disposals);
        let resolving = letters.map(|(letter, disposal)| self.resolve_one(reading, letter, *disposal));
        let resolved: Result<Vec<Option<Error>>> = futures::future::join_all(resolving).await.into_iter().collect();
        let resolved = resolved?;
        let gone =
            resolved.iter().zip(disposals).filter(|(error, disposal)| error.is_none() && **disposal != Disposal::Keep);
        let gone = u32::try_from(gone.count()).unwrap_or(u32::MAX);
        if let Some(reading) = &mut self.reading {
            reading.taken = reading.taken.saturating_sub(gone);
        }
        Ok(resolved)
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
        f.debug_struct("Pass").field("group", &self.group).field("places", &self.places).finish_non_exhaustive()
    }
}
