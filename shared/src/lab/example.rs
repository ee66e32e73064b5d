//! What the worker once answered, in a file: a lab shows it until its own worker is there. The file holds the calls a lab makes
//! when it is opened, each with its answer:
//!
//! ```text
//! u32, little-endian   length of the list in bytes
//! JSON                 the list of exchanges
//! bytes                their buffers, one after the other
//! ```

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{EngineChoice, LabModel, OpenModel, Reply, Request, cache, position, words};
use crate::text::hash::Fnv;

/// A call and its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exchange {
    /// As [`plain`] has it.
    pub request: Request,
    pub reply: Reply,
    /// The sizes of the answer's buffers in bytes, in their order.
    pub buffers: Vec<usize>,
}

/// A request in the words of an example. Where a model's files lie, who may fetch them, and the engine are of no account; what
/// is in them is. The held-out texts of the position lab, which the page has anyway, are named by their hash.
#[must_use]
pub fn plain(request: &Request) -> Request {
    match request.clone() {
        Request::Open(open) => Request::Open(OpenModel { model: placeless(open.model), engine: EngineChoice::Auto }),
        Request::Position(ask) => {
            let task = match ask.task {
                position::Task::Losses { texts, windows, lengths } => {
                    position::Task::Losses { texts: named(&texts), windows, lengths }
                }
                position::Task::Distances { texts, length } => {
                    position::Task::Distances { texts: named(&texts), length }
                }
                position::Task::Turns => position::Task::Turns,
            };
            Request::Position(position::Ask { model: placeless(ask.model), task, ..ask })
        }
        Request::Words(ask) => Request::Words(match ask {
            words::Ask::Cut { text, special, vocabularies } => {
                words::Ask::Cut { text, special, vocabularies: vocabularies.into_iter().map(vocabulary).collect() }
            }
            words::Ask::Merge { text, special, vocabulary: of } => {
                words::Ask::Merge { text, special, vocabulary: vocabulary(of) }
            }
            words::Ask::Cost { vocabularies } => {
                words::Ask::Cost { vocabularies: vocabularies.into_iter().map(vocabulary).collect() }
            }
            learn @ words::Ask::Learn { .. } => learn,
        }),
        other => other,
    }
}

/// A model without the place of its files and the key to them.
fn placeless(model: LabModel) -> LabModel {
    let LabModel { id, hash, parameters, .. } = model;
    LabModel { id, hash, parameters, base: String::new(), key: None, files: Vec::new() }
}

fn vocabulary(vocabulary: words::Vocabulary) -> words::Vocabulary {
    match vocabulary {
        words::Vocabulary::Model { model } => words::Vocabulary::Model { model: placeless(model) },
        learned @ words::Vocabulary::Learned { .. } => learned,
    }
}

/// One word for texts and their order.
fn named(texts: &[String]) -> Vec<String> {
    let mut hash = Fnv::default();
    for text in texts {
        hash.write(text.as_bytes());
    }
    vec![format!("{:016x}", hash.value())]
}

/// Puts an exchange behind others. The last one of its like stays, for that is the one whose answer stands on the page; but the pieces
/// of a run of the cache lab, as many as the machine made of it, become one.
pub fn keep(kept: &mut Vec<(Exchange, Vec<u8>)>, mut exchange: Exchange, bytes: Vec<u8>) {
    if matches!(exchange.request, Request::Cache(cache::Ask::Begin { .. })) {
        kept.retain(|(known, _)| known.request != Request::Cache(cache::Ask::Advance));
    }
    let before = kept.iter().position(|(known, _)| known.request == exchange.request).map(|at| kept.remove(at).0);
    if let (Some(Reply::Cache(before)), Reply::Cache(now)) = (before.map(|before| before.reply), &mut exchange.reply)
        && let (cache::Found::Advanced(before), cache::Found::Advanced(now)) = (*before, now.as_mut())
    {
        let mut steps = before.steps;
        steps.append(&mut now.steps);
        now.steps = steps;
    }
    kept.push((exchange, bytes));
}

