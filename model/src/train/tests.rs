//! The engine on models of a few thousand weights: what must be equal is equal, what must stop stops.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io;
use std::path::Path;

use burn::tensor::{Int, Tensor, TensorData, activation};
use hearth_shared::spec::{
    AdapterSpec, BottleneckSpec, LoraSpec, OptimizerKind, Precision, TrainSpec, VirtualTokensSpec,
};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

use super::data::Sequence;
use super::loss::Objective;
use super::optimizer::State;
use super::run::evaluate;
use super::save::{self, Disk, RealDisk};
use super::{Batches, Run, StepReport, TrainError, loss};
use crate::config::{Dropout, ModelConfig, Moe};
use crate::projection::{floats, is_adapter};
use crate::transformer::Transformer;
use crate::{adapter, device};

mod care;
mod distill;
mod precision;
mod rows;
mod there;

const VOCAB: usize = 50;

fn model() -> Transformer {
    let config = ModelConfig::llama(VOCAB, 32, 2, (4, 2), 64);
    let mut model = Transformer::new(&config, 3, &device::cpu());
    // Larger than a fresh model's weights, so that losses and gradients differ by more than rounding.
    for (_, mut param) in model.params_mut() {
        if param.shape().len() == 2 {
            let count: usize = param.shape().iter().product();
            param.set((0..count).map(|i| ((i * 7919 + count) % 997) as f32 / 997.0 * 0.4 - 0.2).collect());
        }
    }
    model
}

/// The same weights in a model that drops a fifth of everything while it learns.
fn dropping() -> Transformer {
    let dropout = Dropout { embedding: 0.2, attention: 0.2, residual: 0.2 };
    let config = ModelConfig { dropout, ..model().config().clone() };
    let mut dropping = Transformer::empty(&config, &device::cpu());
    for ((_, mut to), (_, from)) in dropping.params_mut().into_iter().zip(model().params()) {
        to.set(from.to_vec());
    }
    dropping
}

fn adapted(spec: &TrainSpec) -> Transformer {
    let mut model = model();
    adapter::apply(&mut model, spec.adapter.as_ref().unwrap(), spec.seed, &device::cpu()).unwrap();
    model
}

/// Texts of different lengths, each with a masked front part.
fn examples(count: usize) -> Vec<Sequence> {
    let one = |i: usize| {
        let mut sequence = Sequence::default();
        let ids = |n: usize, k: usize| (0..n).map(|j| ((i * 31 + j * k) % VOCAB) as u32).collect::<Vec<_>>();
        sequence.extend(&ids(2 + i % 4, 3), false);
        sequence.extend(&ids(3 + (i * 5) % 17, 7), true);
        sequence
    };
    (0..count).map(one).collect()
}

fn spec() -> TrainSpec {
    TrainSpec {
        adapter: Some(AdapterSpec::Lora(LoraSpec { r: 4, alpha: 8.0, dropout: 0.2, ..LoraSpec::default() })),
        n_epochs: 3,
        batch_size: 5,
        max_length: 48,
        micro_batch_tokens: 40,
        learning_rate: 0.01,
        warmup_steps: 2,
        weight_decay: 0.01,
        max_grad_norm: 0.5,
        seed: 11,
        ..TrainSpec::default()
    }
}

fn run(spec: &TrainSpec) -> Run {
    let model = if spec.adapter.is_some() { adapted(spec) } else { model() };
    Run::new(spec, model, examples(13), Some(examples(4))).unwrap()
}

fn weights(run: &Run) -> Vec<(String, Vec<f32>)> {
    let model = run.model();
    model.params().into_iter().map(|(path, param)| (path, param.to_vec())).collect()
}

fn steps(run: &mut Run, count: usize) -> Vec<StepReport> {
    (0..count).map(|_| run.step().unwrap()).collect()
}

