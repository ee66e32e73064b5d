//! Whose turn it is on the device: round robin, one bounded step each, so that a long answer and a long prompt both leave
//! room for everybody else. A pure state machine; it knows no model, clock or channel.

use std::collections::VecDeque;

/// The streams that want steps, in the order of their turns.
#[derive(Debug, Default)]
pub struct Scheduler {
    turns: VecDeque<u64>,
}

impl Scheduler {
    /// A new stream goes to the end of the round.
    pub fn add(&mut self, stream: u64) {
        self.turns.push_back(stream);
    }

    pub fn remove(&mut self, stream: u64) {
        self.turns.retain(|other| *other != stream);
    }

    /// The first stream in turn that is `ready`; it moves to the end of the round.
    pub fn next(&mut self, ready: impl Fn(u64) -> bool) -> Option<u64> {
        let at = self.turns.iter().position(|stream| ready(*stream))?;
        let stream = self.turns.remove(at)?;
        self.turns.push_back(stream);
        Some(stream)
    }

    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    pub fn len(&self) -> usize {
        self.turns.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stream_gets_every_round() {
        let mut scheduler = Scheduler::default();
        (0..3).for_each(|stream| scheduler.add(stream));
        let order: Vec<_> = (0..6).filter_map(|_| scheduler.next(|_| true)).collect();
        assert_eq!(order, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn who_cannot_take_a_step_is_passed_over_and_keeps_its_place() {
        let mut scheduler = Scheduler::default();
        (0..3).for_each(|stream| scheduler.add(stream));
        assert_eq!(scheduler.next(|stream| stream != 0), Some(1));
        assert_eq!(scheduler.next(|_| true), Some(0), "the one passed over is first again");
        assert_eq!(scheduler.next(|_| false), None);
        scheduler.remove(2);
        assert_eq!(scheduler.len(), 2);
    }

    #[test]
    fn a_newcomer_waits_at_most_one_round() {
        let mut scheduler = Scheduler::default();
        (0..4).for_each(|stream| scheduler.add(stream));
        scheduler.next(|_| true);
        scheduler.add(9);
        let waited = (0..8).take_while(|_| scheduler.next(|_| true) != Some(9)).count();
        assert!(waited <= 4);
    }
}
