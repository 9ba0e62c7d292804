//! Sends that wait for the end of their transaction.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;

use super::Output;
use super::core::{OutputCore, with_buffers};
use super::output::Around;
use crate::Result;
use crate::binder::Outgoing;
use crate::codec::Encode;
use crate::message::Message;
use crate::runtime::{Buffer, SendCall};

impl<T: Encode> Output<T> {
    pub(crate) async fn add_payload(&self, buffer: &Buffer, payload: &T) -> Result<()> {
        self.add(buffer, Some(payload), Around::NOTHING).await
    }

    pub(crate) async fn add_message(&self, buffer: &Buffer, message: &Message<T>) -> Result<()> {
        self.add(buffer, message.payload(), Around::of(message)).await
    }

    async fn add(&self, buffer: &Buffer, payload: Option<&T>, around: Around<'_>) -> Result<()> {
        let core = self.core();
        buffer.check(core).map_err(|error| core.in_context(error))?;
        if self.layers().is_empty() {
            return self.add_encoded(buffer, payload, around, None).await;
        }
        let content_type = around.content_type.unwrap_or(&core.binding.content_type);
        let encoded = with_buffers(|bytes, _| {
            let written = core.write(payload, content_type, bytes)?;
            Ok::<_, crate::Error>(written.then(|| Bytes::copy_from_slice(bytes)))
        });
        let call = SendCall {
            channel: Arc::clone(&core.binding.channel),
            destination: core.binding.destination.as_str().into(),
            headers: around.headers.clone(),
            payload: encoded.map_err(|error| core.in_context(error))?,
        };
        let add = move |call: SendCall| -> BoxFuture<'_, Result<()>> {
            Box::pin(async move {
                let around = Around { headers: &call.headers, ..around };
                self.add_encoded(buffer, payload, around, Some(call.payload.as_deref())).await
            })
        };
        self.layers().send(call, Box::new(add)).await
    }

    /// Adds a message; `encoded` is its payload if that was encoded already.
    async fn add_encoded(
        &self,
        buffer: &Buffer,
        payload: Option<&T>,
        around: Around<'_>,
        encoded: Option<Option<&[u8]>>,
    ) -> Result<()> {
        let core: &Arc<OutputCore> = self.core();
        // the producer knows the partitions, and has provisioned the destination
        let producer = match core.bound() {
            Some(producer) => producer,
            None => core.wait_bound(core.deadline()).await?,
        };
        let added = with_buffers(|bytes, key_bytes| {
            let content_type = around.content_type.unwrap_or(&core.binding.content_type);
            let written = match encoded {
                Some(encoded) => encoded,
                None => core.write(payload, content_type, bytes)?.then_some(bytes.as_slice()),
            };
            let key = self.key(payload, around.key, key_bytes);
            let partition = if self.chooses_partition(&around) {
                Some(self.choose_partition(producer, payload, Around { key, ..around })?)
            } else {
                around.partition
            };
            buffer.push(core, Outgoing { payload: written, key, content_type, headers: around.headers, partition })
        });
        added.map_err(|error| core.in_context(error))
    }
}
