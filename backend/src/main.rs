//! The program's entry; everything but the page is in the library.

fn main() -> std::process::ExitCode {
    hearth::main(hearth::built_page!())
}