#[test]
fn the_loss_falls_and_only_adapters_move() {
    let mut run = run(&spec());
    let before = weights(&run);
    let reports = steps(&mut run, 9);
    assert!(reports[8].loss < reports[0].loss * 0.9, "{reports:?}");
    for ((path, old), (_, new)) in before.iter().zip(&weights(&run)) {
        assert_eq!(old != new, path.contains(".lora."), "{path}");
    }
    let trained = run.progress().trained_tokens;
    let per_epoch: usize = examples(13).iter().map(Sequence::trained_tokens).sum();
    assert_eq!(trained, per_epoch as u64 * 3);
    assert!(run.is_done());
}

#[test]
fn frozen_layers_stay() {
    let spec = TrainSpec { adapter: None, frozen_layers: 1, ..spec() };
    let mut run = run(&spec);
    let before = weights(&run);
    steps(&mut run, 1);
    for ((path, old), (_, new)) in before.iter().zip(&weights(&run)) {
        let frozen = path.starts_with("embed.") || path.starts_with("layers.0.");
        assert_eq!(old == new, frozen, "{path}");
    }
    let all = TrainSpec { frozen_layers: 2, ..spec };
    assert!(
        matches!(Run::new(&all, model(), examples(3), None), Err(TrainError::Spec(error)) if error.field == "frozen_layers")
    );
}

#[test]
fn full_training_moves_every_weight() {
    let mut run = run(&TrainSpec { adapter: None, ..spec() });
    let before = weights(&run);
    steps(&mut run, 1);
    for ((path, old), (_, new)) in before.iter().zip(&weights(&run)) {
        assert_ne!(old, new, "{path}");
    }
}

/// One of each kind that drops nothing.
fn splittable() -> [Option<AdapterSpec>; 6] {
    let tokens = VirtualTokensSpec { virtual_tokens: 5 };
    [
        None,
        Some(AdapterSpec::Lora(LoraSpec { r: 4, ..LoraSpec::default() })),
        Some(AdapterSpec::Ia3),
        Some(AdapterSpec::Prefix(tokens)),
        Some(AdapterSpec::Prompt(tokens)),
        Some(AdapterSpec::Bottleneck(BottleneckSpec { width: 6 })),
    ]
}

/// Each kind of adapter learns, and nothing but it moves.
#[test]
fn every_adapter_learns() {
    for adapter in splittable().into_iter().flatten() {
        let spec = TrainSpec { adapter: Some(adapter.clone()), n_epochs: 6, learning_rate: 0.03, ..spec() };
        let mut run = run(&spec);
        let before = weights(&run);
        let reports = steps(&mut run, 18);
        let epoch = |from: usize| reports[from..from + 3].iter().map(|report| report.loss).sum::<f64>();
        assert!(epoch(15) < epoch(0) * 0.99, "{adapter:?}: {reports:?}");
        for ((path, old), (_, new)) in before.iter().zip(&weights(&run)) {
            assert_eq!(old != new, is_adapter(path), "{adapter:?}: {path}");
        }
    }
}

/// A base in 4 bits gives the loss and the gradients of the same numbers in 32.
#[test]
fn a_packed_base_trains_as_its_numbers_do() {
    let mut packed = model();
    adapter::pack(&mut packed);
    assert!(packed.params().len() < model().params().len());
    let mut unpacked = packed.clone();
    unpacked.projections_mut().into_iter().for_each(|(_, projection)| projection.unpack());
    let dora = LoraSpec { r: 4, dropout: 0.2, dora: true, ..LoraSpec::default() };
    for adapter in splittable().into_iter().flatten().chain([AdapterSpec::Lora(dora)]) {
        for precision in [Precision::F32, Precision::Bf16] {
            let spec = TrainSpec { adapter: Some(adapter.clone()), precision, ..spec() };
            let whole = first_step(&unpacked, &spec);
            same_step(&whole, &first_step(&packed, &spec));
            let exact = first_step(&model(), &spec);
            assert!((exact.0.loss - whole.0.loss).abs() > 1e-4, "{adapter:?}: nothing was rounded");
        }
    }
}

