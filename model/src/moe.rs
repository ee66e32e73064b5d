//! A mixture of experts in place of the feed-forward half: a router sends each token to a few of many networks (Shazeer 2017;
//! Switch, Fedus 2021; GLaM, Du 2022; Mixtral, Jiang 2024).
//!
//! Capacity and balance are properties of one call: of a micro-batch, not of the optimizer step it is a part of.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData, activation};

use crate::config::{ModelConfig, Moe};
use crate::device;
use crate::layers::Mlp;
use crate::projection::{ParamMut, ParamRef, Projection, Site, floats};

/// The feed-forward half of a block.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a few of them live as long as the model, each with megabytes behind it")]
pub enum FeedForward {
    Dense(Mlp),
    Experts(Experts),
}

/// `N` experts and the router that chooses among them.
#[derive(Module, Debug)]
pub struct Experts {
    /// `[N, D]`
    pub router: Projection,
    pub experts: Vec<Mlp>,
    #[module(skip)]
    moe: Moe,
}

/// What routing leaves behind in training: one entry for each layer that has experts.
#[derive(Debug, Default)]
pub struct Routing {
    layers: Vec<Routed>,
}

#[derive(Debug)]
struct Routed {
    /// `[R, N]` of the pass's `R` tokens
    probabilities: Tensor<2>,
    chosen: Choice,
}

/// The share of tokens that chose each expert, over all layers.
#[derive(Debug)]
pub(crate) struct Shares {
    /// `N`
    shares: Vec<f32>,
    /// Times layers.
    tokens: f64,
}

/// Where each of `R` tokens goes.
#[derive(Clone, Debug, Default)]
struct Choice {
    /// `R · top_k` experts, the likeliest first
    experts: Vec<usize>,
    top_k: usize,
}

impl Routing {
    /// The load-balancing loss over all layers: `N · Σ f · P`, with `f` the share of choices and `P` the mean probability of each
    /// expert (Fedus 2021, equations 4 to 6; summed over layers as transformers does). `real` tells the tokens that are no
    /// padding, all of them where it is none. None where no layer has experts.
    pub fn balance(&self, real: Option<&[bool]>) -> Option<Tensor<1>> {
        self.balance_by(real, &self.shares(real)?)
    }

    /// How the choices of all layers fall on the experts.
    pub(crate) fn shares(&self, real: Option<&[bool]>) -> Option<Shares> {
        let experts = self.layers.first()?.probabilities.dims()[1];
        let mut chosen = vec![0.0; experts];
        let mut tokens = 0;
        for layer in &self.layers {
            let is_real = |token: usize| real.is_none_or(|real| real[token]);
            for (i, expert) in layer.chosen.experts.iter().enumerate() {
                if is_real(i / layer.chosen.top_k) {
                    chosen[*expert] += 1.0;
                }
            }
            tokens += (0..layer.probabilities.dims()[0]).filter(|token| is_real(*token)).count();
        }
        let tokens = tokens as f64;
        Some(Shares { shares: chosen.into_iter().map(|n: f64| (n / tokens) as f32).collect(), tokens })
    }

    /// What these layers add to [`Self::balance`], where the shares are those of more layers than these.
    pub(crate) fn balance_by(&self, real: Option<&[bool]>, all: &Shares) -> Option<Tensor<1>> {
        let experts = all.shares.len();
        let mut mean: Option<Tensor<2>> = None;
        for layer in &self.layers {
            let [rows, _] = layer.probabilities.dims();
            let is_real = |token: usize| real.is_none_or(|real| real[token]);
            let keep: Vec<f32> = (0..rows).map(|token| f32::from(is_real(token))).collect();
            let keep = Tensor::<2>::from_data(TensorData::new(keep, [rows, 1]), &layer.probabilities.device());
            let sum = (layer.probabilities.clone() * keep).sum_dim(0); // [1, N]
            mean = Some(match mean {
                Some(mean) => mean + sum,
                None => sum,
            });
        }
        let mean = mean? / all.tokens;
        let shares = Tensor::<2>::from_data(TensorData::new(all.shares.clone(), [1, experts]), &mean.device());
        Some((mean * shares).sum() * experts as f64)
    }

