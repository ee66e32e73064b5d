//! The protocol between the page and the lab worker: what is asked, what is answered.
//!
//! A message is one JSON text of the types here plus a list of buffers that are transferred, not copied. Tensors
//! travel only as buffers; [`TensorInfo`] says which buffer holds what. Every call carries a request id (its answer
//! repeats it) and a generation: of two calls of one kind that wait, the worker drops the one of the older generation.
//!
//! It does not know how a buffer crosses (that is `postMessage`), nor what a tensor is.

pub mod attention;
pub mod cache;
pub mod example;
pub mod fit;
pub mod held_out;
pub mod inside;
pub mod map_reduce;
pub mod position;
pub mod quantize;
pub mod sampling;
pub mod table;
pub mod trial;
pub mod words;

use serde::{Deserialize, Serialize};

use crate::text::Example;

/// The model that every server carries and every lab begins with.
pub const NANO: &str = "hearth-nano";

/// One call from the page. `generation` grows by one with every call of the same kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    pub id: u64,
    pub generation: u64,
    pub request: Request,
}

/// What the page can ask for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Request {
    /// Make a model the current one: fetch, keep, load, choose an engine. Answered by [`Reply::Opened`].
    Open(OpenModel),
    /// Run the current model over a text and return everything attention computed. Answered by [`Reply::Traced`].
    Trace { text: String },
    /// Look deeper into a pass: depth by depth, or without a head. Answered by [`Reply::Inside`].
    Inside(inside::Ask),
    /// What a model loses by position, and how its queries turn. Answered by [`Reply::Position`].
    Position(position::Ask),
    /// Generate with the current model, with a cache of keys and values or without. Answered by [`Reply::Cache`].
    Cache(cache::Ask),
    /// Take a text apart by a model's vocabulary, or learn one. Answered by [`Reply::Words`].
    Words(words::Ask),
    /// Round the current model's numbers and see what that costs. Answered by [`Reply::Quantize`].
    Quantize(quantize::Ask),
    /// What can follow a text, and what would have. Answered by [`Reply::Sampling`].
    Sampling(sampling::Ask),
    /// Train a small model on the first examples of a data set. Every step is told as it is done; answered by [`Reply::Trial`].
    Trial(Box<trial::Ask>),
    /// Check a chat data set that comes as the call's only buffer. Answered by [`Reply::Checked`].
    Check(CheckDataset),
    /// Stop the call with this id, wherever it is. Never answered; the stopped call fails with [`LabError::Cancelled`].
    Cancel { id: u64 },
}

impl Request {
    /// Calls of one kind supersede one another.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Open(_) => "open",
            Self::Trace { .. } => "trace",
            Self::Inside(ask) => ask.kind(),
            Self::Position(_) => "position",
            Self::Cache(_) => "cache",
            Self::Words(ask) => ask.kind(),
            Self::Quantize(_) => "quantize",
            Self::Sampling(ask) => ask.kind(),
            Self::Trial(_) => "trial",
            Self::Check(_) => "check",
            Self::Cancel { .. } => "cancel",
        }
    }

    /// Whether a model must be open for it.
    #[must_use]
    pub fn needs_model(&self) -> bool {
        match self {
            Self::Trace { .. } | Self::Inside(_) | Self::Cache(_) | Self::Quantize(_) | Self::Sampling(_) => true,
            Self::Open(_) | Self::Position(_) | Self::Words(_) => false,
            Self::Trial(_) | Self::Check(_) | Self::Cancel { .. } => false,
        }
    }
}

/// A model and where its files are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabModel {
    /// The id the page and the URL use, such as `hearth-nano`.
    pub id: String,
    /// SHA-256 over names and contents of the files: kept downloads stand under it.
    pub hash: String,
    /// Every file is fetched from `base` + its name: a path of the server, or a blob's address and `#`.
    pub base: String,
    /// Key of a server that asks for one.
    pub key: Option<String>,
    pub parameters: u64,
    pub files: Vec<LabFile>,
}

/// One file of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabFile {
    pub name: String,
    pub bytes: u64,
    /// Where it stands, if not among the model's own files: an adapter comes with its base's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

/// Another model's folder; its parts as [`LabModel`] has them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Place {
    pub hash: String,
    pub base: String,
}

impl LabModel {
    /// The hash that a file is kept under, and what stands in front of its name in its address.
    #[must_use]
    pub fn place<'a>(&'a self, file: &'a LabFile) -> (&'a str, &'a str) {
        match &file.place {
            Some(place) => (&place.hash, &place.base),
            None => (&self.hash, &self.base),
        }
    }
}

/// See [`Request::Open`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenModel {
    pub model: LabModel,
    pub engine: EngineChoice,
}

/// See [`Request::Check`]. The report is the one `shared::text` makes on the server too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckDataset {
    /// Whose tokenizer and chat template count the tokens; without one the report has no token statistics.
    pub model: Option<LabModel>,
    /// Longest example in tokens that the fine-tune will take.
    pub max_tokens: Option<u32>,
    /// The file's name as the person sees it.
    pub filename: String,
    /// Examples of the set to be cut into [`Piece`]s, as training will see them.
    pub preview: Vec<Example>,
}

