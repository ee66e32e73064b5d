//! The validator on good, bad and random files.
#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::text::chat::Role;

/// A token is a character; chat markers are two a message.
struct Characters;

impl TokenCounter for Characters {
    fn count(&self, example: &Example) -> Result<TokenCount, String> {
        Ok(match example {
            Example::Text(text) => {
                let total = text.chars().count() as u32;
                TokenCount { total, trained: total }
            }
            Example::Preference { .. } => return Err("conversations are counted one by one".to_owned()),
            Example::Chat(messages) => {
                let count = |m: &Message| m.content.chars().count() as u32;
                TokenCount {
                    total: messages.iter().map(|m| count(m) + 2).sum(),
                    trained: messages.iter().filter(|m| m.is_trained()).map(count).sum(),
                }
            }
        })
    }
}

fn check(text: &str) -> Report {
    validate(text.as_bytes(), Some(&Characters), Some(50))
}

fn broken(text: &str) -> Vec<(u64, String, &'static str)> {
    let report = check(text);
    let errors = report.problems.into_iter().filter(|p| p.severity == Severity::Error);
    errors.map(|p| (p.row, p.field, p.rule.id())).collect()
}

const GOOD: &str = r#"{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"hello"}]}"#;

#[test]
fn formats_are_detected_and_mean_the_same() {
    let alpaca = json!([{"instruction": "hi", "input": "", "output": "hello"}]).to_string();
    let sharegpt =
        json!({"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]}).to_string();
    let cases = [(GOOD, Format::OpenaiChat), (&alpaca, Format::Alpaca), (&sharegpt, Format::Sharegpt)];
    for (text, format) in cases {
        let report = check(text);
        assert_eq!(report.format, Some(format));
        assert!(report.is_valid(), "{report:?}");
        let (_, read) = examples(text.as_bytes()).unwrap();
        let wanted = vec![Message::new(Role::User, "hi"), Message::new(Role::Assistant, "hello")];
        assert_eq!(read, [(1, Example::Chat(wanted))]);
        let tokens = report.tokens.unwrap();
        assert_eq!((tokens.total, tokens.trained, tokens.masked), (11, 5, 6));
    }
    let report = check("One.\nTwo.\n\nThree.");
    assert_eq!((report.format, report.rows, report.errors), (Some(Format::Text), 2, 0));
}

#[test]
fn preferences_are_two_conversations() {
    let theirs = json!({
        "input": {"messages": [{"role": "user", "content": "hi"}]},
        "preferred_output": [{"role": "assistant", "content": "hello"}],
        "non_preferred_output": [{"role": "assistant", "content": "no"}],
    });
    let short = json!({"prompt": "hi", "chosen": "hello", "rejected": "no"});
    for row in [theirs, short] {
        let report = check(&row.to_string());
        assert_eq!((report.format, report.errors, report.examples), (Some(Format::Preference), 0, 1), "{report:?}");
        let tokens = report.tokens.unwrap();
        assert_eq!((tokens.total, tokens.trained, tokens.max), (11 + 8, 5 + 2, 11));
        let (_, read) = examples(row.to_string().as_bytes()).unwrap();
        let chat = |answer: &str| vec![Message::new(Role::User, "hi"), Message::new(Role::Assistant, answer)];
        let wanted = Example::Preference { preferred: chat("hello"), rejected: chat("no") };
        assert_eq!(read, [(1, wanted)]);
    }
    // What the assistant said before is context.
    let said = json!({"prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"}], "chosen": "d", "rejected": "e"});
    let (_, read) = examples(said.to_string().as_bytes()).unwrap();
    let trained: Vec<bool> = read[0].1.conversations()[1].iter().map(Message::is_trained).collect();
    assert_eq!(trained, [false, false, false, true]);

    let one = |row: Value| broken(&row.to_string());
    assert_eq!(one(json!({"prompt": "a", "chosen": "b"})), [(1, "rejected".to_owned(), "field.missing")]);
    assert_eq!(one(json!({"prompt": "a", "chosen": "b", "rejected": "b"})), [(1, String::new(), "preference.equal")]);
    assert_eq!(one(json!({"preferred_output": [], "non_preferred_output": 3})).len(), 3);
    let long = json!({"prompt": "a", "chosen": "b", "rejected": "c".repeat(80)});
    assert_eq!(one(long), [(1, String::new(), "tokens.too_long")]);
}

#[test]
fn examples_that_are_too_long_are_not_few() {
    let long = json!({"messages": [
        {"role": "user", "content": "a"}, {"role": "assistant", "content": "b".repeat(60)},
    ]})
    .to_string();
    let rules = |rows: usize| {
        let report = check(&vec![long.as_str(); rows].join("\n"));
        assert_eq!((report.examples, report.too_long), (0, rows as u64));
        report.rules.contains_key("file.few_examples")
    };
    assert!(rules(9));
    assert!(!rules(24));
}

