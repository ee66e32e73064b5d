//! The page: its program (`program.rs`), Trunk's build of the rest, then what Trunk leaves undone. The worker's files get hashed names (Trunk gives none, and a cached
//! old worker must never meet a new page), the service worker learns what to keep, and every file is compressed by brotli once, into
//! the one archive that the program carries: `backend/src/page.rs` reads it.

mod program;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, bail};
use memchr::memmem;
use sha2::{Digest, Sha256};

use crate::build_id::{build_id, hex};
use crate::lint::linted;
use crate::paths::Paths;
use crate::step::{Step, side_by_side, step};

const HINT: &str = "read the compiler's message above; `cargo clippy -p hearth-frontend --target wasm32-unknown-unknown` shows it faster";
/// Where the programs look for the page, as `backend/build.rs` tells them.
const ARCHIVE: &str = "page.bin";
/// Holds the id of the last page that was linted.
const LINTED: &str = "linted";
/// How the linker names exported functions that it has call `__wasm_call_ctors`.
const REGISTERS_ANEW: &[u8] = b".command_export";
/// Best compression for what every visitor loads; weights hardly shrink, so no time is spent on them.
const BROTLI_CODE: i32 = 9;
const BROTLI_WEIGHTS: i32 = 5;

/// Builds the page for the sources as they are, unless that page is there already; `lint` has clippy read it on the way.
pub fn build(paths: &Paths, lint: bool) -> Result<()> {
    let id = build_id(&paths.root)?;
    let archive = paths.page().join(ARCHIVE);
    if fs::read(&archive).is_ok_and(|built| built.starts_with(format!("{id}\n").as_bytes())) {
        return step(paths, "page", HINT, |step| {
            step.unchanged();
            Ok(())
        });
    }
    let mut parts = Files::new();
    side_by_side(
        || {
            parts = program::build(paths, &id, lint)?;
            Ok(())
        },
        || step(paths, "page, its worker", HINT, |step| trunk(paths, step, &id, lint)),
    )?;
    step(paths, "page", HINT, |step| assemble(paths, step, &id, parts))?;
    if lint {
        fs::write(paths.page().join(LINTED), &id)?;
    }
    Ok(())
}

/// Everything but the page's own program.
fn trunk(paths: &Paths, step: &Step, id: &str, lint: bool) -> Result<()> {
    let dist = dist(paths);
    fs::create_dir_all(&dist)?;
    let mut trunk = paths.command("trunk");
    if lint {
        linted(&mut trunk)?;
    }
    step.run(
        trunk
            .env("HEARTH_BUILD_ID", id)
            .env("NO_COLOR", "true")
            .args(["build", "--config", "Trunk.toml", "--release"])
            .args(["--cargo-profile", "page", "--offline", "--dist"])
            .arg(&dist),
    )
}

fn dist(paths: &Paths) -> PathBuf {
    paths.page().join("dist")
}

fn assemble(paths: &Paths, step: &Step, id: &str, parts: Files) -> Result<()> {
    let mut site = Site::read(&dist(paths))?;
    site.drop_names()?;
    site.add_program(parts)?;
    site.name_worker()?;
    site.tell_service_worker(id);
    let size = store(paths, step, &site, &paths.page().join(ARCHIVE), id)?;
    step.note(format!("{} files, {:.1} MB compressed", site.files.len(), size as f64 / 1e6));
    Ok(())
}

/// Whether clippy has read the sources of the page that stands there.
pub fn is_linted(paths: &Paths) -> Result<bool> {
    let id = build_id(&paths.root)?;
    Ok(fs::read_to_string(paths.page().join(LINTED)).is_ok_and(|linted| linted == id))
}

/// How Trunk's loader starts the worker's program, and how its script asks to be called.
const TRUNKS_CALL: &str = r#"wasm_bindgen("./worker_bg.wasm")"#;
const CALL: &str = r#"wasm_bindgen({module_or_path:"./worker_bg.wasm"})"#;

/// Files by their path below a root, `/` between folders.
type Files = BTreeMap<String, Vec<u8>>;

/// All files of the page.
struct Site {
    files: Files,
}

impl Site {
    fn read(dist: &Path) -> Result<Self> {
        let mut files = Files::new();
        read_folder(dist, dist, &mut files)?;
        if !files.contains_key("index.html") {
            bail!("Trunk wrote no index.html into {}", dist.display());
        }
        Ok(Self { files })
    }

