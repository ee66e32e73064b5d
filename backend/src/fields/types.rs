//! A value of a type that the schema does not have at its place. It does not know which numbers will do, only which can be.

use std::fmt;

use serde_json::{Map, Value};

use super::{Fields, inside, parts, properties};

/// Letters of a text that is repeated to its writer.
const SHOWN: usize = 40;

/// Where a value stands, what the schema has there, and what was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mistyped {
    pub path: String,
    expected: String,
    found: String,
}

impl fmt::Display for Mistyped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, expected, found } = self;
        match path.as_str() {
            "" => write!(f, "this must be {expected}, not {found}"),
            path => write!(f, "`{path}` must be {expected}, not {found}"),
        }
    }
}

/// What is passed over.
#[derive(Clone, Copy)]
struct Patience<'a> {
    loose: &'a [&'a str],
    nulls: bool,
    sought: Sought<'a>,
}

/// Which values of another type are told of.
#[derive(Clone, Copy)]
enum Sought<'a> {
    Any,
    /// That at this path.
    At(&'a str),
    /// Lists in an object's place: serde takes them for the object's fields in order.
    Lists,
}

impl Sought<'_> {
    fn tells(self, path: &str, schemas: &[&Value], value: &Value) -> bool {
        match self {
            Self::Any => true,
            Self::At(at) => path == at,
            Self::Lists => value.is_array() && schemas.iter().any(|schema| types(schema).any(|kind| kind == "object")),
        }
    }
}

impl Fields {
    /// The first value of `body` that is of no type that the schema has there; a `null` only where nothing else is. Fields in
    /// `loose` may hold anything.
    pub(super) fn mistyped(&self, body: &Value, loose: &[&str]) -> Option<Mistyped> {
        let find = |nulls| self.mistyped_below(&self.root, body, "", Patience { loose, nulls, sought: Sought::Any });
        find(true).or_else(|| find(false))
    }

    /// The value at `at`, where it is of no type that the schema has there.
    pub(super) fn mistyped_at(&self, body: &Value, at: &str) -> Option<Mistyped> {
        self.mistyped_below(&self.root, body, "", Patience { loose: &[], nulls: false, sought: Sought::At(at) })
    }

    /// The first list that stands where the schema has an object.
    pub(super) fn listed_object(&self, body: &Value) -> Option<Mistyped> {
        self.mistyped_below(&self.root, body, "", Patience { loose: &[], nulls: true, sought: Sought::Lists })
    }

    fn mistyped_below(&self, schema: &Value, value: &Value, path: &str, patience: Patience<'_>) -> Option<Mistyped> {
        if patience.loose.contains(&path) || (value.is_null() && patience.nulls) {
            return None;
        }
        let mistyped = |expected, found| Some(Mistyped { path: path.to_owned(), expected, found });
        let is_any = matches!(patience.sought, Sought::Any);
        if let Some((names, given)) = self.choice(schema, value).filter(|(_, given)| is_any && given.len() != 1) {
            let found = if given.is_empty() { "none".to_owned() } else { listed(&given, "and") };
            return mistyped(format!("an object with one of {}", listed(&names, "and")), format!("with {found}"));
        }
        let plain = self.plain(schema, value);
        let typed: Vec<&Value> = plain.iter().copied().filter(|schema| schema.get("type").is_some()).collect();
        let is_foreign = !typed.is_empty() && !typed.iter().any(|schema| takes(schema, value));
        if is_foreign && patience.sought.tells(path, &typed, value) {
            return mistyped(expected(&typed, value), shown(value));
        }
        match value {
            Value::Array(items) => {
                let schema = plain.iter().find_map(|schema| schema.get("items"))?;
                let mut items = items.iter().enumerate();
                items.find_map(|(at, item)| self.mistyped_below(schema, item, &format!("{path}[{at}]"), patience))
            }
            Value::Object(fields) => fields.iter().find_map(|(name, value)| {
                let schema = plain.iter().filter_map(|schema| properties(schema)).find_map(|known| known.get(name))?;
                self.mistyped_below(schema, value, &inside(path, name), patience)
            }),
            _ => None,
        }
    }

    /// Where each variant of the schema is an object with one field of its own: their names, and those that the value has.
    fn choice(&self, schema: &Value, value: &Value) -> Option<(Vec<String>, Vec<String>)> {
        let fields = value.as_object()?;
        let variants = parts(self.referred(schema), "oneOf").map(|variant| only_property(self.referred(variant)));
        let names = variants.collect::<Option<Vec<String>>>().filter(|names| names.len() > 1)?;
        let given = names.iter().filter(|name| fields.contains_key(*name)).cloned().collect();
        Some((names, given))
    }

