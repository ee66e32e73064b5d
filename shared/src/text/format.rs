//! The data-set formats that people have: which one a row is, and its conversation. The validator and the trainer read rows
//! through this one function, so that what was checked is what is trained.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::chat::{Message, Role};
use super::rules::Rule;

/// A data-set format.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// `{"messages": [{"role", "content", "weight"?}]}`, a line each.
    OpenaiChat,
    /// `{"instruction", "input"?, "output", "system"?, "history"?}`, in an array or a line each.
    Alpaca,
    /// `{"conversations": [{"from", "value"}], "system"?}`, in an array or a line each.
    Sharegpt,
    /// Pairs of answers, a line each: OpenAI's `{"input": {"messages"}, "preferred_output", "non_preferred_output"}`, or
    /// `{"prompt", "chosen", "rejected"}` with strings or lists of messages.
    Preference,
    /// Plain text; every token is trained.
    Text,
}

/// What a row teaches.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Example {
    Chat(Vec<Message>),
    /// One prompt, two answers: two conversations of which only the answer is trained.
    Preference {
        preferred: Vec<Message>,
        rejected: Vec<Message>,
    },
    Text(String),
}

impl Example {
    /// Its conversations: one, the better and the worse one, or none.
    pub fn conversations(&self) -> Vec<&[Message]> {
        match self {
            Self::Chat(messages) => vec![messages],
            Self::Preference { preferred, rejected } => vec![preferred, rejected],
            Self::Text(_) => Vec::new(),
        }
    }
}

/// A rule that a row breaks, before anybody knows its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    pub rule: Rule,
    /// Path inside the row: `messages[1].content`; empty is the row itself.
    pub field: String,
    /// What exactly, where the rule alone doesn't say.
    pub detail: Option<String>,
}

impl Breach {
    pub fn new(rule: Rule, field: impl Into<String>) -> Self {
        Self { rule, field: field.into(), detail: None }
    }

    pub fn because(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

impl Format {
    /// The format of a JSON object by its keys. An object without any of them is taken for OpenAI's, whose missing field
    /// the validator then names.
    pub fn of_object(object: &Map<String, Value>) -> Self {
        let has = |keys: &[&str]| keys.iter().any(|key| object.contains_key(*key));
        if object.contains_key("messages") {
            Self::OpenaiChat
        } else if has(&["preferred_output", "non_preferred_output", "chosen", "rejected"]) {
            Self::Preference
        } else if object.contains_key("conversations") {
            Self::Sharegpt
        } else if object.contains_key("instruction") || object.contains_key("output") {
            Self::Alpaca
        } else {
            Self::OpenaiChat
        }
    }

    /// Reads one row of this format.
    ///
    /// # Errors
    /// Every rule the row breaks that makes it no example. Warnings come from [`warnings`].
    pub fn parse(self, text: &str) -> Result<Example, Vec<Breach>> {
        if self == Self::Text {
            return Ok(Example::Text(text.to_owned()));
        }
        let value: Value = serde_json::from_str(text)
            .map_err(|error| vec![Breach::new(Rule::RowSyntax, "").because(error.to_string())])?;
        self.parse_value(&value)
    }

    /// As [`Self::parse`], of a row that is JSON already.
    ///
    /// # Errors
    /// As there.
    pub fn parse_value(self, value: &Value) -> Result<Example, Vec<Breach>> {
        let Value::Object(object) = value else {
            return Err(vec![Breach::new(Rule::RowNotObject, "")]);
        };
        if Self::of_object(object) != self {
            return Err(vec![Breach::new(Rule::RowMixedFormat, "")]);
        }
        let mut reader = Reader::default();
        if self == Self::Preference {
            let [preferred, rejected] = reader.preference(object);
            reader.check(&preferred);
            reader.check(&rejected);
            if reader.breaches.is_empty() && preferred == rejected {
                reader.breach(Rule::AnswersEqual, "");
            }
            let whole = reader.breaches.is_empty();
            return if whole { Ok(Example::Preference { preferred, rejected }) } else { Err(reader.breaches) };
        }
        let messages = match self {
            Self::OpenaiChat => reader.openai(object),
            Self::Alpaca => reader.alpaca(object),
            Self::Sharegpt => reader.sharegpt(object),
            Self::Preference | Self::Text => return Err(vec![Breach::new(Rule::RowMixedFormat, "")]),
        };
        reader.check(&messages);
        if reader.breaches.is_empty() { Ok(Example::Chat(messages)) } else { Err(reader.breaches) }
    }
}

/// What is odd about a conversation but no reason to refuse it.
pub fn warnings(messages: &[Message]) -> Vec<Breach> {
    let mut out = Vec::new();
    for (i, message) in messages.iter().enumerate() {
        let field = format!("messages[{i}].role");
        if message.role == Role::System && i > 0 {
            out.push(Breach::new(Rule::SystemNotFirst, field));
        } else if i > 0 && messages[i - 1].role == message.role && message.role != Role::Tool {
            out.push(Breach::new(Rule::SameRoleTwice, field));
        }
    }
    out
}

#[derive(Default)]
struct Reader {
    breaches: Vec<Breach>,
}

impl Reader {
    fn breach(&mut self, rule: Rule, field: impl Into<String>) {
        self.breaches.push(Breach::new(rule, field));
    }

    /// A string field; null and absent are the same.
    fn text(&mut self, object: &Map<String, Value>, key: &str, field: &str, needed: bool) -> Option<String> {
        match object.get(key) {
            Some(Value::String(text)) => return Some(text.clone()),
            None | Some(Value::Null) if needed => self.breach(Rule::FieldMissing, field),
            None | Some(Value::Null) => {}
            Some(_) => self.breach(Rule::FieldType, field),
        }
        None
    }

    fn list<'a>(&mut self, object: &'a Map<String, Value>, key: &str) -> &'a [Value] {
        match object.get(key) {
            Some(Value::Array(list)) => {
                if list.is_empty() {
                    self.breach(Rule::MessagesEmpty, key);
                }
                return list;
            }
            None | Some(Value::Null) => self.breach(Rule::FieldMissing, key),
            Some(_) => self.breach(Rule::FieldType, key),
        }
        &[]
    }

