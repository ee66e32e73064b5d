//! What a corpus holds: documents are added one at a time, and a report says how many, how good, how often repeated. It keeps of
//! a document its name, its signature and a dozen numbers: about 1.2 KB, whatever its length. The table of one document's n-grams
//! takes 16 bytes a word while that document is added.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::filters::{Filter, broken};
use super::minhash::NearDuplicates;
use super::personal::{self, Kind};
use super::quality::{Scripts, measure};
use super::sieve::Seen;

/// Pairs of near duplicates that are named.
const PAIRS: usize = 20;
/// Documents that are named for a rule.
const NAMED: usize = 3;

/// Feed with [`Self::add`], end with [`Self::finish`].
#[derive(Default)]
pub struct Survey {
    report: SurveyReport,
    names: Vec<String>,
    seen: Seen,
    near: NearDuplicates,
    measures: BTreeMap<&'static str, Vec<f32>>,
    /// Characters by script, from shares: sums of floating-point numbers, in the documents' order.
    scripts: Scripts,
    characters: f64,
}

/// What is known of a corpus.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct SurveyReport {
    pub documents: u64,
    pub bytes: u64,
    /// Documents without a character that is no space.
    pub empty: u64,
    /// Documents that are the same as an earlier one.
    pub exact_duplicates: u64,
    /// Documents nearly the same as an earlier one, exact duplicates not counted.
    pub near_duplicates: u64,
    /// The first 20 of these.
    pub near_pairs: Vec<Pair>,
    pub personal: BTreeMap<Kind, PersonalCount>,
    /// Broken rules, by id.
    pub rules: BTreeMap<Filter, Broken>,
    /// Of the main measures, by name.
    pub measures: BTreeMap<String, Quantiles>,
    /// Shares of all characters that are no space.
    pub scripts: Scripts,
}

/// A near duplicate and the earlier document that it resembles.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Pair {
    pub document: String,
    pub earlier: String,
    /// Estimated Jaccard similarity of their shingles, 0 to 1.
    pub similarity: f64,
}

/// Personal data of one kind.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PersonalCount {
    pub found: u64,
    pub documents: u64,
}

/// How often a rule is broken.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Broken {
    pub documents: u64,
    /// The first three.
    pub names: Vec<String>,
}

/// Of documents, not weighted by their length.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq)]
pub struct Quantiles {
    pub p5: f64,
    pub p50: f64,
    pub p95: f64,
}

impl Survey {
    /// `name` is what the report calls the document.
    pub fn add(&mut self, name: &str, text: &str) {
        let number = self.report.documents;
        self.report.documents += 1;
        self.report.bytes += text.len() as u64;
        self.names.push(name.to_owned());
        if text.trim().is_empty() {
            self.report.empty += 1;
            return;
        }
        self.compare(number, text);
        for (kind, count) in personal::counts(&personal::find(text)) {
            let sum = self.report.personal.entry(kind).or_default();
            sum.found += count;
            sum.documents += 1;
        }
        let quality = measure(text);
        for filter in broken(&quality, text) {
            let sum = self.report.rules.entry(filter).or_default();
            sum.documents += 1;
            if sum.names.len() < NAMED {
                sum.names.push(name.to_owned());
            }
        }
        for (measure, value) in quality.main() {
            self.measures.entry(measure).or_default().push(value as f32);
        }
        let characters = quality.characters as f64;
        self.characters += characters;
        for (script, share) in &quality.scripts.0 {
            *self.scripts.0.entry(*script).or_default() += share * characters;
        }
    }

    fn compare(&mut self, number: u64, text: &str) {
        if self.seen.insert(number, text).is_some() {
            self.report.exact_duplicates += 1;
            return;
        }
        if let Some((earlier, similarity)) = self.near.insert(number, text) {
            self.report.near_duplicates += 1;
            if self.report.near_pairs.len() < PAIRS {
                let name = |number: u64| self.names[number as usize].clone();
                self.report.near_pairs.push(Pair { document: name(number), earlier: name(earlier), similarity });
            }
        }
    }

    pub fn finish(self) -> SurveyReport {
        let total = self.characters.max(1.0);
        let measures = self.measures.into_iter().map(|(name, values)| (name.to_owned(), quantiles(values))).collect();
        let scripts = Scripts(self.scripts.0.into_iter().map(|(script, sum)| (script, sum / total)).collect());
        SurveyReport { measures, scripts, ..self.report }
    }
}

fn quantiles(mut values: Vec<f32>) -> Quantiles {
    values.sort_unstable_by(f32::total_cmp);
    let at = |percent: usize| values.get(values.len().saturating_sub(1) * percent / 100).map_or(0.0, |v| f64::from(*v));
    Quantiles { p5: at(5), p50: at(50), p95: at(95) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::quality::Script;

    #[test]
    fn a_corpus_is_summed_up() {
        let text: Vec<String> = (0..120).map(|i| format!("word{}", i * 37 % 121)).collect();
        let text = text.join(" ");
        let mut survey = Survey::default();
        survey.add("a", &text);
        survey.add("b", &format!("{text} li@example.cn and wang@example.cn"));
        survey.add("c", &text);
        survey.add("d", "写信给 li@example.cn 或致电 13912345678");
        survey.add("e", " \n");
        let report = survey.finish();
        assert_eq!((report.documents, report.empty, report.exact_duplicates, report.near_duplicates), (5, 1, 1, 1));
        let pair = &report.near_pairs[0];
        assert_eq!((pair.document.as_str(), pair.earlier.as_str()), ("b", "a"));
        assert!((0.8..1.0).contains(&pair.similarity));
        assert_eq!(report.personal[&Kind::Email], PersonalCount { found: 3, documents: 2 });
        assert_eq!(report.personal[&Kind::Phone], PersonalCount { found: 1, documents: 1 });
        assert_eq!(report.rules[&Filter::FewWords], Broken { documents: 1, names: vec!["d".to_owned()] });
        let bytes = report.measures["bytes"];
        assert!(bytes.p5 < bytes.p50 && bytes.p95 >= text.len() as f64, "{bytes:?}");
        let sum: f64 = report.scripts.0.values().sum();
        assert!((sum - 1.0).abs() < 1e-9 && report.scripts.get(Script::Han) > 0.0);
        let json = serde_json::to_value(&report).unwrap_or_default();
        assert_eq!(json["personal"]["email"]["found"], 3);
        assert_eq!(json["rules"]["words.few"]["names"][0], "d");
    }

    #[test]
    fn nothing_is_a_corpus_too() {
        assert_eq!(Survey::default().finish(), SurveyReport::default());
    }
}
