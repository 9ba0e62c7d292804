//! Says when messages are due.

use std::time::Instant;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::tally::due;

/// The numbers of messages, each when it is due. A thread of its own waits: the timer of tokio only knows milliseconds.
pub fn pace(start: Instant, rate: f64, count: usize) -> UnboundedReceiver<usize> {
    let (ticks, due_now) = unbounded_channel();
    std::thread::spawn(move || {
        for number in 0..count {
            std::thread::sleep(due(start, number, rate).saturating_duration_since(Instant::now()));
            if ticks.send(number).is_err() {
                return;
            }
        }
    });
    due_now
}
