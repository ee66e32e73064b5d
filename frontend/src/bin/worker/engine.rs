//! The open model and what is done with it: opening, choosing the engine, tracing, checking data sets.

use std::{cell::RefCell, collections::HashMap, ops::ControlFlow, rc::Rc};

use hearth_model::{
    adapter,
    bundle::ModelBundle,
    checkpoint::{CheckpointError, source::Source},
    config::{ModelConfig, Position},
    device::{self, Device},
    look::{LookError, last_logits},
    peft::{self, AdapterFiles},
};
use hearth_shared::lab::{
    Engine, EngineChoice, EngineReason, EngineReport, LabError, LabModel, ModelFacts, OpenModel, Opened, Reply,
    Request, Stage, WebGpu, fit,
};
use js_sys::ArrayBuffer;

use crate::{
    cache, check,
    desk::{Done, Task},
    fetch::{self, Fetched},
    inside, port, position, probe, quantize, sampling, traced, trial, words,
};

/// Tokens of the forward pass that is timed.
const MEASURED: u32 = 32;

/// The worker's state: the open model, and the graphics device, which a worker can open only once.
#[derive(Default)]
pub struct Lab {
    open: RefCell<Option<Rc<Open>>>,
    gpu: RefCell<Option<Result<Device, String>>>,
    pub quantize: quantize::Bench,
    pub inside: inside::Bench,
    /// Small models on the CPU, of the position lab and of trials, by their hash; they stay.
    pub siblings: RefCell<HashMap<String, Rc<ModelBundle>>>,
    /// Vocabularies of models that are not open, and learned ones.
    pub shelf: words::Shelf,
    /// The cache lab's run between two of its calls.
    pub decoding: RefCell<Option<cache::Run>>,
    /// The text that the sampling lab read last.
    pub reading: RefCell<Option<sampling::Kept>>,
}

/// A model ready to compute.
pub struct Open {
    pub id: String,
    pub hash: String,
    pub bundle: ModelBundle,
    pub engine: Engine,
    pub facts: ModelFacts,
    pub max_tokens: u32,
}

/// A model's files in memory.
pub struct Files(pub Vec<Fetched>);

impl Source for Files {
    fn names(&self) -> Vec<String> {
        self.0.iter().map(|file| file.name.clone()).collect()
    }

    fn bytes(&self, name: &str) -> Result<&[u8], CheckpointError> {
        self.0
            .iter()
            .find(|file| file.name == name)
            .map(|file| file.bytes.as_slice())
            .ok_or_else(|| CheckpointError::Missing { file: name.to_owned(), found: self.names().join(", ") })
    }
}

/// What choosing an engine found out.
struct Chosen {
    bundle: ModelBundle,
    report: EngineReport,
}

impl Lab {
    /// # Errors
    /// Whatever ends the call.
    pub async fn run(&self, task: &Rc<Task>, request: Request, buffers: Vec<ArrayBuffer>) -> Result<Done, LabError> {
        match request {
            Request::Open(request) => self.open(task, request).await,
            Request::Trace { text } => {
                let open = self.current()?;
                traced::trace(task, &open, &text).await
            }
            Request::Inside(ask) => inside::answer(task, self, ask).await,
            Request::Position(ask) => position::answer(task, self, ask).await,
            Request::Cache(ask) => cache::answer(task, self, ask).await,
            Request::Words(ask) => words::answer(task, self, ask, &buffers).await,
            Request::Quantize(ask) => quantize::answer(task, self, ask).await,
            Request::Sampling(ask) => sampling::answer(task, self, ask).await,
            Request::Trial(ask) => trial::answer(task, self, *ask).await,
            Request::Check(request) => {
                let open = self.open.borrow().clone();
                check::check(task, open, request, &buffers).await
            }
            // The desk answers these itself.
            Request::Cancel { .. } => Err(LabError::Cancelled),
        }
    }

    /// The model in hand.
    ///
    /// # Errors
    /// There is none.
    pub fn current(&self) -> Result<Rc<Open>, LabError> {
        self.open.borrow().clone().ok_or(LabError::NoModel)
    }

