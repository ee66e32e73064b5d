//! What a run was given, every value under its path in the API: a run's page shows it, and runs side by side are set apart by it. It
//! draws nothing.

use std::collections::BTreeMap;

use hearth_shared::api::fine_tuning::Job;
use hearth_shared::api::jobs::{CreatePretrain, CreateWork};
use hearth_shared::spec::{ArchitectureSpec, HearthOptions, Preset, TokenizerSpec, TrainSpec};
use serde::Serialize;
use serde_json::Value;

/// Values by their paths.
pub type Settings = BTreeMap<String, String>;
/// A file's name by its id; none where it is not known.
pub type FileName<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A choice as it stands in the API.
pub fn word(choice: &impl Serialize) -> String {
    serde_json::to_value(choice).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// None of a job that was never decided: one that failed before, or that trains nothing. Files stand under their names, for the same
/// texts may have been uploaded twice.
pub fn of(job: &Job, name: FileName<'_>) -> Option<Settings> {
    let spec = job.hearth.spec.as_ref()?;
    let mut out = Settings::new();
    flatten("", &serde_json::to_value(spec).ok()?, &mut out);
    let read = match &job.hearth.request {
        Some(CreateWork::Pretrain(asked)) => {
            out.extend(of_new_model(asked, spec, name));
            asked.training_files.as_slice()
        }
        _ => {
            out.insert("model".to_owned(), job.model.clone());
            std::slice::from_ref(&job.training_file)
        }
    };
    let read: Vec<String> = read.iter().map(|id| called(id, name)).collect();
    out.insert("training_file".to_owned(), read.join(", "));
    if let Some(file) = &job.validation_file {
        out.insert("validation_file".to_owned(), called(file, name));
    }
    Some(out)
}

/// What stands in a model's request beside its training: every size of it, as decided, its vocabulary, how texts are split, and the
/// options that what was decided has no name for.
pub fn of_new_model(asked: &CreatePretrain, decided: &TrainSpec, name: FileName<'_>) -> Vec<(String, String)> {
    let mut rows = architecture(&asked.spec.architecture);
    rows.push(match &asked.spec.tokenizer {
        TokenizerSpec::Model(model) => ("tokenizer.model".to_owned(), model.clone()),
        TokenizerSpec::File(file) => ("tokenizer.file".to_owned(), called(file, name)),
        TokenizerSpec::Train { vocab_size } => ("tokenizer.train.vocab_size".to_owned(), vocab_size.to_string()),
    });
    rows.push(("texts.split".to_owned(), word(&asked.spec.texts.split)));
    rows.push(("texts.field".to_owned(), asked.spec.texts.field.clone()));
    rows.extend(options(&asked.spec.options, decided));
    rows
}

fn called(id: &str, name: FileName<'_>) -> String {
    name(id).unwrap_or_else(|| id.to_owned())
}

fn architecture(asked: &ArchitectureSpec) -> Vec<(String, String)> {
    let mut rows = vec![("preset", word(&asked.preset)), ("depth", asked.depth.to_string())];
    if let Ok(sizes) = asked.sizes() {
        rows.extend([
            ("d_model", sizes.d_model.to_string()),
            ("n_heads", sizes.n_heads.to_string()),
            ("kv_heads", sizes.kv_heads.to_string()),
            ("ffn_dim", sizes.ffn_dim.to_string()),
        ]);
    }
    rows.push(("max_positions", asked.max_positions.to_string()));
    if asked.preset == Preset::Moe {
        rows.extend([("experts", asked.experts.to_string()), ("moe_every", asked.moe_every.to_string())]);
        rows.extend(asked.capacity_factor.map(|factor| ("capacity_factor", factor.to_string())));
    }
    rows.into_iter().map(|(name, value)| (format!("architecture.{name}"), value)).collect()
}

/// Those that were asked for otherwise than usual, and are not among what was decided.
fn options(asked: &HearthOptions, decided: &TrainSpec) -> Vec<(String, String)> {
    let object = |value: serde_json::Result<Value>| match value {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let (asked, usual) = (object(serde_json::to_value(asked)), object(serde_json::to_value(HearthOptions::default())));
    let decided = object(serde_json::to_value(decided));
    // A model from nothing is tuned in one way only.
    let is_news = |name: &String, value: &Value| {
        name != "tuning" && !decided.contains_key(name) && usual.get(name) != Some(value)
    };
    let mut out = Settings::new();
    for (name, value) in asked.iter().filter(|(name, value)| is_news(name, value)) {
        flatten(&format!("options.{name}"), value, &mut out);
    }
    out.into_iter().collect()
}

fn flatten(path: &str, value: &Value, out: &mut Settings) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(&path, value, out);
            }
        }
        Value::String(text) => drop(out.insert(path.to_owned(), text.clone())),
        Value::Null => {}
        other => drop(out.insert(path.to_owned(), other.to_string())),
    }
}