    fn add_program(&mut self, parts: Files) -> Result<()> {
        let index = self.files.get_mut("index.html").context("a page")?;
        *index = program::linked(std::str::from_utf8(index)?, &parts)?.into_bytes();
        self.files.extend(parts);
        Ok(())
    }

    /// Takes the functions' names out of the worker's program: a quarter of their bytes, and nobody reads them.
    fn drop_names(&mut self) -> Result<()> {
        for (path, bytes) in self.files.iter_mut().filter(|(path, _)| path.ends_with(".wasm")) {
            if memmem::find(bytes, REGISTERS_ANEW).is_some() {
                bail!(
                    "{path} runs every constructor at each call from JavaScript: its main() must call __wasm_call_ctors, as \
                     the worker's does"
                );
            }
            *bytes = without_names(bytes).with_context(|| format!("{path} is no whole module"))?;
        }
        Ok(())
    }

    /// Puts a hash into the names of the worker's files and into everything that names them.
    fn name_worker(&mut self) -> Result<()> {
        // Trunk's loader calls the worker in a way that wasm-bindgen complains of in every browser's console.
        if let Some(loader) = self.files.get_mut("worker_loader.js") {
            *loader = std::str::from_utf8(loader)?.replace(TRUNKS_CALL, CALL).into_bytes();
        }
        // Each file may name those before it, so its hash covers them.
        for name in ["worker_bg.wasm", "worker.js", "worker_loader.js"] {
            let Some(bytes) = self.files.remove(name) else {
                continue;
            };
            let hash = &hex(&Sha256::digest(&bytes))[..16];
            let (stem, extension) = name.split_once('.').context("a name with an extension")?;
            let hashed = format!("{stem}-{hash}.{extension}");
            for (user, content) in &mut self.files {
                let names_it = ["worker.js", "worker_loader.js", "index.html"].contains(&user.as_str());
                if names_it && let Ok(text) = std::str::from_utf8(content) {
                    *content = replace_name(text, name, &hashed).into_bytes();
                }
            }
            self.files.insert(hashed, bytes);
        }
        Ok(())
    }

    /// Fills the service worker's two blanks: the build id and the list of files that make the page work offline.
    fn tell_service_worker(&mut self, id: &str) {
        let mut kept: Vec<String> = vec!["/".to_owned()];
        kept.extend(
            self.files
                .keys()
                .filter(|path| !path.starts_with("models/") && !path.starts_with("examples/") && *path != "sw.js")
                .map(|path| format!("/{path}")),
        );
        if let Some(script) = self.files.get_mut("sw.js") {
            let list = serde_json::Value::from(kept).to_string();
            *script = String::from_utf8_lossy(script)
                .replace("__BUILD_ID__", id)
                .replace("\"__FILES__\"", &list)
                .into_bytes();
        }
    }
}

/// A module without its custom section `name` (WebAssembly core specification, 5.5 and appendix "Name Section"); none for what is no
/// whole module.
fn without_names(module: &[u8]) -> Option<Vec<u8>> {
    let (head, mut rest) = module.split_at_checked(8)?;
    let mut kept = head.starts_with(b"\0asm").then(|| head.to_vec())?;
    while let Some((kind, after)) = rest.split_first() {
        let (size, body) = number(after)?;
        let (body, behind) = body.split_at_checked(size)?;
        let named = number(body).and_then(|(length, text)| text.get(..length));
        if *kind != 0 || named != Some(b"name") {
            kept.extend_from_slice(&rest[..rest.len() - behind.len()]);
        }
        rest = behind;
    }
    Some(kept)
}

/// An unsigned LEB128 number and what follows it.
fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let length = bytes.iter().take(5).position(|byte| byte & 0x80 == 0)? + 1;
    let (digits, rest) = bytes.split_at(length);
    let value = digits.iter().rev().fold(0_usize, |value, byte| value << 7 | usize::from(byte & 0x7f));
    Some((value, rest))
}

/// Replaces `name` where it is a whole file name: `worker.js`, not the end of `my-worker.js`.
fn replace_name(text: &str, name: &str, hashed: &str) -> String {
    let mut result = String::with_capacity(text.len() + hashed.len());
    let mut rest = text;
    while let Some(at) = rest.find(name) {
        let before = &rest[..at];
        result.push_str(before);
        let part_of_word = before.chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '-');
        result.push_str(if part_of_word { name } else { hashed });
        rest = &rest[at + name.len()..];
    }
    result.push_str(rest);
    result
}

