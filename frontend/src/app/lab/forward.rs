//! One traced forward pass as the page holds it: the tensors the worker sent, and the sums behind every number shown.
//!
//! Everything here is arithmetic on what the model computed; nothing is drawn and nothing is fetched.

use std::collections::HashMap;

use hearth_shared::lab::{ModelFacts, TensorInfo, TensorName, TokenView, Traced};

/// A tensor of the trace in row-major order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Array {
    pub shape: Vec<usize>,
    pub data: Vec<f32>,
}

/// A matrix inside a tensor: the last two axes at one place of the first two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Matrix<'a> {
    pub rows: usize,
    pub cols: usize,
    pub data: &'a [f32],
}

impl Matrix<'_> {
    #[must_use]
    pub fn at(&self, row: usize, col: usize) -> f32 {
        self.data[row * self.cols + col]
    }

    #[must_use]
    pub fn row(&self, row: usize) -> &[f32] {
        &self.data[row * self.cols..(row + 1) * self.cols]
    }
}

impl Array {
    /// `[A, B, rows, cols]` at `(a, b)`. Empty when the tensor has another rank or is too short.
    fn matrix(&self, a: usize, b: usize) -> Matrix<'_> {
        let &[_, second, rows, cols] = self.shape.as_slice() else {
            return Matrix { rows: 0, cols: 0, data: &[] };
        };
        let start = (a * second + b) * rows * cols;
        let data = self.data.get(start..start + rows * cols).unwrap_or_default();
        Matrix { rows, cols, data }
    }
}

/// The pictures of one head, in the order of the computation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Step {
    Queries,
    Keys,
    Scores,
    Mask,
    #[default]
    Weights,
    Values,
    Output,
}

impl Step {
    pub const ALL: [Self; 7] =
        [Self::Queries, Self::Keys, Self::Scores, Self::Mask, Self::Weights, Self::Values, Self::Output];

    /// The word in the URL.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Queries => "q",
            Self::Keys => "k",
            Self::Scores => "scores",
            Self::Mask => "mask",
            Self::Weights => "softmax",
            Self::Values => "v",
            Self::Output => "output",
        }
    }

    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.word() == word)
    }

    /// Rows and columns are both tokens.
    #[must_use]
    pub fn is_square(self) -> bool {
        matches!(self, Self::Scores | Self::Mask | Self::Weights)
    }
}

/// A layer and a query head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Head {
    pub layer: usize,
    pub head: usize,
}

/// Row and column in the picture in hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    pub row: usize,
    pub col: usize,
}

/// What a cell is about, so that the other pictures of the head can point at the same things.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Focus {
    pub query: Option<usize>,
    pub key: Option<usize>,
    /// A dimension of queries and keys.
    pub dim: Option<usize>,
    /// A dimension of values and output.
    pub value_dim: Option<usize>,
}

impl Focus {
    #[must_use]
    pub fn of(step: Step, cell: Cell) -> Self {
        let Cell { row, col } = cell;
        let none = Self::default();
        match step {
            Step::Queries => Self { query: Some(row), dim: Some(col), ..none },
            Step::Keys => Self { key: Some(row), dim: Some(col), ..none },
            Step::Scores | Step::Mask | Step::Weights => Self { query: Some(row), key: Some(col), ..none },
            Step::Values => Self { key: Some(row), value_dim: Some(col), ..none },
            Step::Output => Self { query: Some(row), value_dim: Some(col), ..none },
        }
    }

    /// The row and the column to mark in a step's picture.
    #[must_use]
    pub fn within(self, step: Step) -> (Option<usize>, Option<usize>) {
        match step {
            Step::Queries => (self.query, self.dim),
            Step::Keys => (self.key, self.dim),
            Step::Scores | Step::Mask | Step::Weights => (self.query, self.key),
            Step::Values => (self.key, self.value_dim),
            Step::Output => (self.query, self.value_dim),
        }
    }
}

