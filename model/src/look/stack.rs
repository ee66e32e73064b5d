//! The stack from token ids to logits, step by step: shapes, parameters and floating point operations for a text, read off the
//! model's own parts; beside them the sizes of its residual stream.

use hearth_shared::lab::inside::{self, Order, Place, Stack, Step};

use super::LookError;
use super::stream::Stream;
use crate::config::BlockKind;
use crate::layers::NormLayer;
use crate::moe::{Experts, FeedForward};
use crate::projection::Projection;
use crate::transformer::{Block, Transformer};

/// The stack for the text that made the stream.
///
/// # Errors
/// The device was lost or refused the work.
pub async fn stack(model: &Transformer, stream: &Stream) -> Result<Stack, LookError> {
    let sizes = stream.sizes(model).await?;
    let steps = Steps { model, time: sizes.begins.len() };
    let blocks = model.layers.iter().enumerate().zip(sizes.blocks).map(|((layer, block), sizes)| inside::Block {
        steps: steps.block(layer, block),
        attention: sizes.attention,
        mlp: sizes.mlp,
        after: sizes.after,
    });
    Ok(Stack {
        time: steps.time as u32,
        order: match model.config().block {
            BlockKind::Serial => Order::Serial,
            BlockKind::Parallel => Order::Parallel,
            BlockKind::ParallelShared => Order::ParallelShared,
        },
        embedding: steps.embedding(),
        blocks: blocks.collect(),
        head: steps.head(),
        begins: sizes.begins,
        normed: sizes.normed,
    })
}

/// A model's steps for a text of `time` tokens.
#[derive(Clone, Copy)]
struct Steps<'a> {
    model: &'a Transformer,
    time: usize,
}

impl Steps<'_> {
    fn embedding(self) -> Vec<Step> {
        let mut steps = vec![self.table("embed", self.vocabulary())];
        if let Some(positions) = &self.model.positions {
            let shape = positions.lazy_shape();
            steps.push(self.table("positions", [shape[0], shape[1]]));
        }
        steps.extend(self.model.embed_norm.as_ref().map(|norm| self.norm("embed_norm", norm)));
        steps
    }

    fn block(self, layer: usize, block: &Block) -> Vec<Step> {
        let config = self.model.config();
        let mut steps = vec![self.norm("attention_norm", &block.attention_norm)];
        let mut inputs = block.attention.projections();
        // The last one writes what attention found.
        let output = inputs.pop();
        steps.extend(inputs.into_iter().map(|(name, projection)| self.product(Place::Attention, name, projection)));
        if let Some(norm) = &block.attention.qk_norm {
            let heads = |count: usize| [self.time, count, config.head_dim];
            steps.push(Step { output: shape(&heads(config.n_heads)), ..self.norm("q_norm", &norm.q) });
            steps.push(Step { output: shape(&heads(config.kv_heads)), ..self.norm("k_norm", &norm.k) });
        }
        steps.extend(self.pairs(layer));
        steps.extend(output.map(|(name, projection)| self.product(Place::Attention, name, projection)));
        steps.extend(block.attention_post_norm.as_ref().map(|norm| self.norm("attention_post_norm", norm)));
        steps.extend(block.mlp_norm.as_ref().map(|norm| self.norm("mlp_norm", norm)));
        match &block.mlp {
            FeedForward::Dense(mlp) => {
                let all = mlp.projections().into_iter();
                steps.extend(all.map(|(name, projection)| self.product(Place::Mlp, name, projection)));
            }
            FeedForward::Experts(experts) => steps.extend(self.experts(layer, experts)),
        }
        steps.extend(block.mlp_post_norm.as_ref().map(|norm| self.norm("mlp_post_norm", norm)));
        steps
    }

    fn head(self) -> Vec<Step> {
        let norm = self.norm("norm", &self.model.norm);
        let head = match &self.model.head {
            Some(head) => self.product(Place::Head, "head", head),
            None => {
                let [rows, width] = self.vocabulary();
                let bias = self.model.head_bias.as_ref().map_or(0, |bias| bias.lazy_shape()[0]);
                Step {
                    place: Place::Head,
                    name: "head".to_owned(),
                    output: shape(&[self.time, rows]),
                    weight: shape(&[rows, width]),
                    // The matrix is the embedding's.
                    parameters: bias as u64,
                    flops: self.twice(rows * width),
                }
            }
        };
        vec![norm, head]
    }

    /// The two products of attention that have no weights: queries with keys, weights with values.
    fn pairs(self, layer: usize) -> [Step; 2] {
        let config = self.model.config();
        let (heads, size, time) = (config.n_heads, config.head_dim, self.time);
        let seen = |query: usize| config.window(layer).map_or(query, |window| query.min(window));
        let pairs: usize = (1..=time).map(seen).sum();
        let step = |name: &str, output: [usize; 3]| Step {
            place: Place::Attention,
            name: name.to_owned(),
            output: shape(&output),
            weight: Vec::new(),
            parameters: 0,
            flops: 2.0 * (pairs * heads * size) as f64,
        };
        [step("scores", [heads, time, time]), step("mix", [heads, time, size])]
    }

    /// The router, and each matrix of the experts taken together: a token goes through a few of them.
    fn experts(self, layer: usize, experts: &Experts) -> Vec<Step> {
        let active = self.model.config().moe_in(layer).map_or(experts.experts.len(), |moe| moe.top_k);
        let count = experts.experts.len();
        let mut steps = vec![self.product(Place::Mlp, "router", &experts.router)];
        let first = experts.experts.first().map(|expert| expert.projections()).unwrap_or_default();
        for (name, projection) in first {
            let one = self.product(Place::Mlp, name, projection);
            let [outputs, inputs] = projection.shape();
            steps.push(Step {
                weight: shape(&[count, outputs, inputs]),
                parameters: one.parameters * count as u64,
                flops: one.flops * active as f64,
                ..one
            });
        }
        steps
    }

    /// `[T, in]` → `[T, out]`
    fn product(self, place: Place, name: &str, projection: &Projection) -> Step {
        let [outputs, inputs] = projection.shape();
        let bias = if projection.bias.is_some() { outputs } else { 0 };
        Step {
            place,
            name: name.to_owned(),
            output: shape(&[self.time, outputs]),
            weight: shape(&[outputs, inputs]),
            parameters: (outputs * inputs + bias) as u64,
            flops: self.twice(outputs * inputs),
        }
    }

    /// `[T, D]` → `[T, D]`
    fn norm(self, name: &str, norm: &NormLayer) -> Step {
        let width = norm.weight.lazy_shape()[0];
        let bias = norm.bias.as_ref().map_or(0, |bias| bias.lazy_shape()[0]);
        Step {
            place: Place::Norm,
            name: name.to_owned(),
            output: shape(&[self.time, width]),
            weight: shape(&[width]),
            parameters: (width + bias) as u64,
            flops: 0.0,
        }
    }

    /// A row for every token: `[T]` → `[T, D]`
    fn table(self, name: &str, [rows, width]: [usize; 2]) -> Step {
        Step {
            place: Place::Embedding,
            name: name.to_owned(),
            output: shape(&[self.time, width]),
            weight: shape(&[rows, width]),
            parameters: (rows * width) as u64,
            flops: 0.0,
        }
    }

    /// `[V, D]`
    fn vocabulary(self) -> [usize; 2] {
        let shape = self.model.embed.lazy_shape();
        [shape[0], shape[1]]
    }

    /// A multiplication and an addition for each weight and token.
    fn twice(self, weights: usize) -> f64 {
        2.0 * self.time as f64 * weights as f64
    }
}

