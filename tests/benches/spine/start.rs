//! How soon `hearth serve` answers, and what it holds before a model is loaded.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use hearth_tests::Server;

use hearth_tests::bench::table::{Table, median};

const ROUNDS: usize = 5;

pub(crate) async fn run(table: &mut Table) -> Result<()> {
    let (mut seconds, mut bytes) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let server = Server::start().await?;
        seconds.push(started.elapsed().as_secs_f64());
        tokio::time::sleep(Duration::from_secs(2)).await;
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("a size")?;
        bytes.push(line.trim().trim_end_matches("kB").trim().parse::<f64>()? * 1024.0);
    }
    let (seconds, bytes) = (median(seconds), median(bytes));
    let mark = Some(("1 s", seconds <= 1.0));
    table.add("`hearth serve` to the first `/healthz`", format!("{seconds:.2} s"), "", String::new(), mark);
    let mark = Some(("150 MB", bytes <= 150e6));
    table.add("memory of an idle server", format!("{:.0} MB", bytes / 1e6), "", String::new(), mark);
    Ok(())
}
