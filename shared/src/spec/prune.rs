//! Which weights of a model become zero, or which units leave it: the choices, and their bounds.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::SpecError;

/// What is pruned where nothing is said.
const USUAL_SHARE: f64 = 0.5;
/// Something has to stay.
const MOST_SHARE: f64 = 0.99;
/// Neighbours of which [`PrunePattern::NOfM`] keeps some.
const M: (u32, u32) = (2, 64);

/// Pruning of the weight matrices `[out, in]` of every layer; embeddings and head are spared (Han 2015; Sun 2023).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PruneSpec {
    /// Share of each matrix's weights that become zero, or of each layer's feed-forward units that go: 0..=0.99. None is what the
    /// pattern says, or else half.
    pub share: Option<f64>,
    pub score: PruneScore,
    pub pattern: PrunePattern,
}

impl Default for PruneSpec {
    fn default() -> Self {
        Self { share: None, score: PruneScore::Wanda, pattern: PrunePattern::Row }
    }
}

/// What a weight is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PruneScore {
    /// `|W|` (Han 2015)
    Magnitude,
    /// `|W|` times the length of its input over a text (Sun 2023)
    Wanda,
}

/// Which weights are compared with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum PrunePattern {
    /// All of a matrix.
    Matrix,
    /// Those of one output, as Wanda does.
    Row,
    /// `m` neighbours of a row, `n` of which stay: `2:4`, `4:8` (Zhou 2021; Mishra 2021).
    NOfM { n: u32, m: u32 },
    /// Whole feed-forward units of a layer. They leave the model, which becomes smaller.
    Units,
}

impl PruneSpec {
    /// Share of the weights that become zero, or of the units that go.
    pub fn share(&self) -> f64 {
        match self.pattern {
            PrunePattern::NOfM { n, m } => 1.0 - f64::from(n) / f64::from(m),
            _ => self.share.unwrap_or(USUAL_SHARE),
        }
    }

    /// How many of a group of so many go: the share of it, rounded down.
    pub fn count(&self, group: usize) -> usize {
        // A product such as 0.29 · 100 lies just below the whole number that it stands for.
        ((self.share() * group as f64 * (1.0 + 1e-12)) as usize).min(group)
    }

    /// # Errors
    /// The first field outside its bounds, and the nearest value inside.
    pub fn validate(&self) -> Result<(), SpecError> {
        self.pattern.validate()?;
        let Some(share) = self.share else {
            return Ok(());
        };
        let fault =
            |reason: String, nearest: f64| Err(SpecError::new("share", format!("{reason}; nearest is {nearest}")));
        if !(0.0..=MOST_SHARE).contains(&share) {
            let nearest = if share.is_nan() { USUAL_SHARE } else { share.clamp(0.0, MOST_SHARE) };
            return fault(format!("{share} is not between 0 and {MOST_SHARE}"), nearest);
        }
        if matches!(self.pattern, PrunePattern::NOfM { .. }) && (share - self.share()).abs() > 1e-6 {
            return fault(format!("{share} is not what {} makes zero", self.pattern), self.share());
        }
        Ok(())
    }
}

impl PrunePattern {
    fn validate(self) -> Result<(), SpecError> {
        let Self::NOfM { n, m } = self else {
            return Ok(());
        };
        let near_m = m.clamp(M.0, M.1);
        let nearest = Self::NOfM { n: n.clamp(1, near_m - 1), m: near_m };
        if self == nearest {
            return Ok(());
        }
        let reason = format!("{self} does not keep 1 or more, and not all, of {} to {} neighbours", M.0, M.1);
        Err(SpecError::new("pattern", format!("{reason}; nearest is {nearest}")))
    }
}

impl fmt::Display for PrunePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Matrix => f.write_str("matrix"),
            Self::Row => f.write_str("row"),
            Self::NOfM { n, m } => write!(f, "{n}:{m}"),
            Self::Units => f.write_str("units"),
        }
    }
}

impl From<PrunePattern> for String {
    fn from(pattern: PrunePattern) -> Self {
        pattern.to_string()
    }
}

impl FromStr for PrunePattern {
    type Err = SpecError;

    /// Bounds are [`PruneSpec::validate`]'s.
    fn from_str(text: &str) -> Result<Self, SpecError> {
        let numbers = || {
            let (n, m) = text.split_once(':')?;
            Some(Self::NOfM { n: n.parse().ok()?, m: m.parse().ok()? })
        };
        let pattern = match text {
            "matrix" => Some(Self::Matrix),
            "row" => Some(Self::Row),
            "units" => Some(Self::Units),
            _ => numbers(),
        };
        pattern.ok_or_else(|| SpecError::new("pattern", format!("`{text}` is none of matrix, row, 2:4, 4:8, …, units")))
    }
}

impl TryFrom<String> for PrunePattern {
    type Error = SpecError;

    fn try_from(text: String) -> Result<Self, SpecError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(spec: PruneSpec) -> String {
        spec.validate().err().map_or_else(String::new, |error| error.to_string())
    }

    #[test]
    fn patterns_are_their_words() {
        for (word, pattern) in [
            ("matrix", PrunePattern::Matrix),
            ("row", PrunePattern::Row),
            ("2:4", PrunePattern::NOfM { n: 2, m: 4 }),
            ("units", PrunePattern::Units),
        ] {
            let spec = PruneSpec { pattern, ..PruneSpec::default() };
            let json = serde_json::to_value(spec).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(json["pattern"], word);
            assert_eq!(serde_json::from_value::<PruneSpec>(json).ok(), Some(spec));
        }
        for word in ["", "rows", "2:", ":4", "2:4:8", "-2:4"] {
            assert_eq!(
                word.parse::<PrunePattern>().err().map(|error| error.field).as_deref(),
                Some("pattern"),
                "{word}"
            );
        }
    }

    #[test]
    fn what_is_refused_names_its_field_and_the_nearest_value() {
        let spec = PruneSpec::default();
        assert_eq!(spec.validate(), Ok(()));
        for (share, nearest) in [(1.0, "0.99"), (-0.5, "0"), (f64::NAN, "0.5"), (f64::INFINITY, "0.99")] {
            let words = refused(PruneSpec { share: Some(share), ..spec });
            assert!(words.starts_with("share: ") && words.ends_with(&format!("nearest is {nearest}")), "{words}");
        }
        for (n, m, nearest) in [(0, 4, "1:4"), (4, 4, "3:4"), (9, 4, "3:4"), (1, 0, "1:2"), (3, 100, "3:64")] {
            let words = refused(PruneSpec { pattern: PrunePattern::NOfM { n, m }, ..spec });
            assert!(words.starts_with("pattern: ") && words.ends_with(&format!("nearest is {nearest}")), "{words}");
        }
        let pattern = PrunePattern::NOfM { n: 1, m: 4 };
        assert_eq!(PruneSpec { pattern, share: Some(0.75), ..spec }.validate(), Ok(()));
        assert!(refused(PruneSpec { pattern, share: Some(0.5), ..spec }).ends_with("nearest is 0.75"));
    }

    #[test]
    fn counts_are_rounded_down_from_what_was_meant() {
        let count = |share, group| PruneSpec { share: Some(share), ..PruneSpec::default() }.count(group);
        assert_eq!([count(0.29, 100), count(0.7, 10), count(0.5, 7), count(0.0, 9)], [29, 7, 3, 0]);
        let pattern = PrunePattern::NOfM { n: 2, m: 3 };
        assert_eq!(PruneSpec { pattern, ..PruneSpec::default() }.count(3), 1);
    }
}
