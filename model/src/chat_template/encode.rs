//! From messages to token ids, so that no message can write a special token.
//!
//! Special tokens inside what people wrote are replaced by private characters before the template sees them and put back
//! afterwards, as plain text. The template's own special tokens are untouched.

use std::ops::Range;

use hearth_shared::text::chat::Message;

use super::{CLOSE, ChatTemplate, OPEN, TemplateError};
use crate::tokenizer::{Special, Tokenizer};

/// First and last of the private characters that stand for special tokens (Supplementary Private Use Area-B).
const FIRST: u32 = 0x10_0000;
const LAST: u32 = 0x10_ffef;

/// A conversation as token ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatTokens {
    /// All ids.
    pub ids: Vec<u32>,
    /// What each assistant message became, in order.
    pub spans: Vec<TokenSpan>,
}

/// What one assistant message became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSpan {
    /// Index of the message.
    pub message: usize,
    /// Range of the ids, the token that ends the turn included.
    pub ids: Range<usize>,
}

impl ChatTemplate {
    /// Token ids of the conversation; with `add_generation_prompt`, a prompt for the assistant's next message.
    ///
    /// # Errors
    /// As [`Self::render`].
    pub fn encode(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<Vec<u32>, TemplateError> {
        let mut shield = Shield::new(tokenizer);
        let text = self.render(&shield.hide_all(messages), add_generation_prompt)?;
        Ok(shield.encode(&text))
    }

    /// Token ids of a whole conversation and where each assistant message is in them. The text is cut at the ends of the
    /// spans first: the ids before a span are exactly the prompt that generation starts from.
    ///
    /// # Errors
    /// As [`Self::render_spans`].
    pub fn encode_training(&self, tokenizer: &Tokenizer, messages: &[Message]) -> Result<ChatTokens, TemplateError> {
        let mut shield = Shield::new(tokenizer);
        let (text, spans) = self.render_spans(&shield.hide_all(messages))?;
        let mut out = ChatTokens { ids: Vec::new(), spans: Vec::new() };
        let mut done = 0;
        for span in spans {
            out.ids.extend(shield.encode(&text[done..span.range.start]));
            let start = out.ids.len();
            out.ids.extend(shield.encode(&text[span.range.clone()]));
            out.spans.push(TokenSpan { message: span.message, ids: start..out.ids.len() });
            done = span.range.end;
        }
        out.ids.extend(shield.encode(&text[done..]));
        Ok(out)
    }
}

/// Special tokens by the private characters that stand for them.
struct Shield<'t> {
    tokenizer: &'t Tokenizer,
    /// Longest first.
    special: Vec<(u32, &'t str)>,
    hidden: Vec<String>,
}

impl<'t> Shield<'t> {
    fn new(tokenizer: &'t Tokenizer) -> Self {
        let mut special: Vec<_> = tokenizer.special_tokens().filter(|(_, text)| !text.is_empty()).collect();
        special.sort_by_key(|(_, text)| std::cmp::Reverse(text.len()));
        Self { tokenizer, special, hidden: Vec::new() }
    }

    fn hide_all(&mut self, messages: &[Message]) -> Vec<Message> {
        let mut hide = |message: &Message| Message {
            content: self.hide(&message.content),
            name: message.name.as_deref().map(|name| self.hide(name)),
            ..message.clone()
        };
        messages.iter().map(&mut hide).collect()
    }

    fn hide(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let own = (FIRST..=LAST).contains(&u32::from(c)) || c == OPEN || c == CLOSE;
            let length = match self.special_at(rest) {
                Some((_, special)) => special.len(),
                None if own => c.len_utf8(),
                None => {
                    out.push(c);
                    rest = &rest[c.len_utf8()..];
                    continue;
                }
            };
            out.push(self.stand_in(&rest[..length]));
            rest = &rest[length..];
        }
        out
    }

    /// The longest special token that `text` begins with.
    fn special_at(&self, text: &str) -> Option<(u32, &'t str)> {
        self.special.iter().find(|(_, special)| text.starts_with(special)).copied()
    }

    fn stand_in(&mut self, text: &str) -> char {
        let index = self.hidden.iter().position(|h| h == text).unwrap_or_else(|| {
            self.hidden.push(text.to_owned());
            self.hidden.len() - 1
        });
        // There are more stand-ins than a vocabulary has special tokens and a sane text has private characters.
        let code = FIRST + index as u32;
        char::from_u32(code).filter(|_| code <= LAST).unwrap_or(char::REPLACEMENT_CHARACTER)
    }

    fn encode(&self, text: &str) -> Vec<u32> {
        if self.hidden.is_empty() {
            return self.tokenizer.encode(text, Special::Parse);
        }
        let (mut ids, mut start, mut at) = (Vec::new(), 0, 0);
        while let Some(c) = text[at..].chars().next() {
            match self.special_at(&text[at..]) {
                Some((id, special)) => {
                    ids.extend(self.plain(&text[start..at]));
                    ids.push(id);
                    at += special.len();
                    start = at;
                }
                None => at += c.len_utf8(),
            }
        }
        ids.extend(self.plain(&text[start..]));
        ids
    }

    fn plain(&self, text: &str) -> Vec<u32> {
        if text.is_empty() {
            return Vec::new();
        }
        let mut shown = String::with_capacity(text.len());
        for c in text.chars() {
            let index = u32::from(c).checked_sub(FIRST).map(|i| i as usize);
            match index.and_then(|i| self.hidden.get(i)) {
                Some(hidden) => shown.push_str(hidden),
                None => shown.push(c),
            }
        }
        self.tokenizer.encode(&shown, Special::Plain)
    }
}
