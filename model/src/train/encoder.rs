//! How a model's own tokenizer and chat template write an example: the [`Encoder`] of trainer and validator.

use hearth_shared::text::Message;

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

impl Encoder for Voice<'_> {
    fn chat(&self, messages: &[Message]) -> Result<Sequence, String> {
        let template = self.template.ok_or("the model has no chat template")?;
        let (text, spans) = template.render_spans(messages).map_err(|error| error.to_string())?;
        let mut sequence = Sequence::default();
        let mut at = 0;
        // Cut where an answer begins, as it will be cut when the model answers: the prompt is encoded before it speaks.
        for span in spans {
            let trained = messages.get(span.message).is_some_and(Message::is_trained);
            sequence.extend(&self.tokenizer.encode(&text[at..span.range.start], Special::Parse), false);
            sequence.extend(&self.tokenizer.encode(&text[span.range.clone()], Special::Parse), trained);
            at = span.range.end;
        }
        sequence.extend(&self.tokenizer.encode(&text[at..], Special::Parse), false);
        Ok(sequence)
    }

    fn text(&self, text: &str) -> Vec<u32> {
        self.tokenizer.encode(text, Special::Plain)
    }

    fn end_of_text(&self) -> Option<u32> {
        self.end_of_text
    }
}
