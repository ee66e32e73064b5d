//! A spec file's text: TOML, whose every fault is named by its key and line. It does not know what a setting means.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use hearth_shared::spec::SpecError;
use serde::de::DeserializeOwned;
use serde_json::Value;
use toml::de::DeTable;
use utoipa::ToSchema;

use crate::fields::{Fields, Unknown, inside};

/// Reads a file. `refuse` sees its words: what is the same as nothing once it is read.
///
/// # Errors
/// What cannot be read, by key and line.
pub(super) fn read<T>(path: &Path, refuse: impl Fn(&Value) -> Result<(), SpecError>) -> Result<T>
where
    T: DeserializeOwned + ToSchema + 'static,
{
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let spec: Value = toml::from_str(&text).with_context(|| format!("{} is no spec", path.display()))?;
    parse(&spec, refuse).map_err(|(key, message)| anyhow!("{}:{}: {message}", path.display(), line_of(&text, &key)))
}

/// The fault's key and what is said of it.
fn parse<T>(spec: &Value, refuse: impl Fn(&Value) -> Result<(), SpecError>) -> Result<T, (String, String)>
where
    T: DeserializeOwned + ToSchema + 'static,
{
    if let Some(key) = not_finite(spec, "") {
        return Err((key.clone(), format!("`{key}` must be a finite number")));
    }
    let fields = Fields::of::<T>();
    if let Some(Unknown { path, nearest, is_outer }) = fields.unknown(spec, &[]) {
        let meant = match nearest {
            Some(name) if is_outer => format!("`{name}` belongs at the top level, in front of the first `[table]`"),
            Some(name) => format!("did you mean `{name}`?"),
            None => "is it misspelt?".to_owned(),
        };
        let message = format!("`{path}` is no setting; {meant}");
        return Err((path, message));
    }
    refuse(spec).map_err(|error| (error.field.clone(), error.to_string()))?;
    fields.read(spec, &[]).map_err(|fault| {
        let key = fault.path.unwrap_or_default();
        // Some words name their key themselves.
        let named = key.is_empty() || fault.message.starts_with(&format!("`{key}`"));
        let message = if named { fault.message } else { format!("{key}: {}", fault.message) };
        (key, message)
    })
}

/// The key of a number that is none: TOML has no null, and one is what becomes of `nan` and `inf` here.
fn not_finite(value: &Value, path: &str) -> Option<String> {
    match value {
        Value::Null => Some(path.to_owned()),
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(at, item)| not_finite(item, &format!("{path}[{at}]")))
        }
        Value::Object(fields) => fields.iter().find_map(|(name, value)| not_finite(value, &inside(path, name))),
        _ => None,
    }
}

/// The line of a key, counted from 1; of the nearest key around it that there is.
fn line_of(text: &str, key: &str) -> usize {
    let Ok(root) = DeTable::parse(text) else {
        return 1;
    };
    let (mut table, mut at) = (Some(root.get_ref()), 0);
    for part in key.split('.') {
        let name = part.split('[').next().unwrap_or(part);
        let Some((found, value)) = table.and_then(|table| table.iter().find(|(key, _)| key.get_ref() == name)) else {
            break;
        };
        at = found.span().start;
        table = value.get_ref().as_table();
    }
    1 + text[..at].matches('\n').count()
}

#[cfg(test)]
mod tests {
    use super::super::SpecFile;
    use super::*;
    use crate::jobs::works::refuse_tuning;

    fn refused(text: &str) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("spec.toml");
        std::fs::write(&path, text).expect("a file");
        let error = read::<SpecFile>(&path, refuse_tuning).expect_err("a fault").to_string();
        error.replace(&path.display().to_string(), "spec.toml")
    }

    const START: &str = "kind = \"pretrain\"\ntraining_files = [\"a.txt\"]\n";
    const TUNE: &str = "kind = \"fine_tune\"\nmodel = \"m\"\ntraining_file = \"a.jsonl\"\n";

    #[test]
    fn a_fault_is_named_by_its_key_and_line() {
        let cases = [
            (
                START,
                "[options]\nmax_steps = \"many\"",
                "4: `options.max_steps` must be a whole number from 0, not \"many\"",
            ),
            (START, "[architecture]\ndepth = 2.5", "4: `architecture.depth` must be a whole number from 0, not 2.5"),
            (START, "[architecture]\npreset = \"lama\"", "4: architecture.preset: `lama` is not one of"),
            (
                START,
                "[tokenizer]\nmodel = \"m\"\ntrain = { vocab_size = 600 }",
                "3: `tokenizer` must be an object with one",
            ),
            (
                START,
                "[options]\ntuning = \"lora\"",
                "4: options.tuning: has no meaning for a model that begins from nothing",
            ),
            (TUNE, "seed = \"x\"", "4: `seed` must be a whole number from 0, not \"x\""),
            (TUNE, "[options.lora]\nr = true", "5: `options.lora.r` must be a whole number from 0, not true"),
            (TUNE, "[options]\nlearning_rate = nan", "5: `options.learning_rate` must be a finite number"),
            (TUNE, "options = []", "4: `options` must be an object, not a list"),
            ("kind = 5\n", "", "1: `kind` must be `pretrain` or `fine_tune`, not 5"),
            ("seed = 1\n", "", "1: kind: missing field `kind`: it must be `pretrain` or `fine_tune`"),
            (TUNE, "[distill]\ntemperature = 2", "distill.teacher: missing field `teacher`"),
            (
                "kind = \"pretran\"\n",
                "",
                "1: kind: `pretran` is not one of pretrain, fine_tune; did you mean `pretrain`?",
            ),
        ];
        for (start, text, words) in cases {
            let said = refused(&format!("{start}{text}\n"));
            assert!(said.starts_with("spec.toml:") && said.contains(words), "{text}: {said}");
        }
    }

    #[test]
    fn a_slip_of_a_key_is_named_with_what_was_meant() {
        let cases = [
            (START, "[architecture]\ndepht = 3", "4: `architecture.depht` is no setting; did you mean `depth`?"),
            (TUNE, "[options.lorra]\nr = 4", "4: `options.lorra` is no setting; did you mean `lora`?"),
            (
                START,
                "[options]\nbatch_size = 4",
                "4: `options.batch_size` is no setting; `batch_size` belongs at the top level",
            ),
            (START, "training_fils = []", "3: `training_fils` is no setting; did you mean `training_files`?"),
        ];
        for (start, text, words) in cases {
            let said = refused(&format!("{start}{text}\n"));
            assert!(said.contains(words), "{text}: {said}");
        }
    }
}
