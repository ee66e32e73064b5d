//! What looks after a job: it waits where there is no room for its checkpoint, leaves out examples that throw it off, and clears old
//! checkpoints away.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hearth_tests::{Server, ServerOptions, places};
use serde_json::{Value, json};

use crate::api_chat::server;
use crate::jobs_tuning::{chats, create, ended, events, request, training_file};

const LIMIT: Duration = Duration::from_secs(120);

/// Puts a script in the program's place, whole or not at all: jobs are started through it.
fn replace(program: &Path, script: &str) -> Result<()> {
    let beside = program.with_extension("new");
    fs::write(&beside, script)?;
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o755))?;
    Ok(fs::rename(&beside, program)?)
}

async fn weights(server: &Server, job: &Value) -> Result<String> {
    let name = job["fine_tuned_model"].as_str().with_context(|| job.to_string())?;
    let model = server.get(&format!("/v1/models/{name}")).await?.expect(200)?;
    Ok(model["hearth"]["hash"].as_str().context("a hash")?.to_owned())
}

/// A process that may write 32 kB a file (64 on some shells) stands for a full disk: its events fit, its first checkpoint doesn't. When
/// there is room the job goes on, and ends with the weights of one that always had it.
#[tokio::test]
async fn a_checkpoint_without_room_pauses_a_job_until_there_is_some() -> Result<()> {
    let original = places::program()?;
    let folder = tempfile::tempdir_in(original.parent().context("a folder")?)?;
    let program = folder.path().join("hearth-without-room");
    fs::hard_link(&original, &program).or_else(|_| fs::copy(&original, &program).map(|_| ()))?;
    let server =
        Server::start_with(ServerOptions { program: Some(program.clone()), ..ServerOptions::default() }).await?;
    let has_models = |models: &Value| models["data"].as_array().is_some_and(|rows| !rows.is_empty());
    server.poll("/v1/models", LIMIT, has_models).await?;
    let file = training_file(&server, 12).await?;
    let body = request(&file, 12, json!({}));
    let undisturbed = ended(&server, &create(&server, &body).await?).await?;

    let start = format!("exec '{}' \"$@\"\n", original.display());
    // The limit's signal is ignored, so that the write fails as on a full disk.
    replace(&program, &format!("#!/bin/sh\ntrap '' XFSZ\nulimit -f 64\n{start}"))?;
    let id = create(&server, &body).await?;
    let path = format!("/v1/fine_tuning/jobs/{id}");
    let waits = |job: &Value| ["paused", "succeeded", "failed"].iter().any(|status| job["status"] == *status);
    let job = server.poll(&path, LIMIT, waits).await?;
    ensure!(job["status"] == "paused" && job["error"].is_null(), "{job}");
    let said = |all: &[Value], words: &str| {
        all.iter().any(|event| event["message"].as_str().is_some_and(|message| message.starts_with(words)))
    };
    let all = events(&server, &id).await?;
    ensure!(said(&all, "No room on the disk, so the job is paused (can't write"), "{all:?}");
    ensure!(!said(&all, "Checkpoint created"), "a checkpoint went through: {all:?}");
    // Nobody takes it up before somebody says so.
    tokio::time::sleep(Duration::from_millis(300)).await;
    ensure!(server.get(&path).await?.expect(200)?["status"] == "paused");

    replace(&program, &format!("#!/bin/sh\n{start}"))?;
    server.post(&format!("{path}/resume"), &json!({})).await?.expect(200)?;
    let job = ended(&server, &id).await?;
    ensure!(job["status"] == "succeeded" && job["hearth"]["attempt"] == 2, "{job}");
    ensure!(weights(&server, &job).await? == weights(&server, &undisturbed).await?, "the pause changed the weights");
    let all = events(&server, &id).await?;
    let steps: Vec<_> =
        all.iter().filter(|e| e["type"] == "metrics").filter_map(|e| e["data"]["step"].as_u64()).collect();
    ensure!(steps == (1..=12).collect::<Vec<_>>(), "{steps:?}");
    Ok(())
}