/// The same examples in one pass, whose halves two threads share, in passes of a row (which nobody shares) or two, and packed: loss
/// and weights after a step are the same.
#[test]
fn splitting_a_batch_changes_nothing() {
    for adapter in splittable() {
        let one = |micro_batch_tokens, packing| {
            first_step(&model(), &TrainSpec { adapter: adapter.clone(), micro_batch_tokens, packing, ..spec() })
        };
        let whole = one(10_000, false);
        for (micro, packing) in [(1, false), (40, false), (40, true), (10_000, true)] {
            if packing && adapter.as_ref().is_some_and(|adapter| adapter.virtual_tokens() > 0) {
                continue;
            }
            same_step(&whole, &one(micro, packing));
        }
    }
}

/// Each row draws what it drops by itself, whatever rows are beside it.
#[test]
fn splitting_a_batch_changes_nothing_with_dropout() {
    let dropping = dropping();
    for adapter in [None, spec().adapter] {
        let one = |model: &Transformer, micro_batch_tokens| {
            first_step(model, &TrainSpec { adapter: adapter.clone(), micro_batch_tokens, ..spec() })
        };
        let whole = one(&dropping, 10_000);
        same_step(&whole, &one(&dropping, 1));
        same_step(&whole, &one(&dropping, 40));
        let without = one(&model(), 10_000);
        assert!((without.0.loss / whole.0.loss - 1.0).abs() > 1e-3, "nothing was dropped");
    }
}

fn first_step(model: &Transformer, spec: &TrainSpec) -> (StepReport, State) {
    let mut model = model.clone();
    if let Some(adapter) = &spec.adapter {
        adapter::apply(&mut model, adapter, spec.seed, &device::cpu()).unwrap();
    }
    let mut run = Run::new(spec, model, examples(13), None).unwrap();
    (run.step().unwrap(), run.slots.clone())
}

/// The first moments after one step are the gradients, scaled.
fn same_step((whole, gradients): &(StepReport, State), (split, other): &(StepReport, State)) {
    assert!((split.loss / whole.loss - 1.0).abs() < 1e-5);
    assert!((split.grad_norm / whole.grad_norm - 1.0).abs() < 1e-5);
    assert_eq!(split.trained_tokens, whole.trained_tokens);
    for (path, moments) in gradients {
        let square = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
        let pairs = moments.first.iter().zip(&other[path].first);
        let difference = square(&mut pairs.map(|(a, b)| f64::from(a - b)));
        let size = square(&mut moments.first.iter().map(|a| f64::from(*a)));
        assert!(difference <= 1e-5 * size + 1e-12, "{path}: {difference} of {size}");
    }
}

/// Dropout, accumulation, and a kill in the middle of the second epoch.
#[test]
fn a_resumed_run_has_the_same_bits() {
    let spec = spec();
    let folder = tempfile::tempdir().unwrap();
    let mut whole = run(&spec);
    let wanted = steps(&mut whole, 9);
    let mut first = run(&spec);
    let mut got = steps(&mut first, 4);
    let checkpoint = folder.path().join("step-4");
    first.save(&checkpoint, &mut RealDisk).unwrap();
    steps(&mut first, 2);
    let mut second = Run::resume(&checkpoint, &spec, adapted(&spec), examples(13), Some(examples(4))).unwrap();
    got.extend(steps(&mut second, 5));
    assert_eq!(got, wanted);
    assert_eq!(weights(&second), weights(&whole));
    assert_eq!(second.evaluate(), whole.evaluate());
    assert_eq!(save::latest(folder.path()), Some(checkpoint.clone()));
    let exported = save::load_weights(&checkpoint, adapted(&spec)).unwrap();
    assert_eq!(exported.params().len(), weights(&whole).len());
}

#[test]
fn a_checkpoint_of_another_run_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("step-0");
    run(&spec()).save(&path, &mut RealDisk).unwrap();
    let other = TrainSpec { learning_rate: 0.02, ..spec() };
    let refused = Run::resume(&path, &other, adapted(&other), examples(13), None);
    assert!(matches!(refused, Err(TrainError::Checkpoint { .. })));
    std::fs::write(path.join("weights.safetensors"), b"short").unwrap();
    let refused = Run::resume(&path, &spec(), adapted(&spec()), examples(13), None);
    assert!(matches!(refused, Err(TrainError::Checkpoint { .. })));
}

