//! Takes calls in: one lane for each kind, so that a download does not hold up a check; inside a lane a newer call stops
//! the older ones. It knows what a call is, not how it is done.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    rc::Rc,
};

use gloo::timers::future::TimeoutFuture;
use hearth_shared::lab::{Call, Event, LabError, Progress, Reply, Request, Stage};
use js_sys::ArrayBuffer;
use wasm_bindgen_futures::spawn_local;
use web_sys::AbortController;

use crate::{engine::Lab, port};

/// Progress is told this often at most.
const PROGRESS_MS: f64 = 80.0;
/// Work between two looks at the mailbox.
const BREATH_MS: f64 = 24.0;

/// A finished call.
pub struct Done {
    pub reply: Reply,
    pub buffers: Vec<ArrayBuffer>,
}

/// A call on its way: whether it should stop, and how far it is.
pub struct Task {
    pub id: u64,
    pub generation: u64,
    pub arrived: f64,
    stop: RefCell<Option<LabError>>,
    /// Ends a fetch in flight; none where the browser refuses to make one.
    abort: Option<AbortController>,
    told: Cell<f64>,
}

impl Task {
    fn new(call: &Call) -> Self {
        Self {
            id: call.id,
            generation: call.generation,
            arrived: port::now(),
            stop: RefCell::new(None),
            abort: AbortController::new().ok(),
            told: Cell::new(0.0),
        }
    }

    fn stop(&self, reason: LabError) {
        self.stop.borrow_mut().get_or_insert(reason);
        if let Some(abort) = &self.abort {
            abort.abort();
        }
    }

    pub fn signal(&self) -> Option<web_sys::AbortSignal> {
        self.abort.as_ref().map(AbortController::signal)
    }

    /// # Errors
    /// The reason why the call should stop.
    pub fn check(&self) -> Result<(), LabError> {
        self.stop.borrow().clone().map_or(Ok(()), Err)
    }

    /// Lets waiting messages in, a cancel among them, then checks.
    ///
    /// # Errors
    /// As [`Task::check`].
    pub async fn breathe(&self) -> Result<(), LabError> {
        TimeoutFuture::new(0).await;
        self.check()
    }

    /// Tells how far the call is, but not too often.
    pub fn tell(&self, stage: Stage, done: u64, total: Option<u64>, item: Option<&str>) {
        let now = port::now();
        if now - self.told.get() < PROGRESS_MS && total != Some(done) {
            return;
        }
        self.told.set(now);
        self.report(Progress { stage, done, total, item: item.map(str::to_owned), step: None });
    }

    /// Tells what must not be left out.
    pub fn report(&self, progress: Progress) {
        port::post(&Event::Progress { id: self.id, generation: self.generation, progress }, &[]);
    }
}

/// Lets messages in now and then, between steps that are short.
pub struct Pace(f64);

impl Pace {
    pub fn begin() -> Self {
        Self(port::now())
    }

    /// # Errors
    /// As [`Task::check`].
    pub async fn breathe(&mut self, task: &Task) -> Result<(), LabError> {
        if port::now() - self.0 < BREATH_MS {
            return Ok(());
        }
        let stopped = task.breathe().await;
        self.0 = port::now();
        stopped
    }
}

struct Waiting {
    task: Rc<Task>,
    request: Request,
    buffers: Vec<ArrayBuffer>,
}

#[derive(Default)]
struct Lane {
    running: Option<Rc<Task>>,
    queue: VecDeque<Waiting>,
}

/// See the top of the file.
#[derive(Clone)]
pub struct Desk {
    lanes: Rc<RefCell<HashMap<&'static str, Lane>>>,
    lab: Rc<Lab>,
}

impl Desk {
    pub fn new() -> Self {
        Self { lanes: Rc::default(), lab: Rc::default() }
    }

    pub fn take(&self, call: Call, buffers: Vec<ArrayBuffer>) {
        if let Request::Cancel { id } = call.request {
            return self.cancel(id);
        }
        let kind = call.request.kind();
        let task = Rc::new(Task::new(&call));
        let mut lanes = self.lanes.borrow_mut();
        let lane = lanes.entry(kind).or_default();
        let older = lane.running.iter().chain(lane.queue.iter().map(|w| &w.task));
        for older in older.filter(|older| older.generation < task.generation) {
            older.stop(LabError::Superseded);
        }
        lane.queue.push_back(Waiting { task, request: call.request, buffers });
        if lane.running.is_none() {
            drop(lanes);
            let desk = self.clone();
            spawn_local(async move { desk.work(kind).await });
        }
    }

    fn cancel(&self, id: u64) {
        for lane in self.lanes.borrow().values() {
            let tasks = lane.running.iter().chain(lane.queue.iter().map(|w| &w.task));
            for task in tasks.filter(|task| task.id == id) {
                task.stop(LabError::Cancelled);
            }
        }
    }

    /// Works a lane until it is empty.
    async fn work(&self, kind: &'static str) {
        while let Some(waiting) = self.advance(kind) {
            let Waiting { task, request, buffers } = waiting;
            let outcome = match task.breathe().await {
                Ok(()) => self.lab.run(&task, request, buffers).await,
                Err(error) => Err(error),
            };
            let (id, generation) = (task.id, task.generation);
            match outcome {
                Ok(Done { reply, buffers }) => port::post(&Event::Reply { id, generation, reply }, &buffers),
                Err(error) => port::post(&Event::Failed { id, generation, error }, &[]),
            }
        }
    }

    /// The lane's next call becomes the running one; none ends the lane's work.
    fn advance(&self, kind: &'static str) -> Option<Waiting> {
        let mut lanes = self.lanes.borrow_mut();
        let lane = lanes.get_mut(kind)?;
        let next = lane.queue.pop_front();
        lane.running = next.as_ref().map(|waiting| waiting.task.clone());
        next
    }
}
