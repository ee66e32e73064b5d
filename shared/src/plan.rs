//! What a training run will need, by plain arithmetic: memory by part, and floating point operations. It counts what Hearth's own engine
//! keeps; nothing in it was fitted to a measurement.

pub mod devices;
pub mod estimate;
mod kept;
pub mod pace;
mod shapes;
pub mod sizing;
pub mod suggest;

use serde::{Deserialize, Serialize};

use crate::spec::{AdapterSpec, BaseWeights, OptimizerKind, TrainSpec};
use kept::Format;

/// A model as the arithmetic sees it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModelShape {
    /// All weights.
    pub parameters: u64,
    pub vocab_size: u64,
    pub d_model: u64,
    pub n_layers: u64,
    /// Query heads.
    pub n_heads: u64,
    /// Heads times their size.
    pub q_width: u64,
    /// Key heads times their size.
    pub kv_width: u64,
    pub ffn_dim: u64,
    /// Whether the feed-forward has a gate.
    pub gated: bool,
    /// Of a block that has some; 0 without.
    pub experts: u64,
    /// Blocks with experts.
    pub moe_layers: u64,
    /// Experts a token goes through; 1 without experts.
    pub active_experts: u64,
    /// The embedding is the head.
    pub tied: bool,
    /// Norms take the mean away first.
    pub layer_norm: bool,
    /// Weights of attention are dropped in training.
    pub attention_dropout: bool,
    /// What a half of a block adds is dropped in training.
    pub residual_dropout: bool,
    /// What an adapter can sit on in the blocks.
    pub projections: Vec<ProjectionShape>,
}

/// A matrix of every block, or of the dense ones.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProjectionShape {
    pub name: String,
    /// Blocks that have it.
    pub layers: u64,
    pub inputs: u64,
    pub outputs: u64,
    /// (IA)³ has a factor for each of so many of its inputs or outputs; 0 leaves it alone.
    pub factors: u64,
    /// The last one of its half of the block.
    pub ends_half: bool,
}

/// Bytes that a run holds at its fullest, by what they are for.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Memory {
    pub weights: u64,
    pub gradients: u64,
    /// What the optimizer remembers, and the moving average.
    pub optimizer: u64,
    /// What the forward pass keeps for the backward pass.
    pub activations: u64,
    /// Logits of a part of the rows, and what lives for one product or one sum.
    pub temporary: u64,
    /// The copy of weights and optimizer that is written while the run goes on.
    pub checkpoint: u64,
    pub total: u64,
}

impl Memory {
    fn summed(self) -> Self {
        let Self { weights, gradients, optimizer, activations, temporary, checkpoint, .. } = self;
        Self { total: weights + gradients + optimizer + activations + temporary + checkpoint, ..self }
    }
}

/// Bytes of a number.
const F32: u64 = 4;
/// Floats of logits that exist at once, on the CPU and on a GPU.
const LOGITS: [u64; 2] = [1 << 24, 1 << 27];

impl ModelShape {
    /// How many numbers a run trains.
    pub fn trained(&self, spec: &TrainSpec) -> u64 {
        let Some(adapter) = &spec.adapter else {
            let frozen = u64::from(spec.frozen_layers).min(self.n_layers);
            let embedding = if frozen > 0 { self.vocab_size * self.d_model } else { 0 };
            return self.parameters.saturating_sub(embedding + frozen * self.matrices() / self.n_layers.max(1));
        };
        let by_projection =
            |count: &dyn Fn(&ProjectionShape) -> u64| self.projections.iter().map(|p| p.layers * count(p)).sum::<u64>();
        match adapter {
            AdapterSpec::Lora(lora) => by_projection(&|p| {
                let stretch = if lora.dora { p.outputs } else { 0 };
                if lora.targets(&p.name) { u64::from(lora.r) * (p.inputs + p.outputs) + stretch } else { 0 }
            }),
            AdapterSpec::Ia3 => by_projection(&|p| p.factors),
            AdapterSpec::Prefix(tokens) => self.n_layers * u64::from(tokens.virtual_tokens) * 2 * self.kv_width,
            AdapterSpec::Prompt(tokens) => u64::from(tokens.virtual_tokens) * self.d_model,
            AdapterSpec::Bottleneck(spec) => by_projection(&|p| {
                let width = u64::from(spec.width);
                if p.ends_half { 2 * width * p.outputs + width + p.outputs } else { 0 }
            }),
        }
    }

