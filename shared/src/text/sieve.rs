//! Which documents of a corpus are kept: those that break no rule and repeat none before them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::filters::{Filter, broken};
use super::hash::Fnv;
use super::minhash::NearDuplicates;
use super::quality::measure;

/// Why a document is dropped.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// Nothing is in it.
    Empty,
    /// The first of the sieve's rules that it breaks.
    Filter(Filter),
    /// It is the same as an earlier document, by the number of it from 0.
    Duplicate(u64),
    /// It is nearly the same as an earlier document, and how alike they are.
    NearDuplicate(u64, f64),
}

impl Reason {
    /// The word that counts go by: a rule's id, or one of `empty`, `duplicate`, `near_duplicate`.
    pub fn id(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Filter(filter) => filter.id(),
            Self::Duplicate(_) => "duplicate",
            Self::NearDuplicate(..) => "near_duplicate",
        }
    }
}

/// Which document was the same before.
#[derive(Default)]
pub(crate) struct Seen(HashMap<u64, u64>);

impl Seen {
    /// The number of the first document with the same bytes; `number` is kept if there is none.
    pub(crate) fn insert(&mut self, number: u64, text: &str) -> Option<u64> {
        let mut hash = Fnv::default();
        hash.write(text.as_bytes());
        match self.0.entry(hash.value()) {
            Entry::Occupied(entry) => Some(*entry.get()),
            Entry::Vacant(entry) => {
                entry.insert(number);
                None
            }
        }
    }
}

/// Takes documents one at a time, and about 1 KB of memory for each that it keeps.
pub struct Sieve {
    filters: Vec<Filter>,
    count: u64,
    seen: Seen,
    near: NearDuplicates,
}

impl Sieve {
    /// Drops what breaks one of `filters`, and what repeats a document that was kept.
    pub fn new(filters: Vec<Filter>) -> Self {
        Self { filters, count: 0, seen: Seen::default(), near: NearDuplicates::default() }
    }

    /// Why the next document is dropped; none if it is kept. Documents are numbered from 0, dropped ones too.
    pub fn reason(&mut self, text: &str) -> Option<Reason> {
        let number = self.count;
        self.count += 1;
        if text.trim().is_empty() {
            return Some(Reason::Empty);
        }
        if !self.filters.is_empty() {
            let found = broken(&measure(text), text);
            if let Some(filter) = found.into_iter().find(|filter| self.filters.contains(filter)) {
                return Some(Reason::Filter(filter));
            }
        }
        if let Some(first) = self.seen.insert(number, text) {
            return Some(Reason::Duplicate(first));
        }
        self.near.insert(number, text).map(|(first, alike)| Reason::NearDuplicate(first, alike))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_named_and_the_first_document_stays() {
        let long: Vec<String> = (0..90).map(|i| format!("word{}", i * 37 % 91)).collect();
        let long = long.join(" ");
        let mut sieve = Sieve::new(vec![Filter::Braces]);
        assert_eq!(sieve.reason(&long), None);
        assert_eq!(sieve.reason(" \n"), Some(Reason::Empty));
        assert_eq!(sieve.reason("fn main() {}"), Some(Reason::Filter(Filter::Braces)));
        assert_eq!(sieve.reason(&long), Some(Reason::Duplicate(0)));
        let near = sieve.reason(&long.to_uppercase());
        assert_eq!(near, Some(Reason::NearDuplicate(0, 1.0)));
        assert_eq!(near.map(|reason| reason.id()), Some("near_duplicate"));
        assert_eq!(sieve.reason("fn main()"), None, "no rule but those that were named");
    }
}
