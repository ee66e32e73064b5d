//! The sampling lab: from a row of logits to a drawn token stage by stage, what would have followed as a tree, and what seeds make of
//! one text. It knows no tensor and no clock.

use serde::{Deserialize, Serialize};

use super::Engine;
use crate::spec::Sampling;

/// Characters of a text that are kept, counted from its end: what comes next depends on the end.
pub const CHARACTERS: usize = 1_500;
/// Tokens of a text that are read, counted from its end.
pub const PROMPT: u32 = 128;
/// Tokens of a distribution that are told one by one.
pub const SHOWN: usize = 24;
/// The fewest and the most continuations of one text.
pub const RUNS: (u32, u32) = (1, 16);
/// The fewest and the most tokens of a continuation.
pub const NEW: (u32, u32) = (4, 24);
/// The fewest and the most followers of a node.
pub const BRANCHES: (u32, u32) = (1, 4);
/// The fewest and the most levels of a tree.
pub const DEPTH: (u32, u32) = (1, 5);
/// The lowest and the highest probability that a node must have in all.
pub const FLOOR: (f64, f64) = (0.001, 0.5);
/// Nodes of one level whose followers are looked for: the likeliest.
pub const WIDEST: usize = 32;
/// Draws of one token.
pub const DRAWS: u32 = 1_000;

/// See [`super::Request::Sampling`]. Each variant is a kind of call by itself: the next distribution does not stop a tree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Ask {
    /// What can follow the text, stage by stage. A text that was just read is not read again. Answered by [`Found::Distribution`].
    Distribution { text: String, sampling: Sampling },
    /// What would have followed. Answered by [`Found::Tree`].
    Tree { text: String, sampling: Sampling, tree: TreeSpec },
    /// Continuations of `count` tokens, by the seeds `first`, `first + 1`, …. Answered by [`Found::Runs`].
    Runs { text: String, sampling: Sampling, first: u64, runs: u32, count: u32 },
    /// The next token, drawn [`DRAWS`] times by the seeds `first`, `first + 1`, …. Answered by [`Found::Draws`].
    Draws { text: String, sampling: Sampling, first: u64 },
}

impl Ask {
    /// Calls of one kind supersede one another.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Distribution { .. } => "sampling",
            Self::Tree { .. } => "sampling_tree",
            Self::Runs { .. } => "sampling_runs",
            Self::Draws { .. } => "sampling_draws",
        }
    }
}

/// How far a tree reaches.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TreeSpec {
    /// Followers of a node at most.
    pub branches: u32,
    /// Levels.
    pub depth: u32,
    /// Probability of a node in all, from the text on, below which it is left out.
    pub floor: f64,
}

impl TreeSpec {
    /// The same inside the bounds; a floor that is no number is the highest.
    #[must_use]
    pub fn bounded(self) -> Self {
        Self {
            branches: self.branches.clamp(BRANCHES.0, BRANCHES.1),
            depth: self.depth.clamp(DEPTH.0, DEPTH.1),
            floor: if self.floor.is_nan() { FLOOR.1 } else { self.floor.clamp(FLOOR.0, FLOOR.1) },
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "found", rename_all = "snake_case")]
pub enum Found {
    Distribution(Box<Distribution>),
    Tree(Tree),
    Runs(Runs),
    Draws(Draws),
}

/// A stage of the way from logits to a drawn token, in the sampler's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The softmax of the logits as they are.
    Model,
    /// Tokens seen before made less likely.
    Penalty,
    /// Logits divided; at 0 only the best is left.
    Temperature,
    /// Only the k likeliest left.
    TopK,
    /// Only the smallest set left that reaches a share.
    TopP,
    /// Only those left that are not too far below the best. What is left here is drawn from.
    MinP,
}

impl Step {
    pub const ALL: [Self; 6] = [Self::Model, Self::Penalty, Self::Temperature, Self::TopK, Self::TopP, Self::MinP];
}

/// What can follow a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    pub model: String,
    pub engine: Engine,
    /// Ids of the tokens that were read.
    pub prompt: Vec<u32>,
    /// Length of the whole text in tokens when only its end is read.
    pub cut_from: Option<u32>,
    pub vocab_size: u32,
    /// Tokens that went through the model for this answer; 0 when the logits were there.
    pub forwarded: u32,
    /// Of cutting the text into tokens and reading those, in milliseconds.
    pub forward_ms: f64,
    /// Of the stages, in milliseconds.
    pub stages_ms: f64,
    /// In the order of [`Step::ALL`].
    pub stages: Vec<Stage>,
    /// Share of the model's own probability that can still be drawn at the end.
    pub mass: f64,
    /// The likeliest tokens, by the model's order.
    pub tokens: Vec<Chance>,
}

