//! The validator: a byte stream in, a report out. Pure and deterministic, so that the report made in the tab before an upload
//! and the one made on the server after it are the same bytes. It knows no tokenizer: whoever has one lends a [`TokenCounter`].

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::binary;
use super::chat::{Message, Role};
use super::format::{Breach, Example, Format, warnings};
use super::hash::Fnv;
use super::minhash::{NearDuplicates, Signature};
use super::personal;
use super::rows::{Layout, RawRow, Rows};
use super::rules::{Lang, Rule, Severity};

/// Tokens of one example.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenCount {
    pub total: u32,
    /// Tokens the loss counts.
    pub trained: u32,
}

/// Counts as the trainer will: through the model's own tokenizer and chat template.
pub trait TokenCounter {
    /// # Errors
    /// The template refuses the conversation; the text says why.
    fn count(&self, example: &Example) -> Result<TokenCount, String>;
}

/// A rule broken at one place.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line of a JSONL or text file, element of a JSON array, from 1; 0 is the file itself.
    pub row: u64,
    /// Path inside the row: `messages[1].content`; empty is the row itself.
    pub field: String,
    pub rule: Rule,
    pub severity: Severity,
    /// In English; other languages by the rule's id.
    pub message: String,
    pub fix: String,
    /// What exactly, where the rule alone doesn't say.
    pub detail: Option<String>,
}

/// How long the examples are.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct TokenStatistics {
    pub total: u64,
    pub trained: u64,
    pub masked: u64,
    pub min: u32,
    pub max: u32,
    pub mean: f64,
    pub median: u32,
    pub p95: u32,
    pub histogram: Vec<Bucket>,
}

/// Examples of `from..to` tokens.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    pub from: u32,
    pub to: u32,
    pub examples: u64,
}

/// What is known of a data set. `errors == 0` is the condition for training on it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Report {
    pub format: Option<Format>,
    pub bytes: u64,
    /// Rows that are not blank, good or bad.
    pub rows: u64,
    /// Rows that can be trained on.
    pub examples: u64,
    pub errors: u64,
    pub warnings: u64,
    pub duplicates: u64,
    /// Rows longer than `context`.
    pub too_long: u64,
    /// The longest example allowed; none when nobody said.
    pub context: Option<u32>,
    /// None without a tokenizer.
    pub tokens: Option<TokenStatistics>,
    /// How often each rule was broken, by id.
    pub rules: BTreeMap<String, u64>,
    /// In file order; of each rule the first [`Validator::LISTED`].
    pub problems: Vec<Problem>,
    /// Problems counted in `rules` but not listed.
    pub unlisted: u64,
}

impl Report {
    /// Whether training may use the file.
    pub fn is_valid(&self) -> bool {
        self.errors == 0
    }
}

/// Words of a conversation from which it is compared with others: shorter ones differ little by nature.
const LEAST_COMPARED: usize = 8;
/// Conversations that later ones are compared with; each takes a kilobyte.
const MOST_COMPARED: usize = 200_000;

/// Feed with [`Self::push`], end with [`Self::finish`].
pub struct Validator<'a> {
    head: Head,
    rows: Rows,
    inner: Inner<'a>,
}

/// What is known of the file's kind.
enum Head {
    /// The first bytes, until there are enough of them.
    Open(Vec<u8>),
    Text,
    /// No text: what it is instead. No row of it is read.
    Binary(String),
}

struct Inner<'a> {
    counter: Option<&'a dyn TokenCounter>,
    report: Report,
    lengths: Vec<u32>,
    trained: u64,
    /// Hash of every example to the row it first stood in.
    seen: HashMap<u64, u64>,
    near: NearDuplicates,
}

impl<'a> Validator<'a> {
    /// Problems of one rule that are listed; more are only counted.
    pub const LISTED: u64 = 100;