    fn openai(&mut self, row: &Map<String, Value>) -> Vec<Message> {
        for key in ["tools", "functions"] {
            if row.get(key).is_some_and(|value| !value.is_null()) {
                self.breach(Rule::FieldUnsupported, key);
            }
        }
        let list = self.list(row, "messages");
        list.iter().enumerate().filter_map(|(i, value)| self.message(&format!("messages[{i}]"), value)).collect()
    }

    /// Both conversations; in the prompt nothing is trained.
    fn preference(&mut self, row: &Map<String, Value>) -> [Vec<Message>; 2] {
        let (prompt, answers) = if row.contains_key("chosen") || row.contains_key("rejected") {
            (self.turns(row, "prompt", Role::User), ["chosen", "rejected"])
        } else {
            let prompt = match row.get("input") {
                Some(Value::Object(input)) => self.openai(input),
                Some(Value::Null) | None => {
                    self.breach(Rule::FieldMissing, "input");
                    Vec::new()
                }
                Some(_) => {
                    self.breach(Rule::FieldType, "input");
                    Vec::new()
                }
            };
            (prompt, ["preferred_output", "non_preferred_output"])
        };
        let masked = prompt.into_iter().map(|message| match message.role {
            Role::Assistant => Message { weight: Some(0.0), ..message },
            _ => message,
        });
        let masked: Vec<Message> = masked.collect();
        answers.map(|key| {
            let mut messages = masked.clone();
            messages.extend(self.turns(row, key, Role::Assistant));
            messages
        })
    }

    /// A list of messages, or a text that `role` says.
    fn turns(&mut self, row: &Map<String, Value>, key: &str, role: Role) -> Vec<Message> {
        if let Some(Value::String(text)) = row.get(key) {
            return vec![Message::new(role, text)];
        }
        let list = self.list(row, key);
        list.iter().enumerate().filter_map(|(i, value)| self.message(&format!("{key}[{i}]"), value)).collect()
    }

    fn message(&mut self, place: &str, value: &Value) -> Option<Message> {
        let at = |key: &str| format!("{place}.{key}");
        let Value::Object(object) = value else {
            self.breach(Rule::FieldType, place);
            return None;
        };
        for key in ["tool_calls", "function_call", "audio"] {
            if object.get(key).is_some_and(|value| !value.is_null()) {
                self.breach(Rule::FieldUnsupported, at(key));
            }
        }
        let role = self.text(object, "role", &at("role"), true);
        let content = self.content(object.get("content"), &at("content"));
        let name = self.text(object, "name", &at("name"), false);
        let weight = self.weight(object.get("weight"), &at("weight"));
        let role = self.role(role?, &at("role"))?;
        if weight.is_some() && role != Role::Assistant {
            self.breach(Rule::WeightRole, at("weight"));
        }
        Some(Message { role, content: content?, name, weight })
    }

    fn role(&mut self, word: String, field: &str) -> Option<Role> {
        let role = match word.as_str() {
            "system" | "developer" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "tool" => Role::Tool,
            _ => {
                self.breaches.push(Breach::new(Rule::RoleUnknown, field).because(word));
                return None;
            }
        };
        Some(role)
    }

