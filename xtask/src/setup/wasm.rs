//! The wasm32 standard library for the toolchain in use: from rustup, else built from Debian's `rust-src` package of the
//! same rustc version.
//!
//! The fallback lets apt do what apt is for, in a scratch folder of its own: it takes the mirrors of this machine's sources in
//! whatever format they are written, checks the index's signature and the package's SHA256, and installs nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::paths::{Paths, which};
use crate::step::{Step, output_of, step};

const TARGET: &str = "wasm32-unknown-unknown";
/// Debian's suite that carries the rustc versions newer than its stable release.
const SUITE: &str = "trixie-backports";
const KEYRINGS: [&str; 2] =
    ["/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp"];
const RUSTUP_LIMIT: Duration = Duration::from_secs(180);
const HINT: &str = "run `rustup target add wasm32-unknown-unknown` where rustup can reach its server. Without it, set-up needs \
    apt with a Debian mirror and a rustc version that Debian packages (`rustc --version` must equal a `rust-src` there)";

/// Makes `--target wasm32-unknown-unknown` work for the toolchain that the checkout selects.
pub fn ensure(paths: &Paths) -> Result<()> {
    step(paths, "wasm32 target", HINT, |step| {
        let library = Library::find(paths)?;
        if library.works(paths) {
            step.unchanged();
            return Ok(());
        }
        let refusal = match from_rustup(paths, step) {
            Ok(()) if library.works(paths) => {
                step.note("from rustup");
                return Ok(());
            }
            Ok(()) => "rustup reported success, yet rustc finds no standard library".to_owned(),
            Err(error) => first_line(&format!("{error:#}")),
        };
        from_debian(paths, step, &library).with_context(|| format!("rustup could not add the target ({refusal})"))?;
        if !library.works(paths) {
            bail!("the built library in {} does not compile a program", library.folder.display());
        }
        step.note("built from Debian's rust-src");
        Ok(())
    })
}

/// Where rustc looks for the target's standard library.
struct Library {
    folder: PathBuf,
    /// Names of the files that the fallback put there.
    list: PathBuf,
}

impl Library {
    fn find(paths: &Paths) -> Result<Self> {
        let sysroot = output_of(paths.command("rustc").args(["--print", "sysroot"]))
            .context("`rustc --print sysroot` does not answer: install Rust with rustup first")?;
        let folder = Path::new(&sysroot).join("lib").join("rustlib").join(TARGET).join("lib");
        let list = folder.join("hearth-fallback.txt");
        Ok(Self { folder, list })
    }

    /// A look at the folder, and a small program where there is something in it.
    fn works(&self, paths: &Paths) -> bool {
        self.drop_doubles();
        let has_core = fs::read_dir(&self.folder).is_ok_and(|entries| {
            entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
        });
        if !has_core {
            return false;
        }
        let stamp = paths.cache.join("wasm32-works.txt");
        let version = output_of(paths.command("rustc").arg("-vV")).unwrap_or_default();
        let state = format!("{version}\n{}", self.folder.display());
        if fs::read_to_string(&stamp).is_ok_and(|text| text == state) {
            return true;
        }
        let scratch = paths.target.join("wasm32-probe");
        let source = scratch.join("probe.rs");
        let compiled = fs::create_dir_all(&scratch).is_ok()
            && fs::write(&source, "pub fn probe() -> String { String::new() }").is_ok()
            && output_of(
                paths
                    .command("rustc")
                    .args(["--edition=2024", "--crate-type=lib", "--target", TARGET])
                    .arg("--out-dir")
                    .arg(&scratch)
                    .arg(&source),
            )
            .is_some();
        if compiled {
            let _ = fs::create_dir_all(&paths.cache).and_then(|()| fs::write(&stamp, state));
        }
        compiled
    }

    /// Where rustup's library arrived after the fallback's, rustc would find every crate twice.
    fn drop_doubles(&self) {
        let from_rustup = self
            .folder
            .ancestors()
            .nth(2)
            .is_some_and(|rustlib| rustlib.join(format!("manifest-rust-std-{TARGET}")).exists());
        if let (true, Ok(names)) = (from_rustup, fs::read_to_string(&self.list)) {
            for name in names.lines() {
                let _ = fs::remove_file(self.folder.join(name));
            }
            let _ = fs::remove_file(&self.list);
        }
    }
}

