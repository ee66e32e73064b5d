//! `cargo xtask`: the set-up, the page, the tests and the benches, each one command.
//!
//! Everything a fresh clone lacks is installed below the cache folder (`HEARTH_CACHE`, else the platform's cache folder +
//! `/hearth`), except the wasm32 standard library, which belongs to the toolchain, and Chromium, which belongs to the system.
//! Nothing here knows what Hearth does.

mod bench;
mod build_id;
mod check_gpu;
mod golden;
mod lint;
mod page;
mod parity;
mod paths;
mod server;
mod setup;
mod step;
mod test;
/// The rules of the architecture; they need no tensor crate, so they are checked first, here.
#[cfg(test)]
#[path = "../../tests/it/tidy.rs"]
mod tidy;
mod tree;

use std::fs::File;

use anyhow::{Result, bail};
use paths::Paths;

const USAGE: &str = "\
cargo xtask up [-- ARGS]         install what is missing, build the page and the server, run `hearth serve ARGS`
cargo xtask build                the same without starting the server; prints the path of the program
cargo xtask page                 build the page only
cargo xtask setup                install what `up` and `test` need and build nothing
cargo xtask test [--only NAME]   set-up, format, clippy, tidy rules, unit, API and browser tests
                                 (NAME: fmt, clippy, unit, page, it, or a filter for test names)
cargo xtask parity               regenerate the golden files with torch, transformers and PEFT and compare; load our exports there
cargo xtask check-gpu            build with the features `cuda` and `vulkan`
cargo xtask bench NAME           run tests/benches/NAME
cargo xtask tree                 write the list of sources in README anew
";

fn main() {
    let given: Vec<std::ffi::OsString> = std::env::args_os().skip(1).collect();
    if lint::is_wrapped(&given) {
        let code = lint::wrap(&given).unwrap_or_else(|error| {
            eprintln!("error: {error:#}");
            1
        });
        std::process::exit(code);
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Err(error) = run(&arguments) {
        eprintln!("\nerror: {error:#}");
        std::process::exit(1);
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", arguments),
    };
    let paths = Paths::find()?;
    let builds = !["tree", "help", "--help", "-h"].contains(&command);
    let _alone = if builds { Some(alone(&paths)?) } else { None };
    match command {
        "up" => server::up(&paths, without_dashes(rest)),
        "build" => {
            let program = server::build(&paths)?;
            println!("{}", program.display());
            Ok(())
        }
        "page" => {
            setup::for_page(&paths)?;
            page::build(&paths, false)
        }
        "setup" => {
            setup::for_page(&paths)?;
            setup::for_tests(&paths)
        }
        "test" => test::run(&paths, &test::Selection::parse(rest)?),
        "parity" => parity::run(&paths),
        "check-gpu" => check_gpu::run(&paths),
        "bench" => bench::run(&paths, rest),
        "tree" => tree::write(&paths.root),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(())
        }
        other => bail!("there is no command {other:?}\n\n{USAGE}"),
    }
}

/// Two runs at once would build the page into each other's files: the second waits. Starting a server ends the wait.
fn alone(paths: &Paths) -> Result<File> {
    std::fs::create_dir_all(&paths.target)?;
    let file = File::create(paths.target.join("xtask.lock"))?;
    if file.try_lock().is_err() {
        eprintln!("another `cargo xtask` works in {}; waiting for it to end", paths.target.display());
        file.lock()?;
    }
    Ok(file)
}

/// `up -- --addr …` and `up --addr …` mean the same.
fn without_dashes(arguments: &[String]) -> &[String] {
    match arguments.split_first() {
        Some((first, rest)) if first == "--" => rest,
        _ => arguments,
    }
}