/// What a stage leaves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    pub step: Step,
    /// Tokens that can be drawn.
    pub kept: u32,
    /// Probability, before this stage, of what it cuts.
    pub removed: f64,
    /// In bits.
    pub entropy: f64,
    /// Probability of the tokens that are not told one by one.
    pub rest: f64,
}

/// A token on its way through the stages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chance {
    pub id: u32,
    /// The model's own.
    pub logit: f32,
    /// It stands in the text, so that the penalty is for it.
    pub seen: bool,
    /// Its probability after each stage; 0 once it is cut.
    pub shares: Vec<f64>,
}

impl Chance {
    /// The stage that cuts it, by its place.
    #[must_use]
    pub fn cut_at(&self) -> Option<usize> {
        self.shares.windows(2).position(|pair| pair[0] > 0.0 && pair[1] == 0.0).map(|before| before + 1)
    }

    /// What it is drawn with.
    #[must_use]
    pub fn drawn_with(&self) -> f64 {
        self.shares.last().copied().unwrap_or_default()
    }
}

/// What would have followed, level by level: a node stands behind its parent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tree {
    pub spec: TreeSpec,
    pub nodes: Vec<Node>,
    /// Continuations that went through the model.
    pub forwarded: u32,
    /// In milliseconds.
    pub ms: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its place in [`Tree::nodes`]; none follows the text itself.
    pub parent: Option<u32>,
    pub id: u32,
    /// 1 follows the text.
    pub depth: u32,
    /// What it is drawn with in its place.
    pub share: f64,
    /// The product of all shares from the text to here.
    pub in_all: f64,
    /// It ends the text: nothing follows.
    pub ends: bool,
}

impl Tree {
    /// The followers of a node, or of the text.
    pub fn followers(&self, parent: Option<u32>) -> impl Iterator<Item = (u32, &Node)> {
        (0_u32..).zip(&self.nodes).filter(move |(_, node)| node.parent == parent)
    }

    /// Ids from the text to a node.
    #[must_use]
    pub fn path(&self, node: u32) -> Vec<u32> {
        path(&self.nodes, node)
    }
}

/// Ids from the text to a node.
#[must_use]
pub fn path(nodes: &[Node], node: u32) -> Vec<u32> {
    let at = |place: u32| nodes.get(place as usize);
    let mut ids: Vec<u32> =
        std::iter::successors(at(node), |node| node.parent.and_then(at)).map(|node| node.id).collect();
    ids.reverse();
    ids
}

/// Continuations of one text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Runs {
    /// In the order of their seeds.
    pub runs: Vec<Run>,
    /// Tokens that were asked for.
    pub count: u32,
    /// In milliseconds.
    pub ms: f64,
}

/// One continuation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub seed: u64,
    /// A token that ends the text is not among them.
    pub tokens: Vec<u32>,
    /// Natural logarithm of the model's own probability of each token.
    pub logprobs: Vec<f32>,
    /// It came to a token that ends the text.
    pub ended: bool,
}

impl Run {
    /// Natural logarithm of the model's own probability of the whole.
    #[must_use]
    pub fn logprob(&self) -> f64 {
        self.logprobs.iter().map(|logprob| f64::from(*logprob)).sum()
    }

    fn is_like(&self, other: &Self) -> bool {
        self.tokens == other.tokens && self.ended == other.ended
    }
}

/// How many runs have the same tokens up to each place of each run, the run itself among them.
#[must_use]
pub fn company(runs: &[Run]) -> Vec<Vec<u32>> {
    let with = |run: &Run, to: usize| {
        let begins = |other: &&Run| other.tokens.get(..to) == Some(&run.tokens[..to]);
        runs.iter().filter(begins).count() as u32
    };
    runs.iter().map(|run| (1..=run.tokens.len()).map(|to| with(run, to)).collect()).collect()
}

/// For each run the first one before it that is the same to the end.
#[must_use]
pub fn twins(runs: &[Run]) -> Vec<Option<usize>> {
    (0..runs.len()).map(|at| runs[..at].iter().position(|earlier| earlier.is_like(&runs[at]))).collect()
}

/// One token, drawn many times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Draws {
    /// The first of the consecutive seeds.
    pub first: u64,
    pub count: u32,
    /// The ones that were drawn, the most often drawn first.
    pub drawn: Vec<Drawn>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drawn {
    pub id: u32,
    pub times: u32,
}

