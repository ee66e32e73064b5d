//! Inside a pass of the attention lab: what every block adds to the residual stream, what the stream would say at every depth, what
//! the text costs without a head, and what each head looks at. It knows no tensor.

use serde::{Deserialize, Serialize};

/// Tokens that a place of the lens names, the likeliest first.
pub const TOP: usize = 5;
/// Tokens of the random sequence that is said twice, at most.
pub const PERIOD: usize = 64;

/// See [`super::Request::Inside`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// Ids of the tokens that the page shows.
    pub tokens: Vec<u32>,
    pub task: Task,
}

impl Ask {
    /// Calls of one kind supersede one another: a lens does not stop an ablation.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.task {
            Task::Stack => "inside_stack",
            Task::Lens => "inside_lens",
            Task::Ablate { .. } => "inside_ablate",
            Task::Statistics => "inside_statistics",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum Task {
    /// Answered by [`Found::Stack`].
    Stack,
    /// Answered by [`Found::Lens`].
    Lens,
    /// The loss without each of these heads, one at a time. Answered by [`Found::Ablated`].
    Ablate { heads: Vec<At> },
    /// Answered by [`Found::Statistics`].
    Statistics,
}

/// Tagged by another word than the reply that carries it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "found", rename_all = "snake_case")]
pub enum Found {
    Stack(Stack),
    Lens(Lens),
    Ablated(Ablated),
    Statistics(Statistics),
}

/// A query head, counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct At {
    pub layer: u32,
    pub head: u32,
}

/// From token ids to logits: what is computed for a text of `T` tokens, and how large the residual stream is on the way. Sizes are
/// root mean squares over the model's width, one a token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stack {
    /// `T`
    pub time: u32,
    pub order: Order,
    pub embedding: Vec<Step>,
    pub blocks: Vec<Block>,
    pub head: Vec<Step>,
    /// The stream before the first block.
    pub begins: Vec<f32>,
    /// What the head reads: the stream behind the last norm.
    pub normed: Vec<f32>,
}

/// One block of the stack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Block {
    pub steps: Vec<Step>,
    /// What attention adds to the stream.
    pub attention: Vec<f32>,
    /// What the feed-forward half adds to it.
    pub mlp: Vec<f32>,
    /// The stream behind the block.
    pub after: Vec<f32>,
}

/// How the halves of a block are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The feed-forward half reads what attention wrote.
    Serial,
    /// Both read the block's input, each through its own norm.
    Parallel,
    /// Both read the block's input through one norm.
    ParallelShared,
}

/// Which part of the stack a step belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    Embedding,
    Norm,
    Attention,
    Mlp,
    Head,
}

/// One computation. Floating point operations are those of matrix products: two for each weight and token, two for each pair of a
/// query and a key that it may see and each dimension of a head; norms, biases and tables that are only looked up count as none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub place: Place,
    /// The matrix's name in the family's checkpoints, or `scores` and `mix` for the two products without one.
    pub name: String,
    /// Shape of what comes out, without the batch.
    pub output: Vec<u32>,
    /// `[out, in]` of a matrix, `[D]` of a norm, `[rows, D]` of a table; empty where nothing is learned.
    pub weight: Vec<u32>,
    /// Numbers of its own, biases included; 0 where it borrows another one's.
    pub parameters: u64,
    pub flops: f64,
}

/// What some steps come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    pub parameters: u64,
    pub flops: f64,
}

impl Cost {
    #[must_use]
    pub fn of<'a>(steps: impl IntoIterator<Item = &'a Step>) -> Self {
        steps.into_iter().fold(Self::default(), |sum, step| Self {
            parameters: sum.parameters + step.parameters,
            flops: sum.flops + step.flops,
        })
    }
}

impl Stack {
    /// Sizes of the stream that a block reads.
    #[must_use]
    pub fn before(&self, block: usize) -> &[f32] {
        match block.checked_sub(1) {
            Some(previous) => self.blocks.get(previous).map_or(&[][..], |block| block.after.as_slice()),
            None => &self.begins,
        }
    }

