//! Writing a bundle as a GGUF file that llama.cpp runs, tokenizer and template inside: whole or not at all, read back and
//! compared before it counts.

use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use super::save::{parent, sync};
use super::{ModelBundle, ModelHead, Packing, SaveError};
use crate::checkpoint::gguf::write::{Head, Inexpressible};
use crate::checkpoint::gguf::{Gguf, Value};
use crate::checkpoint::gguf_model::write as model;
use crate::checkpoint::source::{Mapped, Source as _};
use crate::projection::is_adapter;
use crate::tokenizer::gguf::write::Entries;
use crate::tokenizer::{Special, Tokenizer};

/// Name of the file while it is being written.
const PARTIAL: &str = "model.gguf";

/// What splitting rules cut differently: contractions in both cases, runs of digits, signs, spaces and line ends, letters outside
/// ASCII, marks, and what is no letter at all.
const PROBES: [&str; 4] = [
    "I'll say: 'tis 12345, 3.14 and 1½ + ²³; HE'S or THEY'RE?!\r\n\n\tlet x_1 = foo(a,b);  // three   spaces\n ",
    "火的灶，2026年。 émigré naïve Straße Привет مرحبا",
    "👩\u{200d}🚀 ١٢٣ #$%^&*<=>~`|+ \u{a0} \u{3000}x ...--- <|im_end|>a<|endoftext|>",
    "",
];

impl ModelBundle {
    /// Writes one file, which must not exist. It is written beside its place, read again and compared, and renamed last.
    ///
    /// A file holds two tokens that end an answer: what else ends one here must be among those that readers know by their names.
    /// A window of attention that is shorter than the context is refused, since llama.cpp would not keep to it.
    ///
    /// Reads the weights synchronously: not for WebGPU.
    ///
    /// # Errors
    /// When the model has adapters, the file cannot hold the model or one of its weights, or the system refuses.
    pub fn save_gguf(&self, path: &Path, packing: Packing) -> Result<(), SaveError> {
        let io = |error| SaveError::Io { path: path.to_owned(), error };
        if path.exists() {
            return Err(SaveError::Exists { path: path.to_owned() });
        }
        if let Some((path, _)) = self.transformer.params().into_iter().find(|(path, _)| is_adapter(path)) {
            return Err(SaveError::Adapted { path });
        }
        let tokenizer = Entries::new(&self.tokenizer, self.config.vocab_size, &self.eos)?;
        let mut head: Head<'_> = model::head(&self.transformer, packing)?;
        tokenizer.put(&mut head.metadata);
        if let Some(template) = &self.template {
            head.metadata.insert("tokenizer.chat_template".to_owned(), Value::String(template.source()));
        }
        self.check_range(&head)?;
        let parent = parent(path);
        fs::create_dir_all(parent).map_err(io)?;
        let scratch = tempfile::Builder::new().prefix(".partial-").tempdir_in(parent).map_err(io)?;
        let partial = scratch.path().join(PARTIAL);
        self.write_gguf(&partial, &head).map_err(io)?;
        self.check_gguf(&partial, &head)?;
        fs::rename(&partial, path).and_then(|()| sync(parent)).map_err(io)
    }

    /// Refuses weights that the tensors' types have no room for.
    fn check_range(&self, head: &Head<'_>) -> Result<(), SaveError> {
        for ((path, param), tensor) in self.transformer.params().into_iter().zip(&head.tensors) {
            if let Some(value) = tensor.packing.misfit(&param.to_vec()) {
                return Err(SaveError::Overflow { path, value, dtype: tensor.packing.dtype().name() });
            }
        }
        Ok(())
    }

    fn write_gguf(&self, file: &Path, head: &Head<'_>) -> std::io::Result<()> {
        let params = self.transformer.params();
        let mut out = BufWriter::new(fs::File::create(file)?);
        head.write(&mut out, |index| {
            let (path, param) = &params[index];
            head.tensors[index].packing.encode(&model::values(&self.config, path, *param))
        })?;
        out.flush()?;
        out.get_ref().sync_all()
    }

    /// Reads what was written and compares metadata, every tensor, and what the tokenizer makes of text.
    fn check_gguf(&self, file: &Path, head: &Head<'_>) -> Result<(), SaveError> {
        let different = |problem: String| SaveError::Different { problem };
        let source = Mapped::open(file)?;
        let read = Gguf::parse(PARTIAL, source.bytes(PARTIAL)?)?;
        if read.metadata != head.view().metadata {
            return Err(different("the metadata".to_owned()));
        }
        let params = self.transformer.params();
        if read.tensors.len() != params.len() {
            return Err(different("the number of tensors".to_owned()));
        }
        for ((tensor, described), (path, param)) in read.tensors.iter().zip(&head.tensors).zip(&params) {
            let same = (tensor.name, &tensor.shape) == (described.name.as_str(), &described.shape)
                && tensor.bytes == described.packing.encode(&model::values(&self.config, path, *param));
            if !same {
                return Err(different(format!("tensor `{}`", described.name)));
            }
        }
        let again = ModelHead::from_source(&source).map_err(Box::new)?;
        if let Some(problem) = difference(&self.tokenizer, &again.tokenizer) {
            return Err(different(problem));
        }
        match self.eos.iter().find(|end| !again.eos.contains(end)) {
            Some(end) => {
                let token = self.tokenizer.token_text(*end);
                Err(Inexpressible::new("eos_token_id", token, "the file has no place for so many end tokens").into())
            }
            None => Ok(()),
        }
    }
}

/// The first thing that the second tokenizer, which may have more tokens, does otherwise.
fn difference(ours: &Tokenizer, theirs: &Tokenizer) -> Option<String> {
    for id in 0..ours.vocab_size() as u32 {
        let same = ours.decode_bytes(id) == theirs.decode_bytes(id) && ours.is_special(id) == theirs.is_special(id);
        // An id that no token has gets a name of its own.
        if !same && !ours.decode_bytes(id).is_empty() {
            return Some(format!("token {id}, `{}`", ours.token_text(id)));
        }
    }
    let (a, b) = (ours.names(), theirs.names());
    for (what, a, b) in [("bos", &a.bos, &b.bos), ("eos", &a.eos, &b.eos), ("pad", &a.pad, &b.pad)] {
        if a.is_some() && a != b {
            return Some(format!("the {what} token"));
        }
    }
    let same = |text: &&str| {
        ours.encode(text, Special::Parse) == theirs.encode(text, Special::Parse)
            && ours.encode(text, Special::Plain) == theirs.encode(text, Special::Plain)
            && ours.encode_document(text) == theirs.encode_document(text)
    };
    PROBES.into_iter().find(|text| !same(text)).map(|text| format!("how the tokenizer cuts {text:?}"))
}
