//! Whether a run is still well: steps whose loss is far above the usual, and evaluations that no longer improve. Part of a
//! checkpoint, so that a resumed run judges as one that never stopped.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Steps that say what is usual.
const WINDOW: usize = 64;
/// Fewer say nothing.
const FEWEST: usize = 16;

/// What a run remembers of its own losses.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct Watch {
    /// Of the last steps, oldest first.
    losses: VecDeque<f64>,
    /// The lowest validation loss so far.
    pub best: Option<Best>,
    /// Evaluations since then.
    pub stale: u32,
}

/// An evaluation.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
pub struct Best {
    pub step: u64,
    pub loss: f64,
}

impl Watch {
    /// The median of the last losses, where `loss` is more than `factor` times as much.
    pub(super) fn exceeded(&self, loss: f64, factor: f64) -> Option<f64> {
        if self.losses.len() < FEWEST {
            return None;
        }
        let mut sorted: Vec<f64> = self.losses.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let usual = sorted[sorted.len() / 2];
        (loss > factor * usual).then_some(usual)
    }

    pub(super) fn took(&mut self, loss: f64) {
        if self.losses.len() == WINDOW {
            self.losses.pop_front();
        }
        self.losses.push_back(loss);
    }

    /// Takes an evaluation in. Better is what is lower by more than `delta`.
    pub(super) fn evaluated(&mut self, step: u64, loss: f64, delta: f64) {
        if self.best.is_none_or(|best| loss < best.loss - delta) {
            self.best = Some(Best { step, loss });
            self.stale = 0;
        } else {
            self.stale += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_compared_with_the_median_of_enough() {
        let mut watch = Watch::default();
        for step in 0..FEWEST {
            assert_eq!(watch.exceeded(100.0, 2.0), None, "after {step} steps");
            watch.took(2.0 + step as f64 / 100.0);
        }
        assert_eq!(watch.exceeded(100.0, 2.0), Some(2.08));
        assert_eq!(watch.exceeded(4.1, 2.0), None);
        (0..WINDOW).for_each(|_| watch.took(60.0));
        assert_eq!(watch.exceeded(100.0, 2.0), None);
    }

    #[test]
    fn too_small_a_gain_is_stale() {
        let mut watch = Watch::default();
        for (step, loss) in [(1, 3.0), (2, 2.0), (3, 1.95), (4, 2.5), (5, 1.8)] {
            watch.evaluated(step, loss, 0.1);
        }
        assert_eq!(watch, Watch { best: Some(Best { step: 5, loss: 1.8 }), ..Watch::default() });
        watch.evaluated(6, 1.75, 0.1);
        assert_eq!(watch.stale, 1);
    }
}