/// The model under a run folder was changed: the refusal names a parameter, what the checkpoint has and what the model wants.
#[test]
fn a_checkpoint_of_another_shape_is_refused_before_a_step() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("step-1");
    let spec = TrainSpec { adapter: None, ..spec() };
    let mut run = run(&spec);
    steps(&mut run, 1);
    run.save(&path, &mut RealDisk).unwrap();
    let narrow = ModelConfig { ffn_dim: model().config().ffn_dim / 2, ..model().config().clone() };
    let shallow = ModelConfig { n_layers: 1, ..model().config().clone() };
    let deep = ModelConfig { n_layers: 3, ..model().config().clone() };
    let refused = |config: &ModelConfig| {
        let model = Transformer::new(config, 3, &device::cpu());
        let resumed = Run::resume(&path, &spec, model.clone(), examples(13), None).map(|_| ());
        let loaded = save::load_weights(&path, model).map(|_| ());
        [resumed, loaded].map(|done| match done {
            Err(TrainError::Checkpoint { reason, .. }) => reason,
            done => panic!("{done:?}"),
        })
    };
    let ffn = model().config().ffn_dim;
    for reason in refused(&narrow) {
        let both = [format!("{ffn}"), format!("{}", ffn / 2)];
        assert!(reason.starts_with("layers.0.") && reason.contains(" has the shape ["), "{reason}");
        assert!(both.iter().all(|size| reason.contains(size)), "{reason}");
    }
    assert!(refused(&shallow).iter().all(|reason| reason.contains("layers.1.")));
    let resumed = &refused_to_resume(&path, &spec, &deep);
    assert!(resumed.starts_with("it has no layers.2."), "{resumed}");
    // A list of as many numbers, as earlier versions wrote it, is taken.
    let bytes = std::fs::read(path.join("weights.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.tensors();
    let list = |(name, view)| {
        let view: &TensorView<'_> = view;
        (name, TensorView::new(view.dtype(), vec![view.data().len() / 4], view.data()).unwrap())
    };
    let lists: Vec<(&String, _)> = tensors.iter().map(|(name, view)| list((name, view))).collect();
    let flat = safetensors::serialize(lists, None).unwrap();
    std::fs::write(path.join("weights.safetensors"), flat).unwrap();
    let resumed = Run::resume(&path, &spec, model(), examples(13), None).unwrap();
    assert_eq!(weights(&resumed), weights(&run));
}

fn refused_to_resume(path: &Path, spec: &TrainSpec, config: &ModelConfig) -> String {
    let model = Transformer::new(config, 3, &device::cpu());
    match Run::resume(path, spec, model, examples(13), None) {
        Err(TrainError::Checkpoint { reason, .. }) => reason,
        done => panic!("{:?}", done.map(|run| run.progress())),
    }
}

/// Fails at its n-th operation, leaving half a file where it was writing.
struct Failing {
    left: usize,
}

impl Failing {
    fn next(&mut self) -> io::Result<RealDisk> {
        self.left = self.left.checked_sub(1).ok_or_else(|| io::Error::from(io::ErrorKind::StorageFull))?;
        Ok(RealDisk)
    }
}

impl Disk for Failing {
    fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if self.left == 0 {
            std::fs::write(path, &bytes[..bytes.len() / 2])?;
        }
        self.next()?.write(path, bytes)
    }
    fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        self.next()?.create_dir(path)
    }
    fn remove_dir(&mut self, path: &Path) -> io::Result<()> {
        self.next()?.remove_dir(path)
    }
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.next()?.rename(from, to)
    }
    fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        self.next()?.sync_dir(path)
    }
}

