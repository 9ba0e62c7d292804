//! The library, as a service would use it.

use binder_core::prelude::*;
use futures::StreamExt;

use super::event::{Event, Source};
use super::player::{Producer, WINDOW};
use super::sink::Sink;

pub const GROUP: &str = "bench";

pub async fn handle(event: Event, State(sink): State<Sink>) {
    sink.take(event);
}

pub struct Sender {
    pub app: Application,
    pub output: Output<Event>,
    pub batch: bool,
}

impl Producer for Sender {
    async fn send(&mut self, source: Source) {
        let output = &self.output;
        match source {
            Source::Ready { events, end, .. } if self.batch => {
                output.send_all(events.iter().cycle().take(end)).await.expect("sent");
            }
            source => {
                let sends = source.map(async |event| output.send(&event).await);
                sends.buffer_unordered(WINDOW).for_each(async |sent| sent.expect("sent")).await;
            }
        }
    }

    async fn close(self) {
        self.app.shutdown().await.expect("it ends");
    }
}