/// See the top of the file.
#[derive(Clone, Debug)]
pub struct Forward {
    /// What was asked for; of a long one only the beginning is traced.
    pub text: String,
    pub facts: ModelFacts,
    pub traced: Traced,
    arrays: HashMap<TensorName, Array>,
}

impl Forward {
    /// `arrays` in the order of `traced.tensors`.
    ///
    /// # Errors
    /// Names the tensor that is missing or whose length is not its shape's.
    pub fn new(text: String, facts: ModelFacts, traced: Traced, data: Vec<Vec<f32>>) -> Result<Self, String> {
        let mut arrays = HashMap::new();
        for (TensorInfo { name, shape }, data) in traced.tensors.iter().zip(data) {
            let shape: Vec<usize> = shape.iter().map(|&side| side as usize).collect();
            if shape.iter().product::<usize>() != data.len() {
                return Err(format!("{name:?}: {} numbers for {shape:?}", data.len()));
            }
            arrays.insert(*name, Array { shape, data });
        }
        let needed = [
            TensorName::Queries,
            TensorName::Keys,
            TensorName::Values,
            TensorName::Scores,
            TensorName::Weights,
            TensorName::Outputs,
            TensorName::Logits,
        ];
        if let Some(name) = needed.iter().find(|name| !arrays.contains_key(name)) {
            return Err(format!("{name:?} is missing"));
        }
        Ok(Self { text, facts, traced, arrays })
    }

    #[must_use]
    pub fn tokens(&self) -> &[TokenView] {
        &self.traced.tokens
    }

    /// The key/value head that query head `head` reads.
    #[must_use]
    pub fn kv_head(&self, head: usize) -> usize {
        head * self.facts.kv_heads as usize / (self.facts.n_heads as usize).max(1)
    }

    fn named(&self, name: TensorName, a: usize, b: usize) -> Matrix<'_> {
        static NONE: Array = Array { shape: Vec::new(), data: Vec::new() };
        self.arrays.get(&name).unwrap_or(&NONE).matrix(a, b)
    }

    /// `[T, E]` for queries, keys, values and output, `[T, T]` else. [`Step::Mask`] shows scores where keys are visible.
    #[must_use]
    pub fn picture(&self, at: Head, step: Step) -> Matrix<'_> {
        let kv = self.kv_head(at.head);
        match step {
            Step::Queries => self.named(TensorName::Queries, at.layer, at.head),
            Step::Keys => self.named(TensorName::Keys, at.layer, kv),
            Step::Values => self.named(TensorName::Values, at.layer, kv),
            Step::Scores | Step::Mask => self.named(TensorName::Scores, at.layer, at.head),
            Step::Weights => self.named(TensorName::Weights, at.layer, at.head),
            Step::Output => self.named(TensorName::Outputs, at.layer, at.head),
        }
    }

    /// The next-token logits after token `row`, `[V]`.
    #[must_use]
    pub fn logits(&self, row: usize) -> &[f32] {
        let Some(array) = self.arrays.get(&TensorName::Logits) else {
            return &[];
        };
        let &[rows, vocab] = array.shape.as_slice() else {
            return &[];
        };
        let row = row.min(rows.saturating_sub(1));
        &array.data[row * vocab..(row + 1) * vocab]
    }

    /// How query `row` and key `col` give their score.
    #[must_use]
    pub fn dot(&self, at: Head, row: usize, col: usize) -> Dot {
        let queries = self.picture(at, Step::Queries);
        let keys = self.picture(at, Step::Keys);
        let terms: Vec<Term> = queries
            .row(row)
            .iter()
            .zip(keys.row(col))
            .enumerate()
            .map(|(index, (&left, &right))| Term::new(index, left, right))
            .collect();
        let sum = terms.iter().map(|term| f64::from(term.product)).sum();
        Dot { terms, sum, scale: self.traced.scale, computed: self.picture(at, Step::Scores).at(row, col) }
    }

    /// How the softmax of query `row` gives its weights. Keys after the query are masked: they are not in the sum.
    #[must_use]
    pub fn softmax(&self, at: Head, row: usize) -> Softmax {
        let scores = self.picture(at, Step::Scores);
        let visible = &scores.row(row)[..=row];
        let max = visible.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let numerators: Vec<f64> = visible.iter().map(|&score| f64::from(score - max).exp()).collect();
        let denominator = numerators.iter().sum();
        Softmax { max, numerators, denominator, computed: self.picture(at, Step::Weights).row(row).to_vec() }
    }

    /// How the weights of query `row` mix dimension `col` of the values.
    #[must_use]
    pub fn mix(&self, at: Head, row: usize, col: usize) -> Dot {
        let weights = self.picture(at, Step::Weights);
        let values = self.picture(at, Step::Values);
        let terms: Vec<Term> =
            (0..=row).map(|token| Term::new(token, weights.at(row, token), values.at(token, col))).collect();
        let sum = terms.iter().map(|term| f64::from(term.product)).sum();
        Dot { terms, sum, scale: 1.0, computed: self.picture(at, Step::Output).at(row, col) }
    }
}

