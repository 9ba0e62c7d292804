//! Which deliveries are done, and up to where they may be settled.

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::binder::{LaneId, Token};

/// The deliveries of all lanes of a consumer that are received and not settled yet.
///
/// A lane is settled by prefix: up to the delivery before its first unfinished one, never past it. Sequences may have gaps: what was never
/// received needs no finish.
#[derive(Debug, Default)]
pub(crate) struct SettlementWindow {
    lanes: Vec<Lane>,
    last: usize,
    unsettled: usize,
    held: usize,
}

#[derive(Debug)]
struct Lane {
    id: LaneId,
    open: VecDeque<(u64, bool)>,
    /// Highest sequence of the finished prefix that nobody was told of.
    settle: Option<u64>,
    /// The first unfinished delivery at the last look, and when it was first seen there.
    seen: Option<(u64, Instant)>,
    /// Whether the consumer brings nothing more of it.
    held: bool,
}

impl SettlementWindow {
    /// Returns how many deliveries are received and not settled.
    pub(crate) fn unsettled(&self) -> usize {
        self.unsettled
    }

    /// Returns how many deliveries of the fullest lane that is not held are received and not settled.
    pub(crate) fn fullest(&self) -> usize {
        self.lanes.iter().filter(|lane| !lane.held).map(|lane| lane.open.len()).max().unwrap_or(0)
    }

    /// Returns whether there are held lanes.
    pub(crate) fn holds(&self) -> bool {
        self.held > 0
    }

    /// Returns the lanes that are to be held, because as many of their deliveries are unsettled, or not to be held any more.
    #[cold]
    pub(crate) fn to_hold(&self, hold: bool, bound: usize) -> Vec<LaneId> {
        let changes = |lane: &&Lane| match hold {
            true => !lane.held && lane.open.len() >= bound,
            false => lane.held && lane.open.len() <= bound,
        };
        self.lanes.iter().filter(changes).map(|lane| lane.id).collect()
    }

    /// Notes which lanes are held.
    pub(crate) fn note_held(&mut self, lanes: &[LaneId], hold: bool) {
        self.lanes.iter_mut().filter(|lane| lanes.contains(&lane.id)).for_each(|lane| lane.held = hold);
        self.held = self.lanes.iter().filter(|lane| lane.held).count();
    }

    /// Notes a delivery that is not finished.
    pub(crate) fn receive(&mut self, token: Token) {
        self.unsettled += 1;
        self.lane(token.lane).open.push_back((token.sequence, false));
    }

    /// Notes a delivery that was finished as soon as it was received.
    #[inline]
    pub(crate) fn pass(&mut self, token: Token) {
        let lane = self.lane(token.lane);
        if lane.open.is_empty() {
            lane.settle = Some(token.sequence);
        } else {
            lane.open.push_back((token.sequence, true));
            self.unsettled += 1;
        }
    }

    /// Notes that a delivery is finished. One of a lane that is gone is ignored; the answer says whether it counted.
    pub(crate) fn finish(&mut self, token: Token) -> bool {
        let Some(lane) = self.lanes.iter_mut().find(|lane| lane.id == token.lane) else { return false };
        let Ok(place) = lane.open.binary_search_by_key(&token.sequence, |(sequence, _)| *sequence) else {
            return false;
        };
        lane.open[place].1 = true;
        while let Some((sequence, true)) = lane.open.front() {
            lane.settle = Some(*sequence);
            lane.open.pop_front();
            self.unsettled -= 1;
        }
        true
    }

    /// Hands out each lane whose finished prefix has grown.
    pub(crate) fn take_settled<E>(&mut self, mut settle: impl FnMut(LaneId, u64) -> Result<(), E>) -> Result<(), E> {
        for lane in &mut self.lanes {
            if let Some(sequence) = lane.settle.take() {
                settle(lane.id, sequence)?;
            }
        }
        Ok(())
    }

    /// Returns whether there were deliveries of a lane, and it is not forgotten.
    pub(crate) fn knows(&self, lane: LaneId) -> bool {
        self.lanes.iter().any(|known| known.id == lane)
    }

