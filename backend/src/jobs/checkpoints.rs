//! Checkpoints as models. An adapter's answers from the moment it stands; of whole weights a model is made when somebody asks for one, in a process
//! that takes the memory it needed with it when it ends.

use std::path::Path;
use std::process::{Output, Stdio};

use anyhow::{Context as _, anyhow};
use hearth_model::train::save;
use hearth_shared::api::jobs::JobKind;
use tokio::process::Command;

use super::plans::size;
use super::{Jobs, child, store, works};
use crate::error::{Error, Result};
use crate::registry::{Entry, import};
use crate::system;

/// How folders of models that are being made begin.
const PREFIX: &str = "checkpoint-";

impl Jobs {
    /// The model of a checkpoint; of whole weights it is made now, unless it was before.
    pub async fn checkpoint_model(&self, id: &str, step: u64) -> Result<Entry> {
        let row = store::get(&self.0.db, id).await?.ok_or_else(|| Error::job_not_found(id))?;
        if let Some(kind @ (JobKind::Tokenizer | JobKind::Export)) = JobKind::parse(&row.kind) {
            let kind = kind.as_str();
            let message = format!("Job {id} is of the kind `{kind}`, which has no checkpoints: name a training run.");
            return Err(Error::NotFound { message, param: Some("id"), code: "checkpoint_not_found" });
        }
        let name = self.checkpoint_name(&row, step).await?;
        if let Some(entry) = self.0.registry.get(&name).await? {
            return Ok(entry);
        }
        let jobs = self.clone();
        // Whoever asked may go; the model is there for who asks next.
        let made = tokio::spawn(async move { jobs.make_model(&row, step, &name).await });
        made.await.context("what made the model stopped")?
    }

    /// As the run's result is called, or will be, with the step behind it.
    async fn checkpoint_name(&self, row: &store::Row, step: u64) -> anyhow::Result<String> {
        if works::is_tune(row) {
            return self.tuned_name(row, Some(step));
        }
        let result = match &row.fine_tuned_model {
            Some(name) => name.clone(),
            None => self.made_name(row).await?,
        };
        let name = format!("{result}:ckpt-step-{step}");
        // A run before this one may have had the result's name, and its checkpoints outlive that.
        let other = self.0.registry.get(&name).await?.is_some_and(|entry| entry.job.as_deref() != Some(&row.id));
        Ok(if other { format!("{result}-{}:ckpt-step-{step}", works::tail(row)) } else { name })
    }

    async fn make_model(&self, row: &store::Row, step: u64, name: &str) -> Result<Entry> {
        // One after another: two requests for one model make one, and two models at once would take twice the memory.
        let _turn = self.0.making.lock().await;
        if let Some(entry) = self.0.registry.get(name).await? {
            return Ok(entry);
        }
        let folder = child::folder(&self.0.data_dir, &row.id).join("checkpoints");
        let checkpoint = folder.join(format!("step-{step}"));
        if !stands(&folder, step) {
            return Err(self.no_checkpoint(row, step).await);
        }
        let registered = if works::is_tune(row) && checkpoint.join("adapter_config.json").is_file() {
            self.register(row, &checkpoint, name, false).await.map_err(own)
        } else {
            self.write_and_register(row, &checkpoint, step, name).await
        };
        match registered {
            Ok(()) => Ok(self.0.registry.get(name).await?.context("the model was registered a moment ago")?),
            // It was cleared away while it was read.
            Err(_) if !stands(&folder, step) => Err(self.no_checkpoint(row, step).await),
            Err(error) => Err(error),
        }
    }

