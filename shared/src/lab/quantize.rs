//! The quantization lab: the current model with its numbers rounded, and what that does to a held-out text.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::spec::QuantizeSpec;

/// Tokens that are predicted in every measurement: windows of [`WINDOW`].
pub const TOKENS: usize = 512;
pub const WINDOW: usize = 128;
/// Held-out texts that the windows are cut from, and characters of each: more than a window of any vocabulary of ours needs.
pub const TEXTS: usize = 6;
pub const CHARACTERS: usize = 2_000;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// Held-out texts; the windows are cut from their beginnings.
    pub texts: Vec<String>,
    pub spec: QuantizeSpec,
    /// Groups that are left as they are: `embed`, `layers.0`, …, `head`.
    pub spared: Vec<String>,
    /// Bits of matrices that have bits of their own, by path; the others have the spec's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mixed: BTreeMap<String, u8>,
    pub task: Task,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum Task {
    /// Round everything that isn't spared; say more about one matrix.
    Try { matrix: String },
    /// Round one group at a time.
    Sensitivity,
    /// Give every matrix 8 bits or 4, so that the perplexity rises by `bound` at most (0.01 is one per cent).
    Search { bound: f64 },
}

/// Tagged by another word than the reply that carries it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "found", rename_all = "snake_case")]
pub enum Found {
    Tried(Tried),
    Sensitivity { base: Loss, groups: Vec<GroupLoss> },
    Searched(Searched),
}

/// On the held-out tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// Nats a token.
    pub nll: f64,
    pub tokens: u32,
    /// Of the forward passes.
    pub ms: f64,
}

impl Loss {
    pub fn perplexity(&self) -> f64 {
        self.nll.exp()
    }
}

/// How much the perplexity rises between two losses in nats a token, as a share.
#[must_use]
pub fn rise(base: f64, nll: f64) -> f64 {
    (nll - base).exp() - 1.0
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupLoss {
    pub group: String,
    pub loss: Loss,
    /// What rounding the group alone saves.
    pub saved_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// Of the model as it is.
    pub base: Loss,
    pub loss: Loss,
    /// Of all parameters as f32.
    pub full_bytes: u64,
    pub bytes: u64,
    pub matrices: Vec<MatrixError>,
    /// Of the matrix that was asked about.
    pub picture: Picture,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MatrixError {
    pub path: String,
    pub group: String,
    pub rows: u32,
    pub cols: u32,
    /// None where it was spared.
    pub bits: Option<u8>,
    pub bytes: u64,
    /// Length of the error over the length of the matrix.
    pub error: f64,
}

/// How a matrix's numbers lie, and where they went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Picture {
    pub path: String,
    pub weights: Histogram,
    pub errors: Histogram,
    /// The levels that the group of the largest number may take.
    pub levels: Vec<f32>,
    /// Length of each output row's error over the length of the row, largest first.
    pub row_errors: Vec<f32>,
}

/// Counts between `from` and `to`, in equal bins.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    pub from: f32,
    pub to: f32,
    pub counts: Vec<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Searched {
    pub base: Loss,
    pub loss: Loss,
    pub full_bytes: u64,
    pub bytes: u64,
    /// Path and bits of every matrix.
    pub bits: Vec<(String, u8)>,
    /// Models measured on the way.
    pub measured: u32,
    /// Even 8 bits everywhere exceed the bound.
    pub exceeded: bool,
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::lab::Reply;

    #[test]
    fn what_was_found_survives_the_crossing() {
        let base = Loss { nll: 3.0, tokens: 512, ms: 1.5 };
        let reply = Reply::Quantize(Box::new(Found::Sensitivity { base, groups: Vec::new() }));
        let text = serde_json::to_string(&reply).unwrap();
        assert_eq!(serde_json::from_str::<Reply>(&text).unwrap(), reply);
    }

    #[test]
    fn what_is_asked_survives_the_crossing_with_and_without_bits_of_its_own() {
        let plain = Ask {
            texts: Vec::new(),
            spec: QuantizeSpec::default(),
            spared: Vec::new(),
            mixed: BTreeMap::new(),
            task: Task::Sensitivity,
        };
        let mixed = Ask { mixed: BTreeMap::from([("embed.weight".to_owned(), 4)]), ..plain.clone() };
        // The examples were recorded in these words.
        assert!(!serde_json::to_string(&plain).unwrap().contains("mixed"));
        for ask in [plain, mixed] {
            let text = serde_json::to_string(&ask).unwrap();
            assert_eq!(serde_json::from_str::<Ask>(&text).unwrap(), ask);
        }
    }
}