fn from_rustup(paths: &Paths, step: &Step) -> Result<()> {
    if which(paths, &["rustup"]).is_none() {
        bail!("rustup is not on PATH");
    }
    step.run_within(paths.command("rustup").args(["target", "add", TARGET]), Some(RUSTUP_LIMIT))
}

fn from_debian(paths: &Paths, step: &Step, library: &Library) -> Result<()> {
    for tool in ["apt-get", "apt-cache", "dpkg-deb"] {
        if which(paths, &[tool]).is_none() {
            bail!("{tool} is not on PATH, so Debian's rust-src cannot be had");
        }
    }
    let version = output_of(paths.command("rustc").arg("--version"))
        .and_then(|text| text.split_whitespace().nth(1).map(str::to_owned))
        .context("`rustc --version` does not answer")?;
    let scratch = paths.cache.join("rust-src");
    let _ = fs::remove_dir_all(&scratch);
    let source = unpack_source(paths, step, &scratch, &version)?;
    step.doing("building the standard library");
    let target = scratch.join("target");
    step.run(
        paths
            .cargo()
            .current_dir(&source)
            .env("CARGO_TARGET_DIR", &target)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("__CARGO_DEFAULT_LIB_METADATA", "stablestd")
            .env("RUSTFLAGS", "-Zforce-unstable-if-unmarked -Cembed-bitcode=yes -Cstrip=debuginfo")
            // The folder lies outside the checkout, whose rust-toolchain.toml chooses the toolchain.
            .env("RUSTUP_TOOLCHAIN", toolchain(paths)?)
            .args(["build", "--release", "--target", TARGET])
            .args(["--manifest-path", "sysroot/Cargo.toml"])
            .args(["--features", "panic-unwind,compiler-builtins-mem"]),
    )?;
    install(library, &target)?;
    let _ = fs::remove_dir_all(&scratch);
    Ok(())
}

/// Downloads and unpacks the `rust-src` whose version is rustc's own; gives its `library` folder.
fn unpack_source(paths: &Paths, step: &Step, scratch: &Path, version: &str) -> Result<PathBuf> {
    for folder in ["state/lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(scratch.join(folder))?;
    }
    let mut tried = Vec::new();
    for mirror in mirrors(paths)? {
        step.doing(format!("asking {mirror}"));
        match package(paths, step, scratch, &mirror, version) {
            Ok(deb) => {
                let unpacked = scratch.join("unpacked");
                step.run(paths.command("dpkg-deb").arg("-x").arg(&deb).arg(&unpacked))?;
                let library = unpacked.join(format!("usr/src/rustc-{version}/library"));
                if !library.is_dir() {
                    bail!("{} holds no {}", deb.display(), library.display());
                }
                return Ok(library);
            }
            Err(error) => tried.push(format!("{mirror}: {}", first_line(&format!("{error:#}")))),
        }
    }
    bail!("no mirror of this machine's apt sources has rust-src {version} in {SUITE}: {}", tried.join("; "))
}

/// Archive roots of this machine's own apt sources, each once.
fn mirrors(paths: &Paths) -> Result<Vec<String>> {
    let listing = output_of(paths.command("apt-get").args(["--print-uris", "update"]))
        .context("`apt-get --print-uris update` does not answer")?;
    let found = roots(&listing);
    if found.is_empty() {
        bail!("this machine's apt sources name no mirror");
    }
    Ok(found)
}

/// `'http://host/debian/dists/bookworm/InRelease' name 0` → `http://host/debian`.
fn roots(listing: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in listing.lines() {
        let root = line.strip_prefix('\'').and_then(|rest| rest.split_once("/dists/")).map(|(root, _)| root.to_owned());
        if let Some(root) = root
            && !found.contains(&root)
        {
            found.push(root);
        }
    }
    found
}