    /// How many tokens each expert of each layer was chosen for.
    pub fn load(&self) -> Vec<Vec<usize>> {
        let count = |layer: &Routed| {
            let mut load = vec![0; layer.probabilities.dims()[1]];
            layer.chosen.experts.iter().for_each(|expert| load[*expert] += 1);
            load
        };
        self.layers.iter().map(count).collect()
    }
}

impl FeedForward {
    pub fn empty(config: &ModelConfig, layer: usize, device: &Device) -> Self {
        match config.moe_in(layer) {
            None => Self::Dense(Mlp::empty(config, device)),
            Some(moe) => Self::Experts(Experts {
                router: Projection::empty(config.d_model, moe.experts, false, device),
                experts: (0..moe.experts).map(|_| Mlp::empty(config, device)).collect(),
                moe,
            }),
        }
    }

    /// `[B, T, D]` → `[B, T, D]`
    pub fn forward(&self, x: Tensor<3>, site: Site<'_>, routing: Option<&mut Routing>) -> Tensor<3> {
        match self {
            Self::Dense(mlp) => mlp.forward(x, site),
            // Neither a token's place among an expert's tokens nor its row is what dropout is keyed by.
            Self::Experts(experts) => experts.forward(x, Site { dropout: None, ..site }, routing),
        }
    }

    /// What an adapter can sit on: not the experts, which transformers keeps in one tensor that PEFT does not adapt.
    pub fn projections(&self) -> Vec<(&'static str, &Projection)> {
        match self {
            Self::Dense(mlp) => mlp.projections(),
            Self::Experts(_) => Vec::new(),
        }
    }

    pub fn projections_mut(&mut self) -> Vec<(&'static str, &mut Projection)> {
        match self {
            Self::Dense(mlp) => mlp.projections_mut(),
            Self::Experts(_) => Vec::new(),
        }
    }

    pub(crate) fn params<'a>(&'a self, path: &str, out: &mut Vec<(String, ParamRef<'a>)>) {
        let mut of = |mlp: &'a Mlp, path: &str| {
            for (name, projection) in mlp.projections() {
                projection.params(&format!("{path}.{name}"), out);
            }
        };
        match self {
            Self::Dense(mlp) => of(mlp, path),
            Self::Experts(moe) => {
                for (i, expert) in moe.experts.iter().enumerate() {
                    of(expert, &format!("{path}.experts.{i}"));
                }
                moe.router.params(&format!("{path}.router"), out);
            }
        }
    }

    pub(crate) fn params_mut<'a>(&'a mut self, path: &str, out: &mut Vec<(String, ParamMut<'a>)>) {
        let mut of = |mlp: &'a mut Mlp, path: &str| {
            for (name, projection) in mlp.projections_mut() {
                projection.params_mut(&format!("{path}.{name}"), out);
            }
        };
        match self {
            Self::Dense(mlp) => of(mlp, path),
            Self::Experts(moe) => {
                for (i, expert) in moe.experts.iter_mut().enumerate() {
                    of(expert, &format!("{path}.experts.{i}"));
                }
                moe.router.params_mut(&format!("{path}.router"), out);
            }
        }
    }
}

impl Experts {
    fn forward(&self, x: Tensor<3>, site: Site<'_>, routing: Option<&mut Routing>) -> Tensor<3> {
        let [batch, time, width] = x.dims();
        let rows = batch * time;
        // The choice is made in f32, whatever the precision (Fedus 2021).
        let logits = self.router.forward(x.clone(), Site::default()); // [B, T, N]
        let probabilities = activation::softmax(logits.reshape([rows, self.moe.experts]), 1); // [R, N]
        let flat = x.reshape([rows, width]);
        if !device::reads_at_once(&flat.device()) {
            return self.all_experts(flat, probabilities).reshape([batch, time, width]);
        }
        let chosen = self.choose(&floats(probabilities.clone().into_data()));
        let capacity = routing
            .as_ref()
            .and(self.moe.capacity_factor)
            .map(|factor| (factor * (rows * self.moe.top_k) as f64 / self.moe.experts as f64).ceil() as usize);
        let y = self.chosen_experts((flat, site), probabilities.clone(), &chosen, capacity);
        if let Some(routing) = routing {
            routing.layers.push(Routed { probabilities, chosen });
        }
        y.reshape([batch, time, width])
    }