/// Neighbouring tokens of an example that are all trained, or all only read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// What the tokens say, the template's own among them; a character cut between two pieces shows as U+FFFD.
    pub text: String,
    pub tokens: u32,
    /// Whether the loss counts them.
    pub trained: bool,
}

/// Which engine the person wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineChoice {
    /// The faster one, measured on the model itself.
    #[default]
    Auto,
    Cpu,
    WebGpu,
}

/// Which engine computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    Cpu,
    WebGpu,
}

impl Engine {
    /// As it is written.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::WebGpu => "webgpu",
        }
    }
}

/// Everything the worker says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// The worker is up and listens. Calls sent earlier would be lost, so the page keeps them until now.
    Ready {
        build_id: String,
        webgpu: WebGpu,
    },
    Progress {
        id: u64,
        generation: u64,
        progress: Progress,
    },
    Reply {
        id: u64,
        generation: u64,
        reply: Reply,
    },
    Failed {
        id: u64,
        generation: u64,
        error: LabError,
    },
    /// The worker's last words: it panicked and cannot go on. The page starts a new one.
    Crashed {
        message: String,
    },
}

/// What the browser offers for WebGPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum WebGpu {
    /// `navigator.gpu` does not exist: an old browser, or a page that is neither localhost nor HTTPS.
    Missing {
        secure_context: bool,
    },
    /// The interface exists but no adapter answers.
    NoAdapter,
    Adapter(Adapter),
}

/// A WebGPU adapter as the browser describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adapter {
    pub vendor: String,
    pub architecture: String,
    pub description: String,
    /// The adapter computes on the CPU: never faster than our own CPU engine.
    pub software: bool,
}

/// How far a call is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    pub stage: Stage,
    pub done: u64,
    pub total: Option<u64>,
    /// The file or the part in hand, where there is one.
    pub item: Option<String>,
    /// What a training step gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<trial::Step>,
}

/// What a call is doing. `Fetch` and `Load` count bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Fetch,
    Load,
    Measure,
    Forward,
    Train,
    Check,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Reply {
    Opened(Box<Opened>),
    Traced(Box<Traced>),
    Inside(Box<inside::Found>),
    Position(Box<position::Found>),
    Cache(Box<cache::Found>),
    Words(Box<words::Found>),
    Quantize(Box<quantize::Found>),
    Sampling(Box<sampling::Found>),
    Trial(Box<trial::Found>),
    /// The validator's report as the JSON text the server would write, and what was asked to be previewed; an example that the
    /// model's template refuses has no pieces.
    Checked {
        report: String,
        preview: Vec<Vec<Piece>>,
    },
}

/// A model that is open. Buffers: see [`TensorName::VocabularyBytes`] and [`TensorName::VocabularyEnds`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Opened {
    pub id: String,
    pub facts: ModelFacts,
    pub engine: EngineReport,
    /// Longest text in tokens that one trace takes.
    pub max_tokens: u32,
    pub load_ms: f64,
    pub tensors: Vec<TensorInfo>,
}

/// The sizes the page draws by, in the field's own terms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFacts {
    /// Hugging Face's `model_type`.
    pub architecture: String,
    /// `rope`, `learned`, `sinusoidal`, `alibi` or `none`.
    pub position: String,
    pub parameters: u64,
    pub vocab_size: u32,
    pub d_model: u32,
    pub n_layers: u32,
    pub n_heads: u32,
    pub kv_heads: u32,
    pub head_dim: u32,
    pub max_positions: u32,
}

/// Which engine was taken, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EngineReport {
    pub engine: Engine,
    pub reason: EngineReason,
    /// One forward pass over [`EngineReport::measured_tokens`] tokens, in milliseconds; absent when not measured.
    pub cpu_ms: Option<f64>,
    pub webgpu_ms: Option<f64>,
    pub measured_tokens: u32,
    pub webgpu: WebGpu,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EngineReason {
    /// Both were measured; this one was faster.
    Faster,
    /// The person chose it.
    Chosen,
    /// There is no WebGPU here.
    NoWebGpu,
    /// The adapter is software.
    SoftwareAdapter,
    /// WebGPU exists but failed.
    WebGpuFailed { message: String },
    /// The model is too large for a single buffer or a second copy on this adapter.
    TooLarge,
}

/// One forward pass with everything attention computed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Traced {
    pub model: String,
    pub engine: Engine,
    pub tokens: Vec<TokenView>,
    /// Length of the whole text in tokens when only its beginning was traced.
    pub cut_from: Option<u32>,
    /// What scores were multiplied by: 1/√head_dim.
    pub scale: f32,
    pub timing: Timing,
    pub tensors: Vec<TensorInfo>,
}

/// A token of the text. `text` shows the bytes where the token is a part of a character: `⟨E6 9D⟩`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenView {
    pub id: u32,
    pub text: String,
}

/// Milliseconds, by the worker's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    pub tokenize_ms: f64,
    /// The forward pass, up to the moment its numbers are in memory.
    pub forward_ms: f64,
    /// From the call's arrival to the answer's departure.
    pub total_ms: f64,
}

