//! Writing a bundle as a Hugging Face directory: whole or not at all, read back and compared before it counts.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde_json::json;
use thiserror::Error;

use super::{LoadError, ModelBundle, Precision};
use crate::checkpoint::gguf::write::Inexpressible;
use crate::checkpoint::safetensors::Encoded;
use crate::checkpoint::source::Mapped;
use crate::checkpoint::{CheckpointError, Layout, names, safetensors};
use crate::config::ConfigError;

/// Why a model could not be saved.
#[derive(Debug, Error)]
pub enum SaveError {
    /// The operating system refused.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        error: std::io::Error,
    },
    /// The weights could not be written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The configuration has no words in its family's files.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is something at the place already.
    #[error("{} is not empty", path.display())]
    Exists {
        /// The place.
        path: PathBuf,
    },
    /// The model carries an adapter, which this format has no place for.
    #[error("the model has an adapter on `{path}`: merge it first, or save it as a PEFT adapter")]
    Adapted {
        /// The parameter's path.
        path: String,
    },
    /// A weight does not fit the type.
    #[error("`{path}` holds {value}, which {dtype} cannot")]
    Overflow {
        /// The parameter's path.
        path: String,
        /// The first such weight.
        value: f32,
        /// The type's name.
        dtype: &'static str,
    },
    /// The model has no words in a GGUF file.
    #[error(transparent)]
    Inexpressible(#[from] Inexpressible),
    /// What was written does not read back as what it should be.
    #[error("the written model does not read back: {problem}")]
    Different {
        /// The first difference.
        problem: String,
    },
    /// What was written does not load.
    #[error("the written model does not load: {0}")]
    Reload(#[from] Box<LoadError>),
}

impl ModelBundle {
    /// Writes `config.json`, `generation_config.json`, `model.safetensors`, `tokenizer.json` and `tokenizer_config.json` to
    /// the directory `dir`, which must not exist or be empty. Everything is written beside it, loaded again and compared,
    /// and renamed last: the directory is never there in part.
    ///
    /// Reads the weights synchronously: not for WebGPU.
    ///
    /// # Errors
    /// When the model has adapters, a weight does not fit the type, or the system refuses.
    pub fn save(&self, dir: &Path, precision: Precision) -> Result<(), SaveError> {
        let io = |error| SaveError::Io { path: dir.to_owned(), error };
        if fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(SaveError::Exists { path: dir.to_owned() });
        }
        let parent = parent(dir);
        fs::create_dir_all(parent).map_err(io)?;
        let partial = tempfile::Builder::new().prefix(".partial-").tempdir_in(parent).map_err(io)?;
        let tensors = self.encoded(precision)?;
        self.write_json(partial.path(), precision)?;
        let weights = partial.path().join(safetensors::SINGLE);
        safetensors::write(&weights, &tensors)?;
        fs::File::open(&weights).and_then(|f| f.sync_all()).map_err(io)?;
        self.check_reload(partial.path(), &tensors)?;
        let partial = partial.keep();
        fs::rename(&partial, dir).map_err(|error| {
            // Nothing more can be done for it.
            let _ = fs::remove_dir_all(&partial);
            io(error)
        })?;
        sync(parent).map_err(io)
    }

    /// All tensors under Hugging Face names and in its layout.
    fn encoded(&self, precision: Precision) -> Result<BTreeMap<String, Encoded>, SaveError> {
        let mut tensors = BTreeMap::new();
        for (path, param) in self.transformer.params() {
            let Some(name) = names::to_hf(self.config.model_type, &path) else {
                return Err(SaveError::Adapted { path });
            };
            let (mut shape, mut values) = (param.shape(), param.to_vec());
            if precision == Precision::F16
                && let Some(&value) = values.iter().find(|v| v.is_finite() && half::f16::from_f32(**v).is_infinite())
            {
                return Err(SaveError::Overflow { path, value, dtype: "F16" });
            }
            if names::layout_hf(&self.config, &path) == Layout::Transposed {
                values = crate::checkpoint::transpose(&values, shape[0], shape[1]);
                shape.reverse();
            }
            tensors.insert(name, Encoded::new(precision, shape, &values));
        }
        Ok(tensors)
    }

    fn write_json(&self, dir: &Path, precision: Precision) -> Result<(), SaveError> {
        let mut config = self.config.to_json()?;
        config["torch_dtype"] = precision.torch_dtype().into();
        let names = self.tokenizer.names();
        let mut tokenizer_config = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": false,
            "model_max_length": self.config.max_positions,
        });
        for (key, token) in
            [("bos_token", &names.bos), ("eos_token", &names.eos), ("pad_token", &names.pad), ("unk_token", &names.unk)]
        {
            if let Some(token) = token {
                tokenizer_config[key] = token.as_str().into();
            }
        }
        if let Some(template) = &self.template {
            tokenizer_config["chat_template"] = template.source().into();
        }
        let mut generation = json!({"eos_token_id": self.eos});
        if let Some(bos) = self.config.bos {
            generation["bos_token_id"] = bos.into();
        }
        let files = [
            ("config.json", config),
            ("generation_config.json", generation),
            ("tokenizer_config.json", tokenizer_config),
        ];
        for (name, value) in files {
            write(&dir.join(name), format!("{value:#}\n").as_bytes())?;
        }
        write(&dir.join("tokenizer.json"), self.tokenizer.to_json().as_bytes())
    }

    /// Loads what was written and compares configuration, vocabulary and every weight.
    fn check_reload(&self, dir: &Path, tensors: &BTreeMap<String, Encoded>) -> Result<(), SaveError> {
        let different = |problem: &str| SaveError::Different { problem: problem.to_owned() };
        let source = Mapped::open(dir)?;
        let device = crate::device::cpu();
        let reloaded = Self::from_source(&source, &device, &mut |_| ControlFlow::Continue(())).map_err(Box::new)?;
        if reloaded.config != self.config.canonical() {
            return Err(different("the configuration"));
        }
        if reloaded.tokenizer.to_json() != self.tokenizer.to_json() {
            return Err(different("the tokenizer"));
        }
        if reloaded.template.as_ref().map(|t| t.source()) != self.template.as_ref().map(|t| t.source()) {
            return Err(different("the chat template"));
        }
        if reloaded.eos != self.eos {
            return Err(different("the end tokens"));
        }
        let written = safetensors::from_source(&source)?;
        for (name, tensor) in tensors {
            match written.get(name) {
                Some(read) if read.bytes == tensor.bytes() => {}
                _ => return Err(different(&format!("tensor `{name}`"))),
            }
        }
        Ok(())
    }
}

/// The folder that a path is in.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A rename into this folder survives a power cut.
pub(crate) fn sync(folder: &Path) -> std::io::Result<()> {
    if cfg!(unix) { fs::File::open(folder)?.sync_all() } else { Ok(()) }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), SaveError> {
    let write = || {
        let mut file = fs::File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|error| SaveError::Io { path: path.to_owned(), error })
}
