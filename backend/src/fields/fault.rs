//! A body or spec that cannot be read: which field is at fault, and what is expected there. What serde says of it is not enough: an
//! object whose fields are read along with another's has lost its path.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::types::{Mistyped, listed, shown};
use super::{Fields, Foreign, inside, properties};
use crate::misspelt::nearest;

/// Why a value was not read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// As a client writes it; none where it is the whole.
    pub path: Option<String>,
    pub message: String,
}

impl Fields {
    /// Reads what has these fields. Fields in `loose` may hold more than the schema says.
    ///
    /// # Errors
    /// The first fault, named by its field.
    pub fn read<T: DeserializeOwned>(&self, value: &Value, loose: &[&str]) -> Result<T, Fault> {
        let read = serde_path_to_error::deserialize(value).map_err(
            |error: serde_path_to_error::Error<serde_json::Error>| {
                let path = Some(error.path().to_string()).filter(|path| path != ".");
                self.explained(value, loose, (path, error.into_inner().to_string()))
            },
        )?;
        self.listed_object(value).map_or(Ok(read), |listed| Err(of_type(listed)))
    }

    fn explained(&self, value: &Value, loose: &[&str], (path, message): (Option<String>, String)) -> Fault {
        let said = |start: &str| message.strip_prefix(start).and_then(|rest| rest.split('`').next());
        if let Some(fault) = self.untagged(value) {
            return fault;
        }
        if let Some(name) = said("missing field `") {
            // A missing field is reported at the object that lacks it.
            let path = match path {
                Some(path) => inside(&path, name),
                None => self.lacking(value, name).unwrap_or_else(|| name.to_owned()),
            };
            return Fault { path: Some(path), message };
        }
        let word = said("unknown variant `");
        if let Some(foreign) = word.and_then(|word| self.foreign(value, word)) {
            return not_one_of(&foreign);
        }
        if let Some(mistyped) = self.mistyped(value, loose) {
            return of_type(mistyped);
        }
        // Fields that may hold more than the schema says are held to it where they were not read for their type.
        let is_of_type = ["invalid type", "invalid value"].iter().any(|start| message.starts_with(start));
        let at = path.as_deref().filter(|_| is_of_type);
        if let Some(mistyped) = at.and_then(|at| self.mistyped_at(value, at)) {
            return of_type(mistyped);
        }
        match word {
            // The word that says which of several objects it is: the schema has none for another word.
            Some(word) => not_one_of(&foreign_tag(value, path, word, &message)),
            None => {
                let message = match &path {
                    // Our own reader's words, which do not know where it reads.
                    Some(path) if message.starts_with("must be ") => format!("`{path}` {message}"),
                    _ => message,
                };
                Fault { path, message }
            }
        }
    }

    /// Where the word that says which of several objects it is lacks, or is none.
    fn untagged(&self, value: &Value) -> Option<Fault> {
        let (name, words) = self.tag()?;
        let words = listed(&words, "or");
        let message = match value.as_object()?.get(&name) {
            Some(Value::String(_)) => return None,
            Some(found) => format!("`{name}` must be {words}, not {}", shown(found)),
            None => format!("missing field `{name}`: it must be {words}"),
        };
        Some(Fault { path: Some(name), message })
    }

    /// Where the schema needs a field of this name that `value` does not have.
    fn lacking(&self, value: &Value, name: &str) -> Option<String> {
        self.lacking_below(&self.root, value, "", name)
    }

    fn lacking_below(&self, schema: &Value, value: &Value, path: &str, name: &str) -> Option<String> {
        let fields = value.as_object()?;
        let plain = self.plain(schema, value);
        let needs = |schema: &&Value| {
            let needed = schema.get("required").and_then(Value::as_array);
            needed.is_some_and(|needed| needed.iter().any(|needed| needed.as_str() == Some(name)))
        };
        if !fields.contains_key(name) && plain.iter().any(needs) {
            return Some(inside(path, name));
        }
        fields.iter().find_map(|(field, value)| {
            let schema = plain.iter().filter_map(|schema| properties(schema)).find_map(|known| known.get(field))?;
            self.lacking_below(schema, value, &inside(path, field), name)
        })
    }
}