/// Whether a field of an answer is about the machine that gave it: its times and its engine.
#[must_use]
pub fn is_of_the_machine(field: &str) -> bool {
    field == "ms" || field.ends_with("_ms") || field == "engine" || field == "timing"
}

/// A lab's numbers while they are an example's: they say so, and say nothing of the machine that computed them.
#[must_use]
pub fn marked(mut numbers: Value) -> Value {
    leave_machine_out(&mut numbers);
    if let Value::Object(fields) = &mut numbers {
        fields.insert("example".to_owned(), Value::Bool(true));
    }
    numbers
}

/// The same with a document's text; none where it is no JSON.
#[must_use]
pub fn marked_text(document: &str) -> Option<String> {
    let numbers = serde_json::from_str(document).ok()?;
    serde_json::to_string_pretty(&marked(numbers)).ok()
}

fn leave_machine_out(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|field, _| !is_of_the_machine(field));
            fields.values_mut().for_each(leave_machine_out);
        }
        Value::Array(items) => items.iter_mut().for_each(leave_machine_out),
        _ => {}
    }
}

/// The file of these exchanges.
///
/// # Panics
/// Never: the protocol's types are JSON by definition, and a list of them is shorter than 4 GB.
#[must_use]
pub fn write(exchanges: &[(Exchange, Vec<u8>)]) -> Vec<u8> {
    let list: Vec<&Exchange> = exchanges.iter().map(|(exchange, _)| exchange).collect();
    let list = serde_json::to_vec(&list).unwrap_or_default();
    let mut file = (list.len() as u32).to_le_bytes().to_vec();
    file.extend(list);
    for (_, bytes) in exchanges {
        file.extend(bytes);
    }
    file
}

/// An exchange with the bytes of its buffers.
pub type Kept<'f> = (Exchange, Vec<&'f [u8]>);