    /// `context`: the longest example in tokens that training will take.
    pub fn new(counter: Option<&'a dyn TokenCounter>, context: Option<u32>) -> Self {
        let report = Report {
            format: None,
            bytes: 0,
            rows: 0,
            examples: 0,
            errors: 0,
            warnings: 0,
            duplicates: 0,
            too_long: 0,
            context,
            tokens: None,
            rules: BTreeMap::new(),
            problems: Vec::new(),
            unlisted: 0,
        };
        let (seen, near) = (HashMap::new(), NearDuplicates::default());
        let inner = Inner { counter, report, lengths: Vec::new(), trained: 0, seen, near };
        Self { head: Head::Open(Vec::new()), rows: Rows::default(), inner }
    }

    /// The next bytes of the file; cut anywhere.
    pub fn push(&mut self, chunk: &[u8]) {
        self.inner.report.bytes += chunk.len() as u64;
        match &mut self.head {
            Head::Open(head) => {
                let (begin, rest) = chunk.split_at(chunk.len().min(binary::HEAD - head.len()));
                head.extend_from_slice(begin);
                if head.len() == binary::HEAD {
                    self.decide();
                    self.text(rest);
                }
            }
            Head::Text => self.text(chunk),
            Head::Binary(_) => {}
        }
    }

    /// Says by its head whether the file is text, and reads the head's rows if it is.
    fn decide(&mut self) {
        let Head::Open(head) = std::mem::replace(&mut self.head, Head::Text) else {
            return;
        };
        match binary::kind(&head) {
            None => self.text(&head),
            Some(kind) => self.head = Head::Binary(kind),
        }
    }

    /// Reads the rows that `chunk` completes, unless the file is no text.
    fn text(&mut self, chunk: &[u8]) {
        if !matches!(self.head, Head::Text) {
            return;
        }
        let (rows, inner) = (&mut self.rows, &mut self.inner);
        // The layout is set before the first row is complete, so ask for it inside.
        let mut complete = Vec::new();
        rows.push(chunk, &mut |row| complete.push(row));
        for row in complete {
            inner.row(row, rows.layout());
        }
    }

    /// The file is at its end.
    pub fn finish(mut self) -> Report {
        if matches!(self.head, Head::Open(_)) {
            self.decide();
        }
        if let Head::Binary(kind) = self.head {
            self.inner.problem(0, Breach::new(Rule::FileBinary, "").because(kind));
            return self.inner.report;
        }
        let mut last = None;
        self.rows.finish(&mut |row| last = Some(row));
        if let Some(row) = last {
            self.inner.row(row, self.rows.layout());
        }
        let mut inner = self.inner;
        if !self.rows.complete() {
            inner.problem(0, Breach::new(Rule::FileUnclosedArray, ""));
        }
        if inner.report.rows == 0 {
            inner.problem(0, Breach::new(Rule::FileEmpty, ""));
        } else if inner.report.examples + inner.report.too_long < 10 && inner.report.format != Some(Format::Text) {
            inner.problem(0, Breach::new(Rule::FileFewExamples, ""));
        }
        if inner.counter.is_some() {
            inner.report.tokens = statistics(std::mem::take(&mut inner.lengths), inner.trained);
        }
        inner.report
    }
}

/// Checks a whole file that is in memory.
pub fn validate(bytes: &[u8], counter: Option<&dyn TokenCounter>, context: Option<u32>) -> Report {
    let mut validator = Validator::new(counter, context);
    validator.push(bytes);
    validator.finish()
}

/// A file's format and its examples, each with its row number.
pub type Examples = (Option<Format>, Vec<(u64, Example)>);

/// Every example of a file.
///
/// # Errors
/// The first row that is none, with the rule it breaks. A file that passed the validator has no such row.
pub fn examples(bytes: &[u8]) -> Result<Examples, Problem> {
    let mut rows = Rows::default();
    let mut raw = Vec::new();
    rows.push(bytes, &mut |row| raw.push(row));
    rows.finish(&mut |row| raw.push(row));
    let mut format = None;
    let mut out = Vec::with_capacity(raw.len());
    for row in raw {
        let number = row.number;
        let example =
            read(row, rows.layout(), &mut format).map_err(|mut breaches| problem(number, breaches.swap_remove(0)))?;
        out.push((number, example));
    }
    Ok((format, out))
}

