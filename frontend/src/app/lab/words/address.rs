//! The tokenizer lab's state as the query of its address, both ways. Pure text.

use hearth_shared::lab::words::SIZES;

use super::session::Texts;

/// Longest text in characters that an address carries: browsers and chats cut longer ones.
pub const LONGEST_TEXT: usize = 1_500;
/// The size that the page first offers to learn.
pub const FIRST_SIZE: u32 = 600;

/// What an address says. Nothing said is the default.
#[derive(Clone, Debug, PartialEq)]
pub struct Address {
    pub text: Option<String>,
    /// Models whose vocabularies stand side by side; none is hearth-nano's.
    pub vocabularies: Vec<String>,
    pub special: bool,
    /// The vocabulary that is stepped through; none is the first.
    pub stepped: Option<String>,
    /// None is the last step.
    pub step: Option<usize>,
    pub size: u32,
    pub texts: Texts,
}

impl Default for Address {
    fn default() -> Self {
        Self {
            text: None,
            vocabularies: Vec::new(),
            special: false,
            stepped: None,
            step: None,
            size: FIRST_SIZE,
            texts: Texts::Sample,
        }
    }
}

impl Address {
    /// From names and their decoded values. What does not parse is as if it were not there.
    pub fn read<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut address = Self::default();
        for (name, value) in pairs {
            match name {
                "text" => address.text = Some(value.to_owned()),
                "vocabulary" if !address.vocabularies.iter().any(|known| known == value) => {
                    address.vocabularies.push(value.to_owned());
                }
                "special" => address.special = value == "1",
                "stepped" => address.stepped = Some(value.to_owned()),
                "step" => address.step = value.parse().ok(),
                "size" => {
                    if let Some(size) = value.parse().ok().filter(|size| (SIZES.0..=SIZES.1).contains(size)) {
                        address.size = size;
                    }
                }
                "learn" => address.texts = Texts::from_word(value),
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
        let short = self.text.as_ref().filter(|text| fits(text));
        pairs.extend(short.map(|text| ("text", text.clone())));
        pairs.extend(self.vocabularies.iter().map(|name| ("vocabulary", name.clone())));
        pairs.extend(self.special.then(|| ("special", "1".to_owned())));
        pairs.extend(self.stepped.clone().map(|name| ("stepped", name)));
        pairs.extend(self.step.map(|step| ("step", step.to_string())));
        pairs.extend((self.size != plain.size).then(|| ("size", self.size.to_string())));
        pairs.extend((self.texts != plain.texts).then(|| ("learn", self.texts.word().to_owned())));
        pairs
    }
}

/// Whether a text is short enough for an address.
#[must_use]
pub fn fits(text: &str) -> bool {
    text.chars().nth(LONGEST_TEXT).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_as_it_was_written() {
        let address = Address {
            text: Some("a & b = 你好\n".into()),
            vocabularies: vec!["hearth-nano".into(), "smollm2-135m".into()],
            special: true,
            stepped: Some("smollm2-135m".into()),
            step: Some(12),
            size: 400,
            texts: Texts::Own,
        };
        let pairs = address.pairs();
        let read = Address::read(pairs.iter().map(|(name, value)| (*name, value.as_str())));
        assert_eq!(read, address);
    }

    #[test]
    fn the_default_is_silent_and_nonsense_is_ignored() {
        assert!(Address::default().pairs().is_empty());
        let read = Address::read([("size", "7"), ("step", "-1"), ("special", "yes"), ("learn", "stones"), ("x", "y")]);
        assert_eq!(read, Address::default());
        let long = Address { text: Some("字".repeat(LONGEST_TEXT + 1)), ..Address::default() };
        assert!(long.pairs().is_empty());
    }
}
