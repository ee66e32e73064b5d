//! A data set's report with token statistics: the server's validator, with the model's own tokenizer and template to count.

use std::rc::Rc;

use hearth_model::{bundle::ModelHead, chat_template::ChatTemplate, tokenizer::Special, tokenizer::Tokenizer};
use hearth_shared::{
    lab::{CheckDataset, LabError, LabModel, Reply, Stage},
    text::{Example, Report, TokenCount, TokenCounter, Validator},
};
use js_sys::{ArrayBuffer, Uint8Array};

use crate::{
    desk::{Done, Task},
    engine::{Files, Open},
    fetch,
};

/// Bytes between two looks at the mailbox.
const CHUNK: usize = 256 << 10;

/// # Errors
/// The call was stopped, or the model's words cannot be had.
pub async fn check(
    task: &Rc<Task>,
    open: Option<Rc<Open>>,
    request: CheckDataset,
    buffers: &[ArrayBuffer],
) -> Result<Done, LabError> {
    let bytes = buffers.first().map(|buffer| Uint8Array::new(buffer).to_vec());
    let bytes = bytes.ok_or_else(|| LabError::Other { message: "no data set came with the call".to_owned() })?;
    let context = request.max_tokens;
    let report = match request.model {
        None => validate(task, &bytes, None, context).await?,
        Some(model) => match open.filter(|open| open.hash == model.hash) {
            Some(open) => {
                let bundle = &open.bundle;
                let counter = Counter { tokenizer: &bundle.tokenizer, template: bundle.template.as_ref() };
                validate(task, &bytes, Some(&counter), context).await?
            }
            None => {
                let head = head(task, &model).await?;
                let counter = Counter { tokenizer: &head.tokenizer, template: head.template.as_ref() };
                validate(task, &bytes, Some(&counter), context).await?
            }
        },
    };
    let report = serde_json::to_string(&report).map_err(|error| LabError::Other { message: error.to_string() })?;
    Ok(Done { reply: Reply::Checked { report }, buffers: Vec::new() })
}

async fn head(task: &Rc<Task>, model: &LabModel) -> Result<ModelHead, LabError> {
    let files = Files(fetch::model(task, model, fetch::is_needed).await?);
    ModelHead::from_source(&files).map_err(|error| LabError::Load { message: error.to_string() })
}

async fn validate(
    task: &Rc<Task>,
    bytes: &[u8],
    counter: Option<&dyn TokenCounter>,
    context: Option<u32>,
) -> Result<Report, LabError> {
    let mut validator = Validator::new(counter, context);
    let total = bytes.len() as u64;
    let mut done = 0;
    for chunk in bytes.chunks(CHUNK) {
        validator.push(chunk);
        done += chunk.len() as u64;
        task.tell(Stage::Check, done, Some(total), None);
        task.breathe().await?;
    }
    Ok(validator.finish())
}

/// Counts as the trainer does: a conversation through its template, the loss on assistant messages only.
struct Counter<'m> {
    tokenizer: &'m Tokenizer,
    template: Option<&'m ChatTemplate>,
}

impl TokenCounter for Counter<'_> {
    fn count(&self, example: &Example) -> Result<TokenCount, String> {
        let messages = match example {
            Example::Text(text) => {
                let total = self.tokenizer.encode(text, Special::Plain).len() as u32;
                return Ok(TokenCount { total, trained: total });
            }
            Example::Chat(messages) => messages,
        };
        let template = self.template.ok_or("the model has no chat template")?;
        let tokens = template.encode_training(self.tokenizer, messages).map_err(|error| error.to_string())?;
        let trained = tokens
            .spans
            .iter()
            .filter(|span| messages.get(span.message).is_some_and(|m| m.is_trained()))
            // The first token of all is never predicted.
            .map(|span| span.ids.end.saturating_sub(span.ids.start.max(1)) as u32)
            .sum();
        Ok(TokenCount { total: tokens.ids.len() as u32, trained })
    }
}
