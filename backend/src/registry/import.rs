//! Taking models in: a folder or a GGUF file on disk, a job's result, or the model inside the program. The header is read
//! before anything is copied, and files come to stand under their content hash in one rename.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use hearth_model::bundle::ModelHead;
use sha2::{Digest as _, Sha256};

use super::{Entry, NANO, Registry};
use crate::ids;
use crate::keys::hex;

/// What belongs to a Hugging Face model; other files of the folder stay behind.
const EXTENSIONS: [&str; 6] = ["json", "safetensors", "jinja", "md", "txt", "model"];
const ADAPTER: [&str; 2] = ["adapter_config.json", "adapter_model.safetensors"];
/// Beside the model's files, and no part of the hash: where it came from.
const CARD: &str = "hearth.json";

/// hearth-nano's files, in the program.
#[derive(rust_embed::RustEmbed)]
#[folder = "../public/models/nano"]
#[allow_missing = true]
struct Nano;

/// A job's result on its way in.
pub struct Tuned {
    pub name: String,
    pub base: Entry,
    pub job: String,
    pub listed: bool,
}

/// A whole model on its way in, which a run made from nothing.
pub struct Made<'a> {
    pub name: &'a str,
    pub job: &'a str,
    pub listed: bool,
}

/// Takes in a folder or `.gguf` file under `name`.
///
/// # Errors
/// The name is not one; the path holds no model that loads, in the loader's words.
pub async fn import(registry: &Registry, path: &Path, name: &str) -> Result<Entry> {
    check_name(name)?;
    let path = fs::canonicalize(path).with_context(|| format!("cannot find {}", path.display()))?;
    let models = registry.models.clone();
    let name = name.to_owned();
    let entry = tokio::task::spawn_blocking(move || take_in(&models, &path, &name)).await??;
    registry.add(&entry).await?;
    Ok(entry)
}

fn take_in(models: &Path, path: &Path, name: &str) -> Result<Entry> {
    let head =
        ModelHead::load(path).with_context(|| format!("{} is not a model that can be loaded", path.display()))?;
    let files = model_files(path)?;
    let (hash, bytes) = store(models, &files, &path.display().to_string())?;
    let format = if is_gguf(path) || files.iter().any(|file| is_gguf(file)) { "gguf" } else { "huggingface" };
    Ok(Entry {
        id: name.to_owned(),
        hash,
        created: ids::now(),
        owned_by: "hearth".into(),
        base: None,
        base_hash: None,
        job: None,
        format: format.into(),
        bytes: bytes as i64,
        parameters: head.config.parameters() as i64,
        architecture: architecture(&head),
        context: head.config.max_positions as i64,
        chat: head.template.is_some(),
        listed: true,
    })
}

/// Hugging Face's `model_type`.
fn architecture(head: &ModelHead) -> String {
    let word = serde_json::to_value(head.config.model_type).ok();
    word.and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_else(|| "unknown".into())
}

/// Registers what a run left in `folder`: an adapter, or a whole model.
pub async fn tuned(registry: &Registry, folder: &Path, tuned: Tuned, organization: &str) -> Result<()> {
    let models = registry.models.clone();
    let folder = folder.to_owned();
    let owned_by = organization.to_owned();
    let entry = tokio::task::spawn_blocking(move || {
        let adapter = ADAPTER.map(|name| folder.join(name));
        if !adapter.iter().all(|file| file.is_file()) {
            let whole = take_in(&models, &folder, &tuned.name)?;
            return Ok(Entry {
                base: Some(tuned.base.id),
                job: Some(tuned.job),
                owned_by,
                listed: tuned.listed,
                ..whole
            });
        }
        let (hash, bytes) = store(&models, &adapter, &format!("job {}", tuned.job))?;
        anyhow::Ok(Entry {
            id: tuned.name,
            hash,
            created: ids::now(),
            owned_by,
            base: Some(tuned.base.id),
            base_hash: Some(tuned.base.hash),
            job: Some(tuned.job),
            format: "adapter".into(),
            bytes: bytes as i64,
            parameters: tuned.base.parameters,
            architecture: tuned.base.architecture,
            context: tuned.base.context,
            chat: tuned.base.chat,
            listed: tuned.listed,
        })
    });
    registry.add(&entry.await??).await
}

/// Registers a whole model that a run made from nothing.
pub async fn made(registry: &Registry, folder: &Path, made: Made<'_>, organization: &str) -> Result<()> {
    let models = registry.models.clone();
    let (folder, name) = (folder.to_owned(), made.name.to_owned());
    let entry = tokio::task::spawn_blocking(move || take_in(&models, &folder, &name)).await??;
    let (job, owned_by) = (Some(made.job.to_owned()), organization.to_owned());
    registry.add(&Entry { job, owned_by, listed: made.listed, ..entry }).await
}