/// Reads a row; the first JSON object decides the file's format.
fn read(row: RawRow, layout: Option<Layout>, format: &mut Option<Format>) -> Result<Example, Vec<Breach>> {
    let text = String::from_utf8(row.bytes).map_err(|_| vec![Breach::new(Rule::RowEncoding, "")])?;
    if layout == Some(Layout::Paragraphs) {
        *format = Some(Format::Text);
        return Format::Text.parse(&text);
    }
    let value: Value = serde_json::from_str(&text)
        .map_err(|error| vec![Breach::new(Rule::RowSyntax, "").because(error.to_string())])?;
    if let (None, Value::Object(object)) = (&format, &value) {
        *format = Some(Format::of_object(object));
    }
    format.unwrap_or(Format::OpenaiChat).parse_value(&value)
}

fn problem(row: u64, breach: Breach) -> Problem {
    let text = breach.rule.text(Lang::En);
    Problem {
        row,
        field: breach.field,
        rule: breach.rule,
        severity: breach.rule.severity(),
        message: text.message.to_owned(),
        fix: text.fix.to_owned(),
        detail: breach.detail,
    }
}

impl Inner<'_> {
    fn problem(&mut self, row: u64, breach: Breach) {
        let report = &mut self.report;
        match breach.rule.severity() {
            Severity::Error => report.errors += 1,
            Severity::Warning => report.warnings += 1,
        }
        let count = report.rules.entry(breach.rule.id().to_owned()).or_default();
        *count += 1;
        if *count <= Validator::LISTED {
            report.problems.push(problem(row, breach));
        } else {
            report.unlisted += 1;
        }
    }

    fn row(&mut self, row: RawRow, layout: Option<Layout>) {
        let number = row.number;
        self.report.rows += 1;
        match read(row, layout, &mut self.report.format) {
            Ok(example) => self.example(number, &example),
            Err(breaches) => breaches.into_iter().for_each(|breach| self.problem(number, breach)),
        }
    }

    fn example(&mut self, number: u64, example: &Example) {
        let conversations = example.conversations();
        // The prompt's oddities are the same in both answers.
        for breach in conversations.first().map(|messages| warnings(messages)).unwrap_or_default() {
            self.problem(number, breach);
        }
        if !conversations.is_empty() {
            self.repeats(number, &conversations);
        }
        if let Some(breach) = personal_data(example) {
            self.problem(number, breach);
        }
        if let Some(counter) = self.counter {
            let each: Vec<Example> = match example {
                Example::Preference { preferred, rejected } => {
                    [preferred, rejected].map(|messages| Example::Chat(messages.clone())).to_vec()
                }
                other => vec![other.clone()],
            };
            let mut counts = Vec::new();
            for one in &each {
                match counter.count(one) {
                    Ok(count) => counts.push(count),
                    Err(why) => return self.problem(number, Breach::new(Rule::TemplateFailed, "").because(why)),
                }
            }
            let longest = counts.iter().map(|count| count.total).max().unwrap_or(0);
            for count in counts {
                self.lengths.push(count.total);
                self.trained += u64::from(count.trained);
            }
            // Plain text is cut into windows, so no paragraph is too long.
            let chat = !matches!(example, Example::Text(_));
            if let Some(context) = self.report.context.filter(|context| chat && longest > *context) {
                self.report.too_long += 1;
                let detail = format!("{longest} tokens, {context} at most");
                return self.problem(number, Breach::new(Rule::TooLong, "").because(detail));
            }
        }
        self.report.examples += 1;
    }

    /// Says whether the conversations stood before, or nearly so.
    fn repeats(&mut self, number: u64, conversations: &[&[Message]]) {
        if let Some(first) = self.first_seen(number, conversations) {
            self.report.duplicates += 1;
            return self.problem(number, Breach::new(Rule::Duplicate, "").because(format!("row {first}")));
        }
        let signature = Signature::of(&said(conversations));
        if signature.words() >= LEAST_COMPARED
            && self.near.documents() < MOST_COMPARED
            && let Some((first, alike)) = self.near.insert_signature(number, signature)
        {
            let detail = format!("row {first}, {alike:.2} alike");
            self.problem(number, Breach::new(Rule::NearDuplicate, "").because(detail));
        }
    }

    /// The row that held the same conversations before.
    fn first_seen(&mut self, number: u64, conversations: &[&[Message]]) -> Option<u64> {
        let mut hash = Fnv::default();
        for message in conversations.iter().copied().flatten() {
            hash.write(message.role.as_str().as_bytes());
            hash.write(message.content.as_bytes());
            hash.write(&[u8::from(message.is_trained())]);
        }
        match self.seen.entry(hash.value()) {
            std::collections::hash_map::Entry::Occupied(entry) => Some(*entry.get()),
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(number);
                None
            }
        }
    }
}