    /// Has the checkpoint written as a model's folder, in a place that is gone afterwards.
    async fn write_and_register(&self, row: &store::Row, checkpoint: &Path, step: u64, name: &str) -> Result<()> {
        let is_tune = works::is_tune(row);
        let spec = if is_tune { self.tune_spec(row).await } else { self.work_spec(row).await };
        let spec = spec.map_err(unusable)?;
        let weights = std::fs::metadata(checkpoint.join(save::WEIGHTS))?.len();
        // Layers that stayed as they were are the base's.
        let base = if is_tune { self.base(row).await?.memory() } else { 0 };
        self.check_room(weights.max(base))?;
        let scratch = self.0.data_dir.join("tmp");
        tokio::fs::create_dir_all(&scratch).await?;
        let place = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&scratch)?;
        tokio::fs::write(place.path().join("spec.json"), serde_json::to_vec_pretty(&spec)?).await?;
        let output = self.run_writer(&row.id, step, place.path()).await?;
        if !output.status.success() {
            return Err(why(&output));
        }
        // What is cleared away goes file by file: it may have been read without its average.
        if !checkpoint.join(save::WEIGHTS).is_file() {
            return Err(anyhow!("the checkpoint was cleared away while it was read").into());
        }
        let made = place.path().join("model");
        if is_tune {
            self.register(row, &made, name, false).await?;
        } else {
            let new = import::Made { name, job: &row.id, listed: false };
            import::made(&self.0.registry, &made, new, &self.0.organization).await?;
        }
        Ok(())
    }

    async fn run_writer(&self, id: &str, step: u64, place: &Path) -> anyhow::Result<Output> {
        let mut command = Command::new(&self.0.program);
        command
            .arg("checkpoint")
            .arg("--data-dir")
            .arg(&*self.0.data_dir)
            .args(["--id", id, "--step", &step.to_string()])
            .arg("--place")
            .arg(place)
            .stdin(Stdio::null())
            .process_group(0)
            .kill_on_drop(true);
        command.output().await.with_context(|| format!("cannot start {}", self.0.program.display()))
    }

    /// Refuses what the machine has no room for now. `bytes`: of the model's weights.
    fn check_room(&self, bytes: u64) -> Result<()> {
        // The file, its numbers, and the model that they become; later the model, its tensors, and what they are compared with.
        let needed = 3 * bytes;
        if let Some(free) = system::memory().available.filter(|free| *free < needed) {
            return Err(Error::Unavailable(format!(
                "Making a model of this checkpoint takes about {} of memory, and {} is free: try again when a run has \
                 ended or been paused.",
                size(needed),
                size(free)
            )));
        }
        // Once where it is made, once among the models.
        let needed = 2 * bytes;
        match system::disk_available(&self.0.data_dir).filter(|free| *free < needed) {
            None => Ok(()),
            Some(free) => Err(Error::Unavailable(format!(
                "Making a model of this checkpoint takes {} on the disk, and {} is free: remove models that nobody \
                 needs.",
                size(needed),
                size(free)
            ))),
        }
    }

    /// Names the checkpoints that there are.
    async fn no_checkpoint(&self, row: &store::Row, step: u64) -> Error {
        let on_disk = save::steps(&child::folder(&self.0.data_dir, &row.id).join("checkpoints"));
        let mut steps: Vec<u64> = on_disk.into_iter().map(|(step, _)| step).collect();
        // Adapters outlive the folders that they were in.
        match store::checkpoints(&self.0.db, &row.id, None, 100).await {
            Ok((rows, _)) => steps.extend(rows.into_iter().map(|row| row.step_number)),
            Err(error) => return Error::Internal(error),
        }
        steps.sort_unstable();
        steps.dedup();
        let there: Vec<String> = steps.iter().map(u64::to_string).collect();
        let there =
            if there.is_empty() { "it has none now".to_owned() } else { format!("there are {}", there.join(", ")) };
        let message = format!("Job {} has no checkpoint of step {step}: {there}. Older ones are cleared away.", row.id);
        Error::NotFound { message, param: Some("step"), code: "checkpoint_not_found" }
    }

    /// Clears away what a server that was killed left half made.
    pub(super) async fn clear_half_made(&self) {
        // Whoever makes one already clears it away; what is left goes at the next start.
        let Ok(_turn) = self.0.making.try_lock() else {
            return;
        };
        let Ok(mut entries) = tokio::fs::read_dir(self.0.data_dir.join("tmp")).await else {
            return;
        };
        while let Ok(Some(entry)) = entries.next_entry().await {
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                let _ = tokio::fs::remove_dir_all(entry.path()).await;
            }
        }
    }
}

/// Whether the checkpoint is there with its weights: one that is being cleared away loses file after file.
fn stands(checkpoints: &Path, step: u64) -> bool {
    let found = save::steps(checkpoints).into_iter().find(|(known, _)| *known == step);
    found.is_some_and(|(_, folder)| folder.join(save::WEIGHTS).is_file())
}

/// The refusal that it is, where it is one of ours.
fn own(error: anyhow::Error) -> Error {
    error.downcast::<Error>().unwrap_or_else(Error::Internal)
}

/// What the run began from is gone.
fn unusable(error: anyhow::Error) -> Error {
    error.downcast::<Error>().unwrap_or_else(|error| Error::Conflict {
        message: format!("No model can be made of this checkpoint: {error:#}"),
        code: "checkpoint_unusable",
    })
}

/// Why the process left nothing.
fn why(output: &Output) -> Error {
    let words = String::from_utf8_lossy(&output.stderr);
    if output.status.code().is_none() {
        let message = "The process that makes the model was killed, most often for want of memory: try again when a \
                       run has ended.";
        return Error::Unavailable(message.to_owned());
    }
    Error::Internal(anyhow!("a checkpoint became no model: {}", words.trim()))
}