impl Draws {
    /// How often a token was drawn.
    #[must_use]
    pub fn times(&self, id: u32) -> u32 {
        self.drawn.iter().find(|drawn| drawn.id == id).map_or(0, |drawn| drawn.times)
    }
}

/// The end of a text, so many characters long.
#[must_use]
pub fn ending(text: &str, characters: usize) -> &str {
    let Some(before) = characters.checked_sub(1) else {
        return "";
    };
    text.char_indices().nth_back(before).map_or(text, |(start, _)| &text[start..])
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::lab::Reply;

    fn run(seed: u64, tokens: &[u32]) -> Run {
        Run { seed, tokens: tokens.to_vec(), logprobs: vec![-0.5; tokens.len()], ended: false }
    }

    #[test]
    fn runs_go_together_until_they_part() {
        let runs = [run(1, &[5, 6, 7]), run(2, &[5, 6, 8]), run(3, &[5, 6, 7]), run(4, &[9])];
        assert_eq!(company(&runs), [vec![3, 3, 2], vec![3, 3, 1], vec![3, 3, 2], vec![1]]);
        assert_eq!(twins(&runs), [None, None, Some(0), None]);
        let ended = Run { ended: true, ..run(5, &[5, 6, 7]) };
        assert_eq!(twins(&[run(1, &[5, 6, 7]), ended]), [None, None]);
        assert_eq!(runs[0].logprob(), -1.5);
        assert!(company(&[]).is_empty() && twins(&[]).is_empty());
    }

    #[test]
    fn a_token_is_cut_where_its_share_ends() {
        let chance = |shares: &[f64]| Chance { id: 1, logit: 0.5, seen: false, shares: shares.to_vec() };
        assert_eq!(chance(&[0.2, 0.2, 0.1, 0.0, 0.0, 0.0]).cut_at(), Some(3));
        assert_eq!(chance(&[0.2, 0.2, 0.3]).cut_at(), None);
        assert_eq!((chance(&[0.2, 0.3]).drawn_with(), chance(&[]).drawn_with()), (0.3, 0.0));
    }

    #[test]
    fn a_path_goes_from_the_text_to_its_node() {
        let node = |parent, id, depth| Node { parent, id, depth, share: 0.5, in_all: 0.5, ends: false };
        let nodes = vec![node(None, 7, 1), node(None, 8, 1), node(Some(1), 9, 2), node(Some(2), 7, 3)];
        let spec = TreeSpec { branches: 9, depth: 0, floor: f64::NAN }.bounded();
        assert_eq!(spec, TreeSpec { branches: 4, depth: 1, floor: 0.5 });
        let tree = Tree { spec, nodes, forwarded: 0, ms: 0.0 };
        assert_eq!(tree.path(3), [8, 9, 7]);
        assert_eq!(tree.path(0), [7]);
        let ids = |parent| tree.followers(parent).map(|(place, node)| (place, node.id)).collect::<Vec<_>>();
        assert_eq!((ids(None), ids(Some(1))), (vec![(0, 7), (1, 8)], vec![(2, 9)]));
    }

    #[test]
    fn endings_are_whole_characters() {
        assert_eq!(ending("你好吗", 2), "好吗");
        assert_eq!(ending("你好", 2), "你好");
        assert_eq!(ending("你好", 9), "你好");
        assert_eq!((ending("a", 0), ending("", 3)), ("", ""));
    }

    #[test]
    fn answers_survive_the_crossing() {
        let stage = Stage { step: Step::TopP, kept: 3, removed: 0.25, entropy: 1.5, rest: 0.0 };
        assert!(serde_json::to_string(&stage).unwrap().contains(r#""step":"top_p""#));
        let draws = Draws { first: 7, count: DRAWS, drawn: vec![Drawn { id: 3, times: 1000 }] };
        assert_eq!((draws.times(3), draws.times(4)), (1000, 0));
        for found in [
            Found::Draws(draws),
            Found::Runs(Runs { runs: vec![run(1, &[2])], count: 4, ms: 1.5 }),
            Found::Tree(Tree {
                spec: TreeSpec { branches: 2, depth: 3, floor: 0.01 },
                nodes: vec![Node { parent: None, id: 4, depth: 1, share: 0.5, in_all: 0.5, ends: true }],
                forwarded: 2,
                ms: 2.5,
            }),
        ] {
            let reply = Reply::Sampling(Box::new(found));
            let text = serde_json::to_string(&reply).unwrap();
            assert_eq!(serde_json::from_str::<Reply>(&text).unwrap(), reply);
        }
    }
}
