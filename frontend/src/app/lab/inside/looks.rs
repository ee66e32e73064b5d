//! How the parts of what lies deeper are looked at, and the words for it in the address. Pure.

/// What a cell of the lens shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shows {
    /// The likeliest token.
    #[default]
    Word,
    /// The place of the token that really follows.
    Rank,
}

impl Shows {
    pub const ALL: [Self; 2] = [Self::Word, Self::Rank];

    pub fn word(self) -> &'static str {
        match self {
            Self::Word => "word",
            Self::Rank => "rank",
        }
    }
}

/// How much of the attention job is planned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    pub whole_text: bool,
    pub all_heads: bool,
}

impl Scope {
    fn words(self) -> String {
        let said = [(self.whole_text, "text"), (self.all_heads, "heads")];
        said.into_iter().filter(|(is_so, _)| *is_so).map(|(_, word)| word).collect::<Vec<_>>().join(".")
    }

    fn from_words(words: &str) -> Self {
        let says = |word: &str| words.split('.').any(|said| said == word);
        Self { whole_text: says("text"), all_heads: says("heads") }
    }
}

/// Whose weights the heads' numbers are of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    #[default]
    Text,
    /// Random tokens said twice.
    Random,
}

impl Source {
    pub const ALL: [Self; 2] = [Self::Text, Self::Random];

    pub fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Random => "random",
        }
    }
}

/// What the heads' table is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Column {
    #[default]
    Head,
    Entropy,
    Distance,
    First,
    Previous,
    Induction,
}

impl Column {
    pub const MEASURED: [Self; 5] = [Self::Entropy, Self::Distance, Self::First, Self::Previous, Self::Induction];

    pub fn word(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Entropy => "entropy",
            Self::Distance => "distance",
            Self::First => "first",
            Self::Previous => "previous",
            Self::Induction => "induction",
        }
    }
}

/// All of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looks {
    pub shows: Shows,
    /// The state of the lens that was chosen: the embedding, then the blocks. None is the last.
    pub depth: Option<usize>,
    pub scope: Scope,
    pub source: Source,
    pub column: Column,
}

impl Looks {
    /// Takes over what a pair of an address says. What does not parse is as if it were not there.
    pub fn hear(&mut self, name: &str, value: &str) {
        match name {
            "lens" => self.shows = Shows::ALL.into_iter().find(|shows| shows.word() == value).unwrap_or_default(),
            "depth" => self.depth = value.parse().ok(),
            "scope" => self.scope = Scope::from_words(value),
            "source" => self.source = Source::ALL.into_iter().find(|source| source.word() == value).unwrap_or_default(),
            "sort" => {
                self.column = Column::MEASURED.into_iter().find(|column| column.word() == value).unwrap_or_default();
            }
            _ => {}
        }
    }

    /// The pairs that differ from the defaults.
    pub fn pairs(self) -> Vec<(&'static str, String)> {
        let plain = Self::default();
        let word = |same: bool, word: &str| (!same).then(|| word.to_owned());
        [
            ("lens", word(self.shows == plain.shows, self.shows.word())),
            ("depth", self.depth.map(|depth| depth.to_string())),
            ("scope", word(self.scope == plain.scope, &self.scope.words())),
            ("source", word(self.source == plain.source, self.source.word())),
            ("sort", word(self.column == plain.column, self.column.word())),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }

    /// In a model of so many layers: a depth that it has not is none.
    #[must_use]
    pub fn within(self, layers: usize) -> Self {
        Self { depth: self.depth.filter(|depth| *depth <= layers), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&'static str, String)]) -> Looks {
        let mut looks = Looks::default();
        for (name, value) in pairs {
            looks.hear(name, value);
        }
        looks
    }

    #[test]
    fn every_look_comes_back_from_its_words() {
        let columns = [[Column::Head].as_slice(), &Column::MEASURED].concat();
        for column in columns {
            for (at, source) in Source::ALL.into_iter().enumerate() {
                let scope = Scope { whole_text: at == 1, all_heads: column == Column::First };
                let looks = Looks { shows: Shows::ALL[at], depth: Some(at), scope, source, column };
                assert_eq!(read(&looks.pairs()), looks);
            }
        }
        assert!(Looks::default().pairs().is_empty());
    }

    #[test]
    fn a_depth_that_the_model_has_not_is_none() {
        let at = |depth| Looks { depth: Some(depth), shows: Shows::Rank, ..Looks::default() }.within(4);
        assert_eq!((at(4).depth, at(5).depth, at(5).shows), (Some(4), None, Shows::Rank));
    }
}