/// Reads a file.
///
/// # Errors
/// The file is not one of these, or of another version of the protocol.
pub fn read(file: &[u8]) -> Result<Vec<Kept<'_>>, String> {
    let short = || "the file ends too early".to_owned();
    let (length, rest) = file.split_first_chunk::<4>().ok_or_else(short)?;
    let length = u32::from_le_bytes(*length) as usize;
    let (list, mut rest) = rest.split_at_checked(length).ok_or_else(short)?;
    let list: Vec<Exchange> = serde_json::from_slice(list).map_err(|error| error.to_string())?;
    let mut exchanges = Vec::with_capacity(list.len());
    for exchange in list {
        let mut buffers = Vec::with_capacity(exchange.buffers.len());
        for &size in &exchange.buffers {
            let (buffer, after) = rest.split_at_checked(size).ok_or_else(short)?;
            buffers.push(buffer);
            rest = after;
        }
        exchanges.push((exchange, buffers));
    }
    if rest.is_empty() { Ok(exchanges) } else { Err(format!("{} bytes belong to no answer", rest.len())) }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;

    fn exchange(text: &str, buffers: Vec<usize>) -> Exchange {
        let reply = Reply::Checked { report: text.to_uppercase(), preview: Vec::new() };
        Exchange { request: Request::Trace { text: text.to_owned() }, reply, buffers }
    }

    #[test]
    fn a_file_gives_back_what_went_in_and_refuses_anything_else() {
        let all = [(exchange("one", vec![3, 0, 2]), vec![1, 2, 3, 4, 5]), (exchange("two", vec![1]), vec![6])];
        let file = write(&all);
        let back = read(&file).unwrap();
        assert_eq!(back[0], (all[0].0.clone(), vec![&[1, 2, 3][..], &[], &[4, 5]]));
        assert_eq!(back[1], (all[1].0.clone(), vec![&[6][..]]));
        for end in 0..file.len() {
            read(&file[..end]).unwrap_err();
        }
        read(&[file.as_slice(), &[0]].concat()).unwrap_err();
    }

    #[test]
    fn the_pieces_of_a_run_become_one_and_another_run_takes_their_place() {
        let piece = |ids: &[u32], done| {
            let token = |id| cache::Token { id, ms: 1.0, positions: 1, margin: 1.0 };
            let step = |&id: &u32| cache::Step { kept: token(id), again: token(id), windowed: None, apart: None };
            let steps = ids.iter().map(step).collect();
            let found = cache::Found::Advanced(cache::Advanced { steps, held: cache::Held::default(), done });
            let request = Request::Cache(cache::Ask::Advance);
            Exchange { request, reply: Reply::Cache(Box::new(found)), buffers: Vec::new() }
        };
        let ids = |kept: &[(Exchange, Vec<u8>)]| {
            let Some((Exchange { reply: Reply::Cache(found), .. }, _)) = kept.last() else { panic!("no run") };
            let cache::Found::Advanced(run) = &**found else { panic!("no piece of a run") };
            (run.steps.iter().map(|step| step.kept.id).collect::<Vec<_>>(), run.done)
        };
        let mut kept = Vec::new();
        keep(&mut kept, exchange("one", vec![1]), vec![1]);
        keep(&mut kept, piece(&[1, 2], false), Vec::new());
        keep(&mut kept, piece(&[3], true), Vec::new());
        assert_eq!((ids(&kept), kept.len()), ((vec![1, 2, 3], true), 2));

        let begin = cache::Ask::Begin { text: "a".to_owned(), count: 1, window: None };
        keep(&mut kept, Exchange { request: Request::Cache(begin), ..exchange("two", Vec::new()) }, Vec::new());
        keep(&mut kept, piece(&[4], true), Vec::new());
        assert_eq!((ids(&kept), kept.len()), ((vec![4], true), 3));

        // Of anything else the last one stays.
        keep(&mut kept, exchange("one", vec![2]), vec![7, 8]);
        assert_eq!((kept.len(), &kept[2].1), (3, &vec![7, 8]));
    }

    fn model(hash: &str, base: &str) -> LabModel {
        LabModel {
            id: "hearth-nano".to_owned(),
            hash: hash.to_owned(),
            base: base.to_owned(),
            key: None,
            parameters: 7,
            files: Vec::new(),
        }
    }

    #[test]
    fn the_same_model_is_the_same_wherever_it_lies() {
        let open = |hash, base, engine| plain(&Request::Open(OpenModel { model: model(hash, base), engine }));
        assert_eq!(open("a", "", EngineChoice::Auto), open("a", "/files/", EngineChoice::Cpu));
        assert_ne!(open("a", "", EngineChoice::Auto), open("b", "", EngineChoice::Auto));
        let cost = |hash, base| {
            let vocabularies = vec![words::Vocabulary::Model { model: model(hash, base) }];
            plain(&Request::Words(words::Ask::Cost { vocabularies }))
        };
        assert_eq!(cost("a", ""), cost("a", "/files/"));
        assert_ne!(cost("a", ""), cost("b", ""));
        let trace = Request::Trace { text: "one".to_owned() };
        assert_eq!(plain(&trace), trace);
    }

    #[test]
    fn texts_are_named_and_another_text_has_another_name() {
        let asked = |texts: &[&str]| {
            let texts = texts.iter().map(|text| (*text).to_owned()).collect();
            let task = position::Task::Distances { texts, length: 128 };
            let scaling = position::Scaling::NONE;
            plain(&Request::Position(position::Ask { model: model("a", "/files/"), trained: 128, scaling, task }))
        };
        assert_eq!(asked(&["one", "two"]), asked(&["one", "two"]));
        assert_ne!(asked(&["one", "two"]), asked(&["onetwo"]));
        let long = "long ".repeat(1000);
        assert!(serde_json::to_string(&asked(&[long.as_str()])).unwrap().len() < 500);
    }

    #[test]
    fn an_example_says_so_and_keeps_its_machine_to_itself() {
        let numbers = serde_json::json!({
            "engine": "cpu",
            "timing": {"total_ms": 3.0},
            "runs": [{"ms": 4.0, "loss": 2.5}],
            "items": "ms",
        });
        let expected = serde_json::json!({"runs": [{"loss": 2.5}], "items": "ms", "example": true});
        assert_eq!(marked(numbers), expected);
    }
}
