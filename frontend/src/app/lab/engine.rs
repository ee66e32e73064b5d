//! The page's side of the lab engine: starts the worker, keeps calls until it is ready, brings answers to their callers,
//! and starts another worker when one panics or loses its device. It knows no model and no tensor.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    rc::Rc,
};

use futures::channel::oneshot;
use gloo::timers::callback::Timeout;
use hearth_shared::lab::example;
use hearth_shared::lab::{Call, Event, LabError, Progress, Reply, Request, WebGpu};
use js_sys::ArrayBuffer;
use leptos::prelude::*;
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use wasm_bindgen_futures::spawn_local;
use web_sys::{ErrorEvent, MessageEvent, Worker, WorkerOptions};

use super::rehearsal::Known;
use super::{lock, wire};
use crate::app::release;

/// Trunk writes this script beside the worker; it loads the worker's own script and then its wasm.
const WORKER: &str = "/worker_loader.js";
/// Where `index.html` names the script, because its name may carry a hash.
const WORKER_META: &str = "meta[name='hearth-worker']";
/// Restarts without a successful answer between them, after which the engine stays down until the person asks.
const PATIENCE: u32 = 3;
/// Milliseconds that a cancelled call may go on in the worker.
const STOP_MS: u32 = 2_000;

/// Where the worker is in its life. `epoch` counts the workers, so that whoever needs an open model opens it again.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Life {
    #[default]
    Starting,
    Ready {
        epoch: u32,
        webgpu: WebGpu,
    },
    /// Without a reason where a cancelled call did not stop by itself.
    Restarting {
        reason: Option<String>,
    },
    Down {
        reason: String,
    },
}

/// What came back: the reply, and its buffers in the order its tensors name them.
pub struct Answer {
    pub reply: Reply,
    pub buffers: Vec<ArrayBuffer>,
}

type Outcome = Result<Answer, LabError>;

struct Pending {
    sender: oneshot::Sender<Outcome>,
    on_progress: Box<dyn Fn(Progress)>,
}

/// A worker and the listeners that must live as long as it.
struct Running {
    worker: Worker,
    /// Its name, and that of the lock which it holds while it lives: no other worker of this browser has it.
    name: String,
    _on_message: Closure<dyn Fn(MessageEvent)>,
    _on_error: Closure<dyn Fn(ErrorEvent)>,
}

#[derive(Default)]
struct Desk {
    running: Option<Running>,
    ready: bool,
    /// Calls made before the worker was ready: it would never see them.
    waiting: Vec<(Call, Vec<ArrayBuffer>)>,
    pending: HashMap<u64, Pending>,
    /// What is answered before the worker is there.
    example: Vec<Known>,
    /// Calls that a person stopped and the worker has not let go of yet.
    stopping: HashSet<u64>,
    last_id: u64,
    generations: HashMap<&'static str, u64>,
    epoch: u32,
    failures: u32,
}

/// The one engine of this tab.
#[derive(Clone)]
pub struct Engine {
    desk: Rc<RefCell<Desk>>,
    life: ArcRwSignal<Life>,
}

thread_local! {
    static ENGINE: RefCell<Option<Engine>> = const { RefCell::new(None) };
}

/// The engine, started by whoever asks first.
pub fn engine() -> Engine {
    ENGINE.with(|slot| {
        slot.borrow_mut()
            .get_or_insert_with(|| {
                let engine = Engine { desk: Rc::default(), life: ArcRwSignal::new(Life::Starting) };
                engine.spawn();
                engine
            })
            .clone()
    })
}

impl Engine {
    pub fn life(&self) -> ArcRwSignal<Life> {
        self.life.clone()
    }

