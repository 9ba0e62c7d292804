//! What all peers are measured with: the message, the meter, the cases and what a broker needs before and after.

pub mod cases;
pub mod change;
pub mod job;
pub mod kafka;
pub mod meter;
pub mod pace;
pub mod rabbit;
pub mod report;
pub mod tally;
pub mod watchdog;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

/// How many messages may be unconfirmed.
pub const WINDOW: usize = 1000;

/// How many messages a consumer of RabbitMQ may have that are not settled.
pub const PREFETCH: u16 = 256;

/// Messages that Kafka and its clients do not take if nothing is said, and what they are told then.
pub const LARGE: usize = 900_000;
pub const LARGEST: &str = "4194304";

/// The partitions of a topic of Kafka.
pub const PARTITIONS: i32 = 2;

/// Does what is to be done with each of these, for so many at once.
pub async fn at_once<T, F: Future<Output = ()>>(
    items: impl Iterator<Item = T>,
    limit: usize,
    mut work: impl FnMut(T) -> F,
) {
    let mut going = FuturesUnordered::new();
    for item in items {
        if going.len() == limit {
            going.next().await;
        }
        going.push(work(item));
    }
    while going.next().await.is_some() {}
}