fn read_folder(root: &Path, folder: &Path, files: &mut Files) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
        // Trunk's staging folder of an interrupted build.
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            read_folder(root, &path, files)?;
        } else {
            files.insert(name, fs::read(&path)?);
        }
    }
    Ok(())
}

/// Writes the archive, whole or not at all: the build id, a line for each file (path, content type, ETag, whether the name holds a hash,
/// size, compressed size), an empty line, and the compressed contents in the same order.
fn store(paths: &Paths, step: &Step, site: &Site, archive: &Path, id: &str) -> Result<usize> {
    let kept = paths.page().join("compressed");
    fs::create_dir_all(&kept)?;
    let files: Vec<File> = site.files.iter().map(|(path, bytes)| File::new(path, bytes, &kept)).collect();
    compress_all(step, &files)?;
    let mut table = format!("{id}\n");
    let mut contents = Vec::new();
    for File { path, bytes, digest, compressed, .. } in &files {
        let content = fs::read(compressed)?;
        table.push_str(&format!(
            "{path}\t{}\t\"{digest}\"\t{}\t{}\t{}\n",
            content_type(path),
            has_hash(path),
            bytes.len(),
            content.len()
        ));
        contents.extend(content);
    }
    let total = contents.len();
    let fresh = archive.with_extension("new");
    fs::write(&fresh, [table.as_bytes(), b"\n", &contents].concat())?;
    fs::rename(&fresh, archive)?;
    let used: Vec<PathBuf> = files.into_iter().map(|file| file.compressed).collect();
    forget_unused(&kept, &used);
    Ok(total)
}

/// A file of the page on its way into the archive.
struct File<'a> {
    path: &'a str,
    bytes: &'a [u8],
    digest: String,
    quality: i32,
    /// Where it lies compressed, for the next page too.
    compressed: PathBuf,
}

impl<'a> File<'a> {
    fn new(path: &'a str, bytes: &'a [u8], kept: &Path) -> Self {
        let digest = hex(&Sha256::digest(bytes))[..32].to_owned();
        let quality = if path.starts_with("models/") { BROTLI_WEIGHTS } else { BROTLI_CODE };
        let compressed = kept.join(format!("{digest}-{quality}.br"));
        Self { path, bytes, digest, quality, compressed }
    }
}

/// On every core, the largest first, so that none is left alone with it at the end.
fn compress_all(step: &Step, files: &[File]) -> Result<()> {
    let mut missing: Vec<&File> = files.iter().filter(|file| !file.compressed.exists()).collect();
    missing.sort_by_key(|file| (Reverse(file.bytes.len()), &file.compressed));
    // Two files with the same contents are one.
    missing.dedup_by_key(|file| &file.compressed);
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        while let Some(file) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
            let partial = file.compressed.with_extension("partial");
            fs::write(&partial, compress(file.bytes, file.quality)?)?;
            fs::rename(&partial, &file.compressed)?;
        }
        Ok(())
    };
    step.doing(format!("compressing {} files", missing.len()));
    thread::scope(|scope| {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let lanes: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        lanes.into_iter().try_for_each(|lane| lane.join().unwrap_or_else(|_| bail!("a thread of xtask panicked")))
    })
}