    async fn open(&self, task: &Rc<Task>, request: OpenModel) -> Result<Done, LabError> {
        let OpenModel { model, engine } = request;
        let start = port::now();
        let files: u64 = model.files.iter().map(|file| file.bytes).sum();
        // The model in hand goes first: two large ones do not fit beside each other.
        let before = self.open.borrow_mut().take();
        drop(before);
        let room =
            fit::Room { used: (core::arch::wasm32::memory_size::<0>() as u64) << 16, machine: probe::device_memory() };
        fit::memory(fit::needed(files, model.parameters), room)?;
        let source = Files(fetch::model(task, &model, fetch::is_needed).await?);
        task.breathe().await?;
        let Chosen { bundle, report } = self.choose(task, &source, engine).await?;
        drop(source);
        task.check()?;
        Ok(self.opened(&model, bundle, report, port::now() - start))
    }

    /// Puts the model in its place and describes it.
    fn opened(&self, model: &LabModel, bundle: ModelBundle, report: EngineReport, load_ms: f64) -> Done {
        let facts = facts(&bundle);
        let (tensors, buffers) = traced::vocabulary(&bundle);
        let max_tokens = fit::max_tokens(facts.parameters, facts.max_positions);
        let opened =
            Opened { id: model.id.clone(), facts: facts.clone(), engine: report.clone(), max_tokens, load_ms, tensors };
        *self.open.borrow_mut() = Some(Rc::new(Open {
            id: model.id.clone(),
            hash: model.hash.clone(),
            bundle,
            engine: report.engine,
            facts,
            max_tokens,
        }));
        Done { reply: Reply::Opened(Box::new(opened)), buffers }
    }

    /// Loads the model where it will run. On `Auto` it is measured on both engines, unless WebGPU is missing or software.
    async fn choose(&self, task: &Rc<Task>, source: &Files, choice: EngineChoice) -> Result<Chosen, LabError> {
        let webgpu = probe::webgpu().await;
        let reason_for_cpu = match (&webgpu, choice) {
            (_, EngineChoice::Cpu) => Some(EngineReason::Chosen),
            (WebGpu::Missing { .. } | WebGpu::NoAdapter, _) => Some(EngineReason::NoWebGpu),
            (WebGpu::Adapter(adapter), EngineChoice::Auto) if adapter.software => Some(EngineReason::SoftwareAdapter),
            _ => None,
        };
        let mut report = EngineReport {
            engine: Engine::Cpu,
            reason: EngineReason::Faster,
            cpu_ms: None,
            webgpu_ms: None,
            measured_tokens: MEASURED,
            webgpu,
        };
        if let Some(reason) = reason_for_cpu {
            let (bundle, cpu_ms) = self.on_cpu(task, source).await?;
            report.reason = reason;
            report.cpu_ms = Some(cpu_ms);
            return Ok(Chosen { bundle, report });
        }
        let on_gpu = self.on_gpu(task, source).await;
        if let (Ok((_, ms)), EngineChoice::WebGpu) = (&on_gpu, choice) {
            report.webgpu_ms = Some(*ms);
            report.engine = Engine::WebGpu;
            report.reason = EngineReason::Chosen;
            return on_gpu.map(|(bundle, _)| Chosen { bundle, report });
        }
        task.check()?;
        let (on_cpu, cpu_ms) = self.on_cpu(task, source).await?;
        report.cpu_ms = Some(cpu_ms);
        match on_gpu {
            Ok((bundle, gpu_ms)) => {
                report.webgpu_ms = Some(gpu_ms);
                if gpu_ms < cpu_ms {
                    report.engine = Engine::WebGpu;
                    return Ok(Chosen { bundle, report });
                }
            }
            Err(error) => {
                report.reason = EngineReason::WebGpuFailed { message: error.to_string() };
            }
        }
        Ok(Chosen { bundle: on_cpu, report })
    }

    async fn on_cpu(&self, task: &Rc<Task>, source: &Files) -> Result<(ModelBundle, f64), LabError> {
        let bundle = load(task, source, &device::cpu()).await?;
        let ms = measure(task, &bundle).await?;
        Ok((bundle, ms))
    }

    async fn on_gpu(&self, task: &Rc<Task>, source: &Files) -> Result<(ModelBundle, f64), LabError> {
        let device = self.gpu().await.map_err(|message| LabError::Load { message })?;
        let bundle = load(task, source, &device).await?;
        let ms = measure(task, &bundle).await?;
        Ok((bundle, ms))
    }

    async fn gpu(&self) -> Result<Device, String> {
        if let Some(device) = self.gpu.borrow().clone() {
            return device;
        }
        let device = device::webgpu().await.map_err(|error| error.to_string());
        *self.gpu.borrow_mut() = Some(device.clone());
        device
    }
}