/// Saving over an older checkpoint and beside it: whatever fails, a whole checkpoint can be resumed.
#[test]
fn a_failing_write_leaves_the_last_checkpoint_whole() {
    let spec = spec();
    let mut run = run(&spec);
    steps(&mut run, 1);
    let mut worked = false;
    for left in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let same = folder.path().join("step-1");
        run.save(&same, &mut RealDisk).unwrap();
        for path in [same.clone(), folder.path().join("step-2")] {
            let saved = run.save(&path, &mut Failing { left });
            save::recover(&same);
            worked |= saved.is_ok();
            if let Err(error) = saved {
                assert!(
                    matches!(&error, TrainError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull),
                    "operation {left}: {error}"
                );
            }
            for (_, path) in save::steps(folder.path()) {
                let resumed = Run::resume(&path, &spec, adapted(&spec), examples(13), None).unwrap();
                assert_eq!(weights(&resumed), weights(&run), "operation {left}");
            }
            assert!(!save::steps(folder.path()).is_empty(), "operation {left}");
        }
    }
    assert!(worked, "the last rounds have no failure left");
}

/// The chunked loss against burn's own log-softmax over all logits, gradients of hidden states and head included; with a head of
/// its own, capped and biased, and with what may be added to the loss.
#[test]
fn the_chunked_loss_equals_the_plain_one() {
    let own_head = |config| ModelConfig { tied: false, head_bias: true, logit_softcap: Some(3.0), ..config };
    let more = Objective { label_smoothing: 0.1, z_loss: 0.02, ..Objective::default() };
    chunked_is_plain(&model(), Objective::default());
    chunked_is_plain(&model(), more);
    let model = Transformer::new(&own_head(model().config().clone()), 5, &device::cpu());
    chunked_is_plain(&model, more);
}

fn chunked_is_plain(model: &Transformer, objective: Objective<'_>) {
    let spec = TrainSpec { adapter: None, ..spec() };
    let pass = Batches::new(examples(6), &spec).all().swap_remove(0);
    let device = device::cpu().autodiff();
    let model = burn::module::Module::train(model.clone());
    let width = model.config().d_model;
    let values: Vec<f32> = (0..pass.rows * pass.time * width).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
    let hidden = || {
        let data = TensorData::new(values.clone(), [pass.rows, pass.time, width]);
        Tensor::<3>::from_data(data, &device).require_grad()
    };
    let scale = 0.25;
    let ours = hidden();
    let (losses, surrogate) =
        loss::cross_entropy(&model, ours.clone(), &pass, objective, &vec![scale; pass.positions.len()]);
    let (sums, _) = losses.read();
    let tape = surrogate.unwrap().backward();
    let plain = hidden();
    let n = pass.positions.len();
    let index = |values: &Vec<i32>| Tensor::<1, Int>::from_data(TensorData::new(values.clone(), [n]), &device);
    let logits = model.logits(plain.clone()).reshape([pass.rows * pass.time, VOCAB]);
    let logits = logits.select(0, index(&pass.positions));
    let logp = activation::log_softmax(logits.clone(), 1);
    let picked = -logp.clone().gather(1, index(&pass.targets).reshape([n, 1])).sum();
    let want = floats(picked.clone().into_data())[0];
    assert!((sums.loss as f32 / want - 1.0).abs() < 1e-5);
    let Objective { label_smoothing, z_loss, .. } = objective;
    let spread = -logp.clone().mean_dim(1).sum();
    // What log-softmax took away is the logarithm of the denominator.
    let lse = (logits - logp).mean_dim(1);
    let total = picked * (1.0 - label_smoothing) + spread * label_smoothing + lse.square().sum() * z_loss;
    let plain_tape = (total * scale).backward();
    let close = |a: Vec<f32>, b: Vec<f32>| a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5);
    let read = |tensor: Tensor<3>| floats(tensor.into_data());
    assert!(close(read(ours.grad(&tape).unwrap()), read(plain.grad(&plain_tape).unwrap())));
    let read = |tensor: Tensor<2>| floats(tensor.into_data());
    let head = model.head_weight();
    assert!(close(read(head.grad(&tape).unwrap()), read(head.grad(&plain_tape).unwrap())));
    if let Some(bias) = model.head_bias() {
        let read = |tensor: Tensor<1>| floats(tensor.into_data());
        assert!(close(read(bias.grad(&tape).unwrap()), read(bias.grad(&plain_tape).unwrap())));
    }
}