    /// Sends a call; the future is its answer, the number its id for [`Engine::cancel`].
    pub fn call<P: Fn(Progress) + 'static>(
        &self,
        request: Request,
        buffers: Vec<ArrayBuffer>,
        on_progress: P,
    ) -> (u64, impl Future<Output = Outcome> + use<P>) {
        let (sender, receiver) = oneshot::channel();
        let mut desk = self.desk.borrow_mut();
        desk.last_id += 1;
        let id = desk.last_id;
        let generation = desk.generations.entry(request.kind()).or_default();
        *generation += 1;
        let call = Call { id, generation: *generation, request };
        if matches!(self.life.get_untracked(), Life::Down { .. }) {
            drop(sender);
        } else if let Some(outcome) = desk.known(&call.request) {
            // The receiver is in this function.
            let _ = sender.send(outcome);
        } else {
            let on_progress = Box::new(on_progress);
            desk.pending.insert(id, Pending { sender, on_progress });
            desk.send(call, buffers);
        }
        let answer = async move {
            receiver.await.unwrap_or_else(|_| Err(LabError::Crashed { message: "the engine is down".to_owned() }))
        };
        (id, answer)
    }

    /// Answers the first calls by what was answered before, until the worker is there. Says whether it is still awaited.
    pub fn rehearse(&self, example: Vec<Known>) -> bool {
        let awaited = matches!(self.life.get_untracked(), Life::Starting);
        self.desk.borrow_mut().example = if awaited { example } else { Vec::new() };
        awaited
    }

    /// Ends a call that a person stopped: it fails with [`LabError::Cancelled`] at once, and the worker stops it between two pieces
    /// of its work. A worker that goes on for longer than [`STOP_MS`] is replaced.
    pub fn cancel(&self, id: u64) {
        if !self.withdraw(id) {
            return;
        }
        self.desk.borrow_mut().stopping.insert(id);
        let engine = self.clone();
        Timeout::new(STOP_MS, move || engine.insist(id)).forget();
    }

    /// Ends a call whose answer nobody wants any more, because another one is asked for or the page is gone. The worker may finish
    /// the piece it is at, however long that takes: a model that was loaded is worth more than the wait.
    pub fn abandon(&self, id: u64) {
        self.withdraw(id);
    }

    /// Fails a call and asks the worker to stop it; says whether the worker has it.
    fn withdraw(&self, id: u64) -> bool {
        let (pending, sent) = {
            let mut desk = self.desk.borrow_mut();
            let Some(pending) = desk.pending.remove(&id) else { return false };
            let waiting = desk.waiting.len();
            desk.waiting.retain(|(call, _)| call.id != id);
            let sent = desk.waiting.len() == waiting;
            if sent {
                desk.send(Call { id: 0, generation: 0, request: Request::Cancel { id } }, Vec::new());
            }
            (pending, sent)
        };
        // The caller may have gone.
        let _ = pending.sender.send(Err(LabError::Cancelled));
        sent
    }

    /// Replaces a worker that still computes what was cancelled.
    fn insist(&self, id: u64) {
        let stopping = self.desk.borrow().stopping.contains(&id);
        if stopping {
            self.replace(None);
        }
    }

    /// Starts a worker where none lives, for example after the person asked to try again.
    pub fn restart(&self) {
        self.desk.borrow_mut().failures = 0;
        self.replace(Some("restarted by hand".to_owned()));
    }

    fn spawn(&self) {
        match self.start_worker() {
            Ok(running) => self.desk.borrow_mut().running = Some(running),
            Err(error) => self.life.set(Life::Down { reason: format!("{error:?}") }),
        }
    }

    fn start_worker(&self) -> Result<Running, JsValue> {
        let name = format!("hearth-lab-{:.0}-{:.0}", js_sys::Date::now(), js_sys::Math::random() * 1e9);
        let options = WorkerOptions::new();
        options.set_name(&name);
        let worker = Worker::new_with_options(&script(), &options)?;
        let engine = self.clone();
        let on_message = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| {
            match wire::unpack::<Event>(&event.data()) {
                Ok((event, buffers)) => engine.hear(event, buffers),
                Err(error) => leptos::logging::warn!("lab engine: {error}"),
            }
        });
        worker.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        let engine = self.clone();
        let on_error = Closure::<dyn Fn(ErrorEvent)>::new(move |event: ErrorEvent| {
            event.prevent_default();
            engine.lose(event.message());
        });
        worker.set_onerror(Some(on_error.as_ref().unchecked_ref()));
        Ok(Running { worker, name, _on_message: on_message, _on_error: on_error })
    }

    fn hear(&self, event: Event, buffers: Vec<ArrayBuffer>) {
        match event {
            Event::Ready { build_id, webgpu } => self.welcome(&build_id, webgpu),
            Event::Progress { id, progress, .. } => {
                let desk = self.desk.borrow();
                if let Some(pending) = desk.pending.get(&id) {
                    (pending.on_progress)(progress);
                }
            }
            Event::Reply { id, reply, .. } => {
                let pending = {
                    let mut desk = self.desk.borrow_mut();
                    desk.failures = 0;
                    desk.stopping.remove(&id);
                    desk.pending.remove(&id)
                };
                if let Some(pending) = pending {
                    // The caller may have gone; then nobody wants the answer.
                    let _ = pending.sender.send(Ok(Answer { reply, buffers }));
                }
            }
            Event::Failed { id, error, .. } => {
                let lost = matches!(error, LabError::DeviceLost { .. });
                let reason = error.to_string();
                let pending = {
                    let mut desk = self.desk.borrow_mut();
                    desk.stopping.remove(&id);
                    desk.pending.remove(&id)
                };
                if let Some(pending) = pending {
                    let _ = pending.sender.send(Err(error));
                }
                if lost {
                    self.lose(reason);
                }
            }
            Event::Crashed { message } => self.lose(message),
        }
    }

    fn welcome(&self, build_id: &str, webgpu: WebGpu) {
        if !release::meet(build_id) {
            self.life.set(Life::Down { reason: format!("the engine is of another build ({build_id})") });
            return;
        }
        let epoch = {
            let mut desk = self.desk.borrow_mut();
            desk.ready = true;
            desk.example.clear();
            desk.epoch += 1;
            for (call, buffers) in std::mem::take(&mut desk.waiting) {
                desk.send(call, buffers);
            }
            desk.epoch
        };
        self.life.set(Life::Ready { epoch, webgpu });
        self.watch();
    }

    /// Notices when the worker is ended from outside, by the browser or by its tools: then nothing is said and no error is raised.
    fn watch(&self) {
        let name = self.desk.borrow().running.as_ref().map(|running| running.name.clone());
        let Some(name) = name else { return };
        let engine = self.clone();
        spawn_local(async move {
            let is_gone = lock::is_let_go(&name).await;
            // One that was retired from here is gone too.
            let is_current = engine.desk.borrow().running.as_ref().is_some_and(|running| running.name == name);
            if is_gone && is_current {
                engine.lose("the browser ended it".to_owned());
            }
        });
    }

    /// The worker is of no more use. A panic is told twice (its last words, then the trap), so the first one counts.
    fn lose(&self, reason: String) {
        let failures = {
            let mut desk = self.desk.borrow_mut();
            if desk.running.is_none() {
                return;
            }
            desk.failures += 1;
            desk.failures
        };
        leptos::logging::warn!("lab engine lost: {reason}");
        if failures > PATIENCE {
            self.retire(&reason);
            self.life.set(Life::Down { reason });
        } else {
            self.replace(Some(reason));
        }
    }

    fn replace(&self, reason: Option<String>) {
        self.retire(reason.as_deref().unwrap_or("another call did not stop"));
        self.life.set(Life::Restarting { reason });
        let engine = self.clone();
        let delay = 200 * self.desk.borrow().failures;
        Timeout::new(delay, move || engine.spawn()).forget();
    }

    /// Ends the worker and fails what it still owed.
    fn retire(&self, reason: &str) {
        let (running, pending) = {
            let mut desk = self.desk.borrow_mut();
            desk.ready = false;
            desk.example.clear();
            desk.waiting.clear();
            desk.stopping.clear();
            (desk.running.take(), std::mem::take(&mut desk.pending))
        };
        if let Some(running) = running {
            running.worker.set_onmessage(None);
            running.worker.set_onerror(None);
            running.worker.terminate();
        }
        for (_, pending) in pending {
            let _ = pending.sender.send(Err(LabError::Crashed { message: reason.to_owned() }));
        }
    }
}