fn package(paths: &Paths, step: &Step, scratch: &Path, mirror: &str, version: &str) -> Result<PathBuf> {
    let keyring = KEYRINGS.iter().find(|file| Path::new(file).exists());
    let signed = keyring.map_or_else(String::new, |file| format!("[signed-by={file}] "));
    fs::write(scratch.join("sources.list"), format!("deb {signed}{mirror} {SUITE} main\n"))?;
    step.run(apt(paths, scratch, "apt-get").arg("update"))?;
    let listing = output_of(apt(paths, scratch, "apt-cache").args(["madison", "rust-src"]))
        .context("apt-cache does not list rust-src")?;
    let exact = matching(&listing, version).with_context(|| format!("rust-src {version} is not among\n{listing}"))?;
    step.run(apt(paths, scratch, "apt-get").current_dir(scratch).args(["download", &format!("rust-src={exact}")]))?;
    fs::read_dir(scratch)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|e| e == "deb"))
        .context("apt-get download left no .deb")
}

/// apt with its whole state in `scratch`: neither root nor the system's lists are touched.
fn apt(paths: &Paths, scratch: &Path, program: &str) -> Command {
    let mut command = paths.command(program);
    let folder = scratch.display();
    for option in [
        format!("Dir::Etc::SourceList={folder}/sources.list"),
        "Dir::Etc::SourceParts=/dev/null".to_owned(),
        format!("Dir::State={folder}/state"),
        format!("Dir::Cache={folder}/cache"),
        "APT::Sandbox::User=".to_owned(),
    ] {
        command.arg("-o").arg(option);
    }
    command
}

/// The package version of rustc `version` in `apt-cache madison`'s table.
fn matching(listing: &str, version: &str) -> Option<String> {
    listing
        .lines()
        .filter_map(|line| line.split('|').nth(1).map(str::trim))
        .find(|found| found.strip_prefix(version).is_some_and(|rest| rest.starts_with(['+', '~', '-'])))
        .map(str::to_owned)
}

fn install(library: &Library, target: &Path) -> Result<()> {
    let built = target.join(TARGET).join("release").join("deps");
    fs::create_dir_all(&library.folder)
        .with_context(|| format!("cannot write {}: run once as the toolchain's owner", library.folder.display()))?;
    let mut names = String::new();
    for entry in fs::read_dir(&built)?.flatten() {
        let name = entry.file_name();
        if Path::new(&name).extension().is_some_and(|e| e == "rlib") {
            fs::copy(entry.path(), library.folder.join(&name))?;
            names.push_str(&name.to_string_lossy());
            names.push('\n');
        }
    }
    fs::write(&library.list, names)?;
    Ok(())
}

/// The name of the toolchain in use, for a build outside the checkout.
fn toolchain(paths: &Paths) -> Result<String> {
    if let Ok(name) = std::env::var("RUSTUP_TOOLCHAIN") {
        return Ok(name);
    }
    output_of(paths.command("rustup").args(["show", "active-toolchain"]))
        .and_then(|text| text.split_whitespace().next().map(str::to_owned))
        .context("`rustup show active-toolchain` does not answer")
}

fn first_line(text: &str) -> String {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let head = lines.next().unwrap_or_default();
    match lines.find(|line| line.starts_with("error")) {
        Some(cause) => format!("{head}: {cause}"),
        None => head.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_read_from_any_source_format() {
        let listing = "'http://a/debian/dists/x/InRelease' n 0 \n'http://a/debian/dists/y/InRelease' n 0\n\
                       'https://b/d/dists/x/InRelease' n 0\nnoise";
        assert_eq!(roots(listing), ["http://a/debian", "https://b/d"]);
    }

    #[test]
    fn only_the_same_rustc_version_is_taken() {
        let listing = "  rust-src | 1.95.10+dfsg1-1 | m\n  rust-src | 1.95.0+dfsg1-2~bpo13+1 | m";
        assert_eq!(matching(listing, "1.95.0").as_deref(), Some("1.95.0+dfsg1-2~bpo13+1"));
        assert_eq!(matching(listing, "1.95.1"), None);
    }
}