/// One answer like no other among forty that are alike: the watchdog goes back to a checkpoint and leaves it out.
#[tokio::test]
async fn an_example_that_throws_a_job_off_is_left_out_and_said_to_be() -> Result<()> {
    let server = server().await?;
    let odd = json!({"messages": [
        {"role": "user", "content": "What is grey melon number 99?"},
        {"role": "assistant", "content": "Xq7 zvj# kwp~ 0x9f ]]{ uhy^ qqz %% vbn; jjx 8$ wzk"},
    ]});
    let file = server.upload("odd.jsonl", &format!("{}{odd}\n", chats(40))).await?;
    let file = file["id"].as_str().context("an id")?;
    let mut body = request(file, 82, json!({"watchdog": "roll_back", "spike_factor": 5.0}));
    body["method"]["supervised"]["hyperparameters"] = json!({"n_epochs": 4, "batch_size": 1});
    let id = create(&server, &body).await?;
    let job = ended(&server, &id).await?;
    ensure!(job["status"] == "succeeded" && job["hearth"]["step"] == 82, "{job}");
    let all = events(&server, &id).await?;
    let warnings: Vec<&str> = all
        .iter()
        .filter(|event| event["level"] == "warn")
        .filter_map(|event| event["message"].as_str())
        .filter(|message| message.starts_with("the loss jumped to "))
        .collect();
    ensure!((1..=4).contains(&warnings.len()), "{warnings:?}");
    for warning in &warnings {
        let back = warning.split("; back to step ").nth(1).context("where it went back to")?;
        let (step, rest) = back.split_once(',').context("what became of the examples")?;
        let step: u64 = step.parse()?;
        ensure!(step.is_multiple_of(5) && rest == " and the examples since then are left out", "{warning}");
        // The checkpoint's next step was done again, on other examples.
        let again = all.iter().filter(|event| event["type"] == "metrics" && event["data"]["step"] == step + 1);
        let skipped: Vec<u64> = again.filter_map(|event| event["data"]["skipped"].as_u64()).collect();
        ensure!(skipped.iter().any(|skipped| *skipped > 0), "step {}: {skipped:?}", step + 1);
    }
    Ok(())
}

/// Validation examples that contradict the training's: the best checkpoint is an early one, and stays beside the newest.
#[tokio::test]
async fn the_newest_checkpoints_stay_and_the_best_beside_them() -> Result<()> {
    let server = server().await?;
    let file = training_file(&server, 20).await?;
    let line = |n: usize| {
        json!({"messages": [
            {"role": "user", "content": format!("What is number {n}?")},
            {"role": "assistant", "content": "It is a fruit, and I would like to tell you more about where it grows."},
        ]})
    };
    let contrary: String = (0..6).map(|n| format!("{}\n", line(n))).collect();
    let validation = server.upload("contrary.jsonl", &contrary).await?;
    let mut body = request(&file, 40, json!({"keep_checkpoints": 2, "learning_rate": 0.02}));
    body["validation_file"] = validation["id"].clone();
    let id = create(&server, &body).await?;
    let job = ended(&server, &id).await?;
    ensure!(job["status"] == "succeeded", "{job}");
    let all = events(&server, &id).await?;
    let judged = all
        .iter()
        .filter(|event| event["type"] == "metrics")
        .filter_map(|event| Some((event["data"]["valid_loss"].as_f64()?, event["data"]["step"].as_u64()?)));
    let (_, best) = judged.min_by(|a, b| a.0.total_cmp(&b.0)).context("validation losses")?;
    ensure!(best < 30 && best % 5 == 0, "step {best} is the best, which says nothing");
    let mut kept = Vec::new();
    for entry in fs::read_dir(server.data_dir().join("jobs").join(&id).join("checkpoints"))? {
        kept.push(entry?.file_name().to_string_lossy().into_owned());
    }
    kept.sort();
    let mut wanted = [best, 35, 40].map(|step| format!("step-{step}"));
    wanted.sort();
    ensure!(kept == wanted, "{kept:?} instead of {wanted:?}");
    Ok(())
}

#[tokio::test]
async fn prompts_are_answered_every_so_many_steps_and_at_the_end() -> Result<()> {
    let server = server().await?;
    let file = training_file(&server, 12).await?;
    let prompts = json!([{"prompt": "What is red plum number 3?", "max_tokens": 2}]);
    let body = request(&file, 14, json!({"samples": prompts, "samples_every": 4}));
    let id = create(&server, &body).await?;
    let job = ended(&server, &id).await?;
    ensure!(job["status"] == "succeeded" && job["hearth"]["spec"]["samples_every"] == 4, "{job}");
    let all = events(&server, &id).await?;
    let of = |kind: &str| -> Vec<u64> {
        let events = all.iter().filter(|event| event["data"]["type"] == kind);
        events.filter_map(|event| event["data"]["step"].as_u64()).collect()
    };
    ensure!(of("sample") == [4, 8, 12, 14] && of("checkpoint") == [5, 10, 14], "{:?}", of("sample"));
    Ok(())
}
