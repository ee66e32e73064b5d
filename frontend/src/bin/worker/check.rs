//! A data set's report with token statistics: the server's validator, with the model's own tokenizer and template to count.

use std::rc::Rc;

use hearth_model::{bundle::ModelHead, train::data::Counter};
use hearth_shared::{
    lab::{CheckDataset, LabError, LabModel, Reply, Stage},
    text::{Report, TokenCounter, Validator},
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
    let (report, preview) = match request.model {
        None => (validate(task, &bytes, None, context).await?, Vec::new()),
        Some(model) => {
            let open = open.filter(|open| open.hash == model.hash);
            let head = if open.is_none() { Some(head(task, &model).await?) } else { None };
            let voice = match (&open, &head) {
                (Some(open), _) => open.bundle.voice(),
                (None, Some(head)) => head.voice(),
                (None, None) => return Err(LabError::NoModel),
            };
            let report = validate(task, &bytes, Some(&Counter(&voice)), context).await?;
            (report, request.preview.iter().map(|example| voice.pieces(example).unwrap_or_default()).collect())
        }
    };
    let report = serde_json::to_string(&report).map_err(|error| LabError::Other { message: error.to_string() })?;
    Ok(Done { reply: Reply::Checked { report, preview }, buffers: Vec::new() })
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
