//! Conversations to text: the Jinja templates of Hugging Face checkpoints, rendered as transformers renders them.
//!
//! [`ChatTemplate::encode`] and [`ChatTemplate::encode_training`] go on to token ids. They are the only right way from
//! messages to ids: what a person wrote can then never become a special token, and training sees text cut exactly where
//! generation starts.

mod encode;
mod functions;

use minijinja::value::Value;
use minijinja::{Environment, Error, ErrorKind};
use thiserror::Error;

use crate::tokenizer::SpecialNames;
use hearth_shared::text::chat::{Message, Role};

pub use encode::{ChatTokens, TokenSpan};

/// Instructions a template may run; a conversation of a thousand turns takes a hundredth of it.
const FUEL: u64 = 20_000_000;

/// Characters the templates below put around what an assistant said. Text of a conversation that holds one is shielded.
const OPEN: char = '\u{10fff0}';
const CLOSE: char = '\u{10fff1}';

/// Why a conversation could not be rendered.
#[derive(Debug, Error)]
pub enum TemplateError {
    /// The template itself is wrong.
    #[error("chat template, line {line}: {problem}")]
    Syntax {
        /// Line of the template, from 1; 0 where it is not known.
        line: usize,
        /// What is wrong there.
        problem: String,
    },
    /// The template does not take this conversation (`raise_exception`).
    #[error("the model's chat template refuses this conversation: {message}")]
    Refused {
        /// The template's own words.
        message: String,
    },
    /// The template failed on this conversation.
    #[error("chat template, line {line}: {problem}")]
    Render {
        /// Line of the template, from 1; 0 where it is not known.
        line: usize,
        /// What went wrong there.
        problem: String,
    },
    /// It cannot be told which text the assistant's message became.
    #[error("the chat template does not show where message {message} begins and ends: {problem}")]
    NoSpan {
        /// Index of the message.
        message: usize,
        /// Why not.
        problem: String,
    },
}

/// What one assistant message became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Index of the message.
    pub message: usize,
    /// Byte range of the rendered text: what the model is to say, the token that ends its turn included.
    pub range: std::ops::Range<usize>,
}

/// A compiled template.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    source: String,
    environment: Environment<'static>,
    names: SpecialNames,
    marks_generation: bool,
}

impl ChatTemplate {
    /// Compiles a template; `names` are the tokenizer's special tokens, which templates call `bos_token` and so on.
    ///
    /// # Errors
    /// When the template has a syntax error.
    pub fn new(source: &str, names: SpecialNames) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        let syntax = minijinja::syntax::SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.expect("Jinja's own delimiters are a valid syntax"));
        environment.set_fuel(Some(FUEL));
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        functions::add(&mut environment);
        environment.add_filter("hearth_generation", |text: String| format!("{OPEN}{text}{CLOSE}"));
        let (compiled, marks_generation) = with_generation_as_filter(source);
        environment
            .add_template_owned("chat", compiled)
            .map_err(|e| TemplateError::Syntax { line: e.line().unwrap_or(0), problem: describe(&e) })?;
        Ok(Self { source: source.to_owned(), environment, names, marks_generation })
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The conversation as text; with `add_generation_prompt`, up to where the assistant's next message begins.
    ///
    /// # Errors
    /// When the template refuses the conversation or fails on it.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, TemplateError> {
        let mut text = self.render_raw(messages, add_generation_prompt)?;
        if self.marks_generation {
            text.retain(|c| c != OPEN && c != CLOSE);
        }
        Ok(text)
    }

    /// The whole conversation as text, and what each assistant message became. The ranges are in order and do not overlap.
    ///
    /// They come from the template's `{% generation %}` blocks or, where it has none, from rendering the conversation up to
    /// each message: that text must then be the beginning of the whole.
    ///
    /// # Errors
    /// As [`Self::render`]; also when the template does not allow to tell.
    pub fn render_spans(&self, messages: &[Message]) -> Result<(String, Vec<Span>), TemplateError> {
        if self.marks_generation { self.marked_spans(messages) } else { self.prefix_spans(messages) }
    }

    fn render_raw(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, TemplateError> {
        let messages: Vec<Value> = messages.iter().map(message_value).collect();
        let token = |t: &Option<String>| t.as_deref().map_or(Value::UNDEFINED, Value::from);
        let context = minijinja::context! {
            messages,
            add_generation_prompt,
            tools => (),
            documents => (),
            bos_token => token(&self.names.bos),
            eos_token => token(&self.names.eos),
            pad_token => token(&self.names.pad),
            unk_token => token(&self.names.unk),
        };
        let render = || self.environment.get_template("chat")?.render(context);
        render().map_err(|e| render_error(&e))
    }

    fn marked_spans(&self, messages: &[Message]) -> Result<(String, Vec<Span>), TemplateError> {
        let raw = self.render_raw(messages, false)?;
        let mut assistants = indices(messages);
        let (mut text, mut spans, mut start) = (String::with_capacity(raw.len()), Vec::new(), None);
        for c in raw.chars() {
            match (c, start) {
                (OPEN, None) => start = Some(text.len()),
                (CLOSE, Some(from)) => {
                    start = None;
                    let Some(message) = assistants.next() else {
                        let problem = "it marks more turns than the assistant has".to_owned();
                        return Err(TemplateError::NoSpan { message: messages.len(), problem });
                    };
                    spans.push(Span { message, range: from..text.len() });
                }
                (OPEN | CLOSE, _) => {}
                _ => text.push(c),
            }
        }
        match assistants.next() {
            None => Ok((text, spans)),
            Some(message) => Err(TemplateError::NoSpan { message, problem: "it is not marked".to_owned() }),
        }
    }

    fn prefix_spans(&self, messages: &[Message]) -> Result<(String, Vec<Span>), TemplateError> {
        let text = self.render_raw(messages, false)?;
        let mut spans: Vec<Span> = Vec::new();
        for message in indices(messages) {
            let no_span = |problem: &str| TemplateError::NoSpan { message, problem: problem.to_owned() };
            let before = self.render_raw(&messages[..message], true)?;
            let after = self.render_raw(&messages[..=message], false)?;
            if !text.starts_with(&after) {
                return Err(no_span("later messages change how it is written"));
            }
            let Some(turn) = after.strip_prefix(before.as_str()) else {
                return Err(no_span("it does not begin where the generation prompt ends"));
            };
            let end = before.len() + turn_length(turn, &messages[message].content);
            if spans.last().is_some_and(|last| last.range.end > before.len()) {
                return Err(no_span("it overlaps the one before"));
            }
            spans.push(Span { message, range: before.len()..end });
        }
        Ok((text, spans))
    }
}

