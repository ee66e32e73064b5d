//! Passes on where the built page's archive lies, for the program under test.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=HEARTH_PAGE={}", std::env::var("DEP_HEARTH_PAGE")?);
    Ok(())
}
