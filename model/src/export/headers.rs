//! What stands against an export whatever the numbers are: told by a model's headers and its adapter's method, before a weight is read.

use hearth_shared::spec::Tuning;

use super::{ExportError, Format};
use crate::bundle::{ModelHead, SaveError};
use crate::checkpoint::gguf_model::write;
use crate::device::cpu;
use crate::peft::PeftError;
use crate::tokenizer::gguf::write::Entries;
use crate::transformer::Transformer;

/// Refuses what [`export`](super::export) would refuse when all is loaded, in its words. `method`: what is on the model, where
/// there is something.
///
/// # Errors
/// The format has no place for the adapter, the model or its tokenizer.
pub fn refuse(head: &ModelHead, method: Option<Tuning>, format: Format) -> Result<(), ExportError> {
    match (format, method) {
        (Format::Peft, None) => return Err(PeftError::NotAdapted.into()),
        (Format::Peft, Some(Tuning::Bottleneck)) => return Err(ExportError::NotOfPeft),
        (Format::Peft, Some(_)) => return Ok(()),
        (_, Some(method @ (Tuning::Prefix | Tuning::Prompt | Tuning::Bottleneck))) => {
            return Err(ExportError::Unmergeable { method });
        }
        _ => {}
    }
    match format {
        Format::Gguf(packing) => {
            Entries::new(&head.tokenizer, head.config.vocab_size, &head.eos).map_err(SaveError::from)?;
            write::head(&Transformer::empty(&head.config, &cpu()), packing).map_err(SaveError::from)?;
        }
        _ => {
            head.config.to_hf().map_err(SaveError::from)?;
        }
    }
    Ok(())
}
