//! Feed-forward units that count least leave the model: their rows of the matrices that read and their columns of the one that writes.
//! What is left is a model of the same kind with a smaller `F`, faster and smaller in every format.

use burn::module::Param;
use burn::tensor::{Int, Tensor, TensorData};
use hearth_shared::spec::PruneSpec;

use super::inputs::InputNorms;
use super::prune::{PruneError, Pruned, PrunedMatrix, bare, zeros};
use crate::adapter::ends_half;
use crate::config::ModelConfig;
use crate::look::{LookError, numbers};
use crate::projection::{ParamMut, ParamRef, Projection};
use crate::transformer::{Half, Transformer};

/// Takes the share of the spec out of every layer, which all keep as many. A unit's score is the root of the mean square of its
/// weights, with `norms` times the length of what the unit puts out over the text.
///
/// # Errors
/// The device was lost.
pub(super) async fn prune(
    model: &Transformer,
    spec: &PruneSpec,
    norms: Option<&InputNorms>,
) -> Result<Pruned, PruneError> {
    let width = model.config().ffn_dim;
    let mut scores = vec![Scores::new(width); model.layers.len()];
    for (at, (path, projection)) in model.projections().into_iter().enumerate() {
        if path.half == Half::Mlp {
            let norms = norms.map(|norms| norms.all()[at].as_slice());
            scores[path.layer].add(&read(projection).await?, projection.shape(), ends_half(path).then_some(norms));
        }
    }
    let kept: Vec<_> = scores.iter().map(|scores| scores.best(width - spec.count(width))).collect();
    let smaller = with_units(model, &kept)?;
    let mut matrices = Vec::new();
    for ((path, was), (_, is)) in model.projections().into_iter().zip(smaller.projections()) {
        let (shape, values) = (is.shape(), read(is).await?);
        let error = if shape == was.shape() { 0.0 } else { lost(&read(was).await?, &values) };
        matrices.push(PrunedMatrix { path: path.to_string(), shape, zeros: zeros(&values), error });
    }
    Ok(Pruned { model: smaller, matrices })
}

async fn read(projection: &Projection) -> Result<Vec<f32>, LookError> {
    let read = projection.weight.val().into_data_async().await;
    numbers(read.map_err(|error| LookError::new(&error))?)
}

/// Length of what went over the length of all.
fn lost(was: &[f32], is: &[f32]) -> f64 {
    let length = |values: &[f32]| values.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
    let all = length(was);
    if all > 0.0 { (1.0 - length(is) / all).max(0.0).sqrt() } else { 0.0 }
}

/// The scores of one layer's units while they are summed up.
#[derive(Clone, Debug)]
struct Scores {
    squares: Vec<f64>,
    /// Weights of a unit.
    weights: usize,
    norms: Option<Vec<f32>>,
}

impl Scores {
    fn new(width: usize) -> Self {
        Self { squares: vec![0.0; width], weights: 0, norms: None }
    }

    /// Adds a matrix: rows are units, in turns where two matrices are joined; columns where it `ends` the half.
    fn add(&mut self, values: &[f32], [rows, cols]: [usize; 2], ends: Option<Option<&[f32]>>) {
        let width = self.squares.len();
        let square = |x: &f32| f64::from(*x).powi(2);
        if let Some(norms) = ends {
            self.norms = norms.map(<[f32]>::to_vec);
            self.weights += rows;
            for row in values.chunks_exact(width) {
                self.squares.iter_mut().zip(row).for_each(|(sum, x)| *sum += square(x));
            }
        } else {
            self.weights += rows / width * cols;
            for (row, values) in values.chunks_exact(cols).enumerate() {
                self.squares[row % width] += values.iter().map(square).sum::<f64>();
            }
        }
    }

    fn all(&self) -> Vec<f64> {
        let norm = |unit: usize| self.norms.as_ref().map_or(1.0, |norms| f64::from(norms[unit]));
        let mean = |sum: &f64| sum / self.weights.max(1) as f64;
        self.squares.iter().enumerate().map(|(unit, sum)| mean(sum).sqrt() * norm(unit)).collect()
    }

    /// The units of the highest scores, rising; of equals the last, as the first ones go.
    fn best(&self, count: usize) -> Vec<usize> {
        let scores = self.all();
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
        let mut kept = order.split_off(scores.len() - count);
        kept.sort_unstable();
        kept
    }
}

