//! The loss scale of f16 (Micikevicius 2018), moved as torch's `GradScaler` moves it: halved when a gradient overflows, doubled after so
//! many steps without.

use hearth_shared::spec::{Precision, TrainSpec};
use serde::{Deserialize, Serialize};

/// Below, no scale is small enough for what the gradients are.
const LEAST: f64 = 1.0 / 1_048_576.0;

/// The scale between two steps.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
pub struct LossScale {
    pub scale: f64,
    /// Steps since it was last changed.
    clean: u32,
}

impl LossScale {
    /// None where the spec needs or wants none.
    pub(super) fn new(spec: &TrainSpec) -> Option<Self> {
        (spec.precision == Precision::F16 && spec.loss_scale > 0.0).then_some(Self { scale: spec.loss_scale, clean: 0 })
    }

    pub(super) fn overflowed(&mut self) {
        *self = Self { scale: self.scale / 2.0, clean: 0 };
    }

    pub(super) fn went_well(&mut self, window: u32) {
        self.clean += 1;
        if self.clean >= window {
            *self = Self { scale: self.scale * 2.0, clean: 0 };
        }
    }

    pub(super) fn is_exhausted(&self) -> bool {
        self.scale < LEAST
    }
}
