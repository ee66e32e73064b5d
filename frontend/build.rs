//! Turns `locales/<language>/<part>.json` into the typed keys of `src/app/i18n.rs`. A key that one language has and the
//! other lacks stops the build: the page is never half translated.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=HEARTH_BUILD_ID");
    // The worker says nothing in any language.
    #[cfg(feature = "app")]
    languages()?;
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
    const PARTS: [&str; 12] = [
        "common",
        "shell",
        "home",
        "playground",
        "tune",
        "pretrain",
        "plan",
        "lab",
        "position",
        "cache",
        "words",
        "quantize",
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
