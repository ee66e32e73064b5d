//! The card as `nvidia-smi` sees it.

use std::fmt;
use std::io::Read as _;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use hearth_tests::bench::table::median;

fn smi() -> Command {
    Command::new("nvidia-smi")
}

/// Name, driver and memory.
pub fn describe() -> Result<String> {
    let output = smi().args(["--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]).output()?;
    ensure!(output.status.success(), "nvidia-smi: {}", String::from_utf8_lossy(&output.stdout));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A stretch of work during which the card is looked at five times a second.
pub struct Watched(Child);

impl Watched {
    pub fn begin() -> Result<Self> {
        let query = ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "200"];
        Ok(Self(smi().args(query).stdout(Stdio::piped()).spawn()?))
    }

    /// What was seen, and what the process `id` holds of the card's memory now.
    pub fn end(mut self, id: u32) -> Result<Seen> {
        self.0.kill()?;
        let mut text = String::new();
        self.0.stdout.take().context("its output")?.read_to_string(&mut text)?;
        self.0.wait()?;
        let busy: Vec<f64> = text.lines().filter_map(|line| line.trim().parse().ok()).collect();
        ensure!(!busy.is_empty(), "nvidia-smi said nothing of the card: {text}");
        let query = ["--query-compute-apps=pid,used_gpu_memory", "--format=csv,noheader,nounits"];
        let output = smi().args(query).output()?;
        let apps = String::from_utf8_lossy(&output.stdout).into_owned();
        let memory = apps.lines().find_map(|line| {
            let (pid, mebibytes) = line.split_once(',')?;
            (pid.trim() == id.to_string()).then(|| mebibytes.trim().parse::<f64>().ok()).flatten()
        });
        Ok(Seen { busy: median(busy), memory })
    }
}

/// What `nvidia-smi` said.
pub struct Seen {
    /// Percent of the time in which a kernel ran, the middle one of all looks.
    busy: f64,
    /// Mebibytes; not every driver tells.
    memory: Option<f64>,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} %", self.busy)?;
        match self.memory {
            Some(memory) => write!(f, ", {:.1} GB", memory * 1.048_576 / 1e3),
            None => Ok(()),
        }
    }
}