/// A packed document sees nothing of its neighbours: its loss is what it is alone.
#[test]
fn packed_documents_do_not_see_each_other() {
    let spec = TrainSpec { packing: true, micro_batch_tokens: 48, ..spec() };
    let packed = evaluate(&model(), &Batches::new(examples(9), &spec).all());
    let alone = evaluate(&model(), &Batches::new(examples(9), &TrainSpec { packing: false, ..spec }).all());
    assert!((packed.loss / alone.loss - 1.0).abs() < 1e-5);
    assert_eq!(packed.tokens, alone.tokens);
}

#[test]
fn padding_changes_nothing() {
    let short = examples(2);
    let both = evaluate(&model(), &Batches::new(short.clone(), &spec()).all());
    let each = short.into_iter().map(|one| evaluate(&model(), &Batches::new(vec![one], &spec()).all()));
    let sum: f64 = each.map(|e| e.loss * e.tokens as f64).sum();
    assert!((both.loss * both.tokens as f64 / sum - 1.0).abs() < 1e-5);
}

/// A dense block, and one with experts.
fn alternating(capacity_factor: Option<f64>) -> ModelConfig {
    let config = ModelConfig::moe(4, VOCAB, 32, 2, (4, 2));
    ModelConfig { moe: config.moe.map(|moe| Moe { every: 2, capacity_factor, ..moe }), ..config }
}

#[test]
fn a_mixture_in_every_second_layer_learns() {
    for capacity_factor in [None, Some(1.0)] {
        let model = Transformer::new(&alternating(capacity_factor), 5, &device::cpu());
        let routers = model.params().into_iter().filter(|(path, _)| path.contains(".router."));
        assert_eq!(routers.map(|(path, _)| path).collect::<Vec<_>>(), ["layers.1.mlp.router.weight"]);
        let spec = TrainSpec { adapter: None, n_epochs: 20, ..spec() };
        let mut run = Run::new(&spec, model, examples(13), None).unwrap();
        let before = weights(&run);
        let reports = steps(&mut run, 40);
        let loss = |reports: &[StepReport]| reports.iter().map(|report| report.loss).sum::<f64>();
        assert!(loss(&reports[37..]) < 0.9 * loss(&reports[..3]), "{capacity_factor:?}: {reports:?}");
        for ((path, old), (_, new)) in before.iter().zip(&weights(&run)) {
            assert!(old != new, "{capacity_factor:?}: {path} has not moved");
        }
    }
}

#[test]
fn nothing_to_train_is_an_error() {
    let mut masked = examples(1);
    masked[0].trained.fill(false);
    let refused = Run::new(&spec(), adapted(&spec()), masked, None);
    assert!(matches!(refused, Err(TrainError::NothingToTrain)));
}

/// Computed again block by block, with dropout, experts and rounding: the same gradients.
#[test]
fn gradient_checkpointing_changes_no_gradient() {
    let dropout = Dropout { embedding: 0.1, attention: 0.1, residual: 0.1 };
    let moe = ModelConfig { dropout, ..ModelConfig::moe(4, VOCAB, 32, 2, (4, 2)) };
    let tied = ModelConfig { tied: true, ..model().config().clone() };
    let fresh = |config: &ModelConfig| Transformer::new(config, 5, &device::cpu());
    let models = [model(), fresh(&moe), fresh(&tied), fresh(&alternating(None))];
    for model in &models {
        for adapter in splittable().into_iter().chain([spec().adapter]) {
            // Experts are no modules of an adapter, and their balance counts tokens.
            if adapter.is_some() && model.config().moe.is_some() {
                continue;
            }
            for precision in [Precision::F32, Precision::Bf16] {
                let spec = TrainSpec { adapter: adapter.clone(), precision, ..spec() };
                let whole = first_step(model, &spec);
                let again = first_step(model, &TrainSpec { gradient_checkpointing: true, ..spec });
                same_step(&whole, &again);
            }
        }
    }
}
