//! Embeds the built page, if it is the page of the sources as they are now. Otherwise the server compiles without one and
//! serves a notice: it never carries an older page than its sources.

#[path = "../xtask/src/build_id.rs"]
mod build_id;

use std::env;
use std::fmt::Write;
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
    let id = build_id::build_id(root)?;
    let folder = page_folder(&out);
    println!("cargo::rerun-if-changed={}", folder.join("build-id").display());
    let built = fs::read_to_string(folder.join("build-id")).unwrap_or_default();
    let code = if built == id {
        let table = fs::read_to_string(folder.join("assets.tsv"))?;
        assets(&folder, &table, &id)?
    } else {
        "pub const BUILD_ID: Option<&str> = None;\nstatic ASSETS: &[Asset] = &[];\n".to_owned()
    };
    let target = out.join("page_assets.rs");
    if fs::read_to_string(&target).ok().as_deref() != Some(&code) {
        fs::write(target, code)?;
    }
    Ok(())
}

/// `<target>/hearth-page/embed`, where `xtask` puts it. OUT_DIR lies some folders below `<target>`.
fn page_folder(out: &Path) -> PathBuf {
    let below = Path::new("hearth-page").join("embed");
    out.ancestors()
        .map(|folder| folder.join(&below))
        .find(|folder| folder.is_dir())
        // The usual depth, so that cargo notices when the page appears there.
        .unwrap_or_else(|| out.ancestors().nth(4).unwrap_or(out).join(&below))
}

/// Columns of the table: path, file, content type, etag, immutable, decoded size.
fn assets(folder: &Path, table: &str, id: &str) -> Result<String, Box<dyn std::error::Error>> {
    let mut code = format!("pub const BUILD_ID: Option<&str> = Some({id:?});\nstatic ASSETS: &[Asset] = &[\n");
    for line in table.lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let [path, file, content_type, etag, immutable, size] = columns[..] else {
            return Err(format!("a line of assets.tsv has {} columns", columns.len()).into());
        };
        let file = folder.join(file);
        writeln!(
            code,
            "    Asset {{ path: {path:?}, content_type: {content_type:?}, etag: {:?}, immutable: {immutable}, size: {size}, \
             brotli: include_bytes!({file:?}) }},",
            format!("\"{etag}\""),
        )?;
    }
    code.push_str("];\n");
    Ok(code)
}
