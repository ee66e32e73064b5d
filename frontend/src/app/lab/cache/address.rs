//! The cache lab's state as the query of its address, both ways. Pure text.

use hearth_shared::lab::cache::{NEW, WhatIf};
use hearth_shared::lab::{EngineChoice, ModelFacts};

use crate::app::lab::address::{choice_of, choice_word, number};

/// Tokens that are generated unless somebody says otherwise.
const COUNT: u32 = 48;
/// Positions that the third side sees.
const WINDOW: u32 = 16;
pub const MOST_CONTEXT: u32 = 131_072;
pub const MOST_BATCH: u32 = 4096;
const CONTEXT: u32 = 4096;

/// How many heads have keys and values of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// As many as query heads.
    All,
    /// As the model has it.
    #[default]
    Model,
    /// One for all query heads.
    One,
}

impl Sharing {
    pub const ALL: [Self; 3] = [Self::All, Self::Model, Self::One];

    pub fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Model => "model",
            Self::One => "one",
        }
    }

    pub fn heads(self, facts: &ModelFacts) -> u32 {
        match self {
            Self::All => facts.n_heads,
            Self::Model => facts.kv_heads,
            Self::One => 1,
        }
    }
}

/// The cache that is only counted. Zero is no window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imagined {
    pub context: u32,
    pub sharing: Sharing,
    pub window: u32,
    pub batch: u32,
}

impl Default for Imagined {
    fn default() -> Self {
        Self { context: CONTEXT, sharing: Sharing::Model, window: 0, batch: 1 }
    }
}

impl Imagined {
    /// For a model.
    pub fn of(self, facts: &ModelFacts) -> WhatIf {
        WhatIf {
            context: u64::from(self.context),
            kv_heads: u64::from(self.sharing.heads(facts)),
            head_dim: u64::from(facts.head_dim),
            window: Some(u64::from(self.window)).filter(|&window| window > 0),
            batch: u64::from(self.batch),
        }
    }
}

/// What an address says. Nothing said is the default.
#[derive(Clone, Debug, PartialEq)]
pub struct Address {
    pub text: Option<String>,
    pub model: Option<String>,
    pub choice: EngineChoice,
    /// Tokens to generate.
    pub count: u32,
    /// Positions that the third side sees; 0 is no third side.
    pub window: u32,
    pub imagined: Imagined,
}

impl Default for Address {
    fn default() -> Self {
        Self {
            text: None,
            model: None,
            choice: EngineChoice::Auto,
            count: COUNT,
            window: WINDOW,
            imagined: Imagined::default(),
        }
    }
}

impl Address {
    /// From names and their decoded values. What does not parse is as if it were not there.
    pub fn read<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut address = Self::default();
        for (name, value) in pairs {
            let imagined = &mut address.imagined;
            match name {
                "text" => address.text = Some(value.to_owned()),
                "model" => address.model = Some(value.to_owned()),
                "engine" => address.choice = choice_of(value),
                "tokens" => number(value, NEW, &mut address.count),
                "window" => number(value, (0, NEW.1), &mut address.window),
                "context" => number(value, (1, MOST_CONTEXT), &mut imagined.context),
                "heads" => {
                    let found = Sharing::ALL.into_iter().find(|sharing| sharing.word() == value);
                    imagined.sharing = found.unwrap_or_default();
                }
                "ring" => number(value, (0, MOST_CONTEXT), &mut imagined.window),
                "batch" => number(value, (1, MOST_BATCH), &mut imagined.batch),
                _ => {}
            }
        }
        address
    }

    /// The pairs that differ from the defaults, values not yet escaped.
    #[must_use]
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let plain = Self::default();
        let mut pairs = Vec::new();
        let mut say = |name, value: Option<String>| pairs.extend(value.map(|value| (name, value)));
        let unless = |usual: u32, value: u32| (value != usual).then(|| value.to_string());
        say("model", self.model.clone());
        say("text", self.text.clone());
        say("engine", (self.choice != plain.choice).then(|| choice_word(self.choice).to_owned()));
        say("tokens", unless(plain.count, self.count));
        say("window", unless(plain.window, self.window));
        let (now, usual) = (self.imagined, plain.imagined);
        say("context", unless(usual.context, now.context));
        say("heads", (now.sharing != usual.sharing).then(|| now.sharing.word().to_owned()));
        say("ring", unless(usual.window, now.window));
        say("batch", unless(usual.batch, now.batch));
        pairs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_as_it_was_written() {
        let address = Address {
            text: Some("a & b = 你好".into()),
            model: Some("smollm2-135m".into()),
            choice: EngineChoice::Cpu,
            count: 64,
            window: 0,
            imagined: Imagined { context: 131_072, sharing: Sharing::One, window: 4096, batch: 32 },
        };
        let pairs = address.pairs();
        assert_eq!(Address::read(pairs.iter().map(|(name, value)| (*name, value.as_str()))), address);
    }

    #[test]
    fn the_default_is_silent_and_nonsense_is_ignored() {
        assert!(Address::default().pairs().is_empty());
        let read = Address::read([
            ("tokens", "7"),
            ("window", "-1"),
            ("context", "200000"),
            ("heads", "hydra"),
            ("engine", "steam"),
            ("batch", "0"),
        ]);
        assert_eq!(read, Address::default());
    }
}