/// The model with these feed-forward units alone, for every layer as many, rising. The others' biases go with them.
///
/// # Errors
/// The model has experts or an adapter, or there are no such units.
pub fn with_units(model: &Transformer, kept: &[Vec<usize>]) -> Result<Transformer, PruneError> {
    let model = bare(model)?;
    let width = model.config().ffn_dim;
    let count = kept.first().map_or(0, Vec::len);
    check(kept, model.layers.len(), count, width)?;
    let config = ModelConfig { ffn_dim: count, ..model.config().clone() };
    config.validate()?;
    let mut smaller = Transformer::empty(&config, &model.device());
    for ((_, was), (_, is)) in model.params().into_iter().zip(smaller.params_mut()) {
        match (was, is) {
            (ParamRef::Vector(was), ParamMut::Vector(is)) if was.lazy_shape() == is.lazy_shape() => *is = was.clone(),
            (ParamRef::Matrix(was), ParamMut::Matrix(is)) if was.lazy_shape() == is.lazy_shape() => *is = was.clone(),
            // A matrix or bias of units: below.
            _ => {}
        }
    }
    for ((path, was), (_, is)) in model.projections().into_iter().zip(smaller.projections_mut()) {
        if path.half == Half::Mlp && was.shape() != is.shape() {
            select(was, is, &kept[path.layer], width);
        }
    }
    Ok(smaller)
}

fn check(kept: &[Vec<usize>], layers: usize, count: usize, width: usize) -> Result<(), PruneError> {
    let fault = |problem: String| Err(PruneError::Units { problem });
    if kept.len() != layers {
        return fault(format!("said for {} layers, the model has {layers}", kept.len()));
    }
    for (layer, units) in kept.iter().enumerate() {
        if units.len() != count || units.is_empty() {
            return fault(format!(
                "layer {layer} keeps {}, the first one {count}; all keep as many, and one at least",
                units.len()
            ));
        }
        if !units.is_sorted_by(|a, b| a < b) || units.last().is_some_and(|last| *last >= width) {
            return fault(format!("those that layer {layer} keeps are not rising numbers below {width}"));
        }
    }
    Ok(())
}