    /// The `top_k` likeliest experts of each token; of equals the first.
    fn choose(&self, probabilities: &[f32]) -> Choice {
        let mut experts = Vec::new();
        for row in probabilities.chunks_exact(self.moe.experts) {
            let mut order: Vec<usize> = (0..row.len()).collect();
            order.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
            experts.extend_from_slice(&order[..self.moe.top_k]);
        }
        Choice { experts, top_k: self.moe.top_k }
    }

    /// Each expert sees only its tokens: `[R, D]` → `[R, D]`. Beyond `capacity`, tokens pass their expert by, the first ones
    /// served first.
    fn chosen_experts(
        &self,
        (flat, site): (Tensor<2>, Site<'_>),
        probabilities: Tensor<2>,
        chosen: &Choice,
        capacity: Option<usize>,
    ) -> Tensor<2> {
        let ([rows, width], device) = (flat.dims(), flat.device());
        let (k, slots) = (self.moe.top_k, chosen.experts.len());
        let index = |values: Vec<i32>| {
            let count = values.len();
            Tensor::<1, Int>::from_data(TensorData::new(values, [count]), &device)
        };
        let picks = chosen.experts.iter().map(|e| *e as i32).collect::<Vec<_>>();
        let picks = Tensor::<2, Int>::from_data(TensorData::new(picks, [rows, k]), &device);
        let mut weights = probabilities.gather(1, picks); // [R, k]
        if self.moe.renormalize {
            weights = weights.clone() / weights.sum_dim(1);
        }

        // Slot `token · k + i` is a token's i-th choice. Row `at[slot]` of all results, one expert behind the other, is its
        // result; the last row is zero, for those who were turned away.
        let mut at = vec![usize::MAX; slots];
        let mut parts = Vec::new();
        let mut filled = 0;
        for (e, expert) in self.experts.iter().enumerate() {
            let mut own: Vec<usize> = (0..slots).filter(|slot| chosen.experts[*slot] == e).collect();
            own.truncate(capacity.unwrap_or(usize::MAX));
            if own.is_empty() {
                continue;
            }
            for (i, slot) in own.iter().enumerate() {
                at[*slot] = filled + i;
            }
            filled += own.len();
            let tokens = index(own.iter().map(|slot| (slot / k) as i32).collect());
            let x = flat.clone().select(0, tokens).unsqueeze_dim::<3>(0); // [1, n, D]
            parts.push(expert.forward(x, site).squeeze_dim::<2>(0));
        }
        if filled < slots {
            parts.push(Tensor::zeros([1, width], &device));
        }
        let all = if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(parts, 0) };
        let back = index(at.into_iter().map(|row| row.min(filled) as i32).collect());
        let results = all.select(0, back).reshape([rows, k, width]);
        let weighted = results * weights.unsqueeze_dim::<3>(2); // [R, k, D]
        weighted.sum_dim(1).reshape([rows, width])
    }

