//! The lab's state as the query of its address, both ways: a link shows what its sender saw. Pure text.

use std::str::FromStr;

use hearth_shared::lab::EngineChoice;

use super::forward::{Cell, Head, Step};
use super::inside::looks::Looks;
use super::inside::part::Part;
use super::next::Sliders;

/// What an address says. Nothing said is the default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Address {
    pub text: Option<String>,
    pub model: Option<String>,
    pub choice: EngineChoice,
    pub at: Head,
    pub step: Step,
    /// Row and column in hand; none is the last token.
    pub cell: Option<Cell>,
    pub sliders: Sliders,
    /// What is open of what lies deeper.
    pub part: Option<Part>,
    /// The block of the stack that is open.
    pub block: Option<usize>,
    /// How the parts are looked at.
    pub looks: Looks,
    /// The enlarged matrix is a table.
    pub as_table: bool,
}

impl Address {
    /// From names and their decoded values. What does not parse is as if it were not there.
    pub fn read<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut address = Self::default();
        let mut row = None;
        let mut col = None;
        for (name, value) in pairs {
            match name {
                "text" => address.text = Some(value.to_owned()),
                "model" => address.model = Some(value.to_owned()),
                "engine" => address.choice = choice_of(value),
                "layer" => address.at.layer = value.parse().unwrap_or_default(),
                "head" => address.at.head = value.parse().unwrap_or_default(),
                "step" => address.step = Step::from_word(value).unwrap_or_default(),
                "row" => row = value.parse().ok(),
                "col" => col = value.parse().ok(),
                "temperature" => number(value, (0.0, 2.0), &mut address.sliders.temperature),
                "top_p" => number(value, (0.0, 1.0), &mut address.sliders.top_p),
                "part" => address.part = Part::from_word(value),
                "block" => address.block = value.parse().ok(),
                "view" => address.as_table = value == "table",
                "top_k" => address.sliders.top_k = value.parse().unwrap_or_default(),
                _ => address.looks.hear(name, value),
            }
        }
        address.cell = row.map(|row| Cell { row, col: col.unwrap_or_default() });
        address
    }

    /// The pairs that differ from the defaults, values not yet escaped.
    #[must_use]
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        let mut say = |name, value: Option<String>| pairs.extend(value.map(|value| (name, value)));
        let plain = Self::default();
        let unless = |same: bool, value: String| (!same).then_some(value);
        say("model", self.model.clone());
        say("text", self.text.clone());
        say("engine", unless(self.choice == plain.choice, choice_word(self.choice).to_owned()));
        say("layer", unless(self.at.layer == 0, self.at.layer.to_string()));
        say("head", unless(self.at.head == 0, self.at.head.to_string()));
        say("step", unless(self.step == plain.step, self.step.word().to_owned()));
        say("row", self.cell.map(|cell| cell.row.to_string()));
        say("col", self.cell.map(|cell| cell.col.to_string()));
        say("view", self.as_table.then(|| "table".to_owned()));
        say("part", self.part.map(|part| part.word().to_owned()));
        say("block", self.block.map(|block| block.to_string()));
        let (now, none) = (self.sliders, plain.sliders);
        say("temperature", unless(now.temperature == none.temperature, now.temperature.to_string()));
        say("top_k", unless(now.top_k == none.top_k, now.top_k.to_string()));
        say("top_p", unless(now.top_p == none.top_p, now.top_p.to_string()));
        pairs.extend(self.looks.pairs());
        pairs
    }
}

/// The word for an engine choice.
#[must_use]
pub fn choice_word(choice: EngineChoice) -> &'static str {
    match choice {
        EngineChoice::Auto => "auto",
        EngineChoice::Cpu => "cpu",
        EngineChoice::WebGpu => "webgpu",
    }
}

/// The engine choice of a word; automatic where it is none.
#[must_use]
pub fn choice_of(word: &str) -> EngineChoice {
    match word {
        "cpu" => EngineChoice::Cpu,
        "webgpu" => EngineChoice::WebGpu,
        _ => EngineChoice::Auto,
    }
}

/// Takes a number over where it is one and within its bounds.
pub fn number<T: FromStr + PartialOrd>(text: &str, (low, high): (T, T), into: &mut T) {
    if let Ok(value) = text.parse::<T>()
        && (low..=high).contains(&value)
    {
        *into = value;
    }
}

#[cfg(test)]
mod tests {
    use super::super::inside::looks::{Column, Scope, Shows, Source};
    use super::*;

    #[test]
    fn an_address_reads_as_it_was_written() {
        let address = Address {
            text: Some("a & b = 你好".into()),
            model: Some("smollm2-135m".into()),
            choice: EngineChoice::WebGpu,
            at: Head { layer: 3, head: 2 },
            step: Step::Values,
            cell: Some(Cell { row: 4, col: 0 }),
            sliders: Sliders { temperature: 0.7, top_k: 40, top_p: 0.95 },
            part: Some(Part::Lens),
            block: Some(2),
            looks: Looks {
                shows: Shows::Rank,
                depth: Some(0),
                scope: Scope { whole_text: true, all_heads: true },
                source: Source::Random,
                column: Column::Entropy,
            },
            as_table: true,
        };
        let pairs = address.pairs();
        let read = Address::read(pairs.iter().map(|(name, value)| (*name, value.as_str())));
        assert_eq!(read, address);
    }

    #[test]
    fn the_default_is_silent_and_nonsense_is_ignored() {
        assert!(Address::default().pairs().is_empty());
        let read = Address::read([
            ("temperature", "hot"),
            ("top_p", "7"),
            ("layer", "-1"),
            ("step", "dance"),
            ("engine", "steam"),
            ("part", "cellar"),
            ("block", "top"),
            ("lens", "cap"),
            ("depth", "deep"),
            ("scope", "world"),
            ("source", "rumour"),
            ("sort", "beauty"),
            ("view", "sea"),
        ]);
        assert_eq!(read, Address::default());
    }
}
