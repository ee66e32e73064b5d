//! The sampling lab's state as the query of its address, both ways. Pure text.

use hearth_shared::lab::EngineChoice;
use hearth_shared::lab::sampling::{BRANCHES, DEPTH, NEW, RUNS};
use hearth_shared::spec::Sampling;

use crate::app::lab::address::{choice_of, choice_word, number};

/// Bounds of the sliders: of what `Sampling` allows the part that is worth a slider.
pub const TEMPERATURES: (f64, f64) = (0.0, 2.0);
/// 0 keeps all.
pub const TOP_KS: (f64, f64) = (0.0, 100.0);
pub const SHARES: (f64, f64) = (0.0, 1.0);
pub const PENALTIES: (f64, f64) = (1.0, 2.0);
/// Per cent, of a node of the tree in all.
pub const FLOORS: (f64, f64) = (0.1, 20.0);

/// What the sliders say, as a person writes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knobs {
    pub temperature: f64,
    /// 0 keeps all.
    pub top_k: f64,
    pub top_p: f64,
    pub min_p: f64,
    pub penalty: f64,
}

impl Knobs {
    /// Every stage does something that can be seen.
    pub const ALL_ON: Self = Self { temperature: 0.8, top_k: 16.0, top_p: 0.9, min_p: 0.04, penalty: 1.2 };
    /// The model's own distribution.
    pub const ALL_OFF: Self = Self { temperature: 1.0, top_k: 0.0, top_p: 1.0, min_p: 0.0, penalty: 1.0 };
    /// The likeliest token every time.
    pub const GREEDY: Self = Self { temperature: 0.0, ..Self::ALL_OFF };

    /// As the sampler is told.
    pub fn sampling(self) -> Sampling {
        Sampling {
            temperature: self.temperature as f32,
            top_k: Some(self.top_k as u32).filter(|k| *k > 0),
            top_p: self.top_p as f32,
            min_p: self.min_p as f32,
            repetition_penalty: self.penalty as f32,
            ..Sampling::default()
        }
    }
}

/// How much is drawn and grown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// The first of the consecutive seeds.
    pub seed: u32,
    pub runs: u32,
    /// Tokens of each run.
    pub count: u32,
    /// Followers of a node.
    pub branches: u32,
    pub depth: u32,
    /// Per cent.
    pub floor: f64,
}

impl Default for Plan {
    fn default() -> Self {
        Self { seed: 1, runs: 6, count: 16, branches: 3, depth: 4, floor: 2.0 }
    }
}

/// What an address says. Nothing said is the default.
#[derive(Clone, Debug, PartialEq)]
pub struct Address {
    pub text: Option<String>,
    pub model: Option<String>,
    pub choice: EngineChoice,
    pub knobs: Knobs,
    pub plan: Plan,
}

impl Default for Address {
    fn default() -> Self {
        Self { text: None, model: None, choice: EngineChoice::Auto, knobs: Knobs::ALL_ON, plan: Plan::default() }
    }
}

impl Address {
    /// From names and their decoded values. What does not parse is as if it were not there.
    pub fn read<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut address = Self::default();
        for (name, value) in pairs {
            let (knobs, plan) = (&mut address.knobs, &mut address.plan);
            match name {
                "text" => address.text = Some(value.to_owned()),
                "model" => address.model = Some(value.to_owned()),
                "engine" => address.choice = choice_of(value),
                "temperature" => number(value, TEMPERATURES, &mut knobs.temperature),
                "top_k" => number(value, TOP_KS, &mut knobs.top_k),
                "top_p" => number(value, SHARES, &mut knobs.top_p),
                "min_p" => number(value, SHARES, &mut knobs.min_p),
                "penalty" => number(value, PENALTIES, &mut knobs.penalty),
                "seed" => number(value, (0, u32::MAX), &mut plan.seed),
                "runs" => number(value, RUNS, &mut plan.runs),
                "tokens" => number(value, NEW, &mut plan.count),
                "branches" => number(value, BRANCHES, &mut plan.branches),
                "depth" => number(value, DEPTH, &mut plan.depth),
                "floor" => number(value, FLOORS, &mut plan.floor),
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
        say("model", self.model.clone());
        say("text", self.text.clone());
        say("engine", (self.choice != plain.choice).then(|| choice_word(self.choice).to_owned()));
        let unless = |usual: f64, value: f64| (value != usual).then(|| value.to_string());
        let (now, usual) = (self.knobs, plain.knobs);
        say("temperature", unless(usual.temperature, now.temperature));
        say("top_k", unless(usual.top_k, now.top_k));
        say("top_p", unless(usual.top_p, now.top_p));
        say("min_p", unless(usual.min_p, now.min_p));
        say("penalty", unless(usual.penalty, now.penalty));
        let unless = |usual: u32, value: u32| (value != usual).then(|| value.to_string());
        let (now, usual) = (self.plan, plain.plan);
        say("seed", unless(usual.seed, now.seed));
        say("runs", unless(usual.runs, now.runs));
        say("tokens", unless(usual.count, now.count));
        say("branches", unless(usual.branches, now.branches));
        say("depth", unless(usual.depth, now.depth));
        say("floor", (now.floor != usual.floor).then(|| now.floor.to_string()));
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
            knobs: Knobs { temperature: 1.35, top_k: 40.0, top_p: 0.95, min_p: 0.0, penalty: 1.0 },
            plan: Plan { seed: u32::MAX, runs: 16, count: 24, branches: 1, depth: 5, floor: 0.5 },
        };
        let pairs = address.pairs();
        assert!(pairs.contains(&("temperature", "1.35".to_owned())) && pairs.contains(&("top_k", "40".to_owned())));
        assert_eq!(Address::read(pairs.iter().map(|(name, value)| (*name, value.as_str()))), address);
    }

    #[test]
    fn the_default_is_silent_and_nonsense_is_ignored() {
        assert!(Address::default().pairs().is_empty());
        let read = Address::read([
            ("temperature", "hot"),
            ("top_p", "NaN"),
            ("top_k", "-3"),
            ("penalty", "0.5"),
            ("seed", "-1"),
            ("runs", "17"),
            ("floor", "0"),
            ("engine", "steam"),
        ]);
        assert_eq!(read, Address::default());
    }

    #[test]
    fn sliders_say_what_the_sampler_is_told() {
        assert_eq!(Knobs::ALL_OFF.sampling(), Sampling::default());
        assert_eq!(Knobs::GREEDY.sampling(), Sampling::greedy());
        let all = Knobs::ALL_ON.sampling();
        assert!(all.validate().is_ok() && all.top_k == Some(16) && all.temperature == 0.8);
    }
}
