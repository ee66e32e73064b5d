//! The position lab: what is asked of a model that knows where its tokens stand, and what it answers.
//!
//! A loss by position is worth little alone, because other tokens stand at other positions. So the same tokens are read in windows
//! of several lengths: what a token costs behind 400 others, and what it costs behind at most 127.

use serde::{Deserialize, Serialize};

use super::LabModel;

/// Equal stretches of positions that get a mean of their own.
pub const STRETCHES: usize = 16;

/// One question to one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    pub model: LabModel,
    /// Positions that its training reached.
    pub trained: u32,
    pub scaling: Scaling,
    pub task: Task,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Task {
    /// The loss by position in windows of the longest length, and of the same tokens in shorter ones. Each length divides the
    /// longest, and [`STRETCHES`] does. Answered by [`Found::Losses`].
    Losses { texts: Vec<String>, windows: u32, lengths: Vec<u32> },
    /// How fast the pairs of a head turn. Answered by [`Found::Turns`].
    Turns,
    /// Attention by distance over the first `length` tokens of the first text that has so many. Answered by [`Found::Distances`].
    Distances { texts: Vec<String>, length: u32 },
}

/// How a rotation is stretched over more positions than training reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    #[default]
    None,
    /// Position interpolation.
    Linear,
    /// NTK-aware.
    Ntk,
    Yarn,
}

/// A method and how far it stretches.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scaling {
    pub method: Method,
    /// At least 1; means nothing without a method.
    pub factor: f64,
}

impl Scaling {
    pub const NONE: Self = Self { method: Method::None, factor: 1.0 };

    /// Without a method all factors are one and the same.
    pub fn new(method: Method, factor: f64) -> Self {
        if method == Method::None { Self::NONE } else { Self { method, factor } }
    }
}

/// The tag has a name of its own, because an answer is tagged once already.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "found", rename_all = "snake_case")]
pub enum Found {
    Losses(Losses),
    Turns(Turns),
    Distances(Distances),
}

/// Losses on some windows, in nats a token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Losses {
    pub model: String,
    pub scaling: Scaling,
    /// Windows of the longest length that were there.
    pub windows: u32,
    /// Ascending in length.
    pub lengths: Vec<LengthLoss>,
    pub ms: f64,
}

/// The tokens of the longest windows, read in pieces of one length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LengthLoss {
    pub length: u32,
    /// Means of [`STRETCHES`] stretches of the longest window, whatever the pieces: the same tokens at the same place for every length.
    pub stretches: Vec<f64>,
}

impl LengthLoss {
    pub fn mean(&self) -> f64 {
        mean(&self.stretches)
    }
}

/// Mean losses of the longest windows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// At positions that training reached.
    pub inside: f64,
    /// At those behind.
    pub beyond: f64,
    /// Of the tokens behind, read in pieces of the training length.
    pub cut: f64,
}

impl Losses {
    /// In windows of the longest length.
    pub fn longest(&self) -> Option<&LengthLoss> {
        self.lengths.last()
    }

    pub fn at(&self, length: u32) -> Option<&LengthLoss> {
        self.lengths.iter().find(|losses| losses.length == length)
    }

    /// None where nothing stands behind the training length, or it ends inside a stretch.
    pub fn split(&self, trained: u32) -> Option<Split> {
        let (longest, cut) = (self.longest()?, self.at(trained)?);
        let reached = STRETCHES * trained as usize;
        let all = longest.length as usize;
        if reached >= STRETCHES * all || !reached.is_multiple_of(all) {
            return None;
        }
        let (inside, beyond) = longest.stretches.split_at_checked(reached / all)?;
        Some(Split { inside: mean(inside), beyond: mean(beyond), cut: mean(cut.stretches.get(reached / all..)?) })
    }
}

/// The training length and its doubles up to the longest.
pub fn lengths(trained: u32, longest: u32) -> Vec<u32> {
    std::iter::successors(Some(trained), |length| length.checked_mul(2))
        .take_while(|length| *length <= longest)
        .collect()
}

