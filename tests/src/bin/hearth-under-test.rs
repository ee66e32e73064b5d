//! The program `hearth` itself, built as part of this package: cargo builds the programs of the package whose integration
//! tests it runs, so the tests never meet an older one.

fn main() -> std::process::ExitCode {
    hearth::main(hearth::built_page!())
}
