//! One step of a command: a line with the time it took, what it is doing while it lasts, and on failure the end of its
//! output and what to do about it. Steps of two lanes may run side by side: one live line shows all that last.

use std::cell::RefCell;
use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::paths::Paths;

/// Lines of a failed program's output that are shown.
const TAIL: usize = 40;
/// Steps under way, the oldest first; its lock is also the right to write on the terminal.
static UNDER_WAY: Mutex<Vec<Arc<Live>>> = Mutex::new(Vec::new());
/// A step of one of two lanes failed: programs of the other are ended.
static FAILED: AtomicBool = AtomicBool::new(false);

fn under_way() -> MutexGuard<'static, Vec<Arc<Live>>> {
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs both side by side: what is serial in one leaves a core to the other. When one fails, the other stops where it is;
/// the error is that of the first to fail.
pub fn side_by_side(
    first: impl FnOnce() -> Result<()> + Send,
    second: impl FnOnce() -> Result<()> + Send,
) -> Result<()> {
    thread::scope(|scope| {
        let first = scope.spawn(first);
        let second = second();
        let first = first.join().unwrap_or_else(|_| Err(anyhow!("a thread of xtask panicked")));
        match (first, second) {
            (Err(error), Err(other)) => Err(if error.is::<Stopped>() { other } else { error }),
            (Err(error), Ok(())) | (Ok(()), Err(error)) => Err(error),
            (Ok(()), Ok(())) => Ok(()),
        }
    })
}

/// Why a program was ended that had done nothing wrong.
#[derive(Debug)]
struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stopped, because another step failed")
    }
}

impl std::error::Error for Stopped {}

/// A step under way.
pub struct Step {
    log: PathBuf,
    live: Arc<Live>,
    note: RefCell<Option<String>>,
}

/// What the spinner's thread shows.
struct Live {
    name: String,
    started: Instant,
    last_line: Mutex<String>,
    silent: AtomicBool,
    done: AtomicBool,
}

impl Live {
    /// Name, time and the last line of output, in `width` characters.
    fn part(&self, width: usize) -> String {
        let text = format!("{} {:.0} s  {}", self.name, self.started.elapsed().as_secs_f64(), self.last());
        text.chars().take(width).collect()
    }

    fn last(&self) -> MutexGuard<'_, String> {
        self.last_line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs `work` as a step. `hint` says what a person does when it fails.
pub fn step<T>(paths: &Paths, name: &str, hint: &str, work: impl FnOnce(&Step) -> Result<T>) -> Result<T> {
    let folder = paths.target.join("xtask-logs");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let file_name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let step = Step {
        log: folder.join(format!("{file_name}.log")),
        live: Arc::new(Live {
            name: name.to_owned(),
            started: Instant::now(),
            last_line: Mutex::new(String::new()),
            silent: AtomicBool::new(false),
            done: AtomicBool::new(false),
        }),
        note: RefCell::new(None),
    };
    let _ = fs::remove_file(&step.log);
    under_way().push(Arc::clone(&step.live));
    let shower = show(Arc::clone(&step.live));
    let result = if FAILED.load(Ordering::Acquire) { Err(Stopped.into()) } else { work(&step) };
    step.live.done.store(true, Ordering::Release);
    shower.thread().unpark();
    let _ = shower.join();
    let seconds = step.live.started.elapsed().as_secs_f64();
    let mut shown = under_way();
    shown.retain(|live| !Arc::ptr_eq(live, &step.live));
    wipe();
    match result {
        Ok(value) => {
            let note = step.note.take().unwrap_or_default();
            eprintln!("  ok    {name:<34} {seconds:>7.1} s  {note}");
            Ok(value)
        }
        Err(error) if error.is::<Stopped>() => {
            eprintln!("  --    {name:<34} {seconds:>7.1} s  {error}");
            Err(error)
        }
        Err(error) => {
            FAILED.store(true, Ordering::Release);
            eprintln!("  FAIL  {name:<34} {seconds:>7.1} s");
            Err(anyhow!("{name}: {error:#}\n\nWhat to do: {hint}"))
        }
    }
}

/// Clears the live line.
fn wipe() {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[2K");
        let _ = std::io::stderr().flush();
    }
}

impl Step {
    /// Text behind the time in the step's line: a version, "unchanged".
    pub fn note(&self, text: impl Into<String>) {
        *self.note.borrow_mut() = Some(text.into());
    }

    /// The step had nothing to do.
    pub fn unchanged(&self) {
        self.note("unchanged");
    }

    /// Shows what an in-process part is doing.
    pub fn doing(&self, text: impl Into<String>) {
        *self.live.last() = text.into();
    }

    /// Runs a program, its output kept in the step's log; an error holds the end of it.
    pub fn run(&self, command: &mut Command) -> Result<()> {
        self.run_within(command, None)
    }

