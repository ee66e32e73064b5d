//! Exercises of the attention lab: a head that looks at the token before, and one that looks far back.

use super::exercise::{Exercise, Verdict, Watched, at_least, bound, named, read};
use crate::lab::attention::Looked;

/// Tokens that must stand before the chosen one, so that it has a choice.
const BEFORE_ROW: u32 = 4;
const BEFORE_SHARE: f64 = 0.6;
/// A token this far back, or further, is far.
const FAR: u32 = 8;
const FAR_ROW: u32 = 16;
const FAR_SHARE: f64 = 0.5;

pub static BEFORE: Exercise = Exercise {
    id: "attention-before",
    watched: Watched::Attention,
    lines: &["early", "elsewhere"],
    found: &["layer", "head", "token", "share"],
    asked: || named([("first", (BEFORE_ROW + 1).to_string()), ("asked", bound(BEFORE_SHARE))]),
    judge: |json| {
        read(json, |looked: &Looked| {
            let at = looked.row as usize;
            let share = at.checked_sub(1).and_then(|before| looked.weights.get(before));
            Some(judged(looked, BEFORE_ROW, share.map_or(0.0, |share| f64::from(*share)), BEFORE_SHARE))
        })
    },
};

pub static FAR_BACK: Exercise = Exercise {
    id: "attention-far",
    watched: Watched::Attention,
    lines: &["early", "elsewhere"],
    found: &["layer", "head", "token", "share"],
    asked: || named([("first", (FAR_ROW + 1).to_string()), ("far", FAR.to_string()), ("asked", bound(FAR_SHARE))]),
    judge: |json| {
        read(json, |looked: &Looked| {
            let end = (looked.row + 1).saturating_sub(FAR) as usize;
            let far = looked.weights.get(..end).unwrap_or_default();
            // Of one token: many that get a little each are no aim.
            let share = far.iter().map(|weight| f64::from(*weight)).fold(0.0, f64::max);
            Some(judged(looked, FAR_ROW, share, FAR_SHARE))
        })
    },
};

/// A share that should be large, of a token that has enough others before it.
fn judged(looked: &Looked, row: u32, share: f64, asked: f64) -> Verdict {
    // People count from 1.
    let [layer, head, token] = [looked.layer, looked.head, looked.row].map(|index| (index + 1).to_string());
    let facts = [("layer", layer), ("head", head), ("token", token), ("share", at_least(share))];
    if looked.row < row {
        Verdict::missing("early", facts)
    } else if share < asked {
        Verdict::missing("elsewhere", facts)
    } else {
        Verdict::solved(facts)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::exercise::probe::line;
    use super::*;

    fn looked(row: u32, weights: &[f64]) -> Value {
        json!({"model": "hearth-nano", "layer": 3, "head": 0, "row": row, "weights": weights})
    }

    fn said(exercise: &Exercise, state: &Value) -> &'static str {
        line(exercise, state).map_or("nothing", |(line, _)| line)
    }

    #[test]
    fn the_token_before_gets_most_of_the_weight() {
        let mut weights = vec![0.125, 0.0, 0.0, 0.125, 0.75];
        assert_eq!(said(&BEFORE, &looked(4, &weights)), "elsewhere");
        weights.swap(3, 4);
        let (solved, facts) = line(&BEFORE, &looked(4, &weights)).unwrap_or_default();
        assert_eq!((solved, facts["layer"].as_str(), facts["head"].as_str()), ("solved", "4", "1"));
        assert_eq!(facts["share"], "75");
        // The second token has nobody else to look at.
        assert_eq!(said(&BEFORE, &looked(1, &[0.9, 0.1])), "early");
        assert_eq!(said(&BEFORE, &looked(0, &[1.0])), "early");
        assert_eq!(said(&BEFORE, &looked(9, &[])), "elsewhere");
    }

    #[test]
    fn far_back_is_eight_tokens_and_more() {
        let mut near = vec![0.0; 17];
        near[9] = 1.0;
        assert_eq!(said(&FAR_BACK, &looked(16, &near)), "elsewhere", "seven back");
        let mut far = vec![0.0; 17];
        far[8] = 0.5;
        far[16] = 0.5;
        assert_eq!(said(&FAR_BACK, &looked(16, &far)), "solved", "eight back");
        let spread = [0.0625; 16];
        assert_eq!(said(&FAR_BACK, &looked(16, &spread)), "elsewhere", "a little for each");
        assert_eq!(said(&FAR_BACK, &looked(15, &far)), "early");
    }
}
