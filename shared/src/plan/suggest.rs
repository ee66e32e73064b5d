//! What to change where a run does not fit: what costs least comes first.

use serde::{Deserialize, Serialize};

use super::estimate::Place;
use super::{Memory, ModelShape};
use crate::spec::{AdapterSpec, BaseWeights, LoraSpec, Objective, Precision, TrainSpec};

/// One change of a spec.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case", tag = "kind", content = "value")]
pub enum Change {
    /// Tokens of one pass; the step gathers several. Costs nothing but a little speed.
    MicroBatch(u32),
    /// The number format of products: bf16 where a device has it, f32 where a shorter one is emulated.
    Precision(Precision),
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
            Self::Precision(precision) => ("hearth.precision", format!("\"{}\"", precision.as_str())),
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
    /// The spec nearest to `spec` that fits into `available` bytes of one of the devices of a layout; none where even the smallest does not.
    pub fn fit_on(&self, spec: &TrainSpec, available: u64, place: Place<'_>) -> Option<Suggestion> {
        let leaner = match (place.native, place.device.precision(spec.precision)) {
            (true, Precision::F32) if place.device.own_bf16 => Some(Precision::Bf16),
            (false, precision) if emulated(precision) => Some(Precision::F32),
            _ => None,
        };
        Room { available, memory: &|spec| self.memory_on(spec, place), leaner }.fit(spec)
    }

    /// The most rows that fit into one pass there, up to the whole step; none where not even one does. A step in fewer passes is the same
    /// step.
    pub fn largest_pass(&self, spec: &TrainSpec, available: u64, place: Place<'_>) -> Option<u32> {
        let memory: &dyn Fn(&TrainSpec) -> Memory = &|spec| self.memory_on(spec, place);
        Room { available, memory, leaner: None }.most_rows(spec, spec.batch_size.div_ceil(place.layout.data.max(1)))
    }
}

/// Rounding takes copies, and keeps the fused attention from being used.
fn emulated(precision: Precision) -> bool {
    !matches!(precision, Precision::Auto | Precision::F32)
}

/// What runs are fitted into.
struct Room<'a> {
    available: u64,
    memory: &'a dyn Fn(&TrainSpec) -> Memory,
    /// The number format that takes less there than the spec's.
    leaner: Option<Precision>,
}

/// A spec on the way to one that fits, and what was changed so far.
type Way = (TrainSpec, Vec<Change>);

impl Room<'_> {
    fn fit(&self, spec: &TrainSpec) -> Option<Suggestion> {
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
        let ways: Vec<Way> = methods.iter().flat_map(|method| self.ways(method)).collect();
        if let Some(found) = ways.iter().find_map(|way| self.in_passes(way)) {
            return Some(found);
        }
        // Of the last method, whatever takes least.
        let last = &ways[ways.len() - self.ways(methods.last()?).len()..];
        let (mut spec, changes) = last.iter().min_by_key(|(spec, _)| (self.memory)(&one_row(spec)).total).cloned()?;
        while spec.max_length / 2 >= LEAST_LENGTH {
            spec.max_length /= 2;
            let changes = [changes.as_slice(), &[Change::MaxLength(spec.max_length)]].concat();
            if let Some(found) = self.in_passes(&(spec.clone(), changes)) {
                return Some(found);
            }
        }
        None
    }

    /// A method as it is, in the leaner format, with gradient checkpointing, and with both.
    fn ways(&self, (spec, changes): &Way) -> Vec<Way> {
        let mut ways = vec![(spec.clone(), changes.clone())];
        if let Some(precision) = self.leaner {
            let changes = [changes.as_slice(), &[Change::Precision(precision)]].concat();
            ways.push((TrainSpec { precision, ..spec.clone() }, changes));
        }
        if !spec.gradient_checkpointing {
            let again = ways.clone().into_iter().map(|(spec, mut changes)| {
                changes.push(Change::GradientCheckpointing);
                (TrainSpec { gradient_checkpointing: true, ..spec }, changes)
            });
            ways.extend(again);
        }
        ways
    }

    /// In the largest passes that fit, down to one row each.
    fn in_passes(&self, (spec, changes): &Way) -> Option<Suggestion> {
        let memory = (self.memory)(spec);
        if memory.total <= self.available {
            return Some(Suggestion { spec: spec.clone(), memory, changes: changes.clone() });
        }
        let asked = spec.micro_batch_tokens / spec.max_length.max(1);
        let rows = self.most_rows(spec, asked.clamp(1, spec.batch_size.max(1)))?;
        let spec = passing(spec, rows);
        let changes = [changes.as_slice(), &[Change::MicroBatch(spec.micro_batch_tokens)]].concat();
        Some(Suggestion { memory: (self.memory)(&spec), spec, changes })
    }

    /// The most rows of a pass that fit, of `most`. More rows take more, but for all rows of the step at once: those have no other
    /// pass's gradients beside them.
    fn most_rows(&self, spec: &TrainSpec, most: u32) -> Option<u32> {
        let fits = |rows: u32| (self.memory)(&passing(spec, rows)).total <= self.available;
        if fits(most) {
            return Some(most);
        }
        let (mut fitting, mut too_many) = (0, most);
        while too_many - fitting > 1 {
            let middle = fitting.midpoint(too_many);
            if fits(middle) {
                fitting = middle;
            } else {
                too_many = middle;
            }
        }
        (fitting > 0).then_some(fitting)
    }
}