/// One product of a sum: `left` × `right`. `index` is the dimension or the token it belongs to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Term {
    pub index: usize,
    pub left: f32,
    pub right: f32,
    pub product: f32,
}

impl Term {
    fn new(index: usize, left: f32, right: f32) -> Self {
        Self { index, left, right, product: left * right }
    }
}

/// A sum of products, and what the model itself got for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Dot {
    pub terms: Vec<Term>,
    pub sum: f64,
    pub scale: f32,
    /// The same number from the forward pass: equals `sum * scale` up to rounding.
    pub computed: f32,
}

impl Dot {
    /// The terms that weigh most, largest first.
    #[must_use]
    pub fn largest(&self, count: usize) -> Vec<Term> {
        let mut terms = self.terms.clone();
        terms.sort_by(|a, b| b.product.abs().total_cmp(&a.product.abs()));
        terms.truncate(count);
        terms
    }
}

/// Numerators e^(score − max) of the visible keys and their sum.
#[derive(Clone, Debug, PartialEq)]
pub struct Softmax {
    pub max: f32,
    pub numerators: Vec<f64>,
    pub denominator: f64,
    /// The weights of the forward pass, one a key.
    pub computed: Vec<f32>,
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
pub(crate) mod tests {
    use super::*;
    use hearth_shared::lab::{Engine, Timing};

    /// One layer, two query heads that share one key head, two tokens, two dimensions, three words.
    pub(crate) fn small() -> Forward {
        let facts = ModelFacts {
            architecture: "llama".into(),
            position: "rope".into(),
            parameters: 1,
            vocab_size: 3,
            d_model: 4,
            n_layers: 1,
            n_heads: 2,
            kv_heads: 1,
            head_dim: 2,
            max_positions: 8,
        };
        let queries = vec![1.0, 2.0, 3.0, 4.0, -1.0, 0.5, 2.0, 1.0];
        let keys = vec![0.5, -1.0, 2.0, 1.0];
        let values = vec![1.0, 0.0, -2.0, 4.0];
        let scale = 1.0 / 2.0_f32.sqrt();
        let mut scores = Vec::new();
        let mut weights = Vec::new();
        let mut outputs = Vec::new();
        for head in 0..2 {
            for row in 0..2 {
                let q = &queries[(head * 2 + row) * 2..][..2];
                let s: Vec<f32> = (0..2).map(|key| (q[0] * keys[key * 2] + q[1] * keys[key * 2 + 1]) * scale).collect();
                let sum: f32 = s[..=row].iter().map(|s| s.exp()).sum();
                let w: Vec<f32> = (0..2).map(|key| if key <= row { s[key].exp() / sum } else { 0.0 }).collect();
                outputs.extend((0..2).map(|e| w[0] * values[e] + w[1] * values[2 + e]));
                scores.extend(s);
                weights.extend(w);
            }
        }
        let info = |name, shape: &[u32]| TensorInfo { name, shape: shape.to_vec() };
        let traced = Traced {
            model: "small".into(),
            engine: Engine::Cpu,
            tokens: vec![TokenView { id: 0, text: "a".into() }, TokenView { id: 1, text: "b".into() }],
            cut_from: None,
            scale,
            timing: Timing::default(),
            tensors: vec![
                info(TensorName::Queries, &[1, 2, 2, 2]),
                info(TensorName::Keys, &[1, 1, 2, 2]),
                info(TensorName::Values, &[1, 1, 2, 2]),
                info(TensorName::Scores, &[1, 2, 2, 2]),
                info(TensorName::Weights, &[1, 2, 2, 2]),
                info(TensorName::Outputs, &[1, 2, 2, 2]),
                info(TensorName::Logits, &[2, 3]),
            ],
        };
        let logits = vec![0.0, 1.0, 2.0, 3.0, 2.0, 1.0];
        let data = vec![queries, keys, values, scores, weights, outputs, logits];
        Forward::new("ab".into(), facts, traced, data).unwrap()
    }

