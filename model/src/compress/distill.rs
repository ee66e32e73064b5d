//! Distillation (Hinton 2015): beside the one token that the data has at a position, a student learns what its teacher thinks of all of
//! them. The loss is `(1 - s) · CE + s · τ² · KL(teacher ‖ student)` with both softmaxes at the temperature τ; τ² keeps the gradient's
//! size whatever the temperature.
//!
//! It knows no run: the training engine asks for a [`Lesson`] in every pass.

use std::ops::Range;

use burn::tensor::{Int, Tensor, TensorData, activation};
use hearth_shared::spec::{DistillSpec, SpecError};

use crate::config::ModelConfig;
use crate::transformer::{Forward, Transformer};

/// A model to learn from. Clones share its weights.
#[derive(Clone, Debug)]
pub struct Teacher {
    model: Transformer,
    spec: DistillSpec,
    /// Tokens of the student. What the teacher has behind them fills its matrix up and is no token.
    vocab_size: usize,
}

impl Teacher {
    /// # Errors
    /// A spec outside its bounds, or a teacher that does not know all of the student's tokens. Whether those are the same is the caller's to see.
    pub fn new(model: Transformer, spec: DistillSpec, student: &ModelConfig) -> Result<Self, SpecError> {
        spec.validate().map_err(|error| error.within("distill"))?;
        let (theirs, ours) = (model.config().vocab_size, student.vocab_size);
        if theirs < ours {
            let message = format!(
                "it has a vocabulary of {theirs}, the student one of {ours}: take a teacher with the student's tokenizer"
            );
            return Err(SpecError::new("distill.teacher", message));
        }
        Ok(Self { model, spec, vocab_size: ours })
    }

    pub fn spec(&self) -> DistillSpec {
        self.spec
    }

    /// What the teacher has to say of the chosen positions of `[B, T]` token ids, numbered row by row. Packed documents do not see each other.
    ///
    /// `positions` must not be empty.
    pub fn lesson(&self, ids: TensorData, segments: Option<&[Vec<u32>]>, positions: &[i32]) -> Lesson {
        let device = self.model.device();
        let context = Forward { segments, ..Forward::default() };
        let hidden = self.model.hidden(Tensor::<2, Int>::from_data(ids, &device), context); // [B, T, D]
        let [rows, time, width] = hidden.dims();
        let index = Tensor::<1, Int>::from_data(TensorData::new(positions.to_vec(), [positions.len()]), &device);
        Lesson { hidden: hidden.reshape([rows * time, width]).select(0, index), teacher: self.clone() }
    }
}

/// A teacher's opinion of some positions, kept as hidden states: its logits are made when a few of them are asked for.
#[derive(Clone, Debug)]
pub struct Lesson {
    teacher: Teacher,
    /// `[N, D]`
    hidden: Tensor<2>,
}

impl Lesson {
    /// The gradient of the whole loss by the student's `logits` of some of the positions, `[n, V]`: `data` is that of the data's part
    /// alone, each row times its weight, as the teacher's part is by `weights`.
    ///
    /// The derivative of `τ² · KL` is `τ · (softmax(z / τ) - softmax(t / τ))`.
    pub fn gradient(&self, rows: Range<usize>, logits: Tensor<2>, data: Tensor<2>, weights: &[f32]) -> Tensor<2> {
        let DistillSpec { temperature, share } = self.teacher.spec;
        let softmax = |logits: Tensor<2>| activation::softmax(logits / temperature, 1);
        let weights = TensorData::new(weights.to_vec(), [weights.len(), 1]);
        let weights = Tensor::<2>::from_data(weights, &logits.device()) * (share * temperature);
        let taught = softmax(logits) - softmax(self.logits(rows));
        data * (1.0 - share) + taught * weights
    }

