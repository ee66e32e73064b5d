//! What is set in the quantization lab, and as the query of its address, both ways. Pure text.

use hearth_shared::spec::{Calibration, Grain, QuantizeSpec};
use serde::{Deserialize, Serialize};

/// What weights can be put on, in bits.
pub const WEIGHT_BITS: [u8; 5] = [8, 6, 4, 3, 2];
pub const INPUT_BITS: [u8; 3] = [8, 6, 4];

/// Nothing said is the default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    pub spec: QuantizeSpec,
    /// Groups left as they are.
    pub spared: Vec<String>,
    /// The matrix that is looked at; empty for the first.
    pub matrix: String,
}

impl Setting {
    /// From names and their decoded values. What does not parse is as if it were not there.
    pub fn read<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut setting = Self::default();
        for (name, value) in pairs {
            let spec = &mut setting.spec;
            match name {
                "bits" => spec.weight_bits = bits(value, &WEIGHT_BITS, spec.weight_bits),
                "inputs" => spec.input_bits = bits(value, &INPUT_BITS, spec.input_bits),
                "levels" => spec.symmetric = value != "asymmetric",
                "grain" => spec.grain = grain(value).unwrap_or(spec.grain),
                "calibration" => spec.calibration = calibration(value).unwrap_or(spec.calibration),
                "spare" => setting.spared = value.split(' ').filter(|s| !s.is_empty()).map(str::to_owned).collect(),
                "matrix" => setting.matrix = value.to_owned(),
                _ => {}
            }
        }
        setting
    }

    /// The pairs that differ from the defaults, values not yet escaped.
    #[must_use]
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let (spec, plain) = (self.spec, QuantizeSpec::default());
        let word = |bits: Option<u8>| bits.map_or_else(|| "off".to_owned(), |bits| bits.to_string());
        let all = [
            (spec.weight_bits != plain.weight_bits, ("bits", word(spec.weight_bits))),
            (spec.input_bits != plain.input_bits, ("inputs", word(spec.input_bits))),
            (!spec.symmetric, ("levels", "asymmetric".to_owned())),
            (spec.grain != plain.grain, ("grain", grain_word(spec.grain).to_owned())),
            (spec.calibration != plain.calibration, ("calibration", calibration_word(spec.calibration).to_owned())),
            (!self.spared.is_empty(), ("spare", self.spared.join(" "))),
            (!self.matrix.is_empty(), ("matrix", self.matrix.clone())),
        ];
        all.into_iter().filter(|(differs, _)| *differs).map(|(_, pair)| pair).collect()
    }
}

fn bits(text: &str, known: &[u8], otherwise: Option<u8>) -> Option<u8> {
    match text {
        "off" => None,
        text => text.parse().ok().filter(|bits| known.contains(bits)).or(otherwise),
    }
}

/// The word for a grain in the address.
#[must_use]
pub fn grain_word(grain: Grain) -> &'static str {
    match grain {
        Grain::Tensor => "tensor",
        Grain::Row => "row",
        Grain::Column => "column",
        Grain::Block => "block",
    }
}

fn grain(word: &str) -> Option<Grain> {
    [Grain::Tensor, Grain::Row, Grain::Column, Grain::Block].into_iter().find(|grain| grain_word(*grain) == word)
}

/// The word for a calibration in the address.
#[must_use]
pub fn calibration_word(calibration: Calibration) -> &'static str {
    match calibration {
        Calibration::MinMax => "minmax",
        Calibration::Percentile => "percentile",
        Calibration::Mse => "mse",
    }
}

fn calibration(word: &str) -> Option<Calibration> {
    let all = [Calibration::MinMax, Calibration::Percentile, Calibration::Mse];
    all.into_iter().find(|calibration| calibration_word(*calibration) == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(setting: &Setting) -> Setting {
        let pairs = setting.pairs();
        Setting::read(pairs.iter().map(|(name, value)| (*name, value.as_str())))
    }

    #[test]
    fn an_address_reads_as_it_was_written() {
        let setting = Setting {
            spec: QuantizeSpec {
                weight_bits: Some(3),
                input_bits: Some(8),
                symmetric: false,
                grain: Grain::Block,
                calibration: Calibration::Mse,
            },
            spared: vec!["embed".to_owned(), "layers.2".to_owned()],
            matrix: "layers.0.mlp.up.weight".to_owned(),
        };
        assert_eq!(again(&setting), setting);
        let none = Setting { spec: QuantizeSpec { weight_bits: None, ..QuantizeSpec::default() }, ..setting };
        assert_eq!(again(&none), none);
    }

    #[test]
    fn the_default_is_silent_and_nonsense_is_ignored() {
        assert!(Setting::default().pairs().is_empty());
        let read =
            Setting::read([("bits", "5"), ("inputs", "x"), ("grain", "sand"), ("calibration", ""), ("spare", "")]);
        assert_eq!(read, Setting::default());
    }
}
