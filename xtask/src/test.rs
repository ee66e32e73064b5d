//! `cargo xtask test`: set-up, then every check, cheap ones first. Nothing is skipped: a missing tool is a failure.
//! What the page needs and what runs natively go side by side until the tests, which need both.

use std::fmt;
use std::fs;
use std::process::{Command, ExitStatus};

use anyhow::{Result, bail};

use crate::lint::linted;
use crate::paths::Paths;
use crate::step::{side_by_side, step};
use crate::{page, setup};

const CLIPPY_HINT: &str = "`cargo clippy` shows the same; use #[expect(…, reason)] only where the lint is wrong";

const TEST_HINT: &str = "`cargo xtask test --only NAME` runs one test again; screenshots and server logs are in the folder \
    test-output of the target folder";

/// What the names of those integration tests hold that need the page: they wait for it, the others run beside its build.
const NEEDS_PAGE: [&str; 3] = ["browser_", "harness::", "the_page_"];

/// What `--only` selects; everything without it.
#[derive(Default)]
pub struct Selection {
    only: Option<String>,
}

impl Selection {
    /// Reads the arguments behind `test`.
    pub fn parse(arguments: &[String]) -> Result<Self> {
        match arguments {
            [] => Ok(Self::default()),
            [flag, name] if flag == "--only" => Ok(Self { only: Some(name.clone()) }),
            _ => bail!("`cargo xtask test` takes only `--only NAME`"),
        }
    }

    fn wants(&self, part: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == part)
    }

    /// Which tests run, as arguments for `cargo test`; `None` when only another part was asked for.
    fn tests(&self) -> Option<Vec<String>> {
        match self.only.as_deref() {
            None => Some(Vec::new()),
            Some("fmt" | "tidy" | "clippy" | "page") => None,
            Some("unit") => Some(vec!["--lib".to_owned(), "--bins".to_owned()]),
            Some("it") => Some(vec!["--test".to_owned(), "it".to_owned()]),
            Some(filter) => Some(vec![filter.to_owned()]),
        }
    }
}

/// Runs what is selected; the last line counts the tests.
pub fn run(paths: &Paths, selection: &Selection) -> Result<()> {
    let tests = selection.tests();
    let mut first = Counts::default();
    side_by_side(
        || {
            setup::for_page(paths)?;
            if selection.wants("page") || tests.is_some() {
                page::build(paths, true)?;
            }
            // Where the page was built already, nobody may have linted it.
            let linted = selection.only.is_none() && page::is_linted(paths)?;
            if selection.wants("clippy") && !linted { clippy_wasm(paths) } else { Ok(()) }
        },
        || {
            setup::for_tests(paths)?;
            checks(paths, selection)?;
            match tests.as_deref() {
                None => Ok(()),
                Some([]) => without_page(paths).map(|counts| first = counts),
                Some(arguments) => {
                    if selection.only.as_deref() == Some("unit") {
                        first = unit_tests_of_the_page(paths)?;
                    }
                    native(paths, arguments)
                }
            }
        },
    )?;
    match tests.as_deref() {
        None => Ok(()),
        Some([]) => {
            let page: Vec<String> = ["--test", "it", "--"].into_iter().chain(NEEDS_PAGE).map(str::to_owned).collect();
            finish(first.and(with_page(paths, &page)?))
        }
        Some(arguments) => finish(first.and(with_page(paths, arguments)?)),
    }
}

/// What needs no build of the program.
fn checks(paths: &Paths, selection: &Selection) -> Result<()> {
    if selection.wants("fmt") {
        let hint = "run `cargo fmt --all`";
        step(paths, "format", hint, |step| step.run(paths.cargo().args(["fmt", "--all", "--check"])))?;
    }
    if selection.wants("tidy") {
        let hint = "the rules stand in docs/architecture.md, their checks in tests/it/tidy.rs";
        step(paths, "tidy rules", hint, |step| {
            // As this program was built, so that only its own tests are compiled.
            step.run(linted(&mut paths.cargo())?.args(["test", "--package", "xtask", "--quiet"]))
        })?;
    }
    // Everything is linted where it is compiled.
    if selection.only.as_deref() == Some("clippy") {
        step(paths, "clippy", CLIPPY_HINT, |step| {
            step.run(paths.cargo_native("clippy").args(["--release", "--all-targets", "--", "-D", "warnings"]))
        })?;
    }
    Ok(())
}

fn clippy_wasm(paths: &Paths) -> Result<()> {
    // The page's own profile, so that macros and build scripts are compiled once.
    step(paths, "clippy, wasm32", CLIPPY_HINT, |step| {
        step.run(paths.cargo().args(["clippy", "--package", "hearth-frontend", "--profile", "page"]).args([
            "--target",
            "wasm32-unknown-unknown",
            "--",
            "-D",
            "warnings",
        ]))
    })
}

/// Compiles tests while the page is still being built; the program takes the page in when it is linked again.
fn native(paths: &Paths, arguments: &[String]) -> Result<()> {
    // A filter for names chooses no target.
    let targets = if arguments.first().is_some_and(|argument| argument.starts_with("--")) { arguments } else { &[] };
    step(paths, "native build and clippy", CLIPPY_HINT, |step| {
        step.run(linted(&mut paths.cargo_native("test"))?.args(["--release", "--no-run"]).args(targets))
    })
}

