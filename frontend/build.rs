//! Turns `locales/<language>/<part>.json` into the typed keys of `src/app/i18n.rs`. A key that one language has and the
//! other lacks stops the build: the page is never half translated. Beside it stands a table of the models that the page brings along.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=HEARTH_BUILD_ID");
    if std::env::var_os("CARGO_FEATURE_SPLIT").is_some() {
        // What the splitter reads: which function and which text belongs to whom.
        println!("cargo::rustc-link-arg-bin=app=--emit-relocs");
    }
    // The worker says nothing in any language.
    #[cfg(feature = "app")]
    languages()?;
    #[cfg(feature = "app")]
    siblings()?;
    Ok(())
}

/// Writes what `src/app/lab/position/siblings.rs` includes: the position lab's models with the files that the engine needs.
#[cfg(feature = "app")]
fn siblings() -> Result<(), Box<dyn Error>> {
    use std::{env, fmt::Write as _, fs, path::PathBuf};

    use serde_json::Value;
    use sha2::{Digest as _, Sha256};

    /// In the order that the page shows them in.
    const NAMES: [&str; 4] = ["learned", "sinusoidal", "alibi", "rope"];
    const FILES: [&str; 5] =
        ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json"];

    let folder = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../public/models/positions");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut table = format!("const TABLE: [Sibling; {}] = [\n", NAMES.len());
    for name in NAMES {
        let json = |file: &str| -> Result<Value, Box<dyn Error>> {
            let path = folder.join(name).join(file);
            Ok(serde_json::from_slice(&fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?)?)
        };
        let number = |value: &Value, what: &str| -> Result<u64, String> {
            value.as_u64().ok_or_else(|| format!("the card or configuration of {name} has no {what}"))
        };
        let (card, config) = (json("card.json")?, json("config.json")?);
        let mut hash = Sha256::new();
        let mut files = String::new();
        for file in FILES {
            let bytes = fs::read(folder.join(name).join(file))?;
            write!(files, "({file:?}, {}), ", bytes.len())?;
            hash.update(file);
            hash.update([0]);
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        }
        let hash: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let rows = &card["position_table"]["rows"];
        let parameters = number(&card["parameters"], "parameters")?;
        let trained = number(&card["recipe"]["pretrain"]["context"], "training length")?;
        let positions = number(&config["max_positions"], "positions")?;
        writeln!(
            table,
            "    Sibling {{ name: {name:?}, hash: {hash:?}, parameters: {parameters}, trained: {trained}, \
             max_positions: {positions}, table_rows: {:?}, files: &[{files}] }},",
            rows.as_u64()
        )?;
    }
    table.push_str("];\n");
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("siblings.rs"), table)?;
    Ok(())
}

#[cfg(feature = "app")]
fn languages() -> Result<(), Box<dyn Error>> {
    use leptos_i18n_parser::parse_locales::{
        options::{Config, ParseOptions},
        parse_locales,
    };
    use std::{env, fs, path::PathBuf};

    /// One file a part of the page, so that people who work on different parts do not meet in one file.
    const PARTS: [&str; 15] = [
        "common",
        "shell",
        "home",
        "playground",
        "tune",
        "pretrain",
        "plan",
        "lab",
        "inside",
        "position",
        "cache",
        "sampling",
        "words",
        "quantize",
        "learn",
    ];

    let out = PathBuf::from(env::var("OUT_DIR")?).join("i18n.rs");
    let config = Config::new("en")?
        .add_locale("zh")?
        .add_namespaces(PARTS)?
        .parse_options(ParseOptions::new().interpolate_display(true));
    let parsed = parse_locales(None, config)?;
    for file in parsed.tracked_files.iter().flatten() {
        println!("cargo::rerun-if-changed={file}");
    }
    let mut complaints: Vec<String> = Vec::new();
    complaints.extend(parsed.diag.errors().iter().map(ToString::to_string));
    complaints.extend(parsed.diag.warnings().iter().map(ToString::to_string));
    if !complaints.is_empty() {
        for complaint in &complaints {
            println!("cargo::error=locales: {complaint}");
        }
        return Err("the languages do not have the same keys".into());
    }
    // Generated code is not held to the workspace's lints.
    let attributes = "#![allow(warnings, clippy::all, clippy::allow_attributes)]".parse()?;
    let code = leptos_i18n_codegen::gen_code(&parsed, None, false, Some(&attributes), false)?;
    fs::write(out, code.to_string())?;
    Ok(())
}