    /// Weights of all blocks' matrices, those of experts left out.
    fn matrices(&self) -> u64 {
        self.projections.iter().map(|p| p.layers * p.inputs * p.outputs).sum()
    }

    /// Floating point operations for each token of a training step, in rows of `length` tokens: of the products the model consists of,
    /// what gradient checkpointing computes again left out (Chowdhery 2022, appendix B, with causal attention counted as the half it is).
    /// A weight that is not trained costs no gradient of its own.
    pub fn flops_per_token(&self, length: f64, all_trained: bool) -> f64 {
        let head = 2.0 * (self.d_model * self.vocab_size) as f64;
        let (products, attention) = self.blocks_forward(length);
        let backward = if all_trained { 2.0 } else { 1.0 } * (products + head) + 2.0 * attention;
        products + head + attention + backward
    }

    /// Operations for a token's way through all blocks: of matrices, and of queries with keys and weights with values, each over half of
    /// the row.
    pub(crate) fn blocks_forward(&self, length: f64) -> (f64, f64) {
        let mlp = if self.gated { 3 } else { 2 } * self.d_model * self.ffn_dim;
        let attention = 2 * self.d_model * (self.q_width + self.kv_width);
        let dense = self.n_layers.saturating_sub(self.moe_layers);
        let layers = self.n_layers * attention + (dense + self.moe_layers * self.active_experts) * mlp;
        (2.0 * layers as f64, (self.n_layers * 2 * self.q_width) as f64 * length)
    }

    /// Floating point operations of a step with rows of `length` tokens: here what gradient checkpointing computes again counts.
    pub fn step_flops(&self, spec: &TrainSpec, length: f64) -> f64 {
        let (products, attention) = self.blocks_forward(length);
        let again = if spec.gradient_checkpointing { products + attention } else { 0.0 };
        f64::from(spec.batch_size) * length * (self.flops_per_token(length, spec.adapter.is_none()) + again)
    }

    /// What a run holds at its fullest, on this engine's CPU.
    pub fn memory(&self, spec: &TrainSpec) -> Memory {
        self.fullest(spec, Format::of(spec.precision, false))
    }

    /// Positions of a pass.
    fn pass(&self, spec: &TrainSpec) -> u64 {
        let per_step = u64::from(spec.batch_size) * u64::from(spec.max_length);
        per_step.min(u64::from(spec.micro_batch_tokens.max(spec.max_length)))
    }

    /// How many work on a pass at once on the CPU, each with gradients of its own: a dense model's rows in f32 go in two halves.
    fn workers(&self, spec: &TrainSpec, format: Format) -> u64 {
        let several = self.pass(spec) >= 2 * u64::from(spec.max_length);
        let divisible = self.experts == 0 && !format.gpu && !format.rounds;
        if several && divisible { 2 } else { 1 }
    }

