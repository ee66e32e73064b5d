//! Learning rates over a run: linear warm-up, then one of five shapes.

use hearth_shared::spec::{ScheduleKind, TrainSpec};

/// The shape of a run's learning rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    pub kind: ScheduleKind,
    pub peak: f64,
    /// The last step's rate, as a share of the peak.
    pub final_ratio: f64,
    pub warmup_steps: u64,
    /// Share of all steps in which `Wsd` falls.
    pub decay_ratio: f64,
    pub total_steps: u64,
}

impl Schedule {
    pub fn new(spec: &TrainSpec, total_steps: u64) -> Self {
        Self {
            kind: spec.schedule,
            peak: spec.learning_rate,
            final_ratio: spec.final_lr_ratio,
            warmup_steps: spec.warmup_steps,
            decay_ratio: spec.decay_ratio,
            total_steps,
        }
    }

    /// The rate of a step, counted from 1. The last warm-up step has the peak, the last of all the final rate.
    pub fn rate(&self, step: u64) -> f64 {
        if step <= self.warmup_steps {
            return self.peak * step as f64 / self.warmup_steps as f64;
        }
        let linear = |from: u64| self.final_ratio + (1.0 - self.final_ratio) * (1.0 - self.done(step, from));
        let share = match self.kind {
            ScheduleKind::Constant => 1.0,
            ScheduleKind::Linear => linear(self.warmup_steps),
            ScheduleKind::Cosine => {
                let cosine = 0.5 * (1.0 + (std::f64::consts::PI * self.done(step, self.warmup_steps)).cos());
                self.final_ratio + (1.0 - self.final_ratio) * cosine
            }
            ScheduleKind::Wsd => {
                let decay = (self.total_steps as f64 * self.decay_ratio).round() as u64;
                let stable_until = self.total_steps.saturating_sub(decay).max(self.warmup_steps);
                if step <= stable_until { 1.0 } else { linear(stable_until) }
            }
            ScheduleKind::InverseSqrt => (self.warmup_steps.max(1) as f64 / step as f64).sqrt(),
        };
        self.peak * share
    }

    /// How much of the fall that begins behind step `from` is done: 0 at its first step, 1 at the last of all.
    fn done(&self, step: u64, from: u64) -> f64 {
        let length = self.total_steps.saturating_sub(from).max(2) - 1;
        ((step - from - 1) as f64 / length as f64).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(kind: ScheduleKind) -> Schedule {
        Schedule { kind, peak: 1.0, final_ratio: 0.1, warmup_steps: 4, decay_ratio: 0.4, total_steps: 15 }
    }

    #[test]
    fn every_shape_warms_up_and_ends_where_it_should() {
        let rates = |kind| (1..=15).map(|step| schedule(kind).rate(step)).collect::<Vec<f64>>();
        let kinds = [
            (ScheduleKind::Constant, 1.0),
            (ScheduleKind::Linear, 0.1),
            (ScheduleKind::Cosine, 0.1),
            (ScheduleKind::Wsd, 0.1),
            (ScheduleKind::InverseSqrt, (4.0f64 / 15.0).sqrt()),
        ];
        for (kind, last) in kinds {
            let rates = rates(kind);
            assert_eq!(rates[..4], [0.25, 0.5, 0.75, 1.0], "{kind:?}");
            assert!((rates[14] - last).abs() < 1e-12, "{kind:?}: {}", rates[14]);
            assert!(rates[4..].windows(2).all(|pair| pair[1] <= pair[0]), "{kind:?}");
        }
        let cosine = rates(ScheduleKind::Cosine);
        assert!(cosine[4] == 1.0 && (cosine[9] - 0.55).abs() < 1e-12);
        // Six of fifteen steps fall, from the peak on.
        let wsd = rates(ScheduleKind::Wsd);
        assert_eq!((wsd[8], wsd[9]), (1.0, 1.0));
        assert!((wsd[10] - (1.0 - 0.9 / 5.0)).abs() < 1e-12);
    }

    #[test]
    fn one_step_has_the_peak() {
        for kind in [ScheduleKind::Constant, ScheduleKind::Linear, ScheduleKind::Cosine, ScheduleKind::Wsd] {
            let schedule = Schedule { peak: 0.5, warmup_steps: 0, total_steps: 1, ..schedule(kind) };
            assert_eq!(schedule.rate(1), 0.5, "{kind:?}");
        }
    }
}
