//! From a request to a queued job: what can be checked at once, then the data, then every value decided. A dry run stops
//! there and shows the plan.

use anyhow::Context as _;
use hearth_model::device;
use hearth_shared::api::fine_tuning::{CreateJob, Hyperparameters, JobError, Plan};
use hearth_shared::event::Level;
use hearth_shared::plan::ModelShape;
use hearth_shared::spec::{Auto, FineTuneSpec};
use hearth_shared::text::Report;

use super::plans::{self, Machine};
use super::state::Change;
use super::{Jobs, events, inspect, queue, store, view, works};
use crate::error::{Error, Result};
use crate::registry::Entry;
use crate::system;

impl Jobs {
    /// What a job of this request would be, without making one.
    pub async fn plan(&self, request: &CreateJob) -> Result<Plan> {
        let (entry, spec) = self.check(request).await?;
        let found = self.inspect(request, &entry, &spec).await?;
        let asked = view::asked_hyperparameters(request);
        let machine = self.machine().await;
        let decided = found.decide(&spec, entry.context as u32, &machine);
        let mut plan = Plan {
            object: "fine_tuning.plan".into(),
            hyperparameters: asked,
            spec: None,
            memory: None,
            memory_limit: machine.room,
            memory_available: system::memory().available,
            trained_parameters: None,
            flops: None,
            seconds: None,
            total_steps: None,
            tokens: found.report.tokens.as_ref().map(|tokens| tokens.total),
            warnings: Vec::new(),
            error: None,
            report: serde_json::to_value(&found.report)?,
            validation_report: found.validation.as_ref().map(serde_json::to_value).transpose()?,
        };
        match decided {
            Ok(spec) => {
                plan.hyperparameters = Hyperparameters {
                    batch_size: Auto::Value(spec.batch_size),
                    n_epochs: Auto::Value(spec.n_epochs),
                    learning_rate_multiplier: Auto::Value(plan.hyperparameters.learning_rate_multiplier.or(1.0)),
                    beta: spec.dpo_beta.map(Auto::Value),
                };
                let steps = u64::from(spec.n_epochs) * found.report.examples.div_ceil(u64::from(spec.batch_size));
                plan.total_steps = Some(spec.max_steps.map_or(steps, |most| most.min(steps)));
                let planned = found.planned(&spec, &machine);
                plan.memory = Some(planned.memory);
                plan.trained_parameters = Some(found.shape.trained(&spec));
                plan.flops = plan.total_steps.map(|steps| steps as f64 * planned.step_flops);
                plan.seconds =
                    plan.total_steps.zip(planned.step_seconds).map(|(steps, seconds)| steps as f64 * seconds);
                plan.warnings.extend(plans::free_memory_warning(
                    plan.memory_available.filter(|_| machine.sheet.cpu),
                    &planned.memory,
                ));
                plan.spec = Some(spec);
            }
            Err(error) => {
                plan.error = Some(error.into());
            }
        }
        Ok(plan)
    }

    /// Everything about a request that can be checked without reading the data.
    pub(super) async fn check(&self, request: &CreateJob) -> Result<(Entry, FineTuneSpec)> {
        let entry = self.0.registry.find(&request.model).await?;
        if entry.base_hash.is_some() {
            return Err(Error::invalid("model", "A tuned model cannot be tuned again yet; start from its base model."));
        }
        let kind = request.method.as_ref().map_or("supervised", |method| method.kind.as_str());
        if !["supervised", "dpo"].contains(&kind) {
            let message = format!("`{kind}` is not supported; use `supervised` or `dpo`.");
            return Err(Error::invalid("method.type", message));
        }
        if let Some(suffix) = &request.suffix {
            let plain = suffix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
            if suffix.is_empty() || suffix.len() > 64 || !plain {
                return Err(Error::invalid("suffix", "1 to 64 letters, digits, `-`, `_` and `.`"));
            }
        }
        self.check_file("training_file", &request.training_file).await?;
        if let Some(file) = &request.validation_file {
            self.check_file("validation_file", file).await?;
        }
        let asked = view::asked_hyperparameters(request);
        if asked.beta.is_some() && kind != "dpo" {
            return Err(Error::invalid("method.supervised.hyperparameters.beta", "Only `dpo` has a beta."));
        }
        let spec = FineTuneSpec {
            dpo_beta: (kind == "dpo").then(|| asked.beta.unwrap_or_default()),
            n_epochs: asked.n_epochs,
            batch_size: asked.batch_size,
            learning_rate_multiplier: asked.learning_rate_multiplier,
            seed: request.seed,
            hearth: request.hearth.clone().unwrap_or_default().options,
        };
        inspect::known_modules("hearth.lora.target_modules", &spec.hearth.lora)?;
        spec.validate()?;
        if inspect::asks_of_model(&spec) {
            inspect::fits_model(&self.shape(&entry).await?, &spec)?;
        }
        if spec.hearth.early_stop.is_some() && request.validation_file.is_none() {
            return Err(Error::invalid(
                "hearth.early_stop",
                "It judges by the validation loss: add a `validation_file`.",
            ));
        }
        Ok((entry, spec))
    }

    /// A model's sizes, from its headers.
    async fn shape(&self, entry: &Entry) -> Result<ModelShape> {
        let weights = self.0.registry.location(entry)?.weights;
        let shape = tokio::task::spawn_blocking(move || anyhow::Ok(inspect::Eye::open(&weights)?.shape()));
        Ok(shape.await.context("the reader of the model stopped")??)
    }

