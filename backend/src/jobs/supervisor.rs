//! Takes jobs from the queue and watches the process of each: reads its news, passes on orders, renews the lease, kills
//! what no longer answers, and settles what comes next when it has ended.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use hearth_shared::api::fine_tuning::{CheckpointMetrics, JobError, JobStatus};
use hearth_shared::api::jobs::JobKind;
use hearth_shared::event::{Level, RunEvent};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::child::{self, Order, Outcome, Said};
use super::queue::{self, Claim};
use super::state::Change;
use super::{Jobs, events, store, works};
use crate::ids;
use crate::registry::import;

/// Silence after which a process is taken for hung. It beats every two seconds.
const SILENCE: Duration = Duration::from_secs(45);
/// How long a process may take to save a checkpoint and leave.
const SUSPENDING: Duration = Duration::from_secs(60);
const CANCELLING: Duration = Duration::from_secs(2);
/// How often lapsed leases are looked for.
const PATROL: Duration = Duration::from_secs(10);

impl Jobs {
    /// Runs the queue until the server drains.
    pub async fn supervise(self) {
        match queue::reclaim(&self.0.db, &self.0.owner, true).await {
            Ok(left) if !left.is_empty() => {
                tracing::info!(jobs = ?left, "taken over from a server that is gone")
            }
            Ok(_) => {}
            Err(error) => tracing::error!("cannot take over jobs: {error:#}"),
        }
        self.clear_half_made().await;
        self.validate_left_over().await;
        while !self.0.draining.is_cancelled() {
            if let Err(error) = self.fill_slots().await {
                tracing::error!("the job queue does not answer: {error:#}");
            }
            tokio::select! {
                () = self.0.wake.notified() => {}
                () = tokio::time::sleep(PATROL) => {
                    let _ = queue::reclaim(&self.0.db, &self.0.owner, false).await;
                }
                () = self.0.draining.cancelled() => {}
            }
        }
    }

    async fn fill_slots(&self) -> Result<()> {
        loop {
            let busy = self.busy();
            if busy.len() >= self.0.slots || self.0.draining.is_cancelled() {
                return Ok(());
            }
            let Some(claim) = queue::claim(&self.0.db, &self.0.owner, &busy).await? else {
                return Ok(());
            };
            let (orders, inbox) = mpsc::channel(4);
            self.enter(&claim.id, orders);
            let jobs = self.clone();
            tokio::spawn(async move {
                jobs.attend(&claim, inbox).await;
                jobs.leave(&claim.id);
                jobs.0.wake.notify_one();
            });
        }
    }

    /// One attempt and what follows from it.
    async fn attend(&self, claim: &Claim, inbox: mpsc::Receiver<Order>) {
        let ended = match self.attempt(claim, inbox).await {
            Ok(outcome) => outcome,
            Err(error) if child::has_no_room(&error) => Some(Outcome::Full { message: format!("{error:#}") }),
            Err(error) => {
                tracing::error!(job = claim.id, "attempt failed: {error:#}");
                None
            }
        };
        // The database may be on the full disk too: what ended must be settled, however long that takes.
        while let Err(error) = self.settle(claim, ended.as_ref()).await {
            tracing::error!(job = claim.id, "cannot settle the job, trying again: {error:#}");
            tokio::select! {
                () = tokio::time::sleep(PATROL) => {}
                // The next server takes it over.
                () = self.0.draining.cancelled() => break,
            }
        }
        self.announce();
    }

    async fn settle(&self, claim: &Claim, ended: Option<&Outcome>) -> Result<()> {
        let id = &claim.id;
        match ended {
            Some(Outcome::Done) => match self.finish(id).await {
                Err(error) if child::has_no_room(&error) => self.pause_for_room(id, &format!("{error:#}")).await,
                // What can't be finished now may be later, but not for ever.
                Err(error) => {
                    tracing::error!(job = id, "cannot finish the job: {error:#}");
                    self.lost(claim).await
                }
                Ok(()) => Ok(()),
            },
            Some(Outcome::Left) => queue::change(&self.0.db, id, Change::Suspended, None).await.map(|_| ()),
            Some(Outcome::Failed { message }) => self.fail(id, message).await,
            Some(Outcome::Full { message }) => self.pause_for_room(id, message).await,
            None => self.lost(claim).await,
        }
    }

    async fn pause_for_room(&self, id: &str, message: &str) -> Result<()> {
        let words = format!("No room on the disk, so the job is paused ({message}): make room, then resume it.");
        let event = events::sentence(ids::new("full:"), Level::Warn, words);
        queue::change(&self.0.db, id, Change::Pause, Some(event)).await.map(|_| ())
    }