    /// The teacher's logits, `[n, V]`.
    fn logits(&self, rows: Range<usize>) -> Tensor<2> {
        let part = self.hidden.clone().narrow(0, rows.start, rows.len()); // [n, D]
        self.teacher.model.logits(part.unsqueeze()).squeeze_dim::<2>(0).narrow(1, 0, self.teacher.vocab_size)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::device;
    use crate::projection::floats;

    const VOCAB: usize = 32;

    fn teacher(spec: DistillSpec) -> Result<Teacher, SpecError> {
        let config = ModelConfig::llama(VOCAB, 16, 1, (2, 1), 32);
        let mut model = Transformer::new(&config, 1, &device::cpu());
        for (_, mut param) in model.params_mut() {
            let values = param.to_vec().into_iter().map(|x| x * 8.0).collect();
            param.set(values);
        }
        Teacher::new(model, spec, &config)
    }

    /// The closed form is what a tape finds in the loss as the paper writes it.
    #[test]
    fn the_gradient_is_that_of_the_papers_loss() {
        let weights = [0.5_f32, 2.0, 1.0];
        let ids = || TensorData::new(vec![3_i32, 1, 4, 1], [2, 2]);
        for spec in [
            DistillSpec { temperature: 3.0, share: 0.7 },
            DistillSpec { temperature: 1.0, share: 1.0 },
            DistillSpec { temperature: 0.5, share: 0.0 },
        ] {
            let lesson = teacher(spec).unwrap().lesson(ids(), None, &[0, 1, 3]);
            let device = device::cpu().autodiff();
            let numbers: Vec<f32> = (0..3 * VOCAB).map(|i| ((i * 37) % 101) as f32 / 25.0 - 2.0).collect();
            let z = Tensor::<2>::from_data(TensorData::new(numbers, [3, VOCAB]), &device).require_grad();
            let t = Tensor::<2>::from_inner(lesson.logits(0..3));
            assert!(floats(t.clone().into_data()).iter().any(|x| x.abs() > 0.1), "the teacher says something");
            let column = Tensor::<2>::from_data(TensorData::new(weights.to_vec(), [3, 1]), &device);
            let ln = |x: Tensor<2>| activation::log_softmax(x / spec.temperature, 1);
            let teaching = (ln(t.clone()).exp() * (ln(t) - ln(z.clone()))).sum_dim(1) * column.clone();
            let tape = (teaching.sum() * (spec.share * spec.temperature * spec.temperature)).backward();
            let expected = z.grad(&tape).unwrap();
            let data = Tensor::<2>::ones([3, VOCAB], &device::cpu());
            for rows in [0..3, 1..2] {
                let part = |x: Tensor<2>| x.narrow(0, rows.start, rows.len());
                let own = part(data.clone());
                let got = lesson.gradient(rows.clone(), part(z.clone().inner()), own, &weights[rows.clone()]);
                let expected = part(expected.clone()) + (1.0 - spec.share);
                let furthest = floats((got - expected).abs().max().into_data())[0];
                assert!(furthest < 1e-5, "{spec:?} {rows:?}: {furthest}");
            }
        }
    }

    /// Rows that only fill the teacher's matrix up take nothing of its tokens' probability.
    #[test]
    fn what_fills_a_teachers_matrix_up_is_no_token() {
        let spec = DistillSpec::default();
        let padded = teacher(spec).unwrap().model;
        let student = ModelConfig { vocab_size: VOCAB - 4, ..padded.config().clone() };
        let lesson = Teacher::new(padded, spec, &student).unwrap();
        let lesson = lesson.lesson(TensorData::new(vec![3_i32, 1], [1, 2]), None, &[0, 1]);
        let logits = lesson.logits(0..2);
        assert_eq!(logits.dims(), [2, VOCAB - 4]);
        let sum = activation::softmax(logits, 1).sum_dim(1);
        assert!(floats(sum.into_data()).iter().all(|sum| (sum - 1.0).abs() < 1e-6));
    }

    #[test]
    fn a_teacher_of_other_tokens_is_refused() {
        let teacher = teacher(DistillSpec::default()).unwrap();
        let student = ModelConfig::llama(VOCAB + 1, 16, 1, (2, 1), 32);
        let refused = Teacher::new(teacher.model, DistillSpec::default(), &student).unwrap_err();
        assert!(refused.field == "distill.teacher" && refused.message.contains("32"), "{refused}");
        let cold = Teacher::new(
            Transformer::empty(&student, &device::cpu()),
            DistillSpec { temperature: 0.0, share: 0.5 },
            &student,
        );
        assert_eq!(cold.unwrap_err().field, "distill.temperature");
    }
}