/// Runs every test that meets no page, beside the page's build, after all has been compiled.
fn without_page(paths: &Paths) -> Result<Counts> {
    native(paths, &[])?;
    let mut small = vec!["--lib".to_owned(), "--bins".to_owned()];
    let mut names: Vec<String> = fs::read_dir(paths.root.join("model/tests"))?
        .flatten()
        .filter_map(|entry| entry.file_name().to_string_lossy().strip_suffix(".rs").map(str::to_owned))
        .collect();
    names.sort();
    small.extend(names.into_iter().flat_map(|name| ["--test".to_owned(), name]));
    let server = ["--test", "it", "--"].into_iter().chain(NEEDS_PAGE.into_iter().flat_map(|name| ["--skip", name]));
    let server: Vec<String> = server.map(str::to_owned).collect();
    let mut sum = unit_tests_of_the_page(paths)?;
    for (name, arguments) in [("tests without server and page", small), ("tests of the server", server)] {
        sum = sum.and(quietly(paths, name, cargo_test(paths)?.args(&arguments))?);
    }
    Ok(sum)
}

/// The page's own unit tests, run natively. By themselves: with the other crates the page would bring burn features of its worker.
fn unit_tests_of_the_page(paths: &Paths) -> Result<Counts> {
    let mut command = paths.cargo();
    command.args(["test", "--package", "hearth-frontend", "--lib", "--no-default-features", "--features", "app"]);
    quietly(paths, "unit tests of the page", linted(&mut command)?.args(["--profile", "page-units"]))
}

/// Runs tests whose output is shown only where one fails.
fn quietly(paths: &Paths, name: &str, command: &mut Command) -> Result<Counts> {
    let (counts, output) = step(paths, name, TEST_HINT, |step| {
        let (status, lines) = step.capture(command)?;
        let counts = Counts::of(&lines, status)?;
        step.note(counts.to_string());
        Ok((counts, lines))
    })?;
    if !counts.succeeded() {
        println!("{}", output.join("\n"));
    }
    Ok(counts)
}

/// Runs tests on the screen.
fn with_page(paths: &Paths, arguments: &[String]) -> Result<Counts> {
    step(paths, "tests", TEST_HINT, |step| {
        let (status, lines) = step.stream(cargo_test(paths)?.args(arguments))?;
        Counts::of(&lines, status)
    })
}

fn cargo_test(paths: &Paths) -> Result<Command> {
    let mut command = paths.cargo_native("test");
    linted(&mut command)?
        .env("HEARTH_PYTHON", paths.python("py"))
        // Where an error comes from stands in its chain; fifty frames of the runtime below it hide that.
        .env("RUST_LIB_BACKTRACE", "0")
        .args(["--release", "--no-fail-fast"]);
    Ok(command)
}

/// Sums of cargo's `test result:` lines.
#[derive(Default, Debug, PartialEq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
    failures: Vec<String>,
    /// Cargo itself failed.
    broken: bool,
}

impl Counts {
    fn of(lines: &[String], status: ExitStatus) -> Result<Self> {
        let mut counts = Self { broken: !status.success(), ..Self::sum(lines) };
        if counts.passed + counts.failed == 0 {
            let end = lines[lines.len().saturating_sub(5)..].join("\n");
            bail!("no test ran ({status})\n{end}");
        }
        counts.failures.sort();
        Ok(counts)
    }

    fn sum(lines: &[String]) -> Self {
        let mut counts = Self::default();
        for line in lines {
            if let Some(result) = line.strip_prefix("test result: ") {
                counts.passed += number_before(result, " passed");
                counts.failed += number_before(result, " failed");
                counts.ignored += number_before(result, " ignored");
            } else if let Some(test) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
                counts.failures.push(test.to_owned());
            }
        }
        counts
    }

    fn and(mut self, other: Self) -> Self {
        self.failures.extend(other.failures);
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            ignored: self.ignored + other.ignored,
            failures: self.failures,
            broken: self.broken || other.broken,
        }
    }

    fn succeeded(&self) -> bool {
        self.failed == 0 && !self.broken
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.ignored > 0 { write!(f, ", {} skipped", self.ignored) } else { Ok(()) }
    }
}

fn number_before(text: &str, word: &str) -> u64 {
    text.split_once(word).and_then(|(before, _)| before.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

fn finish(counts: Counts) -> Result<()> {
    for failure in &counts.failures {
        println!("failed: {failure}");
    }
    println!("{counts}");
    if !counts.succeeded() {
        // Not an error value: the count must stay the last line.
        std::process::exit(1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_all_binaries_are_summed() {
        let lines = [
            "test a::b ... FAILED",
            "test result: FAILED. 4 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: ok. 10 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
        ]
        .map(str::to_owned);
        let failures = vec!["a::b".to_owned()];
        let expected = Counts { passed: 14, failed: 1, ignored: 2, failures, broken: false };
        assert_eq!(Counts::sum(&lines), expected);
        let both = expected.and(Counts { passed: 1, broken: true, ..Counts::default() });
        assert_eq!(both.to_string(), "15 passed, 1 failed, 2 skipped");
        assert!(both.broken && !both.succeeded());
    }
}
