//! A body or spec that cannot be read: which field is at fault, and what is expected there. What serde says of it is not enough: an
//! object whose fields are read along with another's has lost its path.

use serde::de::DeserializeOwned;
use serde_json::Value;

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
        serde_path_to_error::deserialize(value).map_err(|error: serde_path_to_error::Error<serde_json::Error>| {
            let path = Some(error.path().to_string()).filter(|path| path != ".");
            self.explained(value, loose, (path, error.into_inner().to_string()))
        })
    }

    fn explained(&self, value: &Value, loose: &[&str], (path, message): (Option<String>, String)) -> Fault {
        let said = |start: &str| message.strip_prefix(start).and_then(|rest| rest.split('`').next());
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
            let message = mistyped.to_string();
            return Fault { path: Some(mistyped.path).filter(|path| !path.is_empty()), message };
        }
        match word {
            // The word that says which of several objects it is: the schema has none for another word.
            Some(word) => not_one_of(&foreign_tag(value, path, word, &message)),
            None => Fault { path, message },
        }
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
        says(fault::<CreateWork>(&json!({"training_files": []})), "kind", "missing field `kind`");
    }
}
