//! kill -9 in the middle of a run: of the server, of the job's process, of both. Afterwards exactly one process goes on,
//! events have no gap and no repeat, and the weights are those of a run that nobody disturbed.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hearth_tests::server::signal;
use hearth_tests::{Server, ServerOptions};
use serde_json::{Value, json};

use crate::jobs_tuning::{create, ended, events, request, training_file};

const STEPS: u64 = 40;
const LIMIT: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Victim {
    Nobody,
    Server,
    Child,
    Both,
}

/// What a run leaves: its weights' content hash, and step and loss of every metrics event.
#[derive(Debug, PartialEq)]
struct Left {
    weights: String,
    losses: Vec<(u64, String)>,
}

async fn start(folder: &Path) -> Result<Server> {
    let server =
        Server::start_with(ServerOptions { data_dir: Some(folder.to_owned()), ..ServerOptions::default() }).await?;
    server.poll("/v1/models", LIMIT, |models| models["data"].as_array().is_some_and(|rows| !rows.is_empty())).await?;
    Ok(server)
}

/// Processes that run this job.
pub(crate) fn children(id: &str) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pid = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
    let runs = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        words.contains(&b"job".as_slice()) && words.contains(&id.as_bytes())
    };
    processes.filter_map(pid).filter(runs).collect()
}

async fn run(victim: Victim) -> Result<Left> {
    let folder = tempfile::tempdir()?;
    let mut server = start(folder.path()).await?;
    let file = training_file(&server, 20).await?;
    // Dropout, accumulation (two rows a pass), shuffled data over several epochs, checkpoints every 5 steps.
    let id = create(&server, &request(&file, STEPS, json!({"micro_batch_tokens": 96}))).await?;
    let path = format!("/v1/fine_tuning/jobs/{id}");
    // Between two checkpoints: steps must be done again.
    server.poll(&path, LIMIT, |job| job["hearth"]["step"].as_u64() >= Some(8)).await?;
    let running = children(&id);
    ensure!(running.len() == 1, "{running:?}");
    if matches!(victim, Victim::Child | Victim::Both) {
        signal(running[0], "KILL")?;
    }
    if matches!(victim, Victim::Server | Victim::Both) {
        signal(server.pid(), "KILL")?;
        drop(server);
        server = start(folder.path()).await?;
    }
    let mut most = 0;
    let job = loop {
        let job = server.get(&path).await?.expect(200)?;
        most = most.max(children(&id).len());
        if ["succeeded", "failed"].iter().any(|end| job["status"] == *end) {
            break job;
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    };
    ensure!(job["status"] == "succeeded", "{victim:?}: {job}");
    // A process whose server is gone may still be dying while the next waits for its lock.
    ensure!(most <= if victim == Victim::Server { 2 } else { 1 }, "{most} processes at once");
    let attempts = match victim {
        Victim::Nobody => 1..=1,
        // Between the two signals the server may see its child gone and begin the second attempt, which dies with it.
        Victim::Both => 2..=3,
        Victim::Child | Victim::Server => 2..=2,
    };
    ensure!(job["hearth"]["attempt"].as_u64().is_some_and(|n| attempts.contains(&n)), "{victim:?}: {job}");
    let all = events(&server, &id).await?;
    let numbers: Vec<u64> = all.iter().filter_map(|event| event["seq"].as_u64()).collect();
    ensure!(numbers == (1..=all.len() as u64).collect::<Vec<_>>(), "{victim:?}: {numbers:?}");
    let metrics = all.iter().filter(|event| event["type"] == "metrics").map(|event| &event["data"]);
    let losses = metrics.map(|data| (data["step"].as_u64().unwrap_or(0), data["train_loss"].to_string())).collect();
    let checkpoints = all.iter().filter(|event| event["data"]["type"] == "checkpoint");
    let steps: Vec<_> = checkpoints.map(|event| event["data"]["step"].clone()).collect();
    ensure!(
        steps == (1..=STEPS / 5).map(|n| Value::from(n * 5)).collect::<Vec<_>>(),
        "{victim:?}: checkpoints {steps:?}"
    );
    let tuned = job["fine_tuned_model"].as_str().context("a model")?;
    let model = server.get(&format!("/v1/models/{tuned}")).await?.expect(200)?;
    Ok(Left { weights: model["hearth"]["hash"].as_str().context("a hash")?.to_owned(), losses })
}

#[tokio::test]
async fn whoever_is_killed_the_result_is_the_same() -> Result<()> {
    let undisturbed = run(Victim::Nobody).await?;
    let steps: Vec<u64> = undisturbed.losses.iter().map(|(step, _)| *step).collect();
    ensure!(steps == (1..=STEPS).collect::<Vec<_>>(), "{steps:?}");
    for victim in [Victim::Child, Victim::Server, Victim::Both] {
        let left = run(victim).await.with_context(|| format!("{victim:?} killed"))?;
        ensure!(left.losses == undisturbed.losses, "{victim:?}: other losses\n{left:?}\n{undisturbed:?}");
        ensure!(left.weights == undisturbed.weights, "{victim:?}: other weights");
    }
    Ok(())
}

#[tokio::test]
async fn ctrl_c_saves_and_the_next_start_goes_on() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut server = start(folder.path()).await?;
    let file = training_file(&server, 20).await?;
    let id = create(&server, &request(&file, 200, json!({"checkpoint_every": 1000}))).await?;
    let path = format!("/v1/fine_tuning/jobs/{id}");
    let job = server.poll(&path, LIMIT, |job| job["hearth"]["step"].as_u64() >= Some(3)).await?;
    let status = server.stop(Duration::from_secs(30)).await?;
    ensure!(status.success() && children(&id).is_empty(), "{status}");
    drop(server);
    let server = start(folder.path()).await?;
    let further = job["hearth"]["step"].as_u64().map(|step| step + 3);
    server.poll(&path, LIMIT, |job| job["hearth"]["step"].as_u64() >= further).await?;
    let all = events(&server, &id).await?;
    ensure!(
        all.iter()
            .any(|event| { event["message"].as_str().is_some_and(|words| words.starts_with("Continuing after step")) })
    );
    server.post(&format!("{path}/cancel"), &json!({})).await?.expect(200)?;
    ensure!(ended(&server, &id).await?["status"] == "cancelled");
    Ok(())
}