    /// Looks for lanes that have not come on since the last look. What is finished there behind the first unfinished delivery is handed out,
    /// and forgotten where the answer is that it could be settled. Returns since when the oldest unfinished delivery has been seen.
    #[cold]
    pub(crate) fn take_stuck<E>(
        &mut self,
        now: Instant,
        mut settle_apart: impl FnMut(LaneId, &[u64]) -> Result<bool, E>,
    ) -> Result<Option<Instant>, E> {
        let mut oldest = None;
        for lane in &mut self.lanes {
            let front = lane.open.front().map(|(sequence, _)| *sequence);
            let known = lane.seen.filter(|(sequence, _)| Some(*sequence) == front);
            lane.seen = known.or(front.map(|sequence| (sequence, now)));
            oldest = oldest.into_iter().chain(lane.seen.map(|(_, since)| since)).min();
            if known.is_none() {
                continue;
            }
            let finished: Vec<_> =
                lane.open.iter().filter(|(_, finished)| *finished).map(|(sequence, _)| *sequence).collect();
            if !finished.is_empty() && settle_apart(lane.id, &finished)? {
                lane.open.retain(|(_, finished)| !finished);
                self.unsettled -= finished.len();
            }
        }
        Ok(oldest)
    }

    /// Forgets lanes: what is finished there later is ignored.
    pub(crate) fn forget(&mut self, lanes: &[LaneId]) {
        self.lanes.retain(|lane| !lanes.contains(&lane.id));
        self.unsettled = self.lanes.iter().map(|lane| lane.open.len()).sum();
        self.held = self.lanes.iter().filter(|lane| lane.held).count();
        self.last = 0;
    }

    #[inline]
    fn lane(&mut self, id: LaneId) -> &mut Lane {
        if self.lanes.get(self.last).is_none_or(|lane| lane.id != id) {
            self.last = self.find_or_add(id);
        }
        &mut self.lanes[self.last]
    }

    #[cold]
    fn find_or_add(&mut self, id: LaneId) -> usize {
        self.lanes.iter().position(|lane| lane.id == id).unwrap_or_else(|| {
            self.lanes.push(Lane { id, open: VecDeque::new(), settle: None, seen: None, held: false });
            self.lanes.len() - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(sequence: u64) -> Token {
        Token { lane: LaneId(1), sequence }
    }

    fn settled(window: &mut SettlementWindow) -> Vec<u64> {
        let mut all = Vec::new();
        let noted = window.take_settled(|_, sequence| {
            all.push(sequence);
            Ok::<_, ()>(())
        });
        noted.expect("no failure");
        all
    }

    #[test]
    fn nothing_is_settled_past_an_unfinished_delivery() {
        let mut window = SettlementWindow::default();
        (1..=4).for_each(|sequence| window.receive(token(sequence)));
        window.finish(token(2));
        window.finish(token(4));
        assert!(settled(&mut window).is_empty());
        window.finish(token(1));
        assert_eq!(settled(&mut window), [2]);
        window.finish(token(3));
        assert_eq!(settled(&mut window), [4]);
        assert_eq!(window.unsettled(), 0);
    }

    #[test]
    fn a_delivery_that_passes_behind_an_open_one_waits() {
        let mut window = SettlementWindow::default();
        window.receive(token(1));
        window.pass(token(2));
        assert!(settled(&mut window).is_empty());
        window.finish(token(1));
        assert_eq!(settled(&mut window), [2]);
    }

    #[test]
    fn gaps_in_the_sequence_do_not_hold_the_prefix() {
        let mut window = SettlementWindow::default();
        window.receive(token(10));
        window.receive(token(20));
        window.finish(token(10));
        window.finish(token(20));
        assert_eq!(settled(&mut window), [20]);
    }

    #[test]
    fn a_finish_in_a_lane_that_is_gone_is_ignored() {
        let mut window = SettlementWindow::default();
        window.receive(token(1));
        window.forget(&[LaneId(1)]);
        assert!(!window.finish(token(1)));
        assert_eq!((window.unsettled(), settled(&mut window)), (0, vec![]));
    }

    #[test]
    fn a_second_finish_is_ignored() {
        let mut window = SettlementWindow::default();
        window.receive(token(1));
        assert!(window.finish(token(1)));
        assert!(!window.finish(token(1)));
    }
}
