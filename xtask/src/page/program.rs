//! The page's own program, in parts: a place's code comes with the first visit. Cargo builds it with the linker's relocations left
//! in, the splitter cuts it where `frontend/src/app/place.rs` says, and wasm-bindgen reads what stays. Trunk knows none of
//! that, so it builds the rest of the page. All parts name each other, so they lie in one folder whose name holds their hash.

use std::fs;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::{Files, read_folder, without_names};
use crate::build_id::hex;
use crate::lint::linted;
use crate::paths::Paths;
use crate::step::step;

/// How the line of `frontend/index.html` begins that the program takes the place of; Trunk numbers it.
const LINK: &str = "<link data-trunk rel=\"rust\" data-bin=\"app\" data-trunk-skip";
/// Cargo.toml says why it isn't the worker's.
const PROFILE: &str = "page-app";
/// Each set of chunks that shares code is a file more, loaded beside the others. This many can come of the five chunks there are.
const MOST_PARTS: usize = 32;

/// Compiles the program and cuts it up.
pub fn build(paths: &Paths, id: &str, lint: bool) -> Result<Files> {
    step(paths, "page, its own program", super::HINT, |step| {
        let mut cargo = paths.command("cargo");
        if lint {
            linted(&mut cargo)?;
        }
        step.run(
            cargo
                .env("HEARTH_BUILD_ID", id)
                .args(["build", "--package", "hearth-frontend", "--bin", "app", "--target", "wasm32-unknown-unknown"])
                .args(["--profile", PROFILE, "--offline", "--no-default-features", "--features", "split"]),
        )?;
        let out = paths.page().join("app");
        if out.exists() {
            fs::remove_dir_all(&out)?;
        }
        fs::create_dir_all(&out)?;
        step.doing("cutting it into parts");
        let linked = paths.target.join("wasm32-unknown-unknown").join(PROFILE).join("app.wasm");
        step.run(paths.command("wasm-split-cli").arg(linked).arg(&out).args(["--out-name", "app"]))?;
        let main = out.join("app.wasm");
        // The parts find functions in the main one's table, which keeps its name only by the first of these.
        step.run(
            paths
                .command("wasm-bindgen")
                .args([
                    "--keep-lld-exports",
                    "--no-demangle",
                    "--no-typescript",
                    "--target",
                    "web",
                    "--out-name",
                    "app",
                ])
                .arg("--out-dir")
                .arg(&out)
                .arg(&main),
        )?;
        fs::remove_file(&main)?;
        let mut files = Files::new();
        read_folder(&out, &out, &mut files)?;
        in_one_folder(files)
    })
}

/// Without names, in a folder with the hash of all.
fn in_one_folder(mut files: Files) -> Result<Files> {
    if files.len() > MOST_PARTS + 3 {
        bail!("the page's program fell into {} files: fewer chunks in place.rs share less", files.len());
    }
    let script = files.get("app.js").context("wasm-bindgen wrote no app.js")?;
    if String::from_utf8_lossy(script).contains("__wbindgen_placeholder__") {
        bail!("wasm-bindgen and the splitter do not know each other: their versions are in xtask/src/setup/tools.rs");
    }
    let mut hash = Sha256::new();
    for (path, bytes) in &mut files {
        if path.ends_with(".wasm") {
            *bytes = without_names(bytes).with_context(|| format!("{path} is no whole module"))?;
        }
        hash.update(path);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    let folder = format!("app-{}", &hex(&hash.finalize())[..16]);
    Ok(files.into_iter().map(|(path, bytes)| (format!("{folder}/{path}"), bytes)).collect())
}

/// `index.html` with the program in it.
pub fn linked(index: &str, program: &Files) -> Result<String> {
    let file = |name: &str| {
        program.keys().find(|path| path.ends_with(name)).with_context(|| format!("the program has no {name}"))
    };
    let (script, parts, wasm) = (file("/app.js")?, file("/__wasm_split.js")?, file("/app_bg.wasm")?);
    let line = index.split_once(LINK).and_then(|(before, rest)| Some((before, rest.split_once('>')?.1)));
    let (before, after) = line.with_context(|| format!("index.html has no {LINK}"))?;
    Ok(format!(
        "{before}<link rel=\"modulepreload\" href=\"/{script}\"><link rel=\"modulepreload\" href=\"/{parts}\">\
         <link rel=\"preload\" href=\"/{wasm}\" as=\"fetch\" type=\"application/wasm\" crossorigin=\"anonymous\">\
         <script type=\"module\">import init from \"/{script}\"; await init({{ module_or_path: \"/{wasm}\" }});</script>{after}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> Files {
        let module = |names: &[u8]| [b"\0asm\x01\0\0\0", names].concat();
        let named = module(&[0, 7, 4, b'n', b'a', b'm', b'e', 1, 2]);
        Files::from([
            ("app.js".to_owned(), b"import".to_vec()),
            ("__wasm_split.js".to_owned(), b"export".to_vec()),
            ("app_bg.wasm".to_owned(), named.clone()),
            ("split_labs.wasm".to_owned(), named),
        ])
    }

    #[test]
    fn parts_lie_in_one_folder_without_names() -> Result<()> {
        let files = in_one_folder(parts())?;
        let folder = files.keys().next().and_then(|path| path.split_once('/')).context("a folder")?.0.to_owned();
        assert!(files.keys().all(|path| path.starts_with(&format!("{folder}/"))), "{files:?}");
        assert_eq!(files[&format!("{folder}/split_labs.wasm")], b"\0asm\x01\0\0\0");
        let mut changed = parts();
        changed.insert("app.js".to_owned(), b"other".to_vec());
        assert!(in_one_folder(changed)?.keys().all(|path| !path.starts_with(&folder)));
        Ok(())
    }

    #[test]
    fn a_program_that_would_not_run_is_refused() {
        let mut broken = parts();
        broken.insert("app.js".to_owned(), b"from \"__wbindgen_placeholder__\"".to_vec());
        assert!(in_one_folder(broken).is_err());
        let mut many = parts();
        many.extend((0..MOST_PARTS).map(|i| (format!("chunk_{i}.wasm"), b"\0asm\x01\0\0\0".to_vec())));
        assert!(in_one_folder(many).is_err());
    }

    #[test]
    fn index_names_the_program() -> Result<()> {
        let files = in_one_folder(parts())?;
        let index = linked(&format!("<head>{LINK} data-trunk-id=\"24\"></head>"), &files)?;
        for path in files.keys().filter(|path| !path.contains("split_labs")) {
            assert!(index.contains(&format!("\"/{path}\"")), "{path} in {index}");
        }
        assert!(linked("<head></head>", &files).is_err());
        Ok(())
    }
}