/// Registers the model inside the program, unless it is registered already.
pub async fn nano(registry: &Registry) -> Result<()> {
    let names: Vec<String> = Nano::iter().map(|name| name.into_owned()).filter(|name| !name.contains('/')).collect();
    if !names.iter().any(|name| name == "config.json") {
        tracing::warn!("this program was built without {NANO}");
        return Ok(());
    }
    let known = registry.get(NANO).await?;
    let models = registry.models.clone();
    let folder = tokio::task::spawn_blocking(move || {
        let folder = tempfile::Builder::new().prefix(".nano-").tempdir_in(make(&models)?)?;
        for name in &names {
            let file = Nano::get(name).with_context(|| format!("{name} is in the program"))?;
            fs::write(folder.path().join(name), &file.data)?;
        }
        let hash = content_hash(&model_files(folder.path())?)?.0;
        anyhow::Ok((known.is_none_or(|known| known.hash != hash || !models.join(hash).is_dir())).then_some(folder))
    });
    if let Some(folder) = folder.await?? {
        import(registry, folder.path(), NANO).await?;
    }
    Ok(())
}

/// Texts that hearth-nano was not trained on, a line of JSON each; none where the program was built without it.
pub fn held_out() -> Option<String> {
    String::from_utf8(Nano::get("heldout.jsonl")?.data.into_owned()).ok()
}

/// Names are path segments and ids: Hugging Face's alphabet, without the `ft:` that tuned models have.
pub fn check_name(name: &str) -> Result<()> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte));
    let parts = name.split('/').all(|part| part.starts_with(|c: char| c.is_ascii_alphanumeric()));
    if !plain || !parts || name.len() > 96 {
        bail!("`{name}` is not a model's name: letters, digits, `-`, `_`, `.` and single `/` between them, 96 at most");
    }
    Ok(())
}

fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

fn model_files(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        let wanted = file.extension().and_then(|e| e.to_str()).is_some_and(|e| EXTENSIONS.contains(&e) || e == "gguf");
        if wanted && file.is_file() && file.file_name().is_some_and(|name| name != CARD) {
            files.push(file);
        }
    }
    // A folder with both would be two models; the loader reads the safetensors then.
    if files.iter().any(|file| file.extension().is_some_and(|e| e == "safetensors")) {
        files.retain(|file| !is_gguf(file));
    }
    files.sort();
    Ok(files)
}

/// SHA-256 over names, lengths and contents, and the bytes in all.
fn content_hash(files: &[PathBuf]) -> Result<(String, u64)> {
    let mut all = Sha256::new();
    let mut bytes = 0;
    for file in files {
        let name = file.file_name().and_then(|name| name.to_str()).context("a file's name is not UTF-8")?;
        let length = fs::metadata(file)?.len();
        all.update(format!("{name}\0{length}\0"));
        all.update(file_hash(file)?);
        bytes += length;
    }
    Ok((hex(&all.finalize()), bytes))
}

/// SHA-256 of a file, read piece by piece.
pub fn file_hash(path: &Path) -> Result<[u8; 32]> {
    let mut file = fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().into()),
            read => hash.update(&buffer[..read]),
        }
    }
}

fn make(models: &Path) -> Result<&Path> {
    fs::create_dir_all(models).with_context(|| format!("cannot make {}", models.display()))?;
    Ok(models)
}

/// Copies files to `models/<hash>`, whole or not at all.
fn store(models: &Path, files: &[PathBuf], source: &str) -> Result<(String, u64)> {
    let (hash, bytes) = content_hash(files)?;
    let folder = make(models)?.join(&hash);
    if folder.is_dir() {
        return Ok((hash, bytes));
    }
    let part = tempfile::Builder::new().prefix(".part-").tempdir_in(models)?;
    for file in files {
        let name = file.file_name().context("a file has a name")?;
        fs::copy(file, part.path().join(name)).with_context(|| format!("cannot copy {}", file.display()))?;
    }
    let card = serde_json::json!({ "source": source, "imported_at": ids::now(), "hash": hash });
    fs::write(part.path().join(CARD), serde_json::to_vec_pretty(&card)?)?;
    let part = part.keep();
    if let Err(error) = fs::rename(&part, &folder) {
        let _ = fs::remove_dir_all(&part);
        // Another process may have brought the same model meanwhile.
        if !folder.is_dir() {
            return Err(error).with_context(|| format!("cannot make {}", folder.display()));
        }
    }
    Ok((hash, bytes))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn names_leave_no_folder() {
        for good in ["smollm2-135m", "HuggingFaceTB/SmolLM2-135M", "a.b_c"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "../x", "a//b", "ft:x", "a b", "/a", "a/../b", ".hidden"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_hash_is_of_names_and_contents_and_the_store_of_whole_folders() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        fs::write(&file, "{}").unwrap();
        let (hash, bytes) = store(&dir.path().join("models"), std::slice::from_ref(&file), "test").unwrap();
        assert_eq!(bytes, 2);
        assert!(dir.path().join("models").join(&hash).join("config.json").is_file());
        assert_eq!(store(&dir.path().join("models"), std::slice::from_ref(&file), "again").unwrap().0, hash);
        fs::write(&file, "[]").unwrap();
        assert_ne!(content_hash(&[file]).unwrap().0, hash);
    }

    #[tokio::test]
    async fn what_is_no_model_is_refused_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("broken.gguf"), b"GGUF").unwrap();
        let db = crate::db::Db::open(dir.path()).await.unwrap();
        let registry = Registry::new(db, dir.path());
        let error = import(&registry, &dir.path().join("broken.gguf"), "broken").await.unwrap_err();
        assert!(format!("{error:#}").contains("broken.gguf"), "{error:#}");
        assert!(registry.list().await.unwrap().is_empty());
        assert!(!dir.path().join("models").exists());
    }
}