fn forget_unused(kept: &Path, used: &[PathBuf]) {
    for entry in fs::read_dir(kept).into_iter().flatten().flatten() {
        if !used.contains(&entry.path()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn compress(bytes: &[u8], quality: i32) -> Result<Vec<u8>> {
    let parameters =
        brotli::enc::BrotliEncoderParams { quality, lgwin: 24, size_hint: bytes.len(), ..Default::default() };
    let mut result = Vec::new();
    brotli::BrotliCompress(&mut &*bytes, &mut result, &parameters)?;
    Ok(result)
}

/// Trunk's and our own hashed names, of files and folders, end in `-` and 16 hex digits, `_bg` behind them for wasm.
fn has_hash(path: &str) -> bool {
    path.split('/').any(|name| {
        let stem = name.split('.').next().unwrap_or(name);
        let stem = stem.strip_suffix("_bg").unwrap_or(stem);
        stem.rsplit_once('-').is_some_and(|(_, hash)| hash.len() >= 15 && hash.chars().all(|c| c.is_ascii_hexdigit()))
    })
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "wasm" => "application/wasm",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" | "md" | "jinja" => "text/plain; charset=utf-8",
        "jsonl" => "application/jsonl",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_and_everything_else_stays() {
        let head = b"\0asm\x01\0\0\0";
        let code = [10, 2, 1, 0];
        let names = [0, 7, 4, b'n', b'a', b'm', b'e', 1, 2];
        let other = [0, 6, 4, b'n', b'o', b't', b'e', 9];
        let module = [&head[..], &code, &names, &other].concat();
        assert_eq!(without_names(&module), Some([&head[..], &code, &other].concat()));
        // A size of more than one byte.
        let large = [&[10, 0x80, 0x01][..], &[0; 128]].concat();
        let module = [&head[..], &large, &names].concat();
        assert_eq!(without_names(&module), Some([&head[..], &large].concat()));
        for broken in [&module[..7], &module[..40], b"no module at all"] {
            assert_eq!(without_names(broken), None);
        }
    }

    #[test]
    fn a_program_that_registers_at_each_call_is_refused() {
        let module = |name: &[u8]| [b"\0asm\x01\0\0\0", &[0, 5 + name.len() as u8, 4][..], b"name", name].concat();
        let site = |name| Site { files: BTreeMap::from([("worker_bg.wasm".to_owned(), module(name))]) };
        assert!(site(b"__wbindgen_free").drop_names().is_ok());
        assert!(site(b"__wbindgen_free.command_export").drop_names().is_err());
    }

    #[test]
    fn worker_names_are_hashed_everywhere() -> Result<()> {
        let file = |text: &str| text.as_bytes().to_vec();
        let mut site = Site {
            files: BTreeMap::from([
                ("index.html".to_owned(), file("<meta content=\"worker.js\">my-worker.js")),
                ("worker.js".to_owned(), file("new URL('worker_bg.wasm', x)")),
                ("worker_bg.wasm".to_owned(), file("\0asm")),
            ]),
        };
        site.name_worker()?;
        let names: Vec<_> = site.files.keys().cloned().collect();
        assert_eq!(names.len(), 3);
        assert!(names[1..].iter().all(|name| has_hash(name)), "{names:?}");
        let script = names.iter().find(|name| name.ends_with(".js")).context("script")?;
        let wasm = names.iter().find(|name| name.ends_with(".wasm")).context("wasm")?;
        let page = String::from_utf8_lossy(&site.files["index.html"]).into_owned();
        assert_eq!(page, format!("<meta content=\"{script}\">my-worker.js"));
        let code = String::from_utf8_lossy(&site.files[script]).into_owned();
        assert_eq!(code, format!("new URL('{wasm}', x)"));
        Ok(())
    }

    #[test]
    fn the_worker_is_called_as_its_script_wants_it() -> Result<()> {
        let script = format!("importScripts(\"./worker.js\");{TRUNKS_CALL};");
        let mut site = Site { files: BTreeMap::from([("worker_loader.js".to_owned(), script.into_bytes())]) };
        site.name_worker()?;
        let loader = site.files.values().next().context("a loader")?;
        assert_eq!(std::str::from_utf8(loader)?, format!("importScripts(\"./worker.js\");{CALL};"));
        Ok(())
    }

    #[test]
    fn hashed_names_are_recognised() {
        assert!(has_hash("app-1f2e3d4c5b6a7988.js"));
        assert!(has_hash("app-1f2e3d4c5b6a7988_bg.wasm"));
        assert!(has_hash("app-1f2e3d4c5b6a7988/split_labs.wasm"));
        assert!(!has_hash("models/nano/model.safetensors"));
        assert!(!has_hash("service-worker.js"));
    }

    #[test]
    fn service_worker_learns_the_files() {
        let mut site = Site {
            files: BTreeMap::from([
                ("index.html".to_owned(), Vec::new()),
                ("models/nano/x".to_owned(), Vec::new()),
                ("sw.js".to_owned(), b"const F=\"__FILES__\",B='__BUILD_ID__'".to_vec()),
            ]),
        };
        site.tell_service_worker("id");
        assert_eq!(String::from_utf8_lossy(&site.files["sw.js"]), "const F=[\"/\",\"/index.html\"],B='id'");
    }
}