/// The rows of some of `width` units, or the columns where the projection reads them.
fn select(was: &Projection, is: &mut Projection, units: &[usize], width: usize) {
    let rows = was.shape()[0];
    let index = |blocks: usize| {
        let ids: Vec<i32> =
            (0..blocks).flat_map(|block| units.iter().map(move |unit| (block * width + unit) as i32)).collect();
        let count = ids.len();
        Tensor::<1, Int>::from_data(TensorData::new(ids, [count]), &was.weight.lazy_device())
    };
    let weight = was.weight.val().detach();
    if rows == is.shape()[0] {
        is.weight = Param::from_tensor(weight.select(1, index(1)));
        return;
    }
    // Gate and up in one matrix: two rows a unit.
    let index = index(rows / width);
    is.weight = Param::from_tensor(weight.select(0, index.clone()));
    is.bias = was.bias.as_ref().map(|bias| Param::from_tensor(bias.val().detach().select(0, index)));
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::compress::prune;
    use crate::config::{Architecture, Gpt2Size};
    use crate::device;
    use crate::look::tokens;
    use crate::projection::floats;
    use crate::transformer::Forward;
    use futures::executor::block_on;
    use hearth_shared::spec::{PrunePattern, PruneScore};

    const WIDTH: usize = 24;
    /// Of every layer, units that write nothing.
    const DEAD: [usize; 4] = [0, 7, 8, 23];

    /// Gate and up apart, in one matrix, and no gate but biases.
    fn models() -> [Transformer; 3] {
        let llama = ModelConfig { ffn_dim: WIDTH, ..ModelConfig::llama(60, 32, 2, (4, 2), 64) };
        let phi = ModelConfig { model_type: Architecture::Phi3, ..llama.clone() };
        let small = ModelConfig::gpt2(Gpt2Size::Small, 60);
        let (d_model, n_heads) = (32, 4);
        let gpt2 = ModelConfig { n_layers: 2, d_model, n_heads, kv_heads: 4, head_dim: 8, ffn_dim: WIDTH, ..small };
        [llama, phi, gpt2].map(|config| {
            let mut model = Transformer::new(&config, 5, &device::cpu());
            for (path, mut param) in model.params_mut() {
                // Weights are drawn small and biases are zeros: a wrong one has to show.
                let is_matrix = param.shape().len() == 2;
                let shift = |i: usize| if path.ends_with("bias") { (i * 7 % 5) as f32 / 10.0 } else { 0.0 };
                let changed = |(i, x): (usize, f32)| if is_matrix { x * 8.0 } else { x + shift(i) };
                param.set(param.to_vec().into_iter().enumerate().map(changed).collect());
            }
            model
        })
    }

    fn silence(model: &mut Transformer, units: &[usize]) {
        for (path, projection) in model.projections_mut() {
            if ends_half(path) && path.half == Half::Mlp {
                let mut weight = ParamMut::Matrix(&mut projection.weight);
                let silent = |(i, x): (usize, f32)| if units.contains(&(i % WIDTH)) { 0.0 } else { x };
                weight.set(weight.to_vec().into_iter().enumerate().map(silent).collect());
            }
        }
    }

    fn logits(model: &Transformer) -> Vec<f32> {
        let ids: Vec<u32> = (0..30).map(|i| i * 17 % 60).collect();
        floats(model.forward(tokens(&ids, &device::cpu()), Forward::default()).into_data())
    }

    fn furthest(a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn units_that_write_nothing_are_not_missed() {
        let kept: Vec<usize> = (0..WIDTH).filter(|unit| !DEAD.contains(unit)).collect();
        for mut model in models() {
            let whole = logits(&model);
            silence(&mut model, &DEAD);
            let before = logits(&model);
            assert!(furthest(&whole, &before) > 1e-2, "the units wrote something");
            let smaller = with_units(&model, &[kept.clone(), kept.clone()]).unwrap();
            assert_eq!(smaller.config().ffn_dim, WIDTH - DEAD.len());
            let numbers: usize = smaller.params().iter().map(|(_, p)| p.shape().iter().product::<usize>()).sum();
            assert_eq!(numbers as u64, smaller.config().parameters());
            let apart = furthest(&before, &logits(&smaller));
            assert!(apart < 1e-5, "{:?}: {apart}", model.config().model_type);
            let others = with_units(&model, &[(0..20).collect(), (0..20).collect()]).unwrap();
            assert!(furthest(&before, &logits(&others)) > 1e-3, "other units are missed");
        }
    }

    #[test]
    fn units_that_put_out_nothing_go_first_under_wanda() {
        let mut model = models()[0].clone();
        for (path, projection) in model.projections_mut() {
            if path.name == "gate_proj" {
                let mut weight = ParamMut::Matrix(&mut projection.weight);
                let closed = |(i, x): (usize, f32)| if DEAD.contains(&(i / 32)) { 0.0 } else { x };
                weight.set(weight.to_vec().into_iter().enumerate().map(closed).collect());
            }
            if path.name == "up_proj" {
                // By their weights alone these would stay.
                let mut weight = ParamMut::Matrix(&mut projection.weight);
                let large = |(i, x): (usize, f32)| if DEAD.contains(&(i / 32)) { x * 100.0 } else { x };
                weight.set(weight.to_vec().into_iter().enumerate().map(large).collect());
            }
        }
        let windows: [Vec<u32>; 1] = [(0..40).collect()];
        let norms = block_on(InputNorms::measure(&model, &windows)).unwrap().unwrap();
        let share = Some(DEAD.len() as f64 / WIDTH as f64);
        let spec = PruneSpec { share, score: PruneScore::Wanda, pattern: PrunePattern::Units };
        let pruned = block_on(prune::prune(&model, &spec, Some(&norms))).unwrap();
        assert!(furthest(&logits(&model), &logits(&pruned.model)) < 1e-5);
        let magnitude = PruneSpec { score: PruneScore::Magnitude, ..spec };
        let other = block_on(prune::prune(&model, &magnitude, None)).unwrap();
        assert!(furthest(&logits(&model), &logits(&other.model)) > 1e-3);
        let down = pruned.matrices.iter().find(|matrix| matrix.path == "layers.1.mlp.down_proj").unwrap();
        assert_eq!((down.shape, down.zeros), ([32, 20], 0));
        assert!(down.error > 0.0 && down.error < 1.0);
        assert!(pruned.matrices.iter().filter(|m| m.path.contains("attention")).all(|m| m.error == 0.0));
    }

    /// Two units of a layer of width 2: gate rows (1, 0) and (0, 2), up rows (1, 1) and (0, 0), columns of down (3, 0) and (0, 1).
    #[test]
    fn a_score_is_the_root_of_the_mean_square_times_the_norm() {
        let mut scores = Scores::new(2);
        scores.add(&[1.0, 0.0, 0.0, 2.0], [2, 2], None);
        scores.add(&[1.0, 1.0, 0.0, 0.0], [2, 2], None);
        scores.add(&[3.0, 0.0, 0.0, 1.0], [2, 2], Some(Some(&[1.0, 10.0])));
        let expected = [(12.0_f64 / 6.0).sqrt(), 10.0 * (5.0_f64 / 6.0).sqrt()];
        assert!(scores.all().iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12));
        assert_eq!(scores.best(1), [1]);
        let mut joined = Scores::new(2);
        joined.add(&[1.0, 0.0, 0.0, 2.0, 1.0, 1.0, 0.0, 0.0], [4, 2], None);
        joined.add(&[3.0, 0.0, 0.0, 1.0], [2, 2], Some(None));
        assert_eq!((joined.weights, joined.best(1)), (6, vec![0]));
    }

    #[test]
    fn units_that_are_none_are_refused() {
        let model = &models()[0];
        let refused = |kept: &[Vec<usize>]| with_units(model, kept).unwrap_err().to_string();
        assert!(refused(&[vec![0]]).contains("2"));
        assert!(refused(&[vec![0], vec![0, 1]]).contains("layer 1"));
        assert!(refused(&[vec![0], vec![WIDTH]]).contains("below 24"));
        assert!(refused(&[vec![1, 0], vec![0, 1]]).contains("layer 0"));
        assert!(refused(&[vec![], vec![]]).contains("one at least"));
    }
}
