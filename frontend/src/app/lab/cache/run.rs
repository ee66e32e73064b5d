//! A run as far as it has come: what was begun, every step so far, and what follows from them. Pure.

use hearth_shared::lab::cache::{Begun, Held, Step, Token, Work};

/// What a person asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    pub text: String,
    pub count: u32,
    /// Positions that the third side sees; 0 is no third side.
    pub window: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    pub wanted: Wanted,
    pub begun: Begun,
    pub steps: Vec<Step>,
    pub held: Held,
    /// The person stopped it.
    pub stopped: bool,
}

/// One of the ways in which the text was generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Kept,
    Again,
    Windowed,
}

impl Side {
    pub fn of(self, step: &Step) -> Option<&Token> {
        match self {
            Self::Kept => Some(&step.kept),
            Self::Again => Some(&step.again),
            Self::Windowed => step.windowed.as_ref(),
        }
    }

    /// Kept for data, so that a side has one colour in every picture.
    pub fn colour(self) -> &'static str {
        match self {
            Self::Kept => "var(--data-2)",
            Self::Again => "var(--data-1)",
            Self::Windowed => "var(--data-3)",
        }
    }
}

impl Run {
    pub fn new(wanted: Wanted, begun: Begun) -> Self {
        Self { wanted, begun, steps: Vec::new(), held: Held::default(), stopped: false }
    }

    pub fn is_done(&self) -> bool {
        self.steps.len() == self.begun.count as usize
    }

    pub fn prompt(&self) -> u64 {
        self.begun.prompt.len() as u64
    }

    pub fn tokens(&self, side: Side) -> impl Iterator<Item = &Token> {
        self.steps.iter().filter_map(move |step| side.of(step))
    }

    /// The first step at which a side's token is not that of the side with everything kept.
    pub fn parts_at(&self, side: Side) -> Option<usize> {
        self.steps.iter().position(|step| side.of(step).is_some_and(|token| token.id != step.kept.id))
    }

    /// The largest difference of two logits while both sides had the same text.
    pub fn apart(&self) -> Option<f32> {
        self.steps.iter().filter_map(|step| step.apart).reduce(f32::max)
    }

    /// Milliseconds of a side so far.
    pub fn total_ms(&self, side: Side) -> f64 {
        self.tokens(side).map(|token| token.ms).sum()
    }

    /// Milliseconds a token by the end: the median of a side's last ones, because a single one may meet a busy moment.
    pub fn late_ms(&self, side: Side) -> Option<f64> {
        const LAST: usize = 8;
        let all: Vec<f64> = self.tokens(side).map(|token| token.ms).collect();
        let mut last = all[all.len().saturating_sub(LAST)..].to_vec();
        last.sort_by(f64::total_cmp);
        last.get(last.len() / 2).copied()
    }

    /// How many times longer the side without a cache took; none before there is something to divide by.
    pub fn ratio(&self) -> Option<f64> {
        let kept = self.total_ms(Side::Kept);
        (kept > 0.0).then(|| self.total_ms(Side::Again) / kept)
    }

    pub fn work(&self, side: Side) -> Work {
        let positions = self.tokens(side).map(|token| u64::from(token.positions));
        Work::of_run(&self.begun.shape, u64::from(self.begun.facts.n_heads), self.prompt(), positions)
    }

    /// Positions of the text when a step's token was chosen.
    pub fn length(&self, step: usize) -> u64 {
        self.prompt() + step as u64
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use hearth_shared::lab::{Engine, ModelFacts};
    use hearth_shared::plan::ModelShape;

    /// A model of one layer and three steps behind two tokens; the window's side parts at the second one.
    pub fn small() -> Run {
        let shape = ModelShape {
            parameters: 1000,
            vocab_size: 10,
            d_model: 8,
            n_layers: 1,
            n_heads: 2,
            q_width: 8,
            kv_width: 4,
            ffn_dim: 16,
            gated: true,
            experts: 0,
            moe_layers: 0,
            active_experts: 1,
            tied: true,
            layer_norm: false,
            attention_dropout: false,
            residual_dropout: false,
            projections: Vec::new(),
        };
        let facts = ModelFacts {
            architecture: "llama".into(),
            position: "rope".into(),
            parameters: 1000,
            vocab_size: 10,
            d_model: 8,
            n_layers: 1,
            n_heads: 2,
            kv_heads: 1,
            head_dim: 4,
            max_positions: 64,
        };
        let begun = Begun {
            model: "small".into(),
            engine: Engine::Cpu,
            prompt: vec![1, 2],
            cut_from: None,
            count: 3,
            window: Some(1),
            facts,
            shape,
        };
        let token = |id, ms, positions| Token { id, ms, positions, margin: 1.0 };
        let step = |id, positions: [u32; 2], narrow, apart| Step {
            kept: token(id, 2.0, positions[0]),
            again: token(id, 5.0, positions[1]),
            windowed: Some(token(narrow, 1.0, positions[0])),
            apart: Some(apart),
        };
        let steps = vec![step(4, [2, 2], 4, 1e-6), step(5, [1, 3], 7, 3e-6), step(6, [1, 4], 6, 2e-6)];
        let wanted = Wanted { text: "ab".into(), count: 3, window: 1 };
        Run { steps, ..Run::new(wanted, begun) }
    }

    #[test]
    fn a_run_says_where_it_parts_and_what_it_took() {
        let run = small();
        assert!(run.is_done());
        assert_eq!((run.parts_at(Side::Again), run.parts_at(Side::Windowed)), (None, Some(1)));
        assert_eq!(run.apart(), Some(3e-6));
        assert_eq!((run.late_ms(Side::Kept), run.late_ms(Side::Again)), (Some(2.0), Some(5.0)));
        assert_eq!((run.total_ms(Side::Kept), run.total_ms(Side::Again), run.ratio()), (6.0, 15.0, Some(2.5)));
        let (kept, again) = (run.work(Side::Kept), run.work(Side::Again));
        assert_eq!((kept.positions, again.positions), (4, 9));
        // Two heads, one layer: 1+2, then 3, then 4 keys; and 1+2, 1+2+3, 1+2+3+4.
        assert_eq!((kept.pairs, again.pairs), (2 * 10, 2 * 19));
        assert!(again.flops > kept.flops);
    }
}