    /// As [`Step::run`], ended after `limit`.
    pub fn run_within(&self, command: &mut Command, limit: Option<Duration>) -> Result<()> {
        let (status, lines) = self.spawn(command, limit, false)?;
        self.check(command, status, &lines)
    }

    /// Runs a program whose output belongs on the screen as it comes, and gives that output back too. The live line is
    /// off meanwhile. The program's exit status is the caller's to judge.
    pub fn stream(&self, command: &mut Command) -> Result<(ExitStatus, Vec<String>)> {
        self.live.silent.store(true, Ordering::Release);
        {
            let _line = under_way();
            wipe();
            eprintln!("  --    {}", self.live.name);
        }
        let result = self.spawn(command, None, true);
        self.live.silent.store(false, Ordering::Release);
        result
    }

    /// Runs a program whose output and exit status the caller judges.
    pub fn capture(&self, command: &mut Command) -> Result<(ExitStatus, Vec<String>)> {
        self.spawn(command, None, false)
    }

    fn check(&self, command: &Command, status: ExitStatus, lines: &[String]) -> Result<()> {
        if status.success() {
            return Ok(());
        }
        let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n");
        bail!("{} ended with {status}\n{tail}\n(all of it: {})", describe(command), self.log.display())
    }

    fn spawn(&self, command: &mut Command, limit: Option<Duration>, echo: bool) -> Result<(ExitStatus, Vec<String>)> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", describe(command)))?;
        let output = Arc::new(Output {
            live: Arc::clone(&self.live),
            lines: Mutex::new(Vec::new()),
            log: Mutex::new(log),
            echo,
        });
        let readers = [
            child.stdout.take().map(|pipe| Output::drain(&output, Box::new(pipe))),
            child.stderr.take().map(|pipe| Output::drain(&output, Box::new(pipe))),
        ];
        let started = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            let stopped = FAILED.load(Ordering::Acquire);
            if stopped || limit.is_some_and(|limit| started.elapsed() > limit) {
                let _ = child.kill();
                let _ = child.wait();
                if stopped {
                    return Err(Stopped.into());
                }
                bail!("{} did not end within {} s", describe(command), started.elapsed().as_secs());
            }
            thread::sleep(Duration::from_millis(20));
        };
        for reader in readers.into_iter().flatten() {
            let _ = reader.join();
        }
        let lines = std::mem::take(&mut *output.lines.lock().unwrap_or_else(PoisonError::into_inner));
        Ok((status, lines))
    }
}

/// Collects both pipes of a program.
struct Output {
    live: Arc<Live>,
    lines: Mutex<Vec<String>>,
    log: Mutex<File>,
    echo: bool,
}

impl Output {
    fn drain(this: &Arc<Self>, pipe: Box<dyn Read + Send>) -> JoinHandle<()> {
        let this = Arc::clone(this);
        thread::spawn(move || {
            let mut reader = BufReader::new(pipe);
            let mut bytes = Vec::new();
            while matches!(reader.read_until(b'\n', &mut bytes), Ok(n) if n > 0) {
                let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
                bytes.clear();
                this.take(line);
            }
        })
    }

    fn take(&self, line: String) {
        if self.echo {
            println!("{line}");
        }
        if let Ok(mut log) = self.log.lock() {
            let _ = writeln!(log, "{line}");
        }
        if !line.trim().is_empty() {
            self.live.last().clone_from(&line);
        }
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

/// The live line: a spinner on a terminal, a plain line now and then elsewhere. Nothing in the first second. On a terminal
/// the oldest step's thread writes for all.
fn show(live: Arc<Live>) -> JoinHandle<()> {
    thread::spawn(move || {
        let terminal = std::io::stderr().is_terminal();
        let pause = Duration::from_millis(if terminal { 120 } else { 500 });
        let mut frame = 0;
        let mut shown = Duration::ZERO;
        loop {
            thread::park_timeout(pause);
            let elapsed = live.started.elapsed();
            if live.done.load(Ordering::Acquire) {
                break;
            }
            if live.silent.load(Ordering::Acquire) || elapsed < Duration::from_secs(1) {
                continue;
            }
            let all = under_way();
            if terminal {
                if !all.first().is_some_and(|oldest| Arc::ptr_eq(oldest, &live)) {
                    continue;
                }
                frame += 1;
                let spinner = ['|', '/', '-', '\\'][frame % 4];
                let width = 120 / all.len().max(1);
                let parts: Vec<String> = all.iter().map(|live| live.part(width)).collect();
                wipe();
                eprint!("  {spinner}     {}", parts.join("  ·  "));
                let _ = std::io::stderr().flush();
            } else if shown.is_zero() || elapsed - shown >= Duration::from_secs(60) {
                shown = elapsed;
                let last: String = live.last().chars().take(90).collect();
                eprintln!("  ..    {:<34} {:>7.1} s  {last}", live.name, elapsed.as_secs_f64());
            }
        }
    })
}

fn describe(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

/// What a program prints on stdout, trimmed; `None` when it is missing or fails.
pub fn output_of(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