    /// Of the whole model.
    #[must_use]
    pub fn cost(&self) -> Cost {
        let blocks = self.blocks.iter().flat_map(|block| &block.steps);
        Cost::of(self.embedding.iter().chain(blocks).chain(&self.head))
    }

    /// The largest size anywhere: what a scale over all of them ends at.
    #[must_use]
    pub fn largest(&self) -> f32 {
        let halves = self.blocks.iter().flat_map(|block| [&block.attention, &block.mlp, &block.after]);
        halves.chain([&self.begins, &self.normed]).flatten().copied().fold(0.0, f32::max)
    }
}

/// The logit lens (nostalgebraist 2020): the last norm and the head applied to the stream before the first block and behind every
/// block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lens {
    /// `L + 1` states of `T` tokens; the last one is the model's own answer.
    pub states: Vec<Vec<Reading>>,
}

/// What the stream at one place would say comes next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// The [`TOP`] likeliest tokens, the likeliest first.
    pub top: Vec<Guess>,
    /// The token that really follows; none behind the last.
    pub next: Option<Follower>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Guess {
    pub id: u32,
    pub probability: f32,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Follower {
    pub id: u32,
    /// 0 is the likeliest.
    pub rank: u32,
    pub probability: f32,
}

impl Lens {
    /// The state from which on the likeliest token behind `token` is the one that the model ends with.
    #[must_use]
    pub fn settles(&self, token: usize) -> Option<usize> {
        let likeliest = |state: &Vec<Reading>| state.get(token)?.top.first().map(|guess| guess.id);
        let last = likeliest(self.states.last()?)?;
        let other = self.states.iter().rposition(|state| likeliest(state) != Some(last));
        Some(other.map_or(0, |other| other + 1))
    }
}

/// Losses of every token but the first, in nats.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ablated {
    /// Of the model as it is, `T - 1`.
    pub base: Vec<f32>,
    /// Without one head.
    pub heads: Vec<HeadLoss>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeadLoss {
    pub at: At,
    /// `T - 1`
    pub losses: Vec<f32>,
}

impl Ablated {
    /// Takes over what was measured on the same text; of one head the later measurement stays.
    pub fn add(&mut self, more: Self) {
        self.base = more.base;
        for head in more.heads {
            match self.heads.binary_search_by_key(&head.at, |known| known.at) {
                Ok(place) => self.heads[place] = head,
                Err(place) => self.heads.insert(place, head),
            }
        }
    }

    #[must_use]
    pub fn head(&self, at: At) -> Option<&HeadLoss> {
        self.heads.binary_search_by_key(&at, |known| known.at).ok().map(|place| &self.heads[place])
    }

    /// Nats a token that the text costs more without the head. Below 0 the head does harm on this text.
    #[must_use]
    pub fn cost(&self, at: At) -> Option<f64> {
        Some(mean(&self.head(at)?.losses) - mean(&self.base))
    }

    /// The same for every token but the first.
    #[must_use]
    pub fn costs(&self, at: At) -> Vec<f32> {
        let losses = self.head(at).map_or(&[][..], |head| head.losses.as_slice());
        losses.iter().zip(&self.base).map(|(without, with)| without - with).collect()
    }

    /// The largest cost of any head, by magnitude.
    #[must_use]
    pub fn largest(&self) -> f64 {
        self.heads.iter().filter_map(|head| self.cost(head.at)).map(f64::abs).fold(0.0, f64::max)
    }
}

/// Mean loss in nats a token.
#[must_use]
pub fn mean(losses: &[f32]) -> f64 {
    losses.iter().map(|loss| f64::from(*loss)).sum::<f64>() / losses.len().max(1) as f64
}

/// What every head looks at, on the text and on random tokens said twice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// Random tokens that were said twice.
    pub period: u32,
    pub heads: Vec<HeadFacts>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeadFacts {
    pub at: At,
    pub text: Measures,
    pub random: Measures,
    /// Weight on the token behind the earlier copy, on the random tokens (Olsson 2022).
    pub induction: f64,
}

/// Means over every query but the first, which sees only itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measures {
    /// Of the weights, in bits: 0 looks at one token, log2 of their number at all alike.
    pub entropy: f64,
    /// Tokens looked back.
    pub distance: f64,
    /// Weight on the first token of the text.
    pub first: f64,
    /// Weight on the token just before.
    pub previous: f64,
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::lab::{Reply, Request};

    #[test]
    fn questions_and_answers_survive_the_crossing() {
        let at = At { layer: 1, head: 3 };
        for task in [Task::Stack, Task::Lens, Task::Ablate { heads: vec![at] }, Task::Statistics] {
            let request = Request::Inside(Ask { tokens: vec![3, 4], task });
            let text = serde_json::to_string(&request).unwrap();
            assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);
        }
        let ablated = Ablated { base: vec![1.5], heads: vec![HeadLoss { at, losses: vec![2.0] }] };
        let reply = Reply::Inside(Box::new(Found::Ablated(ablated)));
        let text = serde_json::to_string(&reply).unwrap();
        assert_eq!(serde_json::from_str::<Reply>(&text).unwrap(), reply);
    }

    #[test]
    fn a_loss_without_a_head_is_compared_token_by_token() {
        let (first, second) = (At { layer: 0, head: 1 }, At { layer: 1, head: 0 });
        let loss = |at, losses: &[f32]| HeadLoss { at, losses: losses.to_vec() };
        let mut ablated = Ablated { base: vec![1.0, 2.0], heads: vec![loss(second, &[2.0, 4.0])] };
        ablated.add(Ablated { base: vec![1.0, 2.0], heads: vec![loss(first, &[1.0, 1.5]), loss(second, &[3.0, 4.0])] });
        assert_eq!(ablated.heads.iter().map(|head| head.at).collect::<Vec<_>>(), [first, second]);
        assert_eq!((ablated.cost(first), ablated.cost(second)), (Some(-0.25), Some(2.0)));
        assert_eq!(ablated.costs(second), [2.0, 2.0]);
        assert_eq!(ablated.largest(), 2.0);
        assert_eq!(ablated.cost(At::default()), None);
        assert!(ablated.costs(At::default()).is_empty());
    }

    #[test]
    fn a_token_settles_where_it_stays_as_it_ends() {
        let reading = |id| Reading { top: vec![Guess { id, probability: 0.5 }], next: None };
        let lens = Lens { states: [7, 3, 7, 7].map(|id| vec![reading(id)]).to_vec() };
        assert_eq!(lens.settles(0), Some(2));
        let still = Lens { states: [7, 7].map(|id| vec![reading(id)]).to_vec() };
        assert_eq!((still.settles(0), still.settles(1)), (Some(0), None));
    }

    #[test]
    fn a_stack_adds_up_its_steps() {
        let step = |parameters, flops| Step {
            place: Place::Mlp,
            name: "up_proj".into(),
            output: vec![2, 3],
            weight: vec![3, 1],
            parameters,
            flops,
        };
        let block =
            Block { steps: vec![step(2, 3.0), step(4, 5.0)], attention: vec![0.5], mlp: vec![4.0], after: vec![2.0] };
        let stack = Stack {
            time: 1,
            order: Order::Serial,
            embedding: vec![step(1, 0.0)],
            blocks: vec![block.clone(), Block { after: vec![3.0], ..block }],
            head: vec![step(0, 7.0)],
            begins: vec![1.0],
            normed: vec![1.0],
        };
        assert_eq!(stack.cost(), Cost { parameters: 13, flops: 23.0 });
        assert_eq!((stack.before(0), stack.before(2)), (&[1.0_f32][..], &[3.0_f32][..]));
        assert!(stack.before(9).is_empty());
        assert_eq!(stack.largest(), 4.0);
    }
}
