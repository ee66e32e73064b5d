//! The build id: one hash over the sources that make the page. `xtask` gives it to page and worker at compile time,
//! `backend/build.rs` includes this very file, and the server compares: it never shows an older page than its sources.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Everything the page is built from, relative to the checkout.
pub const SOURCES: [&str; 13] = [
    "frontend",
    "shared/src",
    "shared/Cargo.toml",
    "model/src",
    "model/Cargo.toml",
    "public/examples",
    "public/learn",
    "public/models/nano/heldout.jsonl",
    "public/models/positions",
    "Trunk.toml",
    "Cargo.toml",
    "Cargo.lock",
    ".cargo/config.toml",
];

/// SHA-256 over names, lengths and contents of [`SOURCES`], as hex.
pub fn build_id(root: &Path) -> io::Result<String> {
    let mut files = Vec::new();
    for source in SOURCES {
        let path = root.join(source);
        if path.is_dir() {
            collect(&path, &mut files)?;
        } else if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let name = file.strip_prefix(root).unwrap_or(&file);
        let bytes = fs::read(&file)?;
        hash.update(name.to_string_lossy().replace('\\', "/"));
        hash.update([0]);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    Ok(hex(&hash.finalize()))
}

/// Files below `folder`, hidden ones and editors' leavings left out.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with('.') || name.ends_with('~') {
            continue;
        }
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// Lower-case hex of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
