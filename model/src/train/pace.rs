//! How fast this CPU trains: a few steps of a small model, fused, with dropped attention and with rounded products, taken apart into what
//! the planner multiplies with. A second or two in all; it knows nothing of the runs that are planned with it.

use std::time::Instant;

use burn::tensor::Device;
use hearth_shared::plan::pace::Pace;
use hearth_shared::spec::{Precision, TrainSpec};

use super::{Batches, Run, Sequence, TrainError};
use crate::config::{Dropout, ModelConfig};
use crate::transformer::Transformer;
use crate::{device, plan};

/// Steps of each run; the first warms up. The runs take turns, so that all of them see the machine as it is.
const STEPS: usize = 6;
const VOCABULARY: usize = 2048;

/// One of the runs.
struct Probe {
    rows: usize,
    time: usize,
    /// Probability that a weight of attention is dropped.
    dropout: f32,
    precision: Precision,
}

/// Of the CPU whose large products run at `speed` operations a second; none on other devices, whose kernels take longer to compile than a
/// plan is worth waiting for.
pub fn pace(device: &Device, speed: f64) -> Option<Pace> {
    if !device::is_cpu(device) || speed <= 0.0 {
        return None;
    }
    measured(device, speed).ok()
}

const FUSED: Probe = Probe { rows: 2, time: 256, dropout: 0.0, precision: Precision::F32 };
const DROPPED: Probe = Probe { dropout: 0.1, ..FUSED };
const ROUNDED: Probe = Probe { precision: Precision::Bf16, ..FUSED };
/// As many tokens as [`ROUNDED`] and a fourth of its scores.
const SHORT: Probe = Probe { rows: 8, time: 64, ..ROUNDED };
const PROBES: [Probe; 4] = [FUSED, DROPPED, ROUNDED, SHORT];

fn measured(device: &Device, speed: f64) -> Result<Pace, TrainError> {
    let mut runs = Vec::with_capacity(PROBES.len());
    for probe in &PROBES {
        runs.push(probe.run(device)?);
    }
    let mut seconds = [[0.0; STEPS]; PROBES.len()];
    for step in 0..STEPS {
        for (run, seconds) in runs.iter_mut().zip(&mut seconds) {
            let started = Instant::now();
            run.step()?;
            seconds[step] = started.elapsed().as_secs_f64();
        }
    }
    // The least disturbed, as the speed of products is read.
    let least = seconds.map(|seconds| seconds[1..].iter().copied().fold(f64::INFINITY, f64::min));
    Ok(taken_apart(least, speed))
}

/// From the seconds of a step of each probe.
fn taken_apart([fused, dropped, rounded, short]: [f64; PROBES.len()], speed: f64) -> Pace {
    let rate = FUSED.flops() / fused;
    let beyond = |probe: &Probe, seconds: f64| (seconds - probe.flops() / rate).max(0.0);
    let (more, less) = (beyond(&ROUNDED, rounded), beyond(&SHORT, short));
    let rounded_score = ((more - less) / (ROUNDED.scores() - SHORT.scores())).max(0.0);
    Pace {
        utilisation: rate / speed,
        dropped: beyond(&DROPPED, dropped) / DROPPED.scores(),
        rounded_score,
        rounded: (less - SHORT.scores() * rounded_score).max(0.0) / SHORT.numbers(),
    }
}

impl Probe {
    fn config(&self) -> ModelConfig {
        let plain = ModelConfig::llama(VOCABULARY, 192, 3, (4, 4), self.time);
        ModelConfig { dropout: Dropout { attention: self.dropout, ..plain.dropout }, ..plain }
    }

    fn spec(&self) -> TrainSpec {
        TrainSpec {
            adapter: None,
            n_epochs: 1,
            max_steps: Some(STEPS as u64),
            batch_size: self.rows as u32,
            max_length: self.time as u32,
            micro_batch_tokens: (self.rows * self.time) as u32,
            precision: self.precision,
            ..TrainSpec::default()
        }
    }

    fn flops(&self) -> f64 {
        plan::shape(&self.config()).step_flops(&self.spec(), self.time as f64)
    }

    fn scores(&self) -> f64 {
        plan::shape(&self.config()).scores_of(&self.spec(), self.time as f64)
    }

    fn numbers(&self) -> f64 {
        plan::shape(&self.config()).rounded_numbers(&self.spec(), self.time as f64)
    }

    fn run(&self, device: &Device) -> Result<Run, TrainError> {
        let model = Transformer::new(&self.config(), 1, device);
        let row = |i: usize| (0..=self.time).map(|t| ((i * 7919 + t * 31) % VOCABULARY) as u32).collect();
        let sequences = (0..STEPS * self.rows).map(|i| Sequence::plain(row(i))).collect();
        let spec = self.spec();
        Run::with(&spec, model, Batches::in_order(sequences, &spec), None)
    }
}

#[cfg(test)]
mod tests {
    use hearth_shared::plan::devices::DeviceSheet;
    use hearth_shared::plan::estimate::{Layout, Place};

    use super::*;

    /// Steps that take what the planner makes of a pace give that pace.
    #[test]
    fn a_pace_is_what_the_planner_multiplies_with() {
        let speed = 2e11;
        let pace = Pace { utilisation: 0.8, dropped: 9e-9, rounded_score: 2e-8, rounded: 1e-9 };
        let sheet = DeviceSheet { pace: Some(pace), ..DeviceSheet::measured("this", 1e9, speed, 1e15) };
        let seconds = PROBES.map(|probe| {
            let place = Place::usual(&sheet, Layout::SINGLE);
            plan::shape(&probe.config()).estimate(&probe.spec(), probe.time as f64, place).seconds
        });
        let found = taken_apart(seconds, speed);
        for (found, wanted) in [
            (found.utilisation, pace.utilisation),
            (found.dropped, pace.dropped),
            (found.rounded_score, pace.rounded_score),
            (found.rounded, pace.rounded),
        ] {
            assert!((found / wanted - 1.0).abs() < 1e-6, "{found} is not {wanted}");
        }
        // A disturbed step takes nothing away.
        let odd = taken_apart([1.0, 0.5, 0.5, 2.0], speed);
        assert_eq!((odd.dropped, odd.rounded_score), (0.0, 0.0));
    }

    /// How large they are is this machine's and its minute's affair.
    #[test]
    fn a_cpu_has_a_pace() {
        let device = device::cpu();
        let pace = pace(&device, device::speed(&device)).expect("a CPU");
        assert!(pace.utilisation > 0.0 && pace.utilisation.is_finite(), "{pace:?}");
        let parts = [pace.dropped, pace.rounded_score, pace.rounded];
        assert!(parts.iter().all(|part| (0.0..1.0).contains(part)), "{pace:?}");
        assert_eq!(super::pace(&device, 0.0), None, "nobody measured its products");
    }
}
