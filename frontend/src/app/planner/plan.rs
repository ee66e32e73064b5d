//! What the arithmetic says of a question on one device, and the nearest question that fits there. Pure.

use hearth_shared::plan::ModelShape;
use hearth_shared::plan::devices::DeviceSheet;
use hearth_shared::plan::estimate::{Estimate, Layout, Place};
use hearth_shared::plan::suggest::{Change, Suggestion};
use hearth_shared::spec::{Precision, TrainSpec, Tuning};

use super::question::Question;

/// Everything the arithmetic says of a question.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    pub question: Question,
    pub shape: ModelShape,
    pub spec: TrainSpec,
    pub device: DeviceSheet,
    pub layout: Layout,
    pub estimate: Estimate,
    pub tokens: f64,
}

/// A question that fits, and what was changed for it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct WayOut {
    /// Layers of a new model, where nothing else makes it fit.
    pub depth: Option<u32>,
    pub found: Suggestion,
}

impl Plan {
    pub fn of(question: &Question, shape: ModelShape, device: DeviceSheet) -> Self {
        let (spec, layout) = (question.spec(), question.layout);
        let estimate = shape.estimate(&spec, f64::from(question.length), Place::usual(&device, layout));
        let tokens = question.all_tokens(&shape);
        Self { question: question.clone(), tokens, shape, spec, device, layout, estimate }
    }

    /// Whether there are more gradients than weights that are trained: by more than the head's own, which is there twice for a moment.
    pub fn has_copies(&self) -> bool {
        self.device.cpu && self.estimate.memory.gradients > 6 * self.shape.trained(&self.spec)
    }

    pub fn fits(&self) -> bool {
        self.estimate.memory.total as f64 <= self.device.memory
    }

    /// Of the whole run.
    pub fn seconds(&self) -> f64 {
        self.tokens / self.estimate.tokens_per_second
    }

    fn place(&self) -> Place<'_> {
        Place::usual(&self.device, self.layout)
    }

    /// As the server looks for it: everything else comes before a smaller model, and then the largest that fits.
    pub fn way_out(&self) -> Option<WayOut> {
        let fit = |shape: &ModelShape, spec: &TrainSpec| shape.fit_on(spec, self.device.memory as u64, self.place());
        if let Some(found) = fit(&self.shape, &self.spec) {
            return Some(WayOut { depth: None, found });
        }
        if self.question.model.is_some() {
            return None;
        }
        (1..self.question.depth).rev().find_map(|depth| {
            let smaller = Question { depth, ..self.question.clone() };
            let found = fit(&smaller.new_shape().ok()?, &smaller.spec())?;
            Some(WayOut { depth: Some(depth), found })
        })
    }

    /// Rows that go through at once where more of them fit than were asked for.
    pub fn more_rows(&self) -> Option<u32> {
        let rows = self.shape.largest_pass(&self.spec, self.device.memory as u64, self.place())?;
        (rows > self.spec.micro_batch_tokens / self.spec.max_length.max(1)).then_some(rows)
    }

    /// Bytes of a number when the model answers.
    pub fn served(&self) -> f64 {
        if self.device.cpu || self.device.precision(self.spec.precision) == Precision::F32 { 4.0 } else { 2.0 }
    }
}

impl WayOut {
    /// Makes the question the one that fits.
    pub fn apply(&self, question: &mut Question) {
        if let Some(depth) = self.depth {
            question.depth = depth;
        }
        for change in &self.found.changes {
            match change {
                Change::Precision(precision) => question.precision = *precision,
                Change::GradientCheckpointing => question.checkpointing = true,
                Change::Lora(rank) => (question.tuning, question.rank, question.frozen) = (Tuning::Lora, *rank, 0),
                Change::Nf4 => question.packed = true,
                Change::MicroBatch(_) | Change::MaxLength(_) => {}
            }
        }
        let spec = &self.found.spec;
        question.length = spec.max_length;
        question.rows = (spec.micro_batch_tokens / spec.max_length.max(1)).max(1);
    }
}

#[cfg(test)]
mod tests {
    use hearth_shared::plan::devices::sheets;

    use super::*;

    fn plan(question: &Question, memory: f64) -> Plan {
        let sheet = sheets().into_iter().find(|sheet| sheet.name.starts_with("RTX 4090"));
        let device = DeviceSheet { memory, ..sheet.unwrap_or_else(|| panic!("a 4090 in the table")) };
        let shape = question.new_shape().unwrap_or_else(|error| panic!("{error}"));
        Plan::of(question, shape, device)
    }

    #[test]
    fn every_way_out_fits_once_it_is_taken() {
        let asked = Question { depth: 24, rows: 16, ..Question::default() };
        let needed = plan(&asked, 0.0).estimate.memory.total as f64;
        for share in [0.9, 0.6, 0.3, 0.1] {
            let large = plan(&asked, needed * share);
            assert!(!large.fits());
            let way = large.way_out().unwrap_or_else(|| panic!("no way out at {share}"));
            let mut taken = asked.clone();
            way.apply(&mut taken);
            let fitting = plan(&taken, needed * share);
            assert!(fitting.fits(), "{share}: {way:?}");
            assert_eq!(fitting.estimate.memory, way.found.memory, "{share}");
        }
    }

    #[test]
    fn a_smaller_model_is_the_last_way_out_and_the_largest_that_fits() {
        let asked = Question { depth: 32, ..Question::default() };
        let room = 24e9;
        let way = plan(&asked, room).way_out().unwrap_or_else(|| panic!("no way out"));
        let depth = way.depth.unwrap_or_else(|| panic!("its weights alone are too many: {way:?}"));
        let alone = |depth| {
            let at = plan(&Question { depth, ..asked.clone() }, room);
            at.shape.fit_on(&at.spec, room as u64, at.place()).is_some()
        };
        assert!(alone(depth) && !alone(depth + 1), "{depth}");
        assert_eq!(plan(&asked, 1.0).way_out(), None);
        // What is here already has the depth it has.
        let tuned = Plan { question: Question { model: Some("m".to_owned()), ..asked.clone() }, ..plan(&asked, room) };
        assert_eq!(tuned.way_out(), None);
    }
}
