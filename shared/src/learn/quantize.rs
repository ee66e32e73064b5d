//! Exercises of the quantization lab: a quarter of the size for nothing, and 4 bits for little.

use super::exercise::{Exercise, Verdict, Watched, at_most, bound, named, read};
use crate::lab::quantize::{Tried, rise};

/// Of the size as f32.
const EIGHT_SIZE: f64 = 0.26;
/// Rise of the perplexity.
const EIGHT_RISE: f64 = 0.01;
/// Matrices in 4 bits or fewer: all of hearth-nano's but one layer, or the embedding.
const FOUR_MATRICES: usize = 22;
const FOUR_RISE: f64 = 0.05;

pub static EIGHT: Exercise = Exercise {
    id: "quantize-eight",
    watched: Watched::Quantization,
    lines: &["large", "worse"],
    found: &["size", "rise"],
    asked: || named([("most", bound(EIGHT_SIZE)), ("asked", bound(EIGHT_RISE))]),
    judge: |json| read(json, eight),
};

fn eight(tried: &Tried) -> Option<Verdict> {
    let size = tried.bytes as f64 / tried.full_bytes.max(1) as f64;
    let rise = rise(tried.base.nll, tried.loss.nll);
    let facts = [("size", at_most(size)), ("rise", at_most(rise))];
    Some(if size > EIGHT_SIZE {
        Verdict::missing("large", facts)
    } else if rise > EIGHT_RISE {
        Verdict::missing("worse", facts)
    } else {
        Verdict::solved(facts)
    })
}

pub static FOUR: Exercise = Exercise {
    id: "quantize-four",
    watched: Watched::Quantization,
    lines: &["few", "worse"],
    found: &["few", "all", "size", "rise"],
    asked: || named([("least", FOUR_MATRICES.to_string()), ("asked", bound(FOUR_RISE))]),
    judge: |json| read(json, four),
};

fn four(tried: &Tried) -> Option<Verdict> {
    let few = tried.matrices.iter().filter(|matrix| matrix.bits.is_some_and(|bits| bits <= 4)).count();
    let size = tried.bytes as f64 / tried.full_bytes.max(1) as f64;
    let rise = rise(tried.base.nll, tried.loss.nll);
    let facts = [
        ("few", few.to_string()),
        ("all", tried.matrices.len().to_string()),
        ("size", at_most(size)),
        ("rise", at_most(rise)),
    ];
    Some(if few < FOUR_MATRICES {
        Verdict::missing("few", facts)
    } else if rise > FOUR_RISE {
        Verdict::missing("worse", facts)
    } else {
        Verdict::solved(facts)
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::{Value, json};

    use super::super::exercise::probe::line;
    use super::*;
    use crate::lab::quantize::{Loss, MatrixError, Picture};

    /// All matrices in `bits`, but for so many that are spared.
    fn tried(bits: u8, spared: usize, bytes: u64, rise: f64) -> Value {
        let matrix = |index: usize| MatrixError {
            path: format!("layers.{index}"),
            group: "layers".into(),
            rows: 1,
            cols: 1,
            bits: (index >= spared).then_some(bits),
            bytes: 1,
            error: 0.1,
        };
        let loss = |nll| Loss { nll, tokens: 512, ms: 1.0 };
        let (base, after) = (loss(4.0), loss(4.0 + (1.0 + rise).ln()));
        let (full_bytes, matrices) = (1000, (0..29).map(matrix).collect());
        let tried = Tried { base, loss: after, full_bytes, bytes, matrices, picture: Picture::default() };
        serde_json::to_value(tried).unwrap()
    }

    fn said(exercise: &Exercise, state: &Value) -> &'static str {
        line(exercise, state).map_or("nothing", |(line, _)| line)
    }

    #[test]
    fn eight_bits_are_a_quarter_and_cost_nothing() {
        assert_eq!(said(&EIGHT, &tried(8, 1, 400, 0.001)), "large");
        let (missing, facts) = line(&EIGHT, &tried(4, 0, 130, 0.11234)).unwrap_or_default();
        assert_eq!((missing, facts["rise"].as_str(), facts["asked"].as_str()), ("worse", "11.3", "1"));
        assert_eq!(said(&EIGHT, &tried(8, 0, 252, 0.004)), "solved");
        // Rounding may help by chance.
        assert_eq!(said(&EIGHT, &tried(8, 0, 252, -0.002)), "solved");
    }

    #[test]
    fn four_bits_are_counted_by_matrices() {
        assert_eq!(said(&FOUR, &tried(8, 0, 252, 0.004)), "few");
        assert_eq!(said(&FOUR, &tried(4, 8, 700, 0.01)), "few");
        let (missing, facts) = line(&FOUR, &tried(4, 0, 130, 0.19996)).unwrap_or_default();
        assert_eq!((missing, facts["few"].as_str(), facts["rise"].as_str()), ("worse", "29", "20"));
        assert_eq!(said(&FOUR, &tried(4, 7, 350, 0.049)), "solved");
        let unrounded = json!({"few": 0});
        assert!(FOUR.judge(&unrounded.to_string()).is_err());
    }
}