    #[test]
    fn the_sums_give_the_models_numbers() {
        let forward = small();
        for head in 0..2 {
            let at = Head { layer: 0, head };
            for row in 0..2 {
                let softmax = forward.softmax(at, row);
                for col in 0..2 {
                    let dot = forward.dot(at, row, col);
                    assert!((dot.sum as f32 * dot.scale - dot.computed).abs() < 1e-6);
                    let mix = forward.mix(at, row, col);
                    assert!((mix.sum as f32 - mix.computed).abs() < 1e-6);
                    if col <= row {
                        let weight = softmax.numerators[col] / softmax.denominator;
                        assert!((weight as f32 - softmax.computed[col]).abs() < 1e-6);
                    }
                }
            }
        }
    }

    #[test]
    fn the_first_token_sees_only_itself() {
        let softmax = small().softmax(Head::default(), 0);
        assert_eq!(softmax.numerators, [1.0]);
        assert_eq!(softmax.computed, [1.0, 0.0]);
    }

    #[test]
    fn query_heads_share_key_heads_in_order() {
        let mut forward = small();
        forward.facts.n_heads = 9;
        forward.facts.kv_heads = 3;
        let shared: Vec<usize> = (0..9).map(|head| forward.kv_head(head)).collect();
        assert_eq!(shared, [0, 0, 0, 1, 1, 1, 2, 2, 2]);
    }

    #[test]
    fn a_cell_points_into_every_other_picture() {
        let focus = Focus::of(Step::Weights, Cell { row: 3, col: 1 });
        assert_eq!(focus.within(Step::Queries), (Some(3), None));
        assert_eq!(focus.within(Step::Keys), (Some(1), None));
        assert_eq!(focus.within(Step::Values), (Some(1), None));
        assert_eq!(focus.within(Step::Output), (Some(3), None));
        let focus = Focus::of(Step::Output, Cell { row: 2, col: 5 });
        assert_eq!(focus.within(Step::Values), (None, Some(5)));
        assert_eq!(focus.within(Step::Weights), (Some(2), None));
        for step in Step::ALL {
            let cell = Cell { row: 1, col: 2 };
            assert_eq!(Focus::of(step, cell).within(step), (Some(1), Some(2)));
        }
    }

    #[test]
    fn a_tensor_of_the_wrong_length_is_named() {
        let forward = small();
        let mut data: Vec<Vec<f32>> =
            forward.traced.tensors.iter().map(|info| vec![0.0; info.shape.iter().product::<u32>() as usize]).collect();
        data[3].pop();
        let error = Forward::new(forward.text, forward.facts, forward.traced, data).unwrap_err();
        assert!(error.contains("Scores"), "{error}");
    }
}