fn shape(sides: &[usize]) -> Vec<u32> {
    sides.iter().map(|side| *side as u32).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use futures::executor::block_on;
    use hearth_shared::lab::cache::Work;

    use super::*;
    use crate::config::{Gpt2Size, ModelConfig};
    use crate::{device, plan};

    const IDS: [u32; 7] = [3, 17, 4, 44, 9, 3, 5];

    fn of(config: &ModelConfig) -> Stack {
        let model = Transformer::new(config, 5, &device::cpu());
        block_on(stack(&model, &Stream::of(&model, &IDS))).unwrap()
    }

    fn gpt2() -> ModelConfig {
        let small = ModelConfig::gpt2(Gpt2Size::Small, 50);
        ModelConfig { n_layers: 2, d_model: 24, n_heads: 4, kv_heads: 4, head_dim: 6, ffn_dim: 40, ..small }
    }

    #[test]
    fn every_parameter_is_counted_once() {
        let llama = ModelConfig::llama(60, 32, 3, (4, 2), 64);
        let normed = ModelConfig { qk_norm: true, ..llama.clone() };
        for config in
            [llama, normed, gpt2(), ModelConfig::palm(60, 32, 2, 4, 64), ModelConfig::moe(4, 60, 32, 2, (4, 2))]
        {
            assert_eq!(of(&config).cost().parameters, config.parameters(), "{:?}", config.model_type);
        }
    }

    /// The cache lab's arithmetic counts the head once; here every token has logits.
    #[test]
    fn operations_are_those_of_the_other_labs() {
        for config in [ModelConfig::llama(60, 32, 3, (4, 2), 64), gpt2(), ModelConfig::palm(60, 32, 2, 4, 64)] {
            let (shape, time) = (plan::shape(&config), IDS.len() as u64);
            let work = Work::of_step(&shape, config.n_heads as u64, time, time);
            let head = 2.0 * (config.d_model * config.vocab_size) as f64;
            assert_eq!(of(&config).cost().flops, work.flops + head * (time - 1) as f64, "{:?}", config.model_type);
        }
    }

    #[test]
    fn steps_stand_in_the_order_they_are_computed_in() {
        let stack = of(&ModelConfig::llama(60, 32, 3, (4, 2), 64));
        assert_eq!((stack.time, stack.order, stack.blocks.len()), (7, Order::Serial, 3));
        let steps = &stack.blocks[0].steps;
        let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
        let expected = [
            "attention_norm",
            "q_proj",
            "k_proj",
            "v_proj",
            "scores",
            "mix",
            "o_proj",
            "mlp_norm",
            "gate_proj",
            "up_proj",
            "down_proj",
        ];
        assert_eq!(names, expected);
        let find = |name: &str| steps.iter().find(|step| step.name == name).unwrap();
        assert_eq!((&find("k_proj").output, &find("k_proj").weight), (&vec![7, 16], &vec![16, 32]));
        assert_eq!((find("k_proj").parameters, find("k_proj").flops), (512, 2.0 * 7.0 * 512.0));
        // Seven tokens see 28 keys together, in 4 heads of 8.
        assert_eq!((&find("scores").output, find("scores").flops), (&vec![4, 7, 7], 2.0 * 28.0 * 32.0));
        let head = &stack.head[1];
        assert_eq!((head.parameters, &head.weight, &head.output), (0, &vec![60, 32], &vec![7, 60]));
    }
}