    /// Bytes that a job may hold. What runs now will have ended when its turn comes.
    pub(super) fn room(&self) -> Option<u64> {
        let total = system::memory().total;
        self.0.most_memory.into_iter().chain(total).min()
    }

    /// Where a job would run. Its speed is measured when first asked for.
    pub(super) async fn machine(&self) -> Machine {
        match self.0.serving.sheet().await {
            // A card has memory of its own, which is not known.
            Ok(sheet) if !sheet.cpu => Machine { sheet, room: self.0.most_memory },
            Ok(sheet) => Machine { sheet, room: self.room() },
            // The server is stopping.
            Err(_) => Machine::untimed(&device::cpu(), self.room()),
        }
    }

    pub(super) async fn check_file(&self, param: &str, id: &str) -> Result<()> {
        match self.0.files.get(id).await {
            Ok(file) if file.purpose == "fine-tune" => Ok(()),
            Ok(file) => {
                Err(Error::invalid(param, format!("The purpose of {id} is `{}`, not `fine-tune`.", file.purpose)))
            }
            Err(Error::NotFound { .. }) => {
                Err(Error::coded(param, "file_not_found", format!("No such File object: {id}")))
            }
            Err(error) => Err(error),
        }
    }

    async fn inspect(&self, request: &CreateJob, entry: &Entry, spec: &FineTuneSpec) -> Result<inspect::Found> {
        let weights = self.0.registry.location(entry)?.weights;
        let path = |id: &str| self.0.files.path(id).ok_or_else(|| Error::file_not_found(id));
        let training = path(&request.training_file)?;
        let validation = request.validation_file.as_deref().map(path).transpose()?;
        let length = spec.hearth.longest_row(entry.context as u32);
        if length < 2 {
            let message = format!("Virtual tokens leave nothing of the model's context of {}.", entry.context);
            return Err(Error::invalid("hearth.virtual_tokens", message));
        }
        let length = Some(length);
        let found = tokio::task::spawn_blocking(move || {
            let eye = inspect::Eye::open(&weights)?;
            anyhow::Ok(inspect::Found {
                report: eye.report(&training, length)?,
                validation: validation.map(|file| eye.report(&file, length)).transpose()?,
                shape: eye.shape(),
            })
        });
        Ok(found.await.context("the validator stopped")??)
    }

    /// The report on a file that is here.
    pub async fn report(&self, file: &str, model: &str, max_length: Option<u32>) -> Result<Report> {
        self.0.files.get(file).await?;
        let path = self.0.files.path(file).ok_or_else(|| Error::file_not_found(file))?;
        let entry = self.0.registry.find(model).await?;
        let weights = self.0.registry.location(&entry)?.weights;
        let context = entry.context as u32;
        let length = max_length.unwrap_or(context.min(2048)).min(context);
        let report = tokio::task::spawn_blocking(move || inspect::Eye::open(&weights)?.report(&path, Some(length)));
        Ok(report.await.context("the validator stopped")??)
    }

    pub(super) async fn validate_left_over(&self) {
        for id in store::ids_in(&self.0.db, "validating_files").await.unwrap_or_default() {
            self.validate(&id).await;
        }
    }

    pub(super) async fn validate(&self, id: &str) {
        if let Err(error) = self.try_validate(id).await {
            let detail = error.detail();
            tracing::error!(job = id, "cannot validate: {error:#}");
            let error = JobError { code: "validation_failed".into(), message: detail.message, param: detail.param };
            let _ = self.refuse(id, &error).await;
        }
        self.announce();
        self.0.wake.notify_one();
    }

    async fn try_validate(&self, id: &str) -> Result<()> {
        let Some(row) = store::get(&self.0.db, id).await? else {
            return Ok(());
        };
        let found =
            if works::is_tune(&row) { self.validate_tune(&row).await? } else { self.validate_work(&row).await? };
        let (validated, fault) = found;
        store::set_validated(&self.0.db, id, &validated).await?;
        match fault {
            None => {
                let words = "Files validated, moving job to queued state";
                let event = events::sentence("queued", Level::Info, words);
                queue::change(&self.0.db, id, Change::Accepted, Some(event)).await?;
            }
            Some(error) => self.refuse(id, &error).await?,
        }
        Ok(())
    }

    async fn validate_tune(&self, row: &store::Row) -> Result<(store::Validated, Option<JobError>)> {
        let request: CreateJob = serde_json::from_str(&row.request)?;
        let (entry, mut spec) = self.check(&request).await?;
        spec.seed = Some(row.seed as u64);
        let found = self.inspect(&request, &entry, &spec).await?;
        let machine = self.machine().await;
        let decided = found.decide(&spec, entry.context as u32, &machine);
        let planned = decided.as_ref().ok().map(|spec| found.planned(spec, &machine));
        let validated = store::Validated {
            spec: decided.as_ref().ok().map(serde_json::to_string).transpose()?,
            planned: planned.as_ref().map(serde_json::to_string).transpose()?,
            report: Some(serde_json::to_string(&found.report)?),
            validation_report: found.validation.as_ref().map(serde_json::to_string).transpose()?,
        };
        Ok((validated, decided.err()))
    }

    async fn refuse(&self, id: &str, error: &JobError) -> Result<()> {
        queue::fail(&self.0.db, id, Change::Refused, error).await?;
        Ok(())
    }
}