    /// Every expert sees every token, and those it was not chosen for count nothing: more work, but nothing has to be read
    /// back from the device on the way. Capacity and balance are not kept here.
    fn all_experts(&self, flat: Tensor<2>, probabilities: Tensor<2>) -> Tensor<2> {
        let mut left = probabilities.clone();
        let mut weights = probabilities.zeros_like(); // [R, N]
        for _ in 0..self.moe.top_k {
            let best = left.clone().max_dim(1); // [R, 1]
            let taken = left.clone().greater_equal(best.expand(left.dims())).float();
            weights = weights + probabilities.clone() * taken.clone();
            left = left - taken * 2.0;
        }
        if self.moe.renormalize {
            weights = weights.clone() / weights.sum_dim(1);
        }
        let x = flat.unsqueeze_dim::<3>(0); // [1, R, D]
        let mut sum: Option<Tensor<2>> = None;
        for (e, expert) in self.experts.iter().enumerate() {
            let y = expert.forward(x.clone(), Site::default()).squeeze_dim::<2>(0); // [R, D]
            let y = y * weights.clone().narrow(1, e, 1);
            sum = Some(match sum {
                Some(sum) => sum + y,
                None => y,
            });
        }
        sum.expect("a model has one expert at least")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transformer::Transformer;

    fn experts(moe: Moe) -> Experts {
        let mut config = ModelConfig::moe(moe.experts, 16, 24, 1, (2, 1));
        config.moe = Some(moe);
        let mut model = Transformer::new(&config, 3, &device::cpu());
        match model.layers.remove(0).mlp {
            FeedForward::Experts(experts) => experts,
            FeedForward::Dense(_) => panic!("the layer has experts"),
        }
    }

    fn tokens(rows: usize) -> Tensor<3> {
        let values = crate::init::normal("tokens", rows * 24, 1.0, 5);
        Tensor::from_data(TensorData::new(values, [1, rows, 24]), &device::cpu())
    }

    const MOE: Moe = Moe { experts: 5, top_k: 2, renormalize: true, balance: 0.01, capacity_factor: None, every: 1 };

    #[test]
    fn chosen_experts_are_all_experts_weighted() {
        for moe in [MOE, Moe { renormalize: false, top_k: 1, ..MOE }, Moe { top_k: 5, ..MOE }] {
            let (experts, x) = (experts(moe), tokens(40));
            let flat = x.clone().reshape([40, 24]);
            let logits = experts.router.forward(x.clone(), Site::default()).reshape([40, 5]);
            let slow = floats(experts.all_experts(flat, activation::softmax(logits, 1)).into_data());
            let fast = floats(experts.forward(x, Site::default(), None).into_data());
            assert!(slow.iter().zip(&fast).all(|(a, b)| (a - b).abs() < 1e-6), "{moe:?}");
            assert!(fast.iter().any(|y| y.abs() > 1e-4));
        }
    }

    #[test]
    fn tokens_beyond_the_capacity_pass_their_experts_by() {
        let moe = Moe { capacity_factor: Some(0.5), ..MOE };
        let (experts, x) = (experts(moe), tokens(40));
        let whole = floats(experts.forward(x.clone(), Site::default(), None).into_data());
        let mut routing = Routing::default();
        let cut = floats(experts.forward(x, Site::default(), Some(&mut routing)).into_data());
        // 0.5 · 40 · 2 / 5 = 8 tokens for each expert.
        let load = routing.load().remove(0);
        assert_eq!(load.iter().sum::<usize>(), 80);
        assert!(load.iter().any(|n| *n > 8));
        // Products of fewer rows may round differently.
        let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-6;
        let same = |row: usize| whole[row * 24..].iter().zip(&cut[row * 24..]).take(24).all(close);
        assert!(same(0) && !(0..40).all(same), "the first token was served, a later one was not");
    }

    /// One choice in each of N equal experts: `f = P = 1/N`, so the loss is `top_k`; all on one: close to `N`.
    #[test]
    fn balance_is_least_when_experts_share() {
        let device = device::cpu();
        let routing = |probabilities: Vec<f32>, experts: Vec<usize>| {
            let rows = experts.len();
            let probabilities = Tensor::<2>::from_data(TensorData::new(probabilities, [rows, 4]), &device);
            Routing { layers: vec![Routed { probabilities, chosen: Choice { experts, top_k: 1 } }] }
        };
        let loss = |routing: Routing, real: Option<&[bool]>| {
            routing.balance(real).map(|loss| floats(loss.into_data())[0]).unwrap_or_default()
        };
        assert!((loss(routing(vec![0.25; 16], vec![0, 1, 2, 3]), None) - 1.0).abs() < 1e-6);
        let one: Vec<f32> = [1.0, 0.0, 0.0, 0.0].repeat(4);
        assert!((loss(routing(one.clone(), vec![0; 4]), None) - 4.0).abs() < 1e-6);
        // Padding counts nothing, whatever it was sent to.
        let mixed = [&one[..8], &[0.25; 8]].concat();
        assert!((loss(routing(mixed, vec![0, 0, 1, 2]), Some(&[true, true, false, false])) - 4.0).abs() < 1e-6);
        assert!(Routing::default().balance(None).is_none());
    }
}
