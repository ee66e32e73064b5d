//! How a model's own tokenizer and chat template write an example: the [`Encoder`] of trainer and validator.

use hearth_shared::lab::Piece;
use hearth_shared::text::{Example, Message};

use super::data::{Encoder, Sequence};
use crate::bundle::{ModelBundle, ModelHead};
use crate::chat_template::ChatTemplate;
use crate::tokenizer::{Special, Tokenizer};

/// A tokenizer and the template over it.
#[derive(Clone, Copy, Debug)]
pub struct Voice<'a> {
    pub tokenizer: &'a Tokenizer,
    pub template: Option<&'a ChatTemplate>,
    /// The token between documents.
    pub end_of_text: Option<u32>,
}

impl ModelHead {
    pub fn voice(&self) -> Voice<'_> {
        Voice {
            tokenizer: &self.tokenizer,
            template: self.template.as_ref(),
            end_of_text: end_of_text(&self.tokenizer, &self.eos),
        }
    }
}

impl ModelBundle {
    pub fn voice(&self) -> Voice<'_> {
        Voice {
            tokenizer: &self.tokenizer,
            template: self.template.as_ref(),
            end_of_text: end_of_text(&self.tokenizer, &self.eos),
        }
    }
}

/// `<|endoftext|>` where there is one, else whatever ends an answer.
fn end_of_text(tokenizer: &Tokenizer, eos: &[u32]) -> Option<u32> {
    tokenizer.id_of("<|endoftext|>").or_else(|| eos.first().copied())
}

impl Voice<'_> {
    /// An example cut where training begins and ends, for people to look at.
    ///
    /// # Errors
    /// As [`Encoder::chat`].
    pub fn pieces(&self, example: &Example) -> Result<Vec<Piece>, String> {
        let sequence = match example {
            Example::Chat(messages) => self.chat(messages)?,
            Example::Preference { .. } => return Err("it has two conversations".to_owned()),
            Example::Text(text) => Sequence::plain(self.text(text)),
        };
        let mut pieces = Vec::new();
        let mut from = 0;
        for part in sequence.trained.chunk_by(|left, right| left == right) {
            let ids = &sequence.ids[from..from + part.len()];
            from += part.len();
            pieces.push(Piece { text: self.tokenizer.decode(ids), tokens: ids.len() as u32, trained: part[0] });
        }
        Ok(pieces)
    }
}

impl Encoder for Voice<'_> {
    fn chat(&self, messages: &[Message]) -> Result<Sequence, String> {
        let template = self.template.ok_or("the model has no chat template")?;
        let tokens = template.encode_training(self.tokenizer, messages).map_err(|error| error.to_string())?;
        let mut sequence = Sequence::default();
        let mut at = 0;
        for span in tokens.spans {
            let trained = messages.get(span.message).is_some_and(Message::is_trained);
            sequence.extend(&tokens.ids[at..span.ids.start], false);
            at = span.ids.end;
            sequence.extend(&tokens.ids[span.ids], trained);
        }
        sequence.extend(&tokens.ids[at..], false);
        Ok(sequence)
    }

    fn text(&self, text: &str) -> Vec<u32> {
        self.tokenizer.encode(text, Special::Plain)
    }

    fn end_of_text(&self) -> Option<u32> {
        self.end_of_text
    }
}
