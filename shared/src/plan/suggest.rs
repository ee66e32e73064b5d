//! What to change where a run does not fit: what costs least comes first.

use serde::{Deserialize, Serialize};

use super::estimate::Place;
use super::{Memory, ModelShape};
use crate::spec::{AdapterSpec, BaseWeights, LoraSpec, Objective, TrainSpec};

/// One change of a spec.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case", tag = "kind", content = "value")]
pub enum Change {
    /// Tokens of one pass; the step gathers several. Costs nothing but a little speed.
    MicroBatch(u32),
    /// A third more computing.
    GradientCheckpointing,
    /// An adapter of this rank instead of all weights.
    Lora(u32),
    /// The weights below an adapter in 4 bits.
    Nf4,
    /// Shorter rows: what is longer is cut.
    MaxLength(u32),
}

impl Change {
    /// Field and value, as a client of the API writes them.
    pub fn setting(self) -> (&'static str, String) {
        match self {
            Self::MicroBatch(tokens) => ("hearth.micro_batch_tokens", tokens.to_string()),
            Self::GradientCheckpointing => ("hearth.gradient_checkpointing", "true".to_owned()),
            Self::Lora(_) => ("hearth.tuning", "\"lora\"".to_owned()),
            Self::Nf4 => ("hearth.base_weights", "\"nf4\"".to_owned()),
            Self::MaxLength(tokens) => ("hearth.max_length", tokens.to_string()),
        }
    }
}

/// A spec that fits, and what was changed for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Suggestion {
    pub spec: TrainSpec,
    pub memory: Memory,
    pub changes: Vec<Change>,
}

/// Below that, passes waste more than they save.
const LEAST_LENGTH: u32 = 64;

impl ModelShape {
    /// The spec nearest to `spec` that fits into `available` bytes; none where even the smallest does not.
    pub fn fit(&self, spec: &TrainSpec, available: u64) -> Option<Suggestion> {
        fit(spec, available, &|spec| self.memory(spec))
    }

    /// The same for one of the devices of a layout.
    pub fn fit_on(&self, spec: &TrainSpec, available: u64, place: Place<'_>) -> Option<Suggestion> {
        fit(spec, available, &|spec| self.memory_on(spec, place))
    }
}

fn fit(spec: &TrainSpec, available: u64, memory: &dyn Fn(&TrainSpec) -> Memory) -> Option<Suggestion> {
    let mut methods = vec![(spec.clone(), Vec::new())];
    // What begins from nothing has no weights to put an adapter on.
    if spec.adapter.is_none() && spec.objective != Objective::Documents {
        let lora = LoraSpec::default();
        let change = Change::Lora(lora.r);
        let adapter = Some(AdapterSpec::Lora(lora));
        methods.push((TrainSpec { adapter, frozen_layers: 0, weight_decay: 0.0, ..spec.clone() }, vec![change]));
    }
    if let Some((last, mut changes)) = methods.last().cloned()
        && last.adapter.is_some()
        && last.base_weights == BaseWeights::F32
    {
        changes.push(Change::Nf4);
        methods.push((TrainSpec { base_weights: BaseWeights::Nf4, ..last }, changes));
    }
    for (spec, changes) in &methods {
        if let Some(found) = smaller_passes(spec, changes, available, memory) {
            return Some(found);
        }
        if !spec.gradient_checkpointing {
            let again = TrainSpec { gradient_checkpointing: true, ..spec.clone() };
            let changes = [changes.as_slice(), &[Change::GradientCheckpointing]].concat();
            if let Some(found) = smaller_passes(&again, &changes, available, memory) {
                return Some(found);
            }
        }
    }
    let (mut spec, mut changes) = methods.pop()?;
    if !spec.gradient_checkpointing {
        spec.gradient_checkpointing = true;
        changes.push(Change::GradientCheckpointing);
    }
    while spec.max_length / 2 >= LEAST_LENGTH {
        spec.max_length /= 2;
        let changes = [changes.as_slice(), &[Change::MaxLength(spec.max_length)]].concat();
        if let Some(found) = smaller_passes(&spec, &changes, available, memory) {
            return Some(found);
        }
    }
    None
}

/// Halves the passes until they fit, down to one row each.
fn smaller_passes(
    spec: &TrainSpec,
    changes: &[Change],
    available: u64,
    memory: &dyn Fn(&TrainSpec) -> Memory,
) -> Option<Suggestion> {
    let mut spec = spec.clone();
    let mut changes = changes.to_vec();
    let asked = spec.micro_batch_tokens;
    while memory(&spec).total > available {
        if spec.micro_batch_tokens <= spec.max_length {
            return None;
        }
        spec.micro_batch_tokens = (spec.micro_batch_tokens / 2).max(spec.max_length);
    }
    if spec.micro_batch_tokens != asked {
        changes.push(Change::MicroBatch(spec.micro_batch_tokens));
    }
    Some(Suggestion { memory: memory(&spec), spec, changes })
}

#[cfg(test)]
mod tests {
    use super::super::tests::smollm2;
    use super::*;

    #[test]
    fn the_cheapest_change_that_fits_is_taken() {
        let shape = smollm2();
        let spec = TrainSpec { adapter: None, batch_size: 16, micro_batch_tokens: 16_384, ..TrainSpec::default() };
        let needed = shape.memory(&spec).total;
        let changes = |available| {
            let found = shape.fit(&spec, available)?;
            assert!(found.memory.total <= available && found.memory == shape.memory(&found.spec));
            Some(found.changes)
        };
        assert_eq!(changes(needed), Some(Vec::new()));
        assert!(matches!(changes(needed * 3 / 4).as_deref(), Some([Change::MicroBatch(_)])));
        // One row a pass is the least, and then there are still four times the weights and a checkpoint's copy.
        let least = shape.memory(&TrainSpec { micro_batch_tokens: spec.max_length, ..spec.clone() }).total;
        let states = 7 * 4 * shape.parameters;
        let tight = changes(least - 1);
        assert!(tight.is_some_and(|tight| tight.contains(&Change::GradientCheckpointing)));
        let adapter = changes(states / 2);
        assert!(adapter.is_some_and(|list| list.contains(&Change::Lora(16)) && list.len() < 3));
        let packed = changes(500_000_000);
        assert!(packed.is_some_and(|list| list.contains(&Change::Nf4)), "{:?}", changes(500_000_000));
        assert_eq!(changes(50_000_000), None);
        let new = TrainSpec { objective: Objective::Documents, ..spec.clone() };
        assert!(shape.fit(&new, least - 1).is_some_and(|found| found.spec.adapter.is_none()));
        assert_eq!(shape.fit(&new, states / 2), None);
    }
}
