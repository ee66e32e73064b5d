//! The parts of what lies deeper in a pass, each with its word in the address and its small picture. Pure.

/// One part; at most one is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// From the embedding to the logits, block by block.
    Stack,
    /// What every depth would say.
    Lens,
    /// The loss without a head.
    Ablate,
    /// What every head looks at.
    Statistics,
    /// Attention as a job in map, shuffle and reduce.
    Job,
}

impl Part {
    pub const ALL: [Self; 5] = [Self::Stack, Self::Lens, Self::Ablate, Self::Statistics, Self::Job];

    /// The word in the address.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Stack => "stack",
            Self::Lens => "lens",
            Self::Ablate => "ablate",
            Self::Statistics => "heads",
            Self::Job => "job",
        }
    }

    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.word() == word)
    }

    /// Losses are of every token but the first, and heads are measured from the second query on.
    #[must_use]
    pub fn least_tokens(self) -> usize {
        match self {
            Self::Ablate | Self::Statistics => 2,
            Self::Stack | Self::Lens | Self::Job => 1,
        }
    }

    /// Shapes on a grid of 24 by 24, in strokes.
    #[must_use]
    pub fn glyph(self) -> &'static str {
        match self {
            Self::Stack => {
                r#"<path d="M5 3v18"/><rect x="9" y="3.5" width="11" height="4.5" rx="1.4"/><rect x="9" y="9.8" width="11" height="4.5" rx="1.4"/><rect x="9" y="16.1" width="11" height="4.5" rx="1.4"/>"#
            }
            Self::Lens => {
                r#"<circle cx="10.5" cy="10.5" r="6.5"/><path d="m15.4 15.4 5.1 5.1M7.8 10.5h5.4M10.5 7.8v5.4"/>"#
            }
            Self::Ablate => {
                r#"<rect x="3.5" y="3.5" width="7" height="7" rx="1.4" fill="currentColor"/><rect x="13.5" y="3.5" width="7" height="7" rx="1.4" fill="currentColor"/><rect x="3.5" y="13.5" width="7" height="7" rx="1.4" fill="currentColor"/><rect x="13.5" y="13.5" width="7" height="7" rx="1.4" stroke-dasharray="2 2"/>"#
            }
            Self::Statistics => r#"<path d="M4 20h16"/><path d="M6.5 17v-5M11 17V5.5M15.5 17V9M20 17v-3"/>"#,
            Self::Job => {
                r#"<circle cx="5" cy="5.5" r="2"/><circle cx="5" cy="12" r="2"/><circle cx="5" cy="18.5" r="2"/><circle cx="18.5" cy="12" r="2.6"/><path d="m6.9 6.2 9.3 4.6M7 12h8.9M6.9 17.8l9.3-4.6"/>"#
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_comes_back_from_its_word() {
        for part in Part::ALL {
            assert_eq!(Part::from_word(part.word()), Some(part));
        }
        assert_eq!(Part::from_word("cellar"), None);
    }
}
