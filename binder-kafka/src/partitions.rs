//! How many partitions a topic has, for messages whose partition is chosen by a key of its own.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;

use crate::link::lock;

/// How often the client looks at its topics unless its configuration says it.
const INTERVAL: Duration = Duration::from_secs(300);

/// The count as it was seen last. Asked for, it is looked up again as often as the client refreshes what it knows of its topics
/// (`topic.metadata.refresh.interval.ms`), beside the send that asks; nobody waits for it.
#[derive(Debug)]
pub(crate) struct Partitions(Arc<Known>);

#[derive(Debug)]
struct Known {
    topic: String,
    count: AtomicU32,
    interval: Duration,
    asked: Mutex<Instant>,
    asking: AtomicBool,
}

impl Partitions {
    pub(crate) fn new(topic: &str, count: u32, config: &ClientConfig) -> Self {
        let interval = config.get("topic.metadata.refresh.interval.ms").and_then(|text| text.parse().ok());
        Self(Arc::new(Known {
            topic: topic.to_owned(),
            count: AtomicU32::new(count),
            interval: interval.map_or(INTERVAL, Duration::from_millis),
            asked: Mutex::new(Instant::now()),
            asking: AtomicBool::new(false),
        }))
    }

    /// Returns the count; `ask` asks the broker for it, and may block.
    pub(crate) fn count(&self, ask: impl FnOnce() -> Option<u32> + Send + 'static) -> u32 {
        let known = &self.0;
        if lock(&known.asked).elapsed() >= known.interval && !known.asking.swap(true, SeqCst) {
            let known = Arc::clone(known);
            let asking = std::thread::Builder::new().name("kafka-partitions".to_owned());
            // without a thread the count stays as it is until the next look
            if asking.spawn(move || known.note(ask())).is_err() {
                self.0.asking.store(false, SeqCst);
            }
        }
        self.0.count.load(SeqCst)
    }
}

impl Known {
    fn note(&self, found: Option<u32>) {
        if let Some(count) = found {
            let before = self.count.swap(count, SeqCst);
            if before != count {
                tracing::warn!(
                    topic = self.topic,
                    before,
                    count,
                    "the topic has another number of partitions: keys move"
                );
            }
        }
        *lock(&self.asked) = Instant::now();
        self.asking.store(false, SeqCst);
    }
}