#[test]
fn bad_rows_are_named() {
    let row = |value: Value| broken(&format!("{GOOD}\n\n{value}"));
    let one = |field: &str, rule| vec![(3, field.to_owned(), rule)];
    assert_eq!(row(json!([])), one("", "row.not_object"));
    assert_eq!(row(json!({"instruction": "a", "output": "b"})), one("", "row.mixed_format"));
    assert_eq!(row(json!({"prompt": 1})), one("messages", "field.missing"));
    assert_eq!(row(json!({"messages": []})), vec![(3, "messages".into(), "messages.empty")]);
    let messages = |list: Value| row(json!({"messages": list}));
    let user = json!({"role": "user", "content": "a"});
    let assistant = json!({"role": "assistant", "content": "b"});
    assert_eq!(messages(json!([user])).len(), 2);
    assert_eq!(messages(json!([{"role": "bot", "content": "a"}, assistant])), one("messages[0].role", "role.unknown"));
    assert_eq!(messages(json!([{"content": "a"}, assistant])), one("messages[0].role", "field.missing"));
    assert_eq!(messages(json!([user, {"role": "assistant"}])), one("messages[1].content", "field.missing"));
    assert_eq!(
        messages(json!([user, {"role": "assistant", "content": " "}])),
        one("messages[1].content", "content.empty")
    );
    assert_eq!(messages(json!([user, {"role": "assistant", "content": 7}])), one("messages[1].content", "field.type"));
    let weighted = |weight| json!([user, {"role": "assistant", "content": "b", "weight": weight}]);
    assert_eq!(messages(weighted(0.5)), one("messages[1].weight", "weight.value"));
    assert_eq!(messages(weighted(0.0)), one("messages", "messages.nothing_trained"));
    assert_eq!(messages(weighted(1.0)), vec![]);
    let long = "x".repeat(60);
    assert_eq!(messages(json!([user, {"role": "assistant", "content": long}])), one("", "tokens.too_long"));
    assert_eq!(broken(&format!("{GOOD}\n{{")), vec![(2, String::new(), "row.syntax")]);
    assert_eq!(broken(""), vec![(0, String::new(), "file.empty")]);
    assert_eq!(broken(&format!("[{GOOD}")), vec![(0, String::new(), "file.unclosed_array")]);
    let report = validate(b"{\"messages\": \"\xff\"}", None, None);
    assert_eq!(report.problems[0].rule, Rule::RowEncoding);
}

#[test]
fn a_file_that_is_no_text_is_one_problem() {
    let mut image = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    image.extend((0..9000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8));
    let whole = validate(&image, Some(&Characters), Some(50));
    assert_eq!((whole.rows, whole.errors, whole.problems.len(), whole.bytes), (0, 1, 1, image.len() as u64));
    let problem = &whole.problems[0];
    assert_eq!((problem.row, problem.rule, problem.detail.as_deref()), (0, Rule::FileBinary, Some("a PNG image")));
    for cut in [1, 100, 1024, 5000] {
        let mut validator = Validator::new(Some(&Characters), Some(50));
        image.chunks(cut).for_each(|chunk| validator.push(chunk));
        assert_eq!(validator.finish(), whole, "chunks of {cut}");
    }
    // One bad byte is a fault of its row.
    let mut text = format!("{GOOD}\n").repeat(40).into_bytes();
    text[40] = 0xff;
    let report = validate(&text, None, None);
    assert_eq!((report.rows, report.errors, report.problems[0].row), (40, 1, 1));
    assert_eq!(report.problems[0].rule, Rule::RowEncoding);
}

#[test]
fn a_weight_of_zero_masks_its_message() {
    let text = json!({"messages": [
        {"role": "assistant", "content": "one", "weight": 0},
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "three"},
    ]})
    .to_string();
    assert_eq!(check(&text).tokens.unwrap().trained, 5);
}

#[test]
fn duplicates_name_the_first() {
    let report = check(&format!("{GOOD}\n{GOOD}\n{GOOD}"));
    assert_eq!((report.duplicates, report.examples, report.errors), (2, 3, 0));
    let duplicate = report.problems.iter().find(|p| p.rule == Rule::Duplicate).unwrap();
    assert_eq!((duplicate.row, duplicate.detail.as_deref()), (2, Some("row 1")));
}

/// The rules that rows of these questions and answers break, of two.
fn found(rows: &[(&str, &str)]) -> Vec<(u64, String, &'static str, Option<String>)> {
    let system = "You answer in the words of a patient teacher who never tires of small questions, whatever they are. "
        .repeat(3);
    let row = |(asked, answered): &(&str, &str)| {
        json!({"messages": [{"role": "system", "content": system}, {"role": "user", "content": asked},
            {"role": "assistant", "content": answered}]})
        .to_string()
    };
    let text: Vec<String> = rows.iter().map(row).collect();
    let report = validate(text.join("\n").as_bytes(), None, None);
    assert!(report.is_valid() && report.duplicates == 0, "{report:?}");
    let ours = report.problems.into_iter().filter(|p| matches!(p.rule, Rule::NearDuplicate | Rule::PersonalData));
    ours.map(|p| (p.row, p.field, p.rule.id(), p.detail)).collect()
}

