//! Fields that a request or a spec file may have: those that `/openapi.json` gives its type. What it has besides is found with its
//! path. It does not know what a field means, nor whether its value will do.

mod fault;
mod types;

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;

use crate::misspelt::nearest;
pub(crate) use fault::Fault;

/// Those of each type that was asked for: a schema is written down once, not at every request.
static KNOWN: LazyLock<Mutex<HashMap<TypeId, Arc<Fields>>>> = LazyLock::new(Mutex::default);

/// The schema of a request, and what it refers to.
pub(crate) struct Fields {
    root: Value,
    named: HashMap<String, Value>,
}

/// A field that the schema does not have.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unknown {
    /// As a client writes it: `hearth.samples[0].promt`.
    pub path: String,
    /// What it may be a slip of: a field beside it, or one that stands in another object there, as `hearth.top_k`.
    pub nearest: Option<String>,
    /// Whether the nearest one is this very name, which stands outside of every object.
    pub is_outer: bool,
}

/// A word where only others are allowed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Foreign {
    pub path: String,
    pub word: String,
    /// The allowed ones.
    pub words: Vec<String>,
    pub nearest: Option<String>,
}

impl Fields {
    pub fn of<T: ToSchema + 'static>() -> Arc<Self> {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(Self::written::<T>())))
    }

    fn written<T: ToSchema>() -> Self {
        let json = |schema: &RefOr<Schema>| serde_json::to_value(schema).expect("a schema is plain JSON");
        let mut referred = Vec::new();
        T::schemas(&mut referred);
        let named = referred.iter().map(|(name, schema)| (name.clone(), json(schema))).collect();
        Self { root: json(&T::schema()), named }
    }

    /// The first field of `body` that is in no schema and not among `loose` (paths of fields that may be there and hold anything).
    /// A `null` asks for nothing, whatever its name.
    pub fn unknown(&self, body: &Value, loose: &[&str]) -> Option<Unknown> {
        let unknown = self.below(&self.root, body, "", loose)?;
        let outer = self.plain(&self.root, body);
        let has = |schema: &&Value, name: &str| properties(schema).is_some_and(|known| known.contains_key(name));
        let stands_outside = |name: &&str| outer.iter().any(|schema| has(schema, name));
        let name = unknown.path.rsplit_once('.').map(|(_, name)| name).filter(stands_outside).map(str::to_owned);
        Some(match name {
            Some(name) => Unknown { nearest: Some(name), is_outer: true, ..unknown },
            None => unknown,
        })
    }

    fn below(&self, schema: &Value, value: &Value, path: &str, loose: &[&str]) -> Option<Unknown> {
        let plain = self.plain(schema, value);
        match value {
            Value::Array(items) => {
                let schema = plain.iter().find_map(|schema| schema.get("items"))?;
                let mut nested = items.iter().enumerate().filter(|(_, item)| item.is_object() || item.is_array());
                nested.find_map(|(at, item)| self.below(schema, item, &format!("{path}[{at}]"), loose))
            }
            Value::Object(fields) => {
                let free = |schema: &&Value| {
                    schema.get("additionalProperties").is_some_and(|more| *more != Value::Bool(false))
                };
                let known: Vec<_> = plain.iter().filter_map(|schema| properties(schema)).collect();
                if known.is_empty() || plain.iter().any(free) {
                    return None;
                }
                fields.iter().filter(|(_, value)| !value.is_null()).find_map(|(name, value)| {
                    let path = inside(path, name);
                    if loose.contains(&path.as_str()) {
                        return None;
                    }
                    match known.iter().find_map(|known| known.get(name)) {
                        Some(schema) => self.below(schema, value, &path, loose),
                        None => Some(Unknown { path, nearest: self.nearest(&known, name), is_outer: false }),
                    }
                })
            }
            _ => None,
        }
    }

    /// Where `word` stands in `body` though the schema lists other words there.
    pub fn foreign(&self, body: &Value, word: &str) -> Option<Foreign> {
        self.foreign_below(&self.root, body, "", word)
    }

    fn foreign_below(&self, schema: &Value, value: &Value, path: &str, word: &str) -> Option<Foreign> {
        let plain = self.plain(schema, value);
        match value {
            Value::String(found) if found == word => {
                let listed = plain.iter().filter_map(|schema| schema.get("enum")?.as_array()).flatten();
                let words: Vec<String> = listed.filter_map(Value::as_str).map(str::to_owned).collect();
                let is_foreign = !words.is_empty() && !words.contains(found);
                is_foreign.then(|| Foreign {
                    path: path.to_owned(),
                    word: word.to_owned(),
                    nearest: nearest(word, words.clone()),
                    words,
                })
            }
            Value::Array(items) => {
                let schema = plain.iter().find_map(|schema| schema.get("items"))?;
                let mut items = items.iter().enumerate();
                items.find_map(|(at, item)| self.foreign_below(schema, item, &format!("{path}[{at}]"), word))
            }
            Value::Object(fields) => {
                let known: Vec<_> = plain.iter().filter_map(|schema| properties(schema)).collect();
                fields.iter().find_map(|(name, value)| {
                    let schema = known.iter().find_map(|known| known.get(name))?;
                    let path = inside(path, name);
                    self.foreign_below(schema, value, &path, word)
                })
            }
            _ => None,
        }
    }

    /// The schemas that `value` may be held against: references followed, compositions taken apart, variants with another tag
    /// left out.
    fn plain<'a>(&'a self, schema: &'a Value, value: &Value) -> Vec<&'a Value> {
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let name = reference.rsplit('/').next().unwrap_or(reference);
            return self.named.get(name).map(|schema| self.plain(schema, value)).unwrap_or_default();
        }
        let mut out = vec![schema];
        for part in parts(schema, "allOf") {
            out.extend(self.plain(part, value));
        }
        for variant in parts(schema, "oneOf").chain(parts(schema, "anyOf")) {
            let variant = self.plain(variant, value);
            if variant.iter().all(|schema| has_tag_of(schema, value)) {
                out.extend(variant);
            }
        }
        out
    }

    fn nearest(&self, known: &[&Map<String, Value>], name: &str) -> Option<String> {
        let mut names: Vec<String> = known.iter().flat_map(|known| known.keys().cloned()).collect();
        for (field, schema) in known.iter().flat_map(|known| known.iter()) {
            for inner in self.plain(schema, &Value::Null).into_iter().filter_map(properties) {
                names.extend(inner.keys().map(|inner| format!("{field}.{inner}")));
            }
        }
        nearest(name, names)
    }
}