    async fn lost(&self, claim: &Claim) -> Result<()> {
        queue::lose(&self.0.db, &claim.id).await?;
        Ok(())
    }

    async fn fail(&self, id: &str, message: &str) -> Result<()> {
        let error = JobError { code: "training_failed".into(), message: message.to_owned(), param: None };
        queue::fail(&self.0.db, id, Change::Failed, &error).await?;
        Ok(())
    }

    /// Starts the process and stays with it to its end. `None`: it ended without last words.
    async fn attempt(&self, claim: &Claim, inbox: mpsc::Receiver<Order>) -> Result<Option<Outcome>> {
        let folder = child::folder(&self.0.data_dir, &claim.id);
        self.write_spec(&claim.id, &folder).await?;
        let mut news = News { jobs: self, job: &claim.id, offset: 0 };
        news.read(&folder).await?;
        let words = match claim.attempt {
            1 => "Job started".to_owned(),
            n => format!("Job taken up again (attempt {n})"),
        };
        store::append(
            &self.0.db,
            &claim.id,
            &[events::sentence(format!("started:{}", claim.attempt), Level::Info, words)],
        )
        .await?;
        self.announce();
        let mut child = self.start(claim, &folder)?;
        let watched = self.watch(claim, &mut child, inbox, &mut news, &folder).await;
        // The group, not the process: nothing it started may outlive it.
        kill_group(&child);
        let _ = timeout(Duration::from_secs(10), child.wait()).await;
        news.read(&folder).await?;
        watched
    }

    fn start(&self, claim: &Claim, folder: &Path) -> Result<Child> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log.txt"))?;
        let mut command = Command::new(&self.0.program);
        command
            .arg("job")
            .arg("--data-dir")
            .arg(&*self.0.data_dir)
            .args(["--id", &claim.id, "--attempt", &claim.attempt.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // Ctrl-C in the server's terminal must not reach it: the server decides when it leaves.
            .process_group(0)
            .kill_on_drop(true);
        command.spawn().with_context(|| format!("cannot start {}", self.0.program.display()))
    }

    async fn watch(
        &self,
        claim: &Claim,
        child: &mut Child,
        mut inbox: mpsc::Receiver<Order>,
        news: &mut News<'_>,
        folder: &Path,
    ) -> Result<Option<Outcome>> {
        let mut orders = child.stdin.take().context("the process has an input")?;
        let mut lines = BufReader::new(child.stdout.take().context("the process has an output")?).lines();
        let mut deadline = Instant::now() + SILENCE;
        let mut leaving: Option<Instant> = None;
        loop {
            tokio::select! {
                line = lines.next_line() => {
                    let Some(line) = line? else { return Ok(None) };
                    deadline = Instant::now() + SILENCE;
                    match serde_json::from_str(&line) {
                        Ok(Said::Outcome(outcome)) => return Ok(Some(outcome)),
                        Ok(Said::News) => news.read(folder).await?,
                        Ok(Said::Beat) => {
                            let ours = queue::renew(&self.0.db, &claim.id, &self.0.owner).await?;
                            if !ours && leaving.is_none() {
                                leaving = Some(order(&mut orders, Order::Suspend).await);
                            }
                        }
                        Err(_) => tracing::debug!(job = claim.id, line, "not a line of the protocol"),
                    }
                }
                Some(wanted) = inbox.recv() => leaving = Some(order(&mut orders, wanted).await),
                () = sleep_until(leaving.unwrap_or(deadline).min(deadline)) => {
                    tracing::warn!(job = claim.id, "the job's process does not answer; it is killed");
                    return Ok(leaving.map(|_| Outcome::Left));
                }
            }
        }
    }

    /// Registers the tuned model and the result file, then ends the job. Every part may be done twice: a server killed
    /// half-way does them again.
    async fn finish(&self, id: &str) -> Result<()> {
        let folder = child::folder(&self.0.data_dir, id);
        let Some(row) = store::get(&self.0.db, id).await? else {
            return Ok(());
        };
        if row.status != JobStatus::Running.as_str() {
            return Ok(());
        }
        let result = folder.join("result");
        let file = format!("file-{}-result", id.rsplit('-').next().unwrap_or_default());
        let purpose = "fine-tune-results";
        let model = match JobKind::parse(&row.kind) {
            Some(JobKind::Tokenizer) => {
                let json = tokio::fs::read(result.join("tokenizer.json")).await?;
                self.0.files.put(&file, "tokenizer.json", purpose, &json).await?;
                queue::succeed(&self.0.db, id, None, &file).await?;
                return Ok(());
            }
            Some(JobKind::Export) => {
                let files = self.take_files(id, &result).await?;
                queue::succeed(&self.0.db, id, None, &files.join(",")).await?;
                return Ok(());
            }
            Some(JobKind::Pretrain) => {
                let name = self.made_name(&row).await?;
                let new = import::Made { name: &name, job: id, listed: true };
                import::made(&self.0.registry, &result, new, &self.0.organization).await?;
                name
            }
            Some(JobKind::FineTune) | None => {
                let name = self.tuned_name(&row, None)?;
                self.register(&row, &result, &name, true).await?;
                name
            }
        };
        let (lines, _) = events::whole_lines(&tokio::fs::read(folder.join(events::LOG)).await?);
        self.0.files.put(&file, "step_metrics.csv", purpose, events::csv(&lines).as_bytes()).await?;
        queue::succeed(&self.0.db, id, Some(&model), &file).await?;
        Ok(())
    }
}

/// Reads a job's `events.jsonl` from where it last stopped, into the database.
struct News<'a> {
    jobs: &'a Jobs,
    job: &'a str,
    offset: u64,
}