fn script() -> String {
    document()
        .query_selector(WORKER_META)
        .ok()
        .flatten()
        .and_then(|meta| meta.get_attribute("content"))
        .unwrap_or_else(|| WORKER.to_owned())
}

impl Desk {
    /// An answer from the example. What is not in it and needs its model is asked again when the worker is there.
    fn known(&self, request: &Request) -> Option<Outcome> {
        if self.example.is_empty() {
            return None;
        }
        let asked = example::plain(request);
        let known = self.example.iter().find(|(exchange, _)| exchange.request == asked);
        match known {
            Some((exchange, buffers)) => {
                // Each answer's buffers are its own.
                let buffers = buffers.iter().map(|buffer| buffer.slice(0)).collect();
                Some(Ok(Answer { reply: exchange.reply.clone(), buffers }))
            }
            None => request.needs_model().then_some(Err(LabError::Superseded)),
        }
    }

    fn send(&mut self, call: Call, buffers: Vec<ArrayBuffer>) {
        let Some(running) = self.running.as_ref().filter(|_| self.ready) else {
            self.waiting.push((call, buffers));
            return;
        };
        let sent = wire::pack(&call, &buffers)
            .and_then(|(message, transfer)| running.worker.post_message_with_transfer(&message, &transfer));
        if let Err(error) = sent
            && let Some(pending) = self.pending.remove(&call.id)
        {
            let _ = pending.sender.send(Err(LabError::Other { message: format!("{error:?}") }));
        }
    }
}