/// What the buffer at the same place holds. Elements are little-endian; rows last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorInfo {
    pub name: TensorName,
    pub shape: Vec<u32>,
}

/// L layers, H query heads, K key/value heads, T tokens, E head size, V vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TensorName {
    /// f32 `[L, H, T, E]`, after the position rotation.
    Queries,
    /// f32 `[L, K, T, E]`, after the position rotation.
    Keys,
    /// f32 `[L, K, T, E]`.
    Values,
    /// f32 `[L, H, T, T]`: q·k times the scale, before the mask.
    Scores,
    /// f32 `[L, H, T, T]`: after mask and softmax.
    Weights,
    /// f32 `[L, H, T, E]`: weights times values.
    Outputs,
    /// f32 `[T, V]`: next-token logits after every token.
    Logits,
    /// u8 `[n]`: the texts of all tokens, one after the other, UTF-8, written as in [`TokenView`].
    VocabularyBytes,
    /// u32 `[V]`: where each token's text ends in [`TensorName::VocabularyBytes`].
    VocabularyEnds,
}

/// Why a call failed. Sizes are bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LabError {
    #[error("stopped")]
    Cancelled,
    /// A newer call of the same kind came before this one began.
    #[error("superseded by a newer request")]
    Superseded,
    #[error("no model is open")]
    NoModel,
    #[error("the text has no tokens")]
    EmptyText,
    #[error("fetching {url} failed: {message}")]
    Fetch { url: String, message: String },
    /// A kept or fetched file is not the server's; it was thrown away.
    #[error("{name} is damaged: {found} bytes instead of {expected}")]
    Damaged { name: String, expected: u64, found: u64 },
    #[error("the model does not load: {message}")]
    Load { message: String },
    /// There is none of this name.
    #[error("there is no model {name:?}")]
    UnknownModel { name: String },
    /// It is an adapter, and the model that it was trained on is not here any more.
    #[error("{name} is an adapter of {base}, which is not here as it was when the adapter was trained")]
    NoBase { name: String, base: String },
    /// It is an adapter that stands virtual tokens in front of every text: they are no tokens of the vocabulary, and no lab shows them.
    #[error("the labs do not open adapters of virtual tokens (prefix, prompt)")]
    VirtualTokens,
    /// Its attention has a step that the page has no picture of.
    #[error("the lab cannot take this model's attention apart yet: {what}")]
    Unexplained { what: String },
    #[error("needs {needed} bytes of memory, {available} are available")]
    Memory { needed: u64, available: u64 },
    #[error("needs {needed} bytes of storage, {available} are available")]
    Storage { needed: u64, available: u64 },
    /// The graphics device went away; the page starts a new worker.
    #[error("the graphics device was lost: {message}")]
    DeviceLost { message: String },
    #[error("the worker stopped: {message}")]
    Crashed { message: String },
    #[error("{message}")]
    Other { message: String },
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_written_as_its_word() {
        for engine in [Engine::Cpu, Engine::WebGpu] {
            assert_eq!(serde_json::to_value(engine).unwrap(), engine.word());
        }
    }

    #[test]
    fn messages_survive_the_crossing() {
        let call = Call {
            id: 7,
            generation: 3,
            request: Request::Open(OpenModel {
                model: LabModel {
                    id: "hearth-nano".into(),
                    hash: "00".into(),
                    base: "/v1/hearth/models/hearth-nano/files/".into(),
                    key: None,
                    parameters: 3,
                    files: vec![LabFile { name: "config.json".into(), bytes: 12, place: None }],
                },
                engine: EngineChoice::WebGpu,
            }),
        };
        let text = serde_json::to_string(&call).unwrap();
        assert!(text.contains(r#""engine":"webgpu""#), "{text}");
        assert_eq!(serde_json::from_str::<Call>(&text).unwrap(), call);

        let event = Event::Failed {
            id: 7,
            generation: 3,
            error: LabError::Memory { needed: 600_000_000, available: 500_000_000 },
        };
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
    }

    #[test]
    fn a_file_of_the_base_stands_in_the_bases_folder() {
        let place = Place { hash: "b".into(), base: "/files/b/".into() };
        let own = LabFile { name: "adapter_config.json".into(), bytes: 1, place: None };
        let lent = LabFile { name: "config.json".into(), bytes: 2, place: Some(place) };
        let model = LabModel {
            id: "ft:b:org::1".into(),
            hash: "a".into(),
            base: "/files/a/".into(),
            key: None,
            parameters: 3,
            files: vec![own.clone(), lent.clone()],
        };
        assert_eq!((model.place(&own), model.place(&lent)), (("a", "/files/a/"), ("b", "/files/b/")));
        let text = serde_json::to_string(&model).unwrap();
        assert_eq!(serde_json::from_str::<LabModel>(&text).unwrap(), model);
    }

    #[test]
    fn webgpu_states_have_names_of_their_own() {
        let text = serde_json::to_string(&WebGpu::Missing { secure_context: false }).unwrap();
        assert_eq!(text, r#"{"state":"missing","secure_context":false}"#);
    }
}