/// The path of a field of the object at `path`.
pub(crate) fn inside(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties")?.as_object()
}

/// The members of a composition.
fn parts<'a>(schema: &'a Value, key: &'static str) -> impl Iterator<Item = &'a Value> {
    schema.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// Whether no field of few allowed words has another one.
fn has_tag_of(schema: &Value, value: &Value) -> bool {
    properties(schema).into_iter().flatten().all(|(name, schema)| {
        match (schema.get("enum").and_then(Value::as_array), value.get(name)) {
            (Some(words), Some(word)) => words.contains(word),
            _ => true,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_shared::api::chat::ChatRequest;
    use hearth_shared::api::fine_tuning::CreateJob;
    use hearth_shared::api::jobs::CreateWork;
    use serde_json::json;

    fn unknown<T: ToSchema + 'static>(body: &Value) -> Option<(String, Option<String>)> {
        Fields::of::<T>().unknown(body, &["messages"]).map(|unknown| (unknown.path, unknown.nearest))
    }

    fn found(path: &str, nearest: &str) -> Option<(String, Option<String>)> {
        Some((path.to_owned(), (!nearest.is_empty()).then(|| nearest.to_owned())))
    }

    #[test]
    fn a_schema_is_written_down_once() {
        let (chat, tune) = (Fields::of::<ChatRequest>(), Fields::of::<CreateJob>());
        assert!(Arc::ptr_eq(&chat, &Fields::of::<ChatRequest>()) && !Arc::ptr_eq(&chat, &tune));
    }

    #[test]
    fn a_slip_is_found_where_it_stands() {
        let chat = unknown::<ChatRequest>;
        assert_eq!(chat(&json!({"temperatur": 1})), found("temperatur", "temperature"));
        assert_eq!(chat(&json!({"top_k": 5})), found("top_k", "hearth.top_k"));
        assert_eq!(chat(&json!({"whatever": {"a": 1}})), found("whatever", ""));
        let inner = json!({"hearth": {"repetition_penaltyy": 1.3}});
        assert_eq!(chat(&inner), found("hearth.repetition_penaltyy", "repetition_penalty"));
        let tune = unknown::<CreateJob>;
        assert_eq!(tune(&json!({"hearth": {"learning_rte": 1}})), found("hearth.learning_rte", "learning_rate"));
        assert_eq!(tune(&json!({"hearth": {"lora": {"rank_": 4, "r": 4}}})), found("hearth.lora.rank_", ""));
        assert_eq!(tune(&json!({"hearth": {"samples": [{"promt": ""}]}})), found("hearth.samples[0].promt", "prompt"));
        let method = json!({"method": {"supervised": {"hyperparameters": {"n_epoch": 1}}}});
        assert_eq!(tune(&method), found("method.supervised.hyperparameters.n_epoch", "n_epochs"));
    }

    #[test]
    fn a_kind_of_work_has_its_own_fields() {
        let work = unknown::<CreateWork>;
        assert_eq!(
            work(&json!({"kind": "pretrain", "architecture": {"depht": 3}})),
            found("architecture.depht", "depth")
        );
        assert_eq!(work(&json!({"kind": "pretrain", "max_length": 9})), found("max_length", "options.max_length"));
        assert_eq!(work(&json!({"kind": "tokenizer", "architecture": {}})), found("architecture", ""));
        let inner = json!({"kind": "pretrain", "options": {"batch_size": 4}});
        let unknown = Fields::of::<CreateWork>().unknown(&inner, &[]);
        let unknown = unknown.map(|unknown| (unknown.path, unknown.nearest, unknown.is_outer));
        assert_eq!(unknown, Some(("options.batch_size".to_owned(), Some("batch_size".to_owned()), true)));
        let fine =
            json!({"kind": "pretrain", "dry_run": false, "tokenizer": {"train": {"vocab_size": 600}}, "options": {}});
        assert_eq!(work(&fine), None);
        assert_eq!(work(&json!({"kind": "export", "model": "m", "format": "gguf", "dtype": "f16"})), None);
    }

    #[test]
    fn a_word_is_foreign_where_others_are_listed() {
        let tune = Fields::of::<CreateJob>();
        let body = json!({"suffix": "cosin", "hearth": {"schedule": "cosin", "optimizer": "adamw"}});
        let foreign = tune.foreign(&body, "cosin").map(|foreign| (foreign.path, foreign.nearest));
        assert_eq!(foreign, found("hearth.schedule", "cosine"));
        assert_eq!(tune.foreign(&body, "adamw"), None);
        let work = Fields::of::<CreateWork>();
        let body = json!({"kind": "pretrain", "architecture": {"preset": "lama"}});
        let foreign = work.foreign(&body, "lama").map(|foreign| (foreign.path, foreign.nearest));
        assert_eq!(foreign, found("architecture.preset", "llama"));
    }

    #[test]
    fn what_is_known_empty_or_free_passes() {
        for fine in [
            json!({"temperature": 1, "temperatur": null, "hearth": null}),
            json!({"metadata": {"anything": "goes"}, "stop": ["a"]}),
            json!({"messages": [{"role": "user", "content": "a", "refusal": 3}]}),
            json!({"hearth": {"top_k": 1}, "stream_options": {"include_usage": true}}),
            json!([1]),
        ] {
            assert_eq!(unknown::<ChatRequest>(&fine), None, "{fine}");
        }
        assert_eq!(unknown::<CreateJob>(&json!({"hearth": {"dry_run": true, "lora": {"r": 2}}})), None);
    }
}