/// Length of a turn up to the token that ends it: the newline many templates put after that token belongs to no one.
fn turn_length(turn: &str, content: &str) -> usize {
    let content = content.trim();
    let said = turn.find(content).map_or(0, |at| at + content.len());
    let trimmed = turn.trim_end().len();
    if trimmed > said { trimmed } else { turn.len() }
}

fn indices(messages: &[Message]) -> impl Iterator<Item = usize> {
    messages.iter().enumerate().filter(|(_, m)| m.role == Role::Assistant).map(|(i, _)| i)
}

fn message_value(message: &Message) -> Value {
    let (role, content) = (message.role.as_str(), message.content.as_str());
    match &message.name {
        Some(name) => minijinja::context! { role, content, name },
        None => minijinja::context! { role, content },
    }
}

fn describe(error: &Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

fn render_error(error: &Error) -> TemplateError {
    // An error inside a macro or an included block is wrapped; the message of `raise_exception` is at the bottom.
    let mut source = Some(error as &(dyn std::error::Error + 'static));
    while let Some(e) = source {
        if let Some(refusal) = e.downcast_ref::<functions::Refusal>() {
            return TemplateError::Refused { message: refusal.0.clone() };
        }
        source = e.source();
    }
    let problem = match error.kind() {
        ErrorKind::OutOfFuel => "it runs too long".to_owned(),
        _ => describe(error),
    };
    TemplateError::Render { line: error.line().unwrap_or(0), problem }
}

/// Hugging Face's `{% generation %}…{% endgeneration %}` as the block that minijinja knows and that keeps the rules of white
/// space: `{% filter … %}…{% endfilter %}`.
fn with_generation_as_filter(source: &str) -> (String, bool) {
    let (mut out, mut rest, mut found) = (String::with_capacity(source.len()), source, false);
    while let Some(at) = rest.find("{%") {
        let Some(length) = rest[at..].find("%}") else {
            break;
        };
        let tag = &rest[at + 2..at + length];
        let word = tag.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        let replacement = match word {
            "generation" => Some("filter hearth_generation"),
            "endgeneration" => Some("endfilter"),
            _ => None,
        };
        out.push_str(&rest[..at + 2]);
        match replacement {
            Some(name) => {
                out.push_str(&tag.replacen(word, name, 1));
                found = true;
            }
            None => out.push_str(tag),
        }
        out.push_str("%}");
        rest = &rest[at + length + 2..];
    }
    out.push_str(rest);
    (out, found)
}

#[cfg(test)]
pub(crate) mod tests;