/// What is said in all conversations but by the system, whose words are the same in many rows. The prompt of a pair counts once.
fn said(conversations: &[&[Message]]) -> String {
    let mut out = String::new();
    for message in messages(conversations).filter(|message| message.role != Role::System) {
        out.push_str(&message.content);
        out.push('\n');
    }
    out
}

/// Every message; of further conversations those that the first doesn't begin with.
fn messages<'a>(conversations: &[&'a [Message]]) -> impl Iterator<Item = &'a Message> {
    let first = conversations.first().copied().unwrap_or_default();
    let rest = conversations.iter().skip(1).flat_map(move |other| {
        let shared = other.iter().zip(first).take_while(|(a, b)| a == b).count();
        &other[shared..]
    });
    first.iter().chain(rest)
}

/// Which personal data the example holds, and the first message that does.
fn personal_data(example: &Example) -> Option<Breach> {
    let conversations = example.conversations();
    let mut field = None;
    let mut found = Vec::new();
    if let Example::Text(text) = example {
        found = personal::find(text);
        field = Some(String::new());
    }
    for message in messages(&conversations) {
        let own = personal::find(&message.content);
        if !own.is_empty() && field.is_none() {
            let place = conversations.iter().find_map(|messages| messages.iter().position(|one| one == message));
            field = place.map(|i| format!("messages[{i}].content"));
        }
        found.extend(own);
    }
    let counts = personal::counts(&found);
    let detail: Vec<String> = counts.iter().map(|(kind, count)| format!("{} {count}", kind.id())).collect();
    (!found.is_empty()).then(|| Breach::new(Rule::PersonalData, field.unwrap_or_default()).because(detail.join(", ")))
}

fn statistics(mut lengths: Vec<u32>, trained: u64) -> Option<TokenStatistics> {
    lengths.sort_unstable();
    let (min, max) = (*lengths.first()?, *lengths.last()?);
    let total: u64 = lengths.iter().map(|length| u64::from(*length)).sum();
    let quantile = |share: usize| lengths[(lengths.len() - 1) * share / 100];
    Some(TokenStatistics {
        total,
        trained,
        masked: total - trained,
        min,
        max,
        mean: total as f64 / lengths.len() as f64,
        median: quantile(50),
        p95: quantile(95),
        histogram: histogram(&lengths),
    })
}

/// Buckets that double from 16 tokens on, up to the longest example.
fn histogram(sorted: &[u32]) -> Vec<Bucket> {
    let mut out = Vec::new();
    let (mut from, mut to, mut done) = (0u32, 16u32, 0);
    while done < sorted.len() {
        let until = sorted.partition_point(|length| *length < to);
        out.push(Bucket { from, to, examples: (until - done) as u64 });
        done = until;
        (from, to) = (to, to.saturating_mul(2));
        if from == to {
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests;
