//! What is looked at in this lab, and its place in the address, both ways. Pure.

use hearth_shared::lab::position::{Method, Scaling};

use super::siblings::{COUNT, POSITIONS, SIBLINGS, TRAINED, place};

/// How far a rotation can be stretched here.
pub const FACTORS: (f64, f64) = (1.0, 8.0);

/// What the curves show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Curve {
    /// The loss itself.
    #[default]
    Loss,
    /// How much more the same tokens cost than in windows of the training length.
    Extra,
}

/// Everything that a link carries.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Tokens of a window.
    pub longest: u32,
    pub curve: Curve,
    /// By the place in the table of siblings.
    pub shown: [bool; COUNT],
    pub method: Method,
    pub factor: f64,
    /// The position whose rotation is drawn.
    pub at: u32,
    /// Whose attention is shown, by its place.
    pub attention: usize,
}

impl Default for Question {
    fn default() -> Self {
        Self {
            longest: 4 * TRAINED,
            curve: Curve::Loss,
            shown: [true; COUNT],
            method: Method::None,
            factor: 4.0,
            at: 2 * TRAINED,
            attention: place("alibi"),
        }
    }
}

/// Windows that can be chosen: they hold positions that training never reached.
pub fn windows() -> Vec<u32> {
    hearth_shared::lab::position::lengths(TRAINED, POSITIONS).split_off(1)
}

/// The word for a method in an address.
pub fn method_word(method: Method) -> &'static str {
    match method {
        Method::None => "none",
        Method::Linear => "linear",
        Method::Ntk => "ntk",
        Method::Yarn => "yarn",
    }
}

pub const METHODS: [Method; 4] = [Method::None, Method::Linear, Method::Ntk, Method::Yarn];

impl Question {
    pub fn scaling(&self) -> Scaling {
        Scaling::new(self.method, self.factor)
    }

    /// From names and their decoded values. What does not parse is as if it were not there.
    pub fn read<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut asked = Self::default();
        for (name, value) in pairs {
            match name {
                "window" => {
                    asked.longest = value.parse().ok().filter(|it| windows().contains(it)).unwrap_or(asked.longest);
                }
                "curve" if value == "extra" => asked.curve = Curve::Extra,
                "hidden" => {
                    for hidden in value.split('.') {
                        if let Some(at) = SIBLINGS.iter().position(|sibling| sibling.name == hidden) {
                            asked.shown[at] = false;
                        }
                    }
                }
                "scaling" => {
                    let method = METHODS.into_iter().find(|method| method_word(*method) == value);
                    asked.method = method.unwrap_or_default();
                }
                "factor" => {
                    let factor = value.parse::<f64>().ok().filter(|factor| factor.is_finite());
                    asked.factor = factor.map_or(asked.factor, |factor| factor.clamp(FACTORS.0, FACTORS.1));
                }
                "at" => asked.at = value.parse().map_or(asked.at, |at: u32| at.min(POSITIONS - 1)),
                "attention" => {
                    let at = SIBLINGS.iter().position(|sibling| sibling.name == value);
                    asked.attention = at.unwrap_or(asked.attention);
                }
                _ => {}
            }
        }
        asked
    }

    /// The pairs that differ from the defaults, values not yet escaped.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let plain = Self::default();
        let mut pairs = Vec::new();
        let mut say = |name, same: bool, value: String| {
            if !same {
                pairs.push((name, value));
            }
        };
        say("window", self.longest == plain.longest, self.longest.to_string());
        say("curve", self.curve == plain.curve, "extra".to_owned());
        let hidden = SIBLINGS.iter().zip(self.shown).filter(|(_, shown)| !shown).map(|(sibling, _)| sibling.name);
        say("hidden", self.shown == plain.shown, hidden.collect::<Vec<_>>().join("."));
        say("scaling", self.method == plain.method, method_word(self.method).to_owned());
        say("factor", self.factor == plain.factor, self.factor.to_string());
        say("at", self.at == plain.at, self.at.to_string());
        let attention = SIBLINGS.get(self.attention).map_or("", |sibling| sibling.name);
        say("attention", self.attention == plain.attention, attention.to_owned());
        pairs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_as_it_was_written() {
        let question = Question {
            longest: 1024,
            curve: Curve::Extra,
            shown: [false, true, false, true],
            method: Method::Yarn,
            factor: 2.5,
            at: 1000,
            attention: place("rope"),
        };
        let pairs = question.pairs();
        let read = Question::read(pairs.iter().map(|(name, value)| (*name, value.as_str())));
        assert_eq!(read, question);
    }

    #[test]
    fn the_default_is_silent_and_nonsense_is_ignored() {
        assert!(Question::default().pairs().is_empty());
        let read = Question::read([
            ("window", "300"),
            ("curve", "bent"),
            ("hidden", "nobody"),
            ("scaling", "rubber"),
            ("factor", "NaN"),
            ("at", "-1"),
            ("attention", "nobody"),
        ]);
        assert_eq!(read, Question::default());
        let read = Question::read([("factor", "99"), ("at", "99999")]);
        assert_eq!((read.factor, read.at), (FACTORS.1, POSITIONS - 1));
    }

    #[test]
    fn windows_reach_behind_the_training_length() {
        assert!(windows().contains(&Question::default().longest));
        assert!(windows().iter().all(|window| *window > TRAINED && *window <= POSITIONS));
    }
}
