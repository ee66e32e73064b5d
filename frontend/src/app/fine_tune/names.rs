//! What a run is called: as the person named it, else by what it is: the model, the data file, the method. Files are known to a run by their
//! ids alone, so their names are asked of the server once they are needed.

use std::collections::{BTreeMap, BTreeSet};

use hearth_shared::api::List;
use hearth_shared::api::files::FileObject;
use hearth_shared::api::fine_tuning::Job;
use hearth_shared::api::jobs::{CreateWork, JobKind};
use hearth_shared::spec::{AdapterSpec, ArchitectureSpec, BaseWeights, LoraSpec, Preset, TokenizerSpec};
use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;

use crate::app::client;
use crate::app::i18n::{I18nContext, Locale, t_string};

/// The newest files, among which a run's own are looked for.
const LISTED: &str = "/v1/files?limit=1000";

/// Names of files by their ids, as far as they are known. Copies are handles to the same list.
#[derive(Clone, Copy)]
pub struct Files {
    names: RwSignal<BTreeMap<String, String>>,
    /// Ids that an answer was asked for; a file that is gone is not asked for again.
    asked: StoredValue<BTreeSet<String>>,
}

impl Files {
    pub fn new() -> Self {
        Self { names: RwSignal::new(BTreeMap::new()), asked: StoredValue::new(BTreeSet::new()) }
    }

    /// Has the names of these runs' files fetched, where that was not tried yet.
    pub fn learn(self, jobs: &[Job]) {
        let wanted: Vec<String> = jobs.iter().flat_map(files_of).collect();
        let any_new = self.asked.try_update_value(|asked| {
            let before = asked.len();
            asked.extend(wanted);
            asked.len() > before
        });
        if any_new != Some(true) {
            return;
        }
        spawn_local(async move {
            // Without an answer a run is called by the rest.
            if let Ok(list) = client::get::<List<FileObject>>(LISTED).await {
                let names = list.data.into_iter().map(|file| (file.id, file.filename)).collect();
                let _ = self.names.try_set(names);
            }
        });
    }

    pub fn name(self, id: &str) -> Option<String> {
        self.names.with(|names| names.get(id).cloned())
    }
}

/// Ids of the files that a run was given.
fn files_of(job: &Job) -> Vec<String> {
    let mut ids = vec![job.training_file.clone()];
    ids.extend(job.validation_file.clone());
    if let Some(CreateWork::Pretrain(asked)) = &job.hearth.request {
        ids.extend(asked.training_files.iter().cloned());
        if let TokenizerSpec::File(id) = &asked.spec.tokenizer {
            ids.push(id.clone());
        }
    }
    ids
}

/// The name that the person gave.
pub fn given(job: &Job) -> Option<String> {
    job.user_provided_suffix.clone().filter(|name| !name.is_empty())
}

/// What to call the run.
pub fn name(i18n: I18nContext<Locale>, job: &Job, files: Files) -> String {
    given(job).unwrap_or_else(|| about(i18n, job, files))
}

/// The start of an id behind its kind: what sets runs of one name apart.
pub fn tail(id: &str) -> String {
    let random = id.split_once('-').map_or(id, |(_, random)| random);
    random.chars().take(8).collect()
}

/// The name and the tail of the id, for many are called the same.
pub fn apart(i18n: I18nContext<Locale>, job: &Job, files: Files) -> String {
    format!("{} · {}", name(i18n, job, files), tail(&job.id))
}

/// The model, the data file, the method.
pub fn about(i18n: I18nContext<Locale>, job: &Job, files: Files) -> String {
    let subject = shape(i18n, job).unwrap_or_else(|| job.model.clone());
    let parts = [Some(subject), files.name(&job.training_file), method(i18n, job)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

/// The architecture of a model from nothing.
fn shape(i18n: I18nContext<Locale>, job: &Job) -> Option<String> {
    let (family, depth) = architecture(i18n, job)?;
    Some(t_string!(i18n, pretrain.shape, family = family, depth = depth))
}

/// Family and depth of a model from nothing.
pub fn architecture(i18n: I18nContext<Locale>, job: &Job) -> Option<(&'static str, u32)> {
    let Some(CreateWork::Pretrain(asked)) = &job.hearth.request else {
        return None;
    };
    let ArchitectureSpec { preset, depth, .. } = asked.spec.architecture;
    let family = match preset {
        Preset::Llama => "Llama",
        Preset::Gpt2 => "GPT-2",
        Preset::Moe => t_string!(i18n, plan.family_moe),
        Preset::Palm => "PaLM",
    };
    Some((family, depth))
}

/// How a model is tuned.
fn method(i18n: I18nContext<Locale>, job: &Job) -> Option<String> {
    if job.hearth.kind != JobKind::FineTune {
        return None;
    }
    let options = &job.hearth.options;
    let word = match options.adapter() {
        None if options.frozen_layers > 0 => t_string!(i18n, tune.method_frozen, count = options.frozen_layers),
        None => t_string!(i18n, tune.method_full).to_owned(),
        Some(AdapterSpec::Lora(lora)) => low_rank(&lora, options.base_weights),
        Some(AdapterSpec::Ia3) => "(IA)³".to_owned(),
        Some(AdapterSpec::Prefix(_)) => t_string!(i18n, tune.method_prefix).to_owned(),
        Some(AdapterSpec::Prompt(_)) => t_string!(i18n, tune.method_prompt).to_owned(),
        Some(AdapterSpec::Bottleneck(_)) => t_string!(i18n, tune.method_bottleneck).to_owned(),
    };
    if job.method.kind == "dpo" {
        return Some(format!("{word}, {}", t_string!(i18n, tune.method_preferences)));
    }
    Some(word)
}

/// What people call a low-rank adapter: by its packed base, its magnitudes, its scale.
fn low_rank(lora: &LoraSpec, base: BaseWeights) -> String {
    let packed = base != BaseWeights::F32;
    let name = match (packed, lora.dora) {
        (false, false) if lora.rslora => return "rsLoRA".to_owned(),
        (false, false) => "LoRA",
        (true, false) => "QLoRA",
        (false, true) => "DoRA",
        (true, true) => "QDoRA",
    };
    if lora.rslora { format!("{name} + rsLoRA") } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_low_rank_adapter_has_its_name() {
        let name = |dora, rslora, base| low_rank(&LoraSpec { dora, rslora, ..LoraSpec::default() }, base);
        let (plain, packed) = (BaseWeights::F32, BaseWeights::Nf4);
        assert_eq!([name(false, false, plain), name(false, true, plain)], ["LoRA", "rsLoRA"]);
        assert_eq!([name(true, false, plain), name(true, true, plain)], ["DoRA", "DoRA + rsLoRA"]);
        assert_eq!([name(false, false, packed), name(false, true, packed)], ["QLoRA", "QLoRA + rsLoRA"]);
        assert_eq!(name(true, false, packed), "QDoRA");
    }

    #[test]
    fn the_tail_begins_behind_the_kind_whatever_the_kind() {
        assert_eq!(tail("ftjob-abcdefghijkl"), "abcdefgh");
        assert_eq!(tail("job-abcdefghijkl"), "abcdefgh");
        assert_eq!(tail("abc"), "abc");
    }
}