/// A model from its files, on a device. An adapter among them is folded into the weights of its base, so that what is looked at, rounded
/// and run is a plain model.
///
/// # Errors
/// The call was stopped, or the files are no model.
pub async fn load(task: &Rc<Task>, source: &Files, device: &Device) -> Result<ModelBundle, LabError> {
    task.tell(Stage::Load, 0, None, None);
    task.breathe().await?;
    let stopped = task.clone();
    let mut progress = |step: hearth_model::bundle::Progress| {
        stopped.tell(Stage::Load, step.done, Some(step.total), None);
        if stopped.check().is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let bundle = ModelBundle::from_source(source, device, &mut progress);
    task.check()?;
    let mut bundle = bundle.map_err(unloaded)?;
    if source.has(peft::CONFIG) {
        fold(&mut bundle, source, device)?;
    }
    Ok(bundle)
}

fn fold(bundle: &mut ModelBundle, source: &Files, device: &Device) -> Result<(), LabError> {
    let read = |name| source.bytes(name).map(<[u8]>::to_vec).map_err(unloaded);
    let files = AdapterFiles { config: read(peft::CONFIG)?, weights: read(peft::WEIGHTS)? };
    let spec = peft::from_files(&files, &mut bundle.transformer, device).map_err(unloaded)?;
    if spec.virtual_tokens() > 0 {
        return Err(LabError::VirtualTokens);
    }
    adapter::merge(&mut bundle.transformer);
    Ok(())
}

fn unloaded(error: impl ToString) -> LabError {
    LabError::Load { message: error.to_string() }
}

/// One pass warms up (shaders, allocations), the best of the next ones counts. A slow warm-up on the CPU is the answer.
async fn measure(task: &Rc<Task>, bundle: &ModelBundle) -> Result<f64, LabError> {
    const PASSES: u64 = 3;
    const SLOW_MS: f64 = 400.0;
    let vocab = bundle.config.vocab_size as u32;
    let tokens = MEASURED.min(bundle.config.max_positions as u32);
    let ids: Vec<u32> = (0..tokens).map(|i| (i * 97 + 13) % vocab).collect();
    let mut best = f64::INFINITY;
    for pass in 0..PASSES {
        task.tell(Stage::Measure, pass, Some(PASSES), None);
        task.breathe().await?;
        let start = port::now();
        last_logits(&bundle.transformer, &ids).await.map_err(lost)?;
        let ms = port::now() - start;
        if pass > 0 {
            best = best.min(ms);
        }
        if pass == 1 && ms > SLOW_MS {
            break;
        }
    }
    Ok(best)
}

pub fn lost(error: LookError) -> LabError {
    LabError::DeviceLost { message: error.to_string() }
}

/// Refuses what the attention lab would explain wrongly: its steps are `q · k / √E`, the causal mask and softmax.
///
/// # Errors
/// Names the step.
pub fn explained(config: &ModelConfig) -> Result<(), LabError> {
    let other_root = config.query_scalar.is_some_and(|scalar| scalar != config.head_dim as f64);
    let steps = [
        (config.position == Position::Alibi, "ALiBi takes distances from its scores"),
        (config.attention_softcap.is_some(), "its scores are capped"),
        (other_root, "its scores are divided by another root than the head size's"),
        (config.sliding_window.is_some(), "it has a sliding window"),
    ];
    match steps.into_iter().find(|(has, _)| *has) {
        Some((_, what)) => Err(LabError::Unexplained { what: what.to_owned() }),
        None => Ok(()),
    }
}

fn facts(bundle: &ModelBundle) -> ModelFacts {
    let config = &bundle.config;
    let architecture = serde_json::to_value(config.model_type).ok();
    ModelFacts {
        architecture: architecture.and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default(),
        position: match config.position {
            Position::Rope(_) => "rope",
            Position::Learned => "learned",
            Position::Sinusoidal => "sinusoidal",
            Position::Alibi => "alibi",
            Position::None => "none",
        }
        .to_owned(),
        parameters: config.parameters(),
        vocab_size: config.vocab_size as u32,
        d_model: config.d_model as u32,
        n_layers: config.n_layers as u32,
        n_heads: config.n_heads as u32,
        kv_heads: config.kv_heads as u32,
        head_dim: config.head_dim as u32,
        max_positions: config.max_positions as u32,
    }
}
