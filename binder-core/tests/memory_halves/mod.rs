//! Both halves of a memory binding, used as core uses them.

use std::sync::Arc;

use binder_core::Error;
use binder_core::binder::{
    Binder, Consumer, ConsumerBinding, Envelope, Outgoing, OutgoingBatch, Producer, ProducerBinding, Received, TrySend,
};
use binder_core::memory::MemoryBinder;
use binder_core::message::{ContentType, Headers};
use futures::FutureExt;

const PAYLOAD: &[u8] = br#"{"id":17,"name":"acme","on":1}"#;

static NO_HEADERS: Headers = Headers::new();

/// A producer, and a consumer of one group.
pub(crate) struct Halves {
    sender: Arc<dyn Producer>,
    receiver: Box<dyn Consumer>,
    batch: OutgoingBatch,
}

impl Halves {
    /// Binds both on a destination with so many partitions.
    pub(crate) fn bind(retention: usize, partitions: u32) -> Self {
        let binder = MemoryBinder::with_retention(retention);
        let mut output = ProducerBinding::new("orders");
        output.properties.partition_count = partitions;
        let mut input = ConsumerBinding::new("orders");
        input.group = Some("billing".to_owned());
        Self {
            sender: binder.bind_producer(&output).now_or_never().expect("never waits").expect("it binds"),
            receiver: binder.bind_consumer(&input).now_or_never().expect("never waits").expect("it binds"),
            batch: OutgoingBatch::default(),
        }
    }

    /// Sends messages one by one, with a key if there is more than one partition.
    pub(crate) fn send(&self, count: usize, keyed: bool) {
        for number in 0..count {
            let key = number.to_le_bytes();
            let message = Outgoing {
                payload: Some(PAYLOAD),
                key: keyed.then_some(&key),
                content_type: &ContentType::JSON,
                headers: &NO_HEADERS,
                partition: None,
            };
            let Ok(TrySend::Sent(receipt)) = self.sender.try_send(message) else { panic!("it is settled") };
            receipt.now_or_never().expect("answered").expect("taken");
        }
    }

    /// Encodes a batch to be sent.
    pub(crate) fn fill(&mut self, count: usize, keyed: bool) {
        self.batch.clear();
        for number in 0..count {
            let write = |bytes: &mut Vec<u8>| {
                bytes.extend_from_slice(PAYLOAD);
                Ok::<_, Error>(true)
            };
            let key = number.to_le_bytes();
            let envelope = Envelope { key: keyed.then_some(&key[..]), ..Envelope::default() };
            self.batch.push_with(envelope, write).expect("it is written");
        }
    }

    /// Sends the batch.
    pub(crate) fn send_batch(&self) {
        let Ok(TrySend::Sent(receipt)) = self.sender.try_send_batch(&self.batch) else { panic!("it is settled") };
        receipt.now_or_never().expect("answered").expect("taken");
    }

    /// Receives and settles one batch; returns how many messages it had.
    pub(crate) fn receive(&mut self, max: usize) -> usize {
        let Some(Received::Batch(view)) = self.receiver.try_recv_many(max).expect("it is open") else { return 0 };
        let count = view.len();
        let mut lanes = [None; 8];
        for index in 0..count {
            let token = view.token(index);
            let known = lanes.iter_mut().find(|known| known.is_none_or(|(lane, _)| lane == token.lane));
            *known.expect("few lanes") = Some((token.lane, token.sequence));
            assert_eq!(view.payload(index), Some(PAYLOAD));
        }
        drop(view);
        for (lane, sequence) in lanes.into_iter().flatten() {
            self.receiver.settle(lane, sequence).expect("it is open");
        }
        count
    }
}