    /// The field whose word says which of several objects the whole is, and its words.
    pub(super) fn tag(&self) -> Option<(String, Vec<String>)> {
        let variants = parts(self.referred(&self.root), "oneOf").map(|variant| self.plain(variant, &Value::Null));
        let variants: Vec<Vec<&Value>> = variants.collect();
        let mut names = variants.first()?.iter().filter_map(|schema| properties(schema)).flat_map(Map::keys);
        names.find_map(|name| {
            let words = variants.iter().map(|variant| variant.iter().find_map(|schema| only_word(schema, name)));
            Some((name.clone(), words.collect::<Option<Vec<String>>>()?))
        })
    }

    /// The schema that a reference means.
    fn referred<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let name = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
        name.and_then(|name| self.named.get(name)).unwrap_or(schema)
    }
}

fn only_property(schema: &Value) -> Option<String> {
    let known = properties(schema)?;
    known.keys().next().filter(|_| known.len() == 1).cloned()
}

/// Of a field that can hold nothing else.
fn only_word(schema: &Value, name: &str) -> Option<String> {
    match properties(schema)?.get(name)?.get("enum")?.as_array()?.as_slice() {
        [word] => word.as_str().map(str::to_owned),
        _ => None,
    }
}

fn types(schema: &Value) -> impl Iterator<Item = &str> {
    let kinds = schema.get("type");
    let several = kinds.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    kinds.and_then(Value::as_str).into_iter().chain(several)
}

fn takes(schema: &Value, value: &Value) -> bool {
    if let (Some(words), false) = (schema.get("enum").and_then(Value::as_array), value.is_null()) {
        return words.contains(value);
    }
    types(schema).any(|kind| match kind {
        "integer" => is_whole(value) && within(schema, value),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        _ => true,
    })
}

fn is_whole(value: &Value) -> bool {
    value.is_u64() || value.is_i64()
}

/// Bounds of the type, not of the field.
fn bounds(schema: &Value) -> (Option<f64>, Option<f64>) {
    let least = schema.get("minimum").and_then(Value::as_f64);
    let most = match (schema.get("format").and_then(Value::as_str), least) {
        (Some("int32"), Some(_)) => Some(f64::from(u32::MAX)),
        (Some("int32"), None) => Some(f64::from(i32::MAX)),
        _ => None,
    };
    (least, most)
}

fn within(schema: &Value, value: &Value) -> bool {
    let (least, most) = bounds(schema);
    let number = value.as_f64().unwrap_or(f64::NAN);
    least.is_none_or(|least| number >= least) && most.is_none_or(|most| number <= most)
}

/// Every type in words, each once.
fn expected(schemas: &[&Value], value: &Value) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in schemas.iter().flat_map(|schema| in_words(schema, value)) {
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words.join(" or ")
}

fn in_words(schema: &Value, value: &Value) -> Vec<String> {
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        let words: Vec<String> = words.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        return vec![listed(&words, "or")];
    }
    let word = |kind: &str| match kind {
        "integer" => Some(whole(schema, value)),
        "number" => Some("a number".to_owned()),
        "string" => Some("a text".to_owned()),
        "boolean" => Some("true or false".to_owned()),
        "array" => Some("a list".to_owned()),
        "object" => Some("an object".to_owned()),
        _ => None,
    };
    types(schema).filter_map(word).collect()
}

/// The end of the range is named to those who went beyond it.
fn whole(schema: &Value, value: &Value) -> String {
    let (least, most) = bounds(schema);
    let from = least.map(|least| format!(" from {least}")).unwrap_or_default();
    let beyond = most.filter(|most| is_whole(value) && value.as_f64().is_some_and(|number| number > *most));
    let to = beyond.map(|most| format!(" to {most}")).unwrap_or_default();
    format!("a whole number{from}{to}")
}

pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) if text.chars().count() > SHOWN => {
            format!("\"{}…\"", text.chars().take(SHOWN).collect::<String>())
        }
        other => other.to_string(),
    }
}

/// `a`, `b` and `c`.
pub(super) fn listed(names: &[String], last: &str) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((end, before)) => format!("{} {last} {end}", before.join(", ")),
    }
}