fn of_type(mistyped: Mistyped) -> Fault {
    let message = mistyped.to_string();
    Fault { path: Some(mistyped.path).filter(|path| !path.is_empty()), message }
}

/// `message` is serde's, which lists the words between backticks.
fn foreign_tag(value: &Value, path: Option<String>, word: &str, message: &str) -> Foreign {
    let mut fields = value.as_object().into_iter().flatten();
    let holder = fields.find(|(_, value)| value.as_str() == Some(word)).map(|(name, _)| name.clone());
    let words: Vec<String> = message.split('`').skip(3).step_by(2).map(str::to_owned).collect();
    let nearest = nearest(word, words.clone());
    Foreign { path: path.or(holder).unwrap_or_default(), word: word.to_owned(), words, nearest }
}

fn not_one_of(Foreign { path, word, words, nearest }: &Foreign) -> Fault {
    let meant = nearest.as_ref().map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
    let message = format!("`{word}` is not one of {}{meant}", words.join(", "));
    Fault { path: Some(path.clone()).filter(|path| !path.is_empty()), message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_shared::api::chat::ChatRequest;
    use hearth_shared::api::fine_tuning::CreateJob;
    use hearth_shared::api::jobs::CreateWork;
    use serde_json::json;
    use utoipa::ToSchema;

    fn fault<T: DeserializeOwned + ToSchema + std::fmt::Debug + 'static>(value: &Value) -> (String, String) {
        let fault = Fields::of::<T>().read::<T>(value, &[]).expect_err("a fault");
        (fault.path.unwrap_or_default(), fault.message)
    }

    #[track_caller]
    fn says(found: (String, String), path: &str, message: &str) {
        assert_eq!((found.0.as_str(), found.1.as_str()), (path, message));
    }

    fn tune(hearth: Value) -> (String, String) {
        fault::<CreateJob>(&json!({"model": "m", "training_file": "f", "hearth": hearth}))
    }

    fn work(field: &str, asked: Value) -> (String, String) {
        let mut body = json!({"kind": "pretrain", "training_files": ["f"]});
        body[field] = asked;
        fault::<CreateWork>(&body)
    }

    #[test]
    fn a_number_of_another_kind_is_named_by_its_whole_path() {
        let whole = |path: &str, found: &str| format!("`{path}` must be a whole number from 0, not {found}");
        for (value, found) in [(json!("many"), "\"many\""), (json!(-1), "-1"), (json!(1.5), "1.5")] {
            says(tune(json!({"max_steps": value})), "hearth.max_steps", &whole("hearth.max_steps", found));
        }
        says(tune(json!({"lora": {"r": [4]}})), "hearth.lora.r", &whole("hearth.lora.r", "a list"));
        let beyond = "`hearth.lora.r` must be a whole number from 0 to 4294967295, not 5000000000";
        says(tune(json!({"lora": {"r": 5_000_000_000_u64}})), "hearth.lora.r", beyond);
        let rate = "`hearth.learning_rate` must be a number or `auto`, not \"fast\"";
        says(tune(json!({"learning_rate": "fast"})), "hearth.learning_rate", rate);
        let depth = work("architecture", json!({"depth": "deep"}));
        says(depth, "architecture.depth", &whole("architecture.depth", "\"deep\""));
        let chat = json!({"model": "m", "messages": [], "temperature": "hot"});
        says(fault::<ChatRequest>(&chat), "temperature", "`temperature` must be a number, not \"hot\"");
    }

    #[test]
    fn what_is_no_number_is_named_too() {
        let dora = "`hearth.lora.dora` must be true or false, not \"yes\"";
        says(tune(json!({"lora": {"dora": "yes"}})), "hearth.lora.dora", dora);
        says(tune(json!({"lora": 4})), "hearth.lora", "`hearth.lora` must be an object, not 4");
        let second = tune(json!({"lora": {"target_modules": ["q_proj", 7]}}));
        let path = "hearth.lora.target_modules[1]";
        says(second, path, "`hearth.lora.target_modules[1]` must be a text, not 7");
        let dry = "`dry_run` must be true or false, not \"no\"";
        says(work("dry_run", json!("no")), "dry_run", dry);
    }

    #[test]
    fn one_of_several_fields_must_be_given_and_no_more() {
        let one = "`tokenizer` must be an object with one of `model`, `file` and `train`";
        let both = work("tokenizer", json!({"model": "m", "train": {"vocab_size": 600}}));
        says(both, "tokenizer", &format!("{one}, not with `model` and `train`"));
        says(work("tokenizer", json!({})), "tokenizer", &format!("{one}, not with none"));
        let size = "tokenizer.train.vocab_size";
        says(work("tokenizer", json!({"train": {}})), size, "missing field `vocab_size`");
        let text = work("tokenizer", json!({"train": {"vocab_size": "600"}}));
        says(text, size, &format!("`{size}` must be a whole number from 0, not \"600\""));
    }

    #[test]
    fn a_kind_that_is_none_is_named_with_the_nearest() {
        let meant = "`pretran` is not one of pretrain, tokenizer, export; did you mean `pretrain`?";
        says(fault::<CreateWork>(&json!({"kind": "pretran", "training_files": []})), "kind", meant);
        let lacks = "missing field `kind`: it must be `pretrain`, `tokenizer` or `export`";
        says(fault::<CreateWork>(&json!({"training_files": []})), "kind", lacks);
        let number = "`kind` must be `pretrain`, `tokenizer` or `export`, not 5";
        says(fault::<CreateWork>(&json!({"kind": 5, "training_files": []})), "kind", number);
    }

    #[test]
    fn a_list_is_no_object_though_serde_would_read_its_fields_from_it() {
        let object = |path: &str| format!("`{path}` must be an object, not a list");
        says(work("architecture", json!([])), "architecture", &object("architecture"));
        says(tune(json!({"lora": []})), "hearth.lora", &object("hearth.lora"));
        says(tune(json!({"samples": [["a", 4]]})), "hearth.samples[0]", &object("hearth.samples[0]"));
        let turn = json!({"model": "m", "messages": [["user", "a"]]});
        says(fault::<ChatRequest>(&turn), "messages[0]", &object("messages[0]"));
        let parts = json!({"role": "user", "content": [{"type": "text", "text": "a"}]});
        let lists = json!({"model": "m", "messages": [parts], "stop": ["b"]});
        assert!(Fields::of::<ChatRequest>().read::<ChatRequest>(&lists, &["messages"]).is_ok());
    }

    #[test]
    fn what_may_hold_more_than_the_schema_says_is_named_where_it_cannot_be_read() {
        let loose = ["messages", "stream_options"];
        let chat = |value: Value| {
            let read = Fields::of::<ChatRequest>().read::<ChatRequest>(&value, &loose);
            let Fault { path, message } = read.expect_err("a fault");
            (path.unwrap_or_default(), message)
        };
        let parts = json!({"role": "user", "content": [{"type": "text", "text": "a"}]});
        let text = chat(json!({"model": "m", "messages": "x"}));
        says(text, "messages", "`messages` must be a list, not \"x\"");
        let role = chat(json!({"model": "m", "messages": [parts, {"role": 5, "content": "a"}]}));
        assert_eq!(role.0, "messages[1].role");
        let number = chat(json!({"model": "m", "messages": [parts, {"role": "user", "content": 5}]}));
        let content = "must be a text, or a list of parts like {\"type\": \"text\", \"text\": \"…\"}";
        says(number, "messages[1].content", &format!("`messages[1].content` {content}"));
        let usage = json!({"model": "m", "messages": [parts], "stream_options": {"include_usage": 5}});
        let path = "stream_options.include_usage";
        says(chat(usage), path, &format!("`{path}` must be true or false, not 5"));
    }
}