/// In passes of so many rows; the step stays what it is.
fn passing(spec: &TrainSpec, rows: u32) -> TrainSpec {
    TrainSpec { micro_batch_tokens: rows.saturating_mul(spec.max_length), ..spec.clone() }
}

fn one_row(spec: &TrainSpec) -> TrainSpec {
    passing(spec, 1)
}

#[cfg(test)]
mod tests {
    use super::super::devices::{DeviceSheet, sheets};
    use super::super::estimate::Layout;
    use super::super::tests::smollm2;
    use super::*;

    #[test]
    fn the_cheapest_change_that_fits_is_taken() {
        let shape = smollm2();
        let spec = TrainSpec { adapter: None, batch_size: 16, micro_batch_tokens: 16_384, ..TrainSpec::default() };
        let needed = shape.memory(&spec).total;
        let cpu = sheet("CPU");
        let fit = |spec: &TrainSpec, available| shape.fit_on(spec, available, Place::usual(&cpu, Layout::SINGLE));
        let changes = |available| {
            let found = fit(&spec, available)?;
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
        assert!(fit(&new, least - 1).is_some_and(|found| found.spec.adapter.is_none()));
        assert_eq!(fit(&new, states / 2), None);
    }
    fn sheet(start: &str) -> DeviceSheet {
        let found = sheets().into_iter().find(|sheet| sheet.name.starts_with(start));
        found.unwrap_or_else(|| panic!("no {start} in the table"))
    }

    #[test]
    fn bf16_is_a_way_out_where_it_is_the_devices_own() {
        let (shape, card, cpu) = (smollm2(), sheet("H100"), sheet("CPU"));
        let plain = TrainSpec { adapter: None, batch_size: 16, precision: Precision::F32, ..TrainSpec::default() };
        let changes = |device: &DeviceSheet, spec: &TrainSpec| {
            let place = Place::usual(device, Layout::SINGLE);
            // One byte less than one row at a time takes.
            let available = shape.memory_on(&passing(spec, 1), place).total - 1;
            let found = shape.fit_on(spec, available, place).unwrap_or_else(|| panic!("nothing fits {}", device.name));
            assert!(found.memory.total <= available && found.memory == shape.memory_on(&found.spec, place));
            found.changes
        };
        let found = changes(&card, &plain);
        assert!(found.contains(&Change::Precision(Precision::Bf16)), "{found:?}");
        assert!(!found.contains(&Change::GradientCheckpointing), "{found:?}");
        // `auto` is bf16 there already.
        let found = changes(&card, &TrainSpec { precision: Precision::Auto, ..plain.clone() });
        assert!(!found.iter().any(|change| matches!(change, Change::Precision(_))), "{found:?}");
        // On a CPU it is the other way round: what is emulated takes more.
        let found = changes(&cpu, &plain);
        assert!(!found.iter().any(|change| matches!(change, Change::Precision(_))), "{found:?}");
        let found = changes(&cpu, &TrainSpec { precision: Precision::Bf16, ..plain.clone() });
        assert!(found.contains(&Change::Precision(Precision::F32)), "{found:?}");
        assert_eq!(Change::Precision(Precision::Bf16).setting(), ("hearth.precision", "\"bf16\"".to_owned()));
    }

    #[test]
    fn the_largest_pass_that_fits_is_found() {
        let (shape, card) = (smollm2(), sheet("H100"));
        let place = Place::usual(&card, Layout::SINGLE);
        let spec = TrainSpec { adapter: None, batch_size: 64, micro_batch_tokens: 1, ..TrainSpec::default() };
        let of = |rows| shape.memory_on(&passing(&spec, rows), place).total;
        for rows in [1, 2, 7, 62] {
            assert_eq!(shape.largest_pass(&spec, of(rows), place), Some(rows));
            assert_eq!(shape.largest_pass(&spec, of(rows + 1) - 1, place), Some(rows));
        }
        // The whole step, and no more than that.
        assert_eq!(shape.largest_pass(&spec, 1 << 50, place), Some(64));
        assert_eq!(shape.largest_pass(&spec, of(1) - 1, place), None);
        // What is suggested keeps the tokens of a step.
        let asked = passing(&spec, 32);
        let found = shape.fit_on(&asked, of(11), place).unwrap_or_else(|| panic!("11 rows fit"));
        assert_eq!(found.changes, [Change::MicroBatch(11 * spec.max_length)]);
        assert_eq!((found.spec.batch_size, found.spec.max_length), (spec.batch_size, spec.max_length));
    }
}
