//! The one thread that owns loaded models and computes. It takes a step of one stream, looks at its inbox, takes a step of
//! the next. Models are loaded when first asked for and put away when the room is needed. It knows no async runtime.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hearth_model::bundle::ModelBundle;
use hearth_model::device::{self, Device};
use hearth_model::generate::{FinishReason, Generation, Scoring, Step};
use hearth_model::tokenizer::{Special, Tokenizer};
use hearth_model::train::pace::pace;
use hearth_model::transformer::Transformer;
use hearth_shared::api::system::DeviceKind;
use hearth_shared::plan::devices::DeviceSheet;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::sync::oneshot;

use super::scheduler::Scheduler;
use super::shelf::Shelf;
use super::{Input, Piece, Request, ServeError, Stats, Token};
use crate::registry::Location;
use crate::system;

pub(super) enum Command {
    Generate(Box<Request>, Sender<Piece>),
    Forget(Location),
    Measure(oneshot::Sender<DeviceSheet>),
}

struct Stream {
    location: Location,
    /// The prompt's scores, where they were asked for: they come first.
    scoring: Option<Scoring>,
    generation: Generation,
    /// What the reader hears first: the prompt's text.
    text: String,
    out: Sender<Piece>,
    logprobs: bool,
}

struct Models {
    device: Device,
    shelf: Shelf<PathBuf>,
    /// Base models by the path of their weights.
    loaded: HashMap<PathBuf, Family>,
}

/// A base model and what was tuned from it: transformers that share its weights, under its tokenizer and template.
struct Family {
    bundle: ModelBundle,
    tuned: HashMap<PathBuf, Transformer>,
}

impl Family {
    /// Lends the bundle with the wanted transformer in it. `None`: its adapter is gone. `work` must not unwind.
    fn with<R>(&mut self, adapter: Option<&PathBuf>, work: impl FnOnce(&ModelBundle) -> R) -> Option<R> {
        let Some(adapter) = adapter else {
            return Some(work(&self.bundle));
        };
        let tuned = self.tuned.get_mut(adapter)?;
        std::mem::swap(&mut self.bundle.transformer, tuned);
        let result = work(&self.bundle);
        std::mem::swap(&mut self.bundle.transformer, tuned);
        Some(result)
    }
}

