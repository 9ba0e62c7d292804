//! sea-streamer: streams of Kafka, without handlers: the loop is the program's own.
//!
//! Guarantees. `acks=all` is librdkafka's default and so its own; a receipt is awaited for each message. Offsets are stored when a message is
//! handled and committed in the background (`enable_auto_offset_store` off, which its documentation names for that; by default what was only
//! read is committed).
//!
//! Settings. Producer and consumer have librdkafka's defaults, so the producer is not idempotent, or ours where they are to be equal. The key of a
//! message needs `send_record`, which takes a record of rdkafka.

use std::collections::VecDeque;

use rdkafka::producer::FutureRecord;
use sea_streamer::kafka::{
    AutoOffsetReset, KafkaConsumer, KafkaConsumerOptions, KafkaProducer, KafkaProducerOptions, KafkaStreamer,
    SendFuture,
};
use sea_streamer::{
    Buffer, Consumer, ConsumerGroup, ConsumerMode, ConsumerOptions, Message, StreamKey, Streamer, StreamerUri,
};
use tokio::task::JoinHandle;

use crate::common::cases::Peer;
use crate::common::change::{Change, Load};
use crate::common::job::Job;
use crate::common::tally::Tally;
use crate::common::{WINDOW, kafka};

/// It is used in one way.
pub const WAYS: [&str; 0] = [];

pub struct Kafka(Job);

impl Kafka {
    async fn streamer(&self) -> KafkaStreamer {
        let uri: StreamerUri = format!("kafka://{}", self.0.url).parse().expect("an address");
        KafkaStreamer::connect(uri, Default::default()).await.expect("a connection")
    }

    fn key(&self) -> StreamKey {
        StreamKey::new(&self.0.place).expect("a name")
    }
}

fn send(producer: &KafkaProducer, place: &str, change: &Change) -> SendFuture {
    let payload = change.json();
    producer.send_record(FutureRecord::to(place).key(&change.key).payload(&payload)).expect("taken")
}

impl Peer for Kafka {
    type Sender = (KafkaProducer, String);
    type Receiver = JoinHandle<()>;

    fn new(job: &Job) -> Self {
        Self(job.clone())
    }

    async fn sender(&self) -> Self::Sender {
        let mut options = KafkaProducerOptions::default();
        for (name, value) in kafka::producer(&self.0) {
            options.add_custom_option(name, value);
        }
        let producer = self.streamer().await.create_producer(self.key(), options).await.expect("a producer");
        (producer, self.0.place.clone())
    }

    async fn send_all((producer, place): &Self::Sender, load: Load) {
        let mut waiting = VecDeque::with_capacity(WINDOW);
        for change in load.one_by_one() {
            if waiting.len() == WINDOW {
                confirmed(waiting.pop_front().expect("a full window")).await;
            }
            waiting.push_back(send(producer, place, change));
        }
        for receipt in waiting {
            confirmed(receipt).await;
        }
    }

    async fn send((producer, place): &Self::Sender, change: &Change) {
        confirmed(send(producer, place, change)).await;
    }

    async fn receiver(&self, tally: Tally) -> JoinHandle<()> {
        let mut options = KafkaConsumerOptions::new(ConsumerMode::LoadBalanced);
        options.set_consumer_group(ConsumerGroup::new(&self.0.place)).expect("a group");
        options.set_auto_offset_reset(AutoOffsetReset::Earliest).set_enable_auto_offset_store(false);
        for (name, value) in kafka::consumer(&self.0) {
            options.add_custom_option(name, value);
        }
        let consumer = self.streamer().await.create_consumer(&[self.key()], options).await.expect("a consumer");
        tokio::spawn(handle_all(consumer, tally))
    }

    async fn close(handling: JoinHandle<()>) {
        handling.await.expect("no panic");
    }
}

async fn confirmed(receipt: SendFuture) {
    receipt.await.expect("confirmed");
}

async fn handle_all(mut consumer: KafkaConsumer, tally: Tally) {
    while !tally.is_done() {
        let message = consumer.next().await.expect("a message");
        tally.take(&serde_json::from_slice(message.message().as_bytes()).expect("it is a change"));
        let handled = message.identifier();
        drop(message);
        consumer.store_offset_with(&handled).expect("stored");
    }
}
