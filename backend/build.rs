//! Tells the library the build id of the page's sources as they are now, and the programs where the built page's archive lies. The archive
//! is read by the programs alone, so that a new page costs their linking and no compiling.

#[path = "../xtask/src/build_id.rs"]
mod build_id;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let root = manifest.parent().ok_or("the crate lies in the workspace")?;
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../xtask/src/build_id.rs");
    // The embedded model: a file that is new there must reach the program too.
    println!("cargo::rerun-if-changed=../public/models/nano");
    for source in build_id::SOURCES {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    println!("cargo::rustc-env=HEARTH_SOURCES={}", build_id::build_id(root)?);
    let archive = page_folder(&out).join("page.bin");
    // Before the page is built, the programs carry an empty one.
    if !archive.exists() {
        fs::create_dir_all(page_folder(&out))?;
        fs::write(&archive, "")?;
    }
    println!("cargo::rustc-env=HEARTH_PAGE={}", archive.display());
    println!("cargo::metadata=page={}", archive.display());
    Ok(())
}

/// `<target>/hearth-page`, where `xtask` builds the page. OUT_DIR lies some folders below `<target>`.
fn page_folder(out: &Path) -> PathBuf {
    let below = Path::new("hearth-page");
    let known = out.ancestors().map(|folder| folder.join(below)).find(|folder| folder.is_dir());
    // The usual depth.
    known.unwrap_or_else(|| out.ancestors().nth(4).unwrap_or(out).join(below))
}
