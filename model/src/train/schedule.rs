//! Learning rates: linear warm-up, then half a cosine down to a share of the peak (Loshchilov & Hutter 2017).

/// The shape of a run's learning rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    pub peak: f64,
    /// The last step's rate, as a share of the peak.
    pub final_ratio: f64,
    pub warmup_steps: u64,
    pub total_steps: u64,
}

impl Schedule {
    /// The rate of a step, counted from 1. The last warm-up step has the peak.
    pub fn rate(&self, step: u64) -> f64 {
        if step <= self.warmup_steps {
            return self.peak * step as f64 / self.warmup_steps as f64;
        }
        let length = self.total_steps.saturating_sub(self.warmup_steps).max(1);
        // The step after warm-up still has the peak; the last step ends the cosine.
        let done = (step - self.warmup_steps - 1) as f64 / (length.max(2) - 1) as f64;
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos());
        self.peak * (self.final_ratio + (1.0 - self.final_ratio) * cosine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_then_falls_to_its_end() {
        let schedule = Schedule { peak: 1.0, final_ratio: 0.1, warmup_steps: 4, total_steps: 15 };
        let rates: Vec<f64> = (1..=15).map(|step| schedule.rate(step)).collect();
        assert_eq!(rates[..5], [0.25, 0.5, 0.75, 1.0, 1.0]);
        assert!(rates[4..].windows(2).all(|pair| pair[1] < pair[0]));
        assert!((rates[9] - 0.55).abs() < 1e-12 && (rates[14] - 0.1).abs() < 1e-12);
    }

    #[test]
    fn one_step_has_the_peak() {
        let schedule = Schedule { peak: 0.5, final_ratio: 0.1, warmup_steps: 0, total_steps: 1 };
        assert_eq!(schedule.rate(1), 0.5);
    }
}