    fn content(&mut self, value: Option<&Value>, field: &str) -> Option<String> {
        match value {
            Some(Value::String(text)) => Some(text.clone()),
            None | Some(Value::Null) => {
                self.breach(Rule::FieldMissing, field);
                None
            }
            Some(Value::Array(parts)) => {
                let mut text = String::new();
                for (k, part) in parts.iter().enumerate() {
                    match (part["type"].as_str(), part["text"].as_str()) {
                        (Some("text"), Some(piece)) => text.push_str(piece),
                        _ => {
                            self.breach(Rule::FieldUnsupported, format!("{field}[{k}]"));
                            return None;
                        }
                    }
                }
                Some(text)
            }
            Some(_) => {
                self.breach(Rule::FieldType, field);
                None
            }
        }
    }

    fn weight(&mut self, value: Option<&Value>, field: &str) -> Option<f32> {
        match value {
            None | Some(Value::Null) => None,
            Some(value) => match value.as_f64() {
                Some(weight) if weight == 0.0 || weight == 1.0 => Some(weight as f32),
                Some(weight) => {
                    self.breaches.push(Breach::new(Rule::WeightValue, field).because(weight.to_string()));
                    None
                }
                None => {
                    self.breach(Rule::FieldType, field);
                    None
                }
            },
        }
    }

    fn alpaca(&mut self, row: &Map<String, Value>) -> Vec<Message> {
        let mut messages = Vec::new();
        if let Some(system) = self.text(row, "system", "system", false).filter(|text| !text.is_empty()) {
            messages.push(Message::new(Role::System, system));
        }
        match row.get("history") {
            None | Some(Value::Null) => {}
            Some(Value::Array(turns)) => {
                for (i, turn) in turns.iter().enumerate() {
                    match (turn[0].as_str(), turn[1].as_str()) {
                        (Some(asked), Some(answered)) => {
                            messages.push(Message::new(Role::User, asked));
                            messages.push(Message::new(Role::Assistant, answered));
                        }
                        _ => self.breach(Rule::FieldType, format!("history[{i}]")),
                    }
                }
            }
            Some(_) => self.breach(Rule::FieldType, "history"),
        }
        let instruction = self.text(row, "instruction", "instruction", true);
        let input = self.text(row, "input", "input", false).filter(|text| !text.is_empty());
        let output = self.text(row, "output", "output", true);
        if let (Some(instruction), Some(output)) = (instruction, output) {
            let asked = match input {
                Some(input) if instruction.is_empty() => input,
                Some(input) => format!("{instruction}\n{input}"),
                None => instruction,
            };
            messages.push(Message::new(Role::User, asked));
            messages.push(Message::new(Role::Assistant, output));
        }
        messages
    }

    fn sharegpt(&mut self, row: &Map<String, Value>) -> Vec<Message> {
        let mut messages = Vec::new();
        if row.get("tools").is_some_and(|value| !value.is_null() && value != "" && value != "[]") {
            self.breach(Rule::FieldUnsupported, "tools");
        }
        if let Some(system) = self.text(row, "system", "system", false).filter(|text| !text.is_empty()) {
            messages.push(Message::new(Role::System, system));
        }
        for (i, value) in self.list(row, "conversations").iter().enumerate() {
            let at = |key: &str| format!("conversations[{i}].{key}");
            let Value::Object(turn) = value else {
                self.breach(Rule::FieldType, format!("conversations[{i}]"));
                continue;
            };
            let from = self.text(turn, "from", &at("from"), true);
            let content = self.text(turn, "value", &at("value"), true);
            let role = match from.as_deref() {
                Some("human" | "user") => Role::User,
                Some("gpt" | "chatgpt" | "assistant" | "bing" | "bard") => Role::Assistant,
                Some("system") => Role::System,
                Some("tool" | "observation") => Role::Tool,
                Some("function_call") => {
                    self.breach(Rule::FieldUnsupported, at("from"));
                    continue;
                }
                Some(other) => {
                    self.breaches.push(Breach::new(Rule::RoleUnknown, at("from")).because(other));
                    continue;
                }
                None => continue,
            };
            if let Some(content) = content {
                messages.push(Message::new(role, content));
            }
        }
        messages
    }

    /// Rules over the whole conversation; only said when its parts are right, since a broken part breaks these too.
    fn check(&mut self, messages: &[Message]) {
        if !self.breaches.is_empty() {
            return;
        }
        let Some(last) = messages.last() else {
            self.breach(Rule::MessagesEmpty, "messages");
            return;
        };
        if last.role != Role::Assistant {
            self.breach(Rule::LastNotAssistant, format!("messages[{}].role", messages.len() - 1));
        }
        for (i, message) in messages.iter().enumerate() {
            if message.is_trained() && message.content.trim().is_empty() {
                self.breach(Rule::ContentEmpty, format!("messages[{i}].content"));
            }
        }
        if !messages.iter().any(Message::is_trained) {
            self.breach(Rule::NothingTrained, "messages");
        }
    }
}