    /// The fullest moment of a step.
    fn fullest(&self, spec: &TrainSpec, format: Format) -> Memory {
        let (trained, workers) = (self.trained(spec), self.workers(spec, format));
        let packed = if spec.base_weights == BaseWeights::Nf4 { self.matrices() } else { 0 };
        let weights = F32 * (self.parameters - packed.min(self.parameters)) + packed * 33 / 64;
        let added = if spec.adapter.is_some() { F32 * trained } else { 0 };
        // Beside the masters, what the products of a pass read.
        let rounded = match (format.rounds, spec.gradient_checkpointing) {
            (false, _) => 0,
            (true, false) => self.parameters,
            (true, true) => (self.matrices() / self.n_layers.max(1)).max(self.vocab_size * self.d_model),
        };
        let optimizer = match spec.optimizer {
            OptimizerKind::Adamw | OptimizerKind::Muon => 2,
            OptimizerKind::Lion | OptimizerKind::Sgd => 1,
            OptimizerKind::Adafactor => 0,
        } + u64::from(spec.ema_decay.is_some());
        let at = |moment: Moment| {
            let memory = Memory {
                weights: weights + added + format.input() * rounded,
                gradients: F32 * workers * moment.gradients,
                optimizer: F32 * trained * optimizer,
                activations: self.pass(spec) * moment.kept,
                temporary: F32 * moment.temporary,
                checkpoint: F32 * trained * (1 + optimizer),
                total: 0,
            };
            memory.summed()
        };
        self.moments(spec, format).into_iter().map(at).max_by_key(|memory| memory.total).unwrap_or_default()
    }

    /// Where a step can be at its fullest: activations go as gradients come.
    fn moments(&self, spec: &TrainSpec, format: Format) -> Vec<Moment> {
        let (tokens, trained, workers) = (self.pass(spec), self.trained(spec), self.workers(spec, format));
        // A step in several passes adds each one's gradients to a sum.
        let several = tokens < u64::from(spec.batch_size) * u64::from(spec.max_length);
        let sum = if several { trained } else { 0 };
        let matrix = self.vocab_size * self.d_model;
        let trains_head = spec.adapter.is_none() && !(self.tied && spec.frozen_layers > 0);
        let head = sum + if trains_head { matrix } else { 0 };
        // A tied embedding's gradient comes from both its ends, and their sum is a third.
        let tail = workers * if trains_head { matrix * if self.tied { 2 } else { 1 } } else { 0 };
        let logits = (workers * LOGITS[usize::from(format.gpu)]).min(tokens * self.vocab_size);
        // In burn's operations there are probabilities and a gradient beside them.
        let logits = logits * if format.gpu || format.rounds { 3 } else { 1 };
        // What lives for one product, and gradients of a block's activations.
        let products = tokens * (3 * self.d_model + 2 * self.ffn_dim);
        // A position's scores with all keys of its row.
        let (scores, keys) = (self.scores(format), self.n_heads * u64::from(spec.max_length));
        let [dense, mixed] = [false, true].map(|experts| self.block_kept(spec, format, experts) + scores.kept * keys);
        let block = if self.moe_layers > 0 { dense.max(mixed) } else { dense };
        let passing = products.max(tokens * keys * scores.passing / F32);
        let (ends, between) = (F32 * 3 * self.d_model, F32 * self.d_model);
        let moment = |kept, temporary, gradients| Moment { kept, temporary, gradients };
        if spec.gradient_checkpointing {
            let inputs = F32 * self.n_layers * self.d_model;
            return vec![
                moment(inputs + ends, logits, head),
                moment(inputs + block, passing, head),
                moment(between + block, passing, trained),
                moment(between, tail, trained),
            ];
        }
        let whole = self.n_layers.saturating_sub(self.moe_layers) * dense + self.moe_layers * mixed + ends;
        vec![moment(whole, logits.max(passing), head), moment(between, tail, sum + trained)]
    }
}

/// What is held at one moment of a step.
#[derive(Clone, Copy, Debug)]
struct Moment {
    /// Bytes of each position.
    kept: u64,
    /// Floats.
    temporary: u64,
    /// Floats of each worker.
    gradients: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{BottleneckSpec, LoraSpec, VirtualTokensSpec};