impl News<'_> {
    async fn read(&mut self, folder: &Path) -> Result<()> {
        let mut file = match tokio::fs::File::open(folder.join(events::LOG)).await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        file.seek(std::io::SeekFrom::Start(self.offset)).await?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).await?;
        let (lines, taken) = events::whole_lines(&bytes);
        for line in &lines {
            if let RunEvent::Done { measured: Some(measured), .. } = &line.event {
                store::set_measured(&self.jobs.0.db, self.job, &serde_json::to_string(measured)?).await?;
            }
            if let RunEvent::Decided { spec, .. } = &line.event {
                store::set_spec(&self.jobs.0.db, self.job, &serde_json::to_string(spec)?).await?;
            }
            if let RunEvent::Checkpoint { step, name, train_loss, valid_loss, valid_accuracy } = &line.event {
                let metrics = CheckpointMetrics {
                    step: Some(*step as f64),
                    train_loss: *train_loss,
                    valid_loss: *valid_loss,
                    valid_mean_token_accuracy: *valid_accuracy,
                    full_valid_loss: *valid_loss,
                    full_valid_mean_token_accuracy: *valid_accuracy,
                    ..CheckpointMetrics::default()
                };
                self.checkpoint(&folder.join("checkpoints").join(name), &metrics).await?;
            }
        }
        let fresh: Vec<_> = lines.into_iter().map(events::Line::into_event).collect();
        if !fresh.is_empty() {
            store::append(&self.jobs.0.db, self.job, &fresh).await?;
            self.jobs.announce();
        }
        self.offset += taken as u64;
        Ok(())
    }

    async fn checkpoint(&self, folder: &Path, metrics: &CheckpointMetrics) -> Result<()> {
        let Some(row) = store::get(&self.jobs.0.db, self.job).await?.filter(works::is_tune) else {
            return Ok(());
        };
        let model = self.jobs.tuned_name(&row, metrics.step.map(|step| step as u64))?;
        // An older one may have been cleared away since; of whole weights a model is made when somebody asks for it.
        if self.jobs.0.registry.get(&model).await?.is_none() {
            if !folder.join("adapter_config.json").is_file() {
                return Ok(());
            }
            self.jobs.register(&row, folder, &model, false).await?;
        }
        store::insert_checkpoint(&self.jobs.0.db, self.job, &model, metrics).await
    }
}

/// Sends an order; returns when patience ends.
async fn order(input: &mut ChildStdin, order: Order) -> Instant {
    if let Ok(mut line) = serde_json::to_vec(&order) {
        line.push(b'\n');
        // A process that no longer reads is found out by the deadline.
        let _ = timeout(Duration::from_secs(1), input.write_all(&line)).await;
    }
    Instant::now() + if order == Order::Cancel { CANCELLING } else { SUSPENDING }
}

fn kill_group(child: &Child) {
    let pid = child.id().and_then(|id| rustix::process::Pid::from_raw(id as i32));
    if let Some(pid) = pid {
        let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    }
}

/// How long a drain may take before the server stops anyway.
pub const PATIENCE: Duration = SUSPENDING;

impl Jobs {
    /// Starts no new process, asks the running ones to save and leave, and waits for them.
    pub async fn drain(&self) {
        self.0.draining.cancel();
        for (_, orders) in self.orders() {
            let _ = orders.send(Order::Suspend).await;
        }
        let end = Instant::now() + PATIENCE;
        while !self.busy().is_empty() && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
