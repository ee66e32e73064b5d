//! Which curve of a run is drawn, and what it is drawn over.

use hearth_shared::event::Metrics;

use super::super::feed;
use crate::app::format;

/// What a curve shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum What {
    #[default]
    Train,
    Valid,
    Accuracy,
    Rate,
    Norm,
    Speed,
    Utilisation,
    Memory,
    LossScale,
}

impl What {
    /// In the address.
    pub const WORDS: [(Self, &'static str); 9] = [
        (Self::Train, "train_loss"),
        (Self::Valid, "valid_loss"),
        (Self::Accuracy, "accuracy"),
        (Self::Rate, "lr"),
        (Self::Norm, "grad_norm"),
        (Self::Speed, "tokens_per_second"),
        (Self::Utilisation, "utilisation"),
        (Self::Memory, "memory"),
        (Self::LossScale, "loss_scale"),
    ];

    fn of(self, metrics: &Metrics) -> Option<f64> {
        match self {
            Self::Train => Some(metrics.train_loss),
            Self::Valid => metrics.valid_loss,
            Self::Accuracy => Some(metrics.train_accuracy),
            Self::Rate => Some(metrics.lr),
            Self::Norm => Some(metrics.grad_norm).filter(|norm| norm.is_finite()),
            Self::Speed => feed::speed(metrics),
            Self::Utilisation => metrics.utilisation,
            Self::Memory => metrics.memory.map(|bytes| bytes as f64),
            Self::LossScale => metrics.loss_scale,
        }
    }

    pub fn format(self) -> fn(f64) -> String {
        match self {
            Self::Train | Self::Valid | Self::Norm => |value| format!("{value:.3}"),
            Self::Accuracy => |value| format!("{:.0}%", value * 100.0),
            Self::Utilisation => |value| format!("{:.1}%", value * 100.0),
            Self::Rate | Self::LossScale => format::small,
            Self::Speed => format::rate,
            Self::Memory => |value| format::bytes(value as u64),
        }
    }
}

/// What the horizontal axis counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Over {
    #[default]
    Steps,
    Tokens,
    Time,
}

impl Over {
    /// In the address.
    pub const WORDS: [(Self, &'static str); 3] =
        [(Self::Steps, "steps"), (Self::Tokens, "tokens"), (Self::Time, "time")];
}

pub fn of_word<T: Copy + Default>(words: &[(T, &'static str)], word: &str) -> T {
    words.iter().find(|(_, known)| *known == word).map(|(value, _)| *value).unwrap_or_default()
}

pub fn word_of<T: Copy + PartialEq>(words: &[(T, &'static str)], value: T) -> &'static str {
    words.iter().find(|(known, _)| *known == value).map_or("", |(_, word)| word)
}

/// The curve of a run's steps; empty where the run has no such numbers.
pub fn points(metrics: &[Metrics], what: What, over: Over) -> Vec<(f64, f64)> {
    let x: Vec<f64> = match over {
        Over::Steps => metrics.iter().map(|metrics| metrics.step as f64).collect(),
        Over::Tokens => metrics.iter().map(|metrics| metrics.tokens as f64).collect(),
        Over::Time => seconds(metrics),
    };
    x.into_iter().zip(metrics).filter_map(|(x, metrics)| Some((x, what.of(metrics)?))).collect()
}

/// Seconds from the first step to the end of each. Runs from before steps said when they were done have their tokens and the rate of
/// these, which knows of no pause.
fn seconds(metrics: &[Metrics]) -> Vec<f64> {
    let said: Option<Vec<f64>> = metrics.iter().map(|metrics| metrics.time).collect();
    let (mut now, mut tokens) = (0_f64, 0);
    match said {
        Some(times) => {
            let start = times.first().copied().unwrap_or_default();
            // A clock that was set back must not turn the curve.
            let later = |time: f64| {
                now = now.max(time - start);
                now
            };
            times.into_iter().map(later).collect()
        }
        None => {
            let later = |metrics: &Metrics| {
                let new = metrics.tokens.saturating_sub(tokens);
                tokens = metrics.tokens;
                now += feed::speed(metrics).map_or(0.0, |rate| new as f64 / rate);
                now
            };
            metrics.iter().map(later).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(step: u64, tokens: u64, time: Option<f64>) -> Metrics {
        Metrics { step, tokens, time, train_loss: 2.0, tokens_per_second: 40.0, ..Metrics::default() }
    }

    fn x(metrics: &[Metrics], over: Over) -> Vec<f64> {
        points(metrics, What::Train, over).into_iter().map(|point| point.0).collect()
    }

    #[test]
    fn curves_run_over_steps_tokens_or_time() {
        let run = [metrics(1, 10, Some(100.25)), metrics(2, 30, Some(100.5))];
        assert_eq!(x(&run, Over::Steps), [1.0, 2.0]);
        assert_eq!(x(&run, Over::Tokens), [10.0, 30.0]);
        assert_eq!(x(&run, Over::Time), [0.0, 0.25]);
    }

    #[test]
    fn a_run_without_fine_times_goes_by_its_tokens_and_their_rate() {
        let first = Metrics { tokens_per_second: 0.0, ..metrics(1, 10, None) };
        let run = [first, metrics(2, 30, None), metrics(3, 50, Some(7.0))];
        assert_eq!(x(&run, Over::Time), [0.0, 0.5, 1.0]);
    }

    #[test]
    fn time_never_runs_backwards() {
        let run = [metrics(1, 10, Some(5.0)), metrics(2, 20, Some(8.0)), metrics(3, 30, Some(6.0))];
        assert_eq!(x(&run, Over::Time), [0.0, 3.0, 3.0]);
    }

    #[test]
    fn a_run_without_such_numbers_has_no_curve() {
        let run = [metrics(1, 10, None)];
        for what in [What::Valid, What::Utilisation, What::LossScale, What::Memory] {
            assert!(points(&run, what, Over::Steps).is_empty(), "{what:?}");
        }
        let scaled = [Metrics { loss_scale: Some(65_536.0), utilisation: Some(0.25), ..metrics(1, 10, None) }];
        assert_eq!(points(&scaled, What::LossScale, Over::Steps), [(1.0, 65_536.0)]);
        assert_eq!(points(&scaled, What::Utilisation, Over::Steps), [(1.0, 0.25)]);
    }

    #[test]
    fn every_curve_has_a_word_that_leads_back() {
        for (what, word) in What::WORDS {
            assert_eq!(of_word(&What::WORDS, word_of(&What::WORDS, what)), what, "{word}");
        }
        assert_eq!(of_word(&Over::WORDS, "nonsense"), Over::Steps);
    }
}