/// What is not the same in all runs that have settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Places, among all runs, of those that have settings: the columns.
    pub runs: Vec<usize>,
    /// Each name with its value in each of them.
    pub rows: Vec<(String, Vec<String>)>,
}

/// A run without settings differs in nothing: it is left out.
pub fn differing(all: &[Option<Settings>]) -> Differences {
    let (runs, known): (Vec<usize>, Vec<&Settings>) =
        all.iter().enumerate().filter_map(|(at, one)| Some((at, one.as_ref()?))).unzip();
    let mut names: Vec<&String> = known.iter().flat_map(|one| one.keys()).collect();
    names.sort();
    names.dedup();
    let value = |one: &Settings, name: &String| one.get(name).cloned().unwrap_or_else(|| "—".to_owned());
    let rows = names
        .into_iter()
        .filter(|name| known.windows(2).any(|pair| pair[0].get(*name) != pair[1].get(*name)))
        .map(|name| (name.clone(), known.iter().map(|one| value(one, name)).collect()))
        .collect();
    Differences { runs, rows }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;
    use serde_json::json;

    fn words(differences: &Differences) -> Vec<String> {
        differences.rows.iter().map(|(name, values)| format!("{name}: {}", values.join("|"))).collect()
    }

    #[test]
    fn only_what_differs_is_shown() {
        let run = |json: Value| {
            let mut out = Settings::new();
            flatten("", &json, &mut out);
            Some(out)
        };
        let a = run(json!({"lr": 0.1, "adapter": {"kind": "lora", "r": 4}, "seed": 1, "ema": null}));
        let b = run(json!({"lr": 0.1, "adapter": {"kind": "ia3"}, "seed": 2}));
        let found = differing(&[a.clone(), b.clone()]);
        assert_eq!(words(&found), ["adapter.kind: lora|ia3", "adapter.r: 4|—", "seed: 1|2"]);
        let beside = differing(&[a, None, b]);
        assert_eq!((&beside.runs, &beside.rows), (&vec![0, 2], &found.rows), "a job without settings adds nothing");
    }

    fn pretrain(file: &str, more: Value) -> Job {
        let mut request = json!({"kind": "pretrain", "training_files": [file]});
        for (name, value) in more.as_object().into_iter().flatten() {
            request[name] = value.clone();
        }
        let spec = TrainSpec { adapter: None, ..TrainSpec::default() };
        let job = json!({
            "id": format!("job-{file}"), "object": "job", "created_at": 0, "hyperparameters": {},
            "model": format!("made-of-{file}"), "organization_id": "", "result_files": [], "status": "succeeded",
            "training_file": file, "seed": 0, "method": {"type": "pretrain"},
            "hearth": {"kind": "pretrain", "request": request, "options": {}, "spec": spec, "step": 9, "attempt": 1},
        });
        serde_json::from_value(job).unwrap()
    }

    #[test]
    fn models_from_nothing_differ_in_their_shape_and_vocabulary() {
        let small =
            pretrain("file-a", json!({"architecture": {"depth": 1}, "tokenizer": {"train": {"vocab_size": 512}}}));
        let large = pretrain(
            "file-b",
            json!({
                "architecture": {"depth": 4}, "tokenizer": {"train": {"vocab_size": 3120}},
                "options": {"warmup_ratio": 0.2, "tuning": "full", "learning_rate": 0.01},
            }),
        );
        let same = |_: &str| Some("texts.jsonl".to_owned());
        let all: Vec<_> = [&small, &large].into_iter().map(|job| of(job, &same)).collect();
        let expected = [
            "architecture.d_model: 64|256",
            "architecture.depth: 1|4",
            "architecture.ffn_dim: 192|704",
            "architecture.n_heads: 1|4",
            "architecture.kv_heads: 1|2",
            "options.warmup_ratio: —|0.2",
            "tokenizer.train.vocab_size: 512|3120",
        ];
        let mut found = words(&differing(&all));
        let mut expected = expected.map(str::to_owned).to_vec();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "the file is one, uploaded twice; the models' names are no settings");
    }

    #[test]
    fn files_stand_under_their_names_and_under_their_ids_where_those_are_gone() {
        let job = pretrain("file-a", json!({"training_files": ["file-a", "file-b"], "tokenizer": {"file": "file-c"}}));
        let known = |id: &str| (id != "file-b").then(|| format!("{id}.txt"));
        let settings = of(&job, &known).unwrap();
        assert_eq!(settings["training_file"], "file-a.txt, file-b");
        assert_eq!(settings["tokenizer.file"], "file-c.txt");
        let mut failed = job;
        failed.hearth.spec = None;
        assert_eq!(of(&failed, &known), None);
    }
}
