//! What is set in the quantization lab, and as the query of its address, both ways. Pure text.

use std::collections::BTreeMap;

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
    /// Bits of matrices that have bits of their own, by path; the others have the spec's.
    #[serde(default)]
    pub mixed: BTreeMap<String, u8>,
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
                "mixed" => setting.mixed = mixed(value),
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
            (!self.mixed.is_empty(), ("mixed", mixed_words(&self.mixed))),
            (!self.matrix.is_empty(), ("matrix", self.matrix.clone())),
        ];
        all.into_iter().filter(|(differs, _)| *differs).map(|(_, pair)| pair).collect()
    }

    /// Whether both round alike, whatever matrix they look at.
    #[must_use]
    pub fn rounds_like(&self, other: &Self) -> bool {
        self.spec == other.spec && self.spared == other.spared && self.mixed == other.mixed
    }

    /// What the losses of the parts depend on: each is rounded alone, spared or not, and inputs stay as they are.
    #[must_use]
    pub fn of_parts(&self) -> Self {
        let spec = QuantizeSpec { input_bits: None, ..self.spec };
        Self { spec, mixed: self.mixed.clone(), ..Self::default() }
    }

    /// What a search depends on: it chooses the bits of every matrix, and spares none.
    #[must_use]
    pub fn of_search(&self) -> Self {
        Self { spec: QuantizeSpec { weight_bits: None, ..self.spec }, ..Self::default() }
    }

    /// The setting that gives every matrix these bits, on levels that lie as here. Those with the most are the rule.
    #[must_use]
    pub fn with_bits(&self, bits: &[(String, u8)]) -> Self {
        let most = bits.iter().map(|(_, bits)| *bits).max();
        let fewer = bits.iter().filter(|(_, bits)| Some(*bits) < most).cloned();
        Self { spec: QuantizeSpec { weight_bits: most, ..self.spec }, mixed: fewer.collect(), ..Self::default() }
    }
}

/// Every path of a matrix ends so.
const END: &str = ".weight";
const LAYERS: &str = "layers.";

/// Each count of bits, followed by the matrices that have so many: `4 embed 0.mlp.up_proj 1.mlp.up_proj`.
fn mixed_words(mixed: &BTreeMap<String, u8>) -> String {
    let mut words = Vec::new();
    for bits in WEIGHT_BITS {
        let mut paths = mixed.iter().filter(|(_, own)| **own == bits).map(|(path, _)| path).peekable();
        if paths.peek().is_some() {
            words.push(bits.to_string());
        }
        let short = |path: &String| path.trim_start_matches(LAYERS).trim_end_matches(END).to_owned();
        words.extend(paths.map(short));
    }
    words.join(" ")
}

fn mixed(words: &str) -> BTreeMap<String, u8> {
    let mut found = BTreeMap::new();
    let mut bits = None;
    for word in words.split(' ').filter(|word| !word.is_empty()) {
        if let Ok(number) = word.parse::<u8>() {
            bits = Some(number).filter(|bits| WEIGHT_BITS.contains(bits));
        } else if let Some(bits) = bits {
            let layers = if word.starts_with(|first: char| first.is_ascii_digit()) { LAYERS } else { "" };
            found.insert(format!("{layers}{word}{END}"), bits);
        }
    }
    found
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
            mixed: BTreeMap::from([
                ("embed.weight".to_owned(), 6),
                ("layers.0.mlp.up_proj.weight".to_owned(), 4),
                ("layers.11.mlp.experts.3.up_proj.weight".to_owned(), 4),
            ]),
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
        for mixed in ["", "embed", "5 embed", "999 embed", "4 8"] {
            assert_eq!(Setting::read([("mixed", mixed)]), Setting::default(), "{mixed:?}");
        }
    }

    #[test]
    fn a_mixture_gives_every_matrix_the_bits_that_were_found() {
        let bits = [("embed.weight", 8), ("layers.0.mlp.up_proj.weight", 4), ("layers.0.mlp.down_proj.weight", 8)];
        let bits = bits.map(|(path, bits)| (path.to_owned(), bits));
        let column = QuantizeSpec { grain: Grain::Column, weight_bits: Some(2), ..QuantizeSpec::default() };
        let here = Setting { spec: column, spared: vec!["embed".to_owned()], ..Setting::default() };
        let mixture = here.with_bits(&bits);
        assert_eq!((mixture.spec.weight_bits, mixture.spec.grain), (Some(8), Grain::Column));
        assert_eq!(mixture.mixed, BTreeMap::from([("layers.0.mlp.up_proj.weight".to_owned(), 4)]));
        assert!(mixture.spared.is_empty());
        // All alike is no mixture.
        let alike = here.with_bits(&bits.map(|(path, _)| (path, 4)));
        assert!(alike.mixed.is_empty() && alike.spec.weight_bits == Some(4));
    }

    #[test]
    fn what_was_measured_is_old_once_what_it_depends_on_has_changed() {
        let was =
            Setting { spec: QuantizeSpec { weight_bits: Some(2), ..QuantizeSpec::default() }, ..Setting::default() };
        let with = |spec: QuantizeSpec| Setting { spec, ..was.clone() };
        let four = with(QuantizeSpec { weight_bits: Some(4), ..was.spec });
        let column = with(QuantizeSpec { grain: Grain::Column, ..was.spec });
        let inputs = with(QuantizeSpec { input_bits: Some(8), ..was.spec });
        let looked = Setting { matrix: "embed.weight".to_owned(), spared: vec!["embed".to_owned()], ..was.clone() };
        let mixture = Setting { mixed: BTreeMap::from([("embed.weight".to_owned(), 4)]), ..was.clone() };
        let old = |now: &Setting| (now.of_parts() != was.of_parts(), now.of_search() != was.of_search());
        assert_eq!(
            [&four, &column, &inputs, &looked, &mixture].map(old),
            [(true, false), (true, true), (false, true), (false, false), (true, false)]
        );
    }

    #[test]
    fn a_point_that_an_earlier_page_kept_is_still_read() {
        let setting = Setting { spared: vec!["embed".to_owned()], ..Setting::default() };
        let text = serde_json::to_string(&setting).unwrap_or_default().replace(",\"mixed\":{}", "");
        assert!(!text.contains("mixed"));
        assert_eq!(serde_json::from_str::<Setting>(&text).ok(), Some(setting));
    }
}