/// Serves until every handle is gone.
pub(super) fn run(mut inbox: Receiver<Command>, stats: &Stats, budget: u64) {
    let device = device::best();
    *stats.device.lock().unwrap_or_else(PoisonError::into_inner) = Some(device::info(&device));
    let mut desk = Desk {
        models: Models { device, shelf: Shelf::new(budget), loaded: HashMap::new() },
        streams: HashMap::new(),
        scheduler: Scheduler::default(),
        next: 0,
        stats,
        measured: None,
    };
    loop {
        while let Ok(command) = inbox.try_recv() {
            desk.take(command);
        }
        if desk.scheduler.is_empty() {
            match inbox.blocking_recv() {
                Some(command) => desk.take(command),
                None => return,
            }
            continue;
        }
        if !desk.step() {
            // Every stream waits for its reader.
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

struct Desk<'a> {
    models: Models,
    streams: HashMap<u64, Stream>,
    scheduler: Scheduler,
    next: u64,
    stats: &'a Stats,
    measured: Option<Measured>,
}

impl Desk<'_> {
    fn take(&mut self, command: Command) {
        match command {
            Command::Generate(request, out) => {
                if !out.is_closed()
                    && let Err(error) = self.begin(*request, &out)
                {
                    let _ = out.try_send(Piece::Failed(error));
                }
            }
            Command::Forget(location) => self.models.forget(&location),
            Command::Measure(out) => {
                let device = &self.models.device;
                let measured = self.measured.get_or_insert_with(|| Measured::new(device));
                // Nobody's answer waits for a number that is known.
                if self.streams.is_empty() {
                    measured.again(device);
                }
                let _ = out.send(measured.sheet.clone());
            }
        }
        self.publish();
    }

    fn begin(&mut self, request: Request, out: &Sender<Piece>) -> Result<(), ServeError> {
        let location = request.location.clone();
        let family = self.models.open(&location, request.memory)?;
        let begun = family.with(location.adapter.as_ref(), |bundle| {
            catch_unwind(AssertUnwindSafe(|| begin(bundle, &request)))
                .unwrap_or_else(|panic| Err(ServeError::Broken(words(&*panic))))
        });
        let Begun { generation, scoring, text } =
            begun.unwrap_or_else(|| Err(ServeError::Load("it was put away".into())))?;
        self.stats.prompt_tokens.fetch_add(generation.prompt_tokens() as u64, Ordering::Relaxed);
        self.models.shelf.hold(&location.weights);
        let logprobs = request.sampling.logprobs.is_some();
        let mut stream = Stream { location, scoring, generation, text, out: out.clone(), logprobs };
        if stream.scoring.is_none() {
            stream.start(Vec::new());
        }
        self.streams.insert(self.next, stream);
        self.scheduler.add(self.next);
        self.next += 1;
        Ok(())
    }

    /// One step of the stream in turn. `false`: none could take one.
    fn step(&mut self) -> bool {
        let streams = &self.streams;
        let ready = |id: u64| streams.get(&id).is_none_or(|stream| stream.out.is_closed() || stream.out.capacity() > 0);
        let Some(id) = self.scheduler.next(ready) else {
            return false;
        };
        let ended = match self.streams.get_mut(&id) {
            None => true,
            Some(stream) if stream.out.is_closed() => {
                self.stats.abandoned.fetch_add(1, Ordering::Relaxed);
                true
            }
            Some(stream) => {
                let adapter = stream.location.adapter.clone();
                let family = self.models.loaded.get_mut(&stream.location.weights);
                let stats = self.stats;
                let advanced =
                    family.and_then(|family| family.with(adapter.as_ref(), |bundle| advance(stream, bundle, stats)));
                advanced.unwrap_or_else(|| fail(stream, "its model was removed".into()))
            }
        };
        if ended {
            self.scheduler.remove(id);
            if let Some(stream) = self.streams.remove(&id) {
                self.models.shelf.release(&stream.location.weights);
            }
            self.publish();
        }
        true
    }

    fn publish(&self) {
        self.stats.active.store(self.streams.len() as u64, Ordering::Relaxed);
        *self.stats.loaded.lock().unwrap_or_else(PoisonError::into_inner) =
            self.models.loaded.keys().cloned().collect();
    }
}

/// What was measured of the device. A machine that was busy at first is looked at again.
struct Measured {
    sheet: DeviceSheet,
    at: Instant,
    /// Readings to come.
    left: u32,
}

impl Measured {
    /// Between two readings.
    const APART: Duration = Duration::from_mins(1);

    fn new(device: &Device) -> Self {
        Self { sheet: measure(device), at: Instant::now(), left: 3 }
    }

    /// Reads once more where it is time, and keeps the faster one: others slow a device down, nobody makes it faster than it is.
    fn again(&mut self, device: &Device) {
        if self.left == 0 || self.at.elapsed() < Self::APART {
            return;
        }
        let sheet = measure(device);
        if training_rate(&sheet) > training_rate(&self.sheet) {
            self.sheet = sheet;
        }
        self.at = Instant::now();
        self.left -= 1;
    }
}

/// Operations a second of a step.
fn training_rate(sheet: &DeviceSheet) -> f64 {
    sheet.f32 * sheet.pace.map_or(1.0, |pace| pace.utilisation)
}

fn measure(device: &Device) -> DeviceSheet {
    let speed = device::speed(device);
    DeviceSheet { pace: pace(device, speed), ..sheet(device, speed, device::bandwidth()) }
}

/// A device by what was measured of it. Of what a CPU has, a control group may leave less.
pub fn sheet(device: &Device, flops: f64, bandwidth: f64) -> DeviceSheet {
    let info = device::info(device);
    let own = if info.kind == DeviceKind::Cpu { None } else { info.memory_total };
    let memory = own.or(system::memory().total).or(info.memory_total).unwrap_or(0);
    let sheet = DeviceSheet::measured(&info.name, memory as f64, flops, bandwidth);
    DeviceSheet { cpu: info.kind == DeviceKind::Cpu, own_bf16: info.kind == DeviceKind::Cuda, ..sheet }
}

/// What a request becomes.
struct Begun {
    generation: Generation,
    scoring: Option<Scoring>,
    text: String,
}

fn begin(bundle: &ModelBundle, request: &Request) -> Result<Begun, ServeError> {
    let prompt = tokens(bundle, &request.input)?;
    let context = bundle.transformer.context();
    let completion = request.max_tokens.unwrap_or(1);
    if prompt.len() + completion > context {
        return Err(ServeError::ContextLength { prompt: prompt.len(), completion, context });
    }
    let generation = Generation::new(bundle, &prompt, &request.sampling, request.max_tokens)?;
    let scoring = request.score_prompt.map(|top| Scoring::new(bundle, &prompt, top)).transpose()?;
    let text = match &request.input {
        Input::Chat(_) => String::new(),
        Input::Text(text) => text.clone(),
        Input::Tokens(ids) => bundle.tokenizer.decode(ids),
    };
    Ok(Begun { generation, scoring, text })
}

impl Stream {
    /// Sends the first piece.
    fn start(&mut self, prompt: Vec<Token>) {
        let text = std::mem::take(&mut self.text);
        let prompt_tokens = self.generation.prompt_tokens();
        let _ = self.out.try_send(Piece::Started { prompt_tokens, text, prompt });
    }

    /// A step of the prompt's scores.
    fn score(&mut self, mut scoring: Scoring, bundle: &ModelBundle) {
        if !scoring.step(bundle) {
            self.scoring = Some(scoring);
            return;
        }
        let scores = scoring.scores();
        self.start(scores.iter().map(|score| token(&bundle.tokenizer, score.id, score.logprob, &score.top)).collect());
    }
}

/// Takes the step and sends what it gave. `true`: the stream has ended.
fn advance(stream: &mut Stream, bundle: &ModelBundle, stats: &Stats) -> bool {
    // A panic in the tensor code costs its own stream and nobody else's.
    if let Some(scoring) = stream.scoring.take() {
        return match catch_unwind(AssertUnwindSafe(|| stream.score(scoring, bundle))) {
            Ok(()) => false,
            Err(panic) => fail(stream, words(&*panic)),
        };
    }
    let step = match catch_unwind(AssertUnwindSafe(|| stream.generation.step(bundle))) {
        Ok(step) => step,
        Err(panic) => return fail(stream, words(&*panic)),
    };
    match step {
        Step::Prefilled => false,
        Step::Token(step) => {
            stats.completion_tokens.fetch_add(1, Ordering::Relaxed);
            let named = stream.logprobs && !bundle.eos.contains(&step.id);
            let token = named.then(|| token(&bundle.tokenizer, step.id, Some(step.logprob), &step.top));
            stream.out.try_send(Piece::Text { text: step.text, token }).is_err()
        }
        Step::Finished(reason) => {
            let piece = Piece::Finished {
                stopped: reason == FinishReason::Stop,
                completion_tokens: stream.generation.generated().len(),
            };
            let _ = stream.out.try_send(piece);
            true
        }
    }
}

fn fail(stream: &Stream, message: String) -> bool {
    let _ = stream.out.try_send(Piece::Failed(ServeError::Broken(message)));
    true
}

impl Models {
    /// The model, loaded if it was not, its adapter in place.
    fn open(&mut self, location: &Location, memory: u64) -> Result<&mut Family, ServeError> {
        if !self.loaded.contains_key(&location.weights) {
            for key in self.shelf.make_room(memory)? {
                self.loaded.remove(&key);
            }
            let bundle = ModelBundle::load(&location.weights, &self.device, &mut |_| ControlFlow::Continue(()))
                .map_err(|error| ServeError::Load(error.to_string()))?;
            self.shelf.put(location.weights.clone(), memory);
            self.loaded.insert(location.weights.clone(), Family { bundle, tuned: HashMap::new() });
        }
        let Some(family) = self.loaded.get_mut(&location.weights) else {
            return Err(ServeError::Load("it was put away".into()));
        };
        if let Some(adapter) = location.adapter.as_ref().filter(|adapter| !family.tuned.contains_key(*adapter)) {
            let mut tuned = family.bundle.transformer.clone();
            hearth_model::peft::load(adapter, &mut tuned, &self.device)
                .map_err(|error| ServeError::Load(error.to_string()))?;
            family.tuned.insert(adapter.clone(), tuned);
        }
        Ok(family)
    }

    fn forget(&mut self, location: &Location) {
        match &location.adapter {
            Some(adapter) => {
                if let Some(family) = self.loaded.get_mut(&location.weights) {
                    family.tuned.remove(adapter);
                }
            }
            None => {
                self.loaded.remove(&location.weights);
                self.shelf.remove(&location.weights);
            }
        }
    }
}

fn tokens(bundle: &ModelBundle, input: &Input) -> Result<Vec<u32>, ServeError> {
    Ok(match input {
        Input::Tokens(ids) => ids.clone(),
        Input::Text(text) => bundle.tokenizer.encode(text, Special::Parse),
        Input::Chat(messages) => {
            let template = bundle.template.as_ref().ok_or(ServeError::NoTemplate)?;
            let encoded = template.encode(&bundle.tokenizer, messages, true);
            encoded.map_err(|error| ServeError::Template(error.to_string()))?
        }
    })
}

fn token(tokenizer: &Tokenizer, id: u32, logprob: Option<f32>, top: &[(u32, f32)]) -> Token {
    let named = |id: u32| {
        let bytes = tokenizer.decode_bytes(id).to_vec();
        (String::from_utf8_lossy(&bytes).into_owned(), bytes)
    };
    let (text, bytes) = named(id);
    let top = top.iter().map(|(id, logprob)| {
        let (text, bytes) = named(*id);
        (text, bytes, *logprob)
    });
    Token { text, bytes, logprob, top: top.collect() }
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}