/// Means of [`STRETCHES`] equal stretches, from sums over so many windows for each position.
pub fn stretches(sums: &[f64], windows: usize) -> Vec<f64> {
    let width = (sums.len() / STRETCHES).max(1);
    sums.chunks(width).map(|part| mean(part) / windows.max(1) as f64).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// How the pairs of a head turn, in radians a position, the fastest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Turns {
    pub scaling: Scaling,
    pub frequencies: Vec<f64>,
    /// Without a scaling: as they were trained.
    pub plain: Vec<f64>,
    /// What cosines and sines are multiplied by.
    pub attention_factor: f64,
}

/// Mean attention by distance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Distances {
    pub model: String,
    pub layers: u32,
    pub heads: u32,
    /// Tokens that were read, and distances that follow: 0 is the token itself.
    pub time: u32,
    /// `[L, H, T]`
    pub means: Vec<f32>,
}

impl Distances {
    /// Of one head, `[T]`; empty where there is no such head.
    pub fn head(&self, layer: u32, head: u32) -> &[f32] {
        let start = ((layer * self.heads + head) * self.time) as usize;
        self.means.get(start..start + self.time as usize).unwrap_or_default()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::lab::{Reply, Request};

    fn model() -> LabModel {
        LabModel {
            id: "rope".into(),
            hash: "00".into(),
            base: "/models/positions/rope/".into(),
            key: None,
            parameters: 3,
            files: Vec::new(),
        }
    }

    #[test]
    fn questions_and_answers_survive_the_crossing() {
        let scaling = Scaling::new(Method::Yarn, 4.0);
        let task = Task::Losses { texts: vec!["a".into()], windows: 2, lengths: vec![128, 256] };
        let request = Request::Position(Ask { model: model(), trained: 128, scaling, task });
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);

        let turns = Turns { scaling, frequencies: vec![1.0, 0.025], plain: vec![1.0, 0.1], attention_factor: 1.14 };
        let reply = Reply::Position(Box::new(Found::Turns(turns)));
        let text = serde_json::to_string(&reply).unwrap();
        assert_eq!(serde_json::from_str::<Reply>(&text).unwrap(), reply);
    }

    #[test]
    fn a_split_compares_the_same_tokens() {
        let read = |length, inside: f64, beyond: f64| {
            let stretches = (0..STRETCHES).map(|i| if i < 4 { inside } else { beyond }).collect();
            LengthLoss { length, stretches }
        };
        let losses = Losses {
            model: "rope".into(),
            scaling: Scaling::NONE,
            windows: 1,
            lengths: vec![read(128, 2.0, 3.0), read(256, 2.0, 3.25), read(512, 2.0, 3.5)],
            ms: 0.0,
        };
        assert_eq!(losses.split(128), Some(Split { inside: 2.0, beyond: 3.5, cut: 3.0 }));
        assert_eq!(losses.split(512), None);
        assert_eq!(losses.at(256).map(LengthLoss::mean), Some((4.0 * 2.0 + 12.0 * 3.25) / 16.0));
    }

    #[test]
    fn stretches_are_means_over_positions_and_windows() {
        let sums: Vec<f64> = (0..32).map(f64::from).collect();
        let means = stretches(&sums, 2);
        assert_eq!((means.len(), means[0], means[15]), (STRETCHES, 0.25, 15.25));
        assert_eq!(lengths(128, 512), [128, 256, 512]);
        assert!(lengths(128, 100).is_empty());
    }

    #[test]
    fn a_head_is_a_part_of_all_means() {
        let means = (0..2 * 3 * 4).map(|n| n as f32).collect();
        let distances = Distances { model: "alibi".into(), layers: 2, heads: 3, time: 4, means };
        assert_eq!(distances.head(1, 2), [20.0, 21.0, 22.0, 23.0]);
        assert!(distances.head(2, 0).is_empty());
    }
}