    /// SmolLM2-135M, whose figures stand on its model card.
    pub(super) fn smollm2() -> ModelShape {
        let projection = |name: &str, inputs, outputs, factors, ends_half| ProjectionShape {
            name: name.to_owned(),
            layers: 30,
            inputs,
            outputs,
            factors,
            ends_half,
        };
        ModelShape {
            parameters: 134_515_008,
            vocab_size: 49_152,
            d_model: 576,
            n_layers: 30,
            n_heads: 9,
            q_width: 576,
            kv_width: 192,
            ffn_dim: 1536,
            gated: true,
            experts: 0,
            moe_layers: 0,
            active_experts: 1,
            tied: true,
            layer_norm: false,
            attention_dropout: false,
            residual_dropout: false,
            projections: vec![
                projection("q_proj", 576, 576, 0, false),
                projection("k_proj", 576, 192, 192, false),
                projection("v_proj", 576, 192, 192, false),
                projection("o_proj", 576, 576, 0, true),
                projection("gate_proj", 576, 1536, 0, false),
                projection("up_proj", 576, 1536, 0, false),
                projection("down_proj", 1536, 576, 1536, true),
            ],
        }
    }

    #[test]
    fn parts_add_up_and_methods_differ_as_they_should() {
        let shape = smollm2();
        let with = |adapter| TrainSpec { adapter, ..TrainSpec::default() };
        let full = shape.memory(&with(None));
        assert_eq!(full.weights, 4 * 134_515_008);
        // A sum over passes and the head's gradient while all activations are there; with hardly any, all gradients and their sum.
        assert_eq!((full.gradients, full.optimizer), (full.weights + 4 * 49_152 * 576, 2 * full.weights));
        let short = shape.memory(&TrainSpec { max_length: 64, micro_batch_tokens: 64, ..with(None) });
        assert_eq!((short.gradients, short.temporary), (2 * full.weights, 2 * 4 * 49_152 * 576));
        let halves = TrainSpec { max_length: 64, micro_batch_tokens: 128, ..with(None) };
        assert_eq!(shape.memory(&halves).gradients, 2 * short.gradients);
        let Memory { weights, gradients, optimizer, activations, temporary, checkpoint, total } = full;
        assert_eq!(total, weights + gradients + optimizer + activations + temporary + checkpoint);
        // By PEFT's own count for r 16 on every linear layer: 4,884,480.
        let lora = with(Some(AdapterSpec::Lora(LoraSpec::default())));
        assert_eq!(shape.trained(&lora), 4_884_480);
        assert!(shape.memory(&lora).total < full.total / 2);
        let packed = TrainSpec { base_weights: BaseWeights::Nf4, ..lora.clone() };
        assert!(shape.memory(&packed).weights < shape.memory(&lora).weights / 2);
        let again = TrainSpec { gradient_checkpointing: true, ..lora.clone() };
        assert!(shape.memory(&again).activations < shape.memory(&lora).activations / 8);
        let tokens = VirtualTokensSpec { virtual_tokens: 10 };
        let few = [
            (AdapterSpec::Ia3, 30 * (192 + 192 + 1536)),
            (AdapterSpec::Prefix(tokens), 10 * 30 * 2 * 192),
            (AdapterSpec::Prompt(tokens), 10 * 576),
            (AdapterSpec::Bottleneck(BottleneckSpec { width: 8 }), 30 * 2 * (16 * 576 + 8 + 576)),
        ];
        for (adapter, count) in few {
            assert_eq!(shape.trained(&with(Some(adapter))), count);
        }
    }

    /// PaLM's appendix counts 6 for each weight and 12 · layers · width · length for attention, which is not halved there.
    #[test]
    fn flops_are_the_papers() {
        let shape = smollm2();
        let weights = (shape.matrices() + 576 * 49_152) as f64;
        let attention = 12.0 * 30.0 * 576.0 * 50.0 / 2.0;
        assert_eq!(shape.flops_per_token(50.0, true), 6.0 * weights + attention);
        assert_eq!(shape.flops_per_token(50.0, false), 4.0 * weights + attention);
        // A third of the blocks' work again; the head's is done once.
        let spec = TrainSpec { adapter: None, batch_size: 3, gradient_checkpointing: true, ..TrainSpec::default() };
        let again = 2.0 * shape.matrices() as f64 + attention / 3.0;
        assert_eq!(shape.step_flops(&spec, 50.0), 150.0 * (6.0 * weights + attention + again));
    }
}