#[test]
fn near_duplicates_name_the_first_and_how_alike_they_are() {
    let answer = "Rain falls when the air that rises from the warm ground cools so far that it cannot hold its water any longer, \
        and the droplets of a cloud grow until they are too heavy for the wind below them to carry.";
    let rows = [
        ("Why does it rain?", answer),
        (
            "Why is the sky blue?",
            "Air scatters short waves of light more than long ones, and blue has the shorter waves.",
        ),
        ("Why does it rain?", &format!("{} Always.", answer.to_uppercase())),
        ("What is two?", "It is four."),
        ("What is two?", "It is four!"),
        ("雨是怎么来的？", "地面的暖空气上升后变冷。"),
    ];
    let found = found(&rows);
    let [(3, field, "row.near_duplicate", Some(detail))] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert!(field.is_empty() && detail.starts_with("row 1, 0.") && detail.ends_with(" alike"), "{detail}");
}

#[test]
fn personal_data_is_counted_and_its_first_message_named() {
    let rows = [
        ("Who answers letters?", "Nobody, since 2024-11-23."),
        ("How can I reach her?", "Write to jane@example.org or joan@example.org, or call (212) 555-0142."),
        ("I am at 13912345678.", "Noted."),
    ];
    let of = |row, field: &str, detail: &str| (row, field.to_owned(), "row.personal_data", Some(detail.to_owned()));
    assert_eq!(
        found(&rows),
        [of(2, "messages[2].content", "email 2, phone 1"), of(3, "messages[1].content", "phone 1")]
    );
    let pair = json!({"prompt": "I am jane@example.org", "chosen": "Hello Jane", "rejected": "Hello joan@example.org"});
    let report = validate(pair.to_string().as_bytes(), None, None);
    let problem = report.problems.iter().find(|p| p.rule == Rule::PersonalData).unwrap();
    assert_eq!((problem.field.as_str(), problem.detail.as_deref()), ("messages[0].content", Some("email 2")));
    let report = validate(b"Write to jane@example.org.\n\nOr not.", None, None);
    assert_eq!((report.rules["row.personal_data"], report.problems[0].field.as_str()), (1, ""));
}

#[test]
fn long_lists_are_counted_to_the_end() {
    let report = check(&"{\n".repeat(250));
    assert_eq!((report.rows, report.errors, report.problems.len(), report.unlisted), (250, 250, 101, 150));
    assert_eq!(report.rules["row.syntax"], 250);
}

#[test]
fn the_histogram_holds_every_example() {
    let buckets = histogram(&[0, 15, 16, 31, 32, 300]);
    let counts: Vec<_> = buckets.iter().map(|b| b.examples).collect();
    assert_eq!(counts, [2, 2, 1, 0, 0, 1]);
    assert_eq!((buckets[5].from, buckets[5].to), (256, 512));
}

proptest! {
    #[test]
    fn any_bytes_give_the_same_report_in_any_chunks(
        rows in prop::collection::vec(
            prop_oneof![
                Just(GOOD.to_owned()),
                Just("{\"messages\": 3}".to_owned()),
                Just("[1, 2".to_owned()),
                Just("\0".repeat(300)),
                "\\PC{0,40}",
            ],
            0..12,
        ),
        cut in 1usize..40,
    ) {
        let text = rows.join("\n");
        let whole = validate(text.as_bytes(), Some(&Characters), Some(20));
        let mut validator = Validator::new(Some(&Characters), Some(20));
        text.as_bytes().chunks(cut).for_each(|chunk| validator.push(chunk));
        let parts = validator.finish();
        prop_assert_eq!(serde_json::to_string(&whole).unwrap(), serde_json::to_string(&parts).unwrap());
    }

    #[test]
    fn nothing_is_dropped(rows in prop::collection::vec(prop_oneof![
        Just(GOOD), Just("{}"), Just("{"), Just("[]"), Just("{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}"),
    ], 1..40)) {
        let text = format!("{GOOD}\n{}", rows.join("\n"));
        let report = check(&text);
        let bad: std::collections::BTreeSet<u64> =
            report.problems.iter().filter(|p| p.severity == Severity::Error).map(|p| p.row).collect();
        prop_assert_eq!(report.rows, rows.len() as u64 + 1);
        prop_assert_eq!(report.examples + bad.len() as u64, report.rows);
    }

    #[test]
    fn what_the_validator_accepts_the_reader_reads(text in "\\PC{0,80}") {
        let report = validate(text.as_bytes(), None, None);
        if report.is_valid() {
            prop_assert_eq!(examples(text.as_bytes()).unwrap().1.len() as u64, report.examples);
        }
    }
}
