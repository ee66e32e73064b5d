//! A fine-tune over REST: from bad data to a model that answers.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use hearth_tests::Server;
use serde_json::{Value, json};

use crate::api_chat::server;
use crate::jobs_killed::children;

const LIMIT: Duration = Duration::from_secs(180);

/// Small chats with one pattern to learn.
pub(crate) fn chats(count: usize) -> String {
    let colours = ["red", "green", "blue", "white", "black"];
    let line = |n: usize| {
        let (colour, fruit) = (colours[n % 5], ["apple", "pear", "plum"][n % 3]);
        json!({"messages": [
            {"role": "user", "content": format!("What is {colour} {fruit} number {n}?")},
            {"role": "assistant", "content": format!("{{\"colour\": \"{colour}\", \"fruit\": \"{fruit}\"}}")},
        ]})
    };
    (0..count).map(|n| format!("{}\n", line(n))).collect()
}

/// The id of an uploaded training file.
pub(crate) async fn training_file(server: &Server, count: usize) -> Result<String> {
    let file = server.upload("chats.jsonl", &chats(count)).await?;
    Ok(file["id"].as_str().context("an id")?.to_owned())
}

/// A request for a job of so many steps.
pub(crate) fn request(file: &str, steps: u64, more: Value) -> Value {
    let mut hearth = json!({
        "max_steps": steps,
        "checkpoint_every": 5,
        "lora": {"r": 4, "alpha": 8, "dropout": 0.1},
        "learning_rate": 0.002,
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        hearth[key] = value.clone();
    }
    json!({
        "model": "hearth-nano",
        "training_file": file,
        "seed": 11,
        "suffix": "json",
        "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 20, "batch_size": 4}}},
        "hearth": hearth,
    })
}

pub(crate) async fn create(server: &Server, body: &Value) -> Result<String> {
    let job = server.post("/v1/fine_tuning/jobs", body).await?.expect(200)?;
    Ok(job["id"].as_str().context("an id")?.to_owned())
}

/// Waits for a job's end.
pub(crate) async fn ended(server: &Server, id: &str) -> Result<Value> {
    let path = format!("/v1/fine_tuning/jobs/{id}");
    server.poll(&path, LIMIT, |job| ["succeeded", "failed", "cancelled"].iter().any(|end| job["status"] == *end)).await
}

/// All events, oldest first.
pub(crate) async fn events(server: &Server, id: &str) -> Result<Vec<Value>> {
    let mut all: Vec<Value> = Vec::new();
    let mut after = String::new();
    loop {
        let page = server.get(&format!("/v1/fine_tuning/jobs/{id}/events?limit=100{after}")).await?.expect(200)?;
        all.extend(page["data"].as_array().context("a list")?.iter().cloned());
        if page["has_more"] == false {
            all.reverse();
            return Ok(all);
        }
        after = format!("&after={}", page["last_id"].as_str().context("an id")?);
    }
}

#[tokio::test]
async fn a_model_is_tuned_talks_and_goes() -> Result<()> {
    let server = server().await?;
    let file = training_file(&server, 24).await?;
    let validation = training_file(&server, 6).await?;
    let mut body = request(&file, 12, json!({"samples": [{"prompt": "What is red plum number 3?", "max_tokens": 8}]}));
    body["validation_file"] = json!(validation);
    body["metadata"] = json!({"team": "test"});
    body["method"] = json!({"type": "supervised"});
    let made = server.post("/v1/fine_tuning/jobs", &body).await?.expect(200)?;
    for key in ["finished_at", "error", "fine_tuned_model", "trained_tokens", "estimated_finish"] {
        ensure!(made.get(key).is_some_and(Value::is_null), "{key} of {made}");
    }
    ensure!(made["hyperparameters"]["n_epochs"] == "auto" && made["metadata"]["team"] == "test", "{made}");
    let id = made["id"].as_str().context("an id")?;
    let job = ended(&server, id).await?;
    ensure!(job["status"] == "succeeded", "{job}");
    // What was planned before the run, and what it took.
    let (planned, measured) = (&job["hearth"]["planned"], &job["hearth"]["measured"]);
    ensure!(planned["memory"]["total"].as_u64() > Some(0) && planned["step_flops"].as_f64() > Some(0.0), "{planned}");
    ensure!(measured["peak_memory"].as_u64() > Some(0) && measured["step_seconds"].as_f64() > Some(0.0), "{measured}");
    ensure!(planned["step_seconds"].as_f64() > Some(0.0), "{planned}");
    ensure!(
        job["hyperparameters"]["n_epochs"].is_u64()
            && job["method"]["supervised"]["hyperparameters"]["batch_size"].is_u64(),
        "{job}"
    );
    ensure!(job["trained_tokens"].as_u64().is_some_and(|tokens| tokens > 0) && job["seed"] == 11, "{job}");
    let tuned = job["fine_tuned_model"].as_str().context("a model")?;
    ensure!(tuned.starts_with("ft:hearth-nano:local:json:"), "{tuned}");

    let all = events(&server, id).await?;
    let numbers: Vec<_> = all.iter().filter_map(|event| event["seq"].as_u64()).collect();
    ensure!(numbers == (1..=all.len() as u64).collect::<Vec<_>>(), "{numbers:?}");
    let metrics: Vec<_> = all.iter().filter(|event| event["type"] == "metrics").collect();
    ensure!(metrics.len() == 12 && metrics[11]["data"]["valid_loss"].is_f64(), "{}", metrics[11]);
    ensure!(all.iter().any(|event| event["data"]["type"] == "sample"));

    let checkpoints = server.get(&format!("/v1/fine_tuning/jobs/{id}/checkpoints")).await?.expect(200)?;
    let steps: Vec<_> =
        checkpoints["data"].as_array().context("a list")?.iter().map(|row| row["step_number"].clone()).collect();
    ensure!(steps == [12, 10, 5].map(Value::from), "{checkpoints}");
    // An adapter's is a model from the moment it stands, and outlives its folder.
    for (row, step) in [(0_usize, 12), (2, 5)] {
        let path = format!("/v1/hearth/jobs/{id}/checkpoints/{step}/model");
        let model = server.post(&path, &json!({})).await?.expect(200)?;
        ensure!(model["id"] == checkpoints["data"][row]["fine_tuned_model_checkpoint"], "{model}");
    }
    let result = job["result_files"][0].as_str().context("a file")?;
    let csv = server.get(&format!("/v1/files/{result}/content")).await?.text();
    ensure!(csv.lines().count() == 13 && csv.starts_with("step,train_loss,train_accuracy,valid_loss"), "{csv}");

    let ask = async |model: &str| {
        let body = json!({"model": model, "temperature": 0, "max_tokens": 12, "logprobs": true, "messages": [{"role": "user", "content": "What is red plum number 3?"}]});
        server.post("/v1/chat/completions", &body).await?.expect(200)
    };
    let checkpoint = checkpoints["data"][0]["fine_tuned_model_checkpoint"].as_str().context("a model")?;
    let (base, answer, last) = (ask("hearth-nano").await?, ask(tuned).await?, ask(checkpoint).await?);
    ensure!(answer["choices"] != base["choices"], "the adapter changes nothing: {answer}");
    ensure!(answer["choices"] == last["choices"], "the last checkpoint is not the result");

    let model = server.get(&format!("/v1/models/{tuned}")).await?.expect(200)?;
    ensure!(model["hearth"]["base"] == "hearth-nano" && model["hearth"]["format"] == "adapter", "{model}");
    let adapter =
        format!("/v1/hearth/files/{}/adapter_model.safetensors", model["hearth"]["hash"].as_str().context("a hash")?);
    ensure!(server.get(&adapter).await?.status == 200);
    ensure!(server.delete("/v1/models/hearth-nano").await?.status == 409, "the base of a tuned model went");
    ensure!(server.delete(&format!("/v1/models/{tuned}")).await?.expect(200)?["deleted"] == true);
    ensure!(server.get(&format!("/v1/models/{tuned}")).await?.status == 404);
    Ok(())
}

#[tokio::test]
async fn bad_data_is_refused_with_the_report() -> Result<()> {
    let server = server().await?;
    let text =
        format!("{}{{\"messages\": [{{\"role\": \"user\", \"content\": \"only a question\"}}]}}\nnot json\n", chats(8));
    let file = server.upload("bad.jsonl", &text).await?["id"].as_str().context("an id")?.to_owned();
    let report = server.post("/v1/validate", &json!({"file": file, "model": "hearth-nano"})).await?.expect(200)?;
    ensure!(report["errors"].as_u64().is_some_and(|errors| errors >= 2), "{report}");
    let plan = server.post("/v1/fine_tuning/jobs", &request(&file, 2, json!({"dry_run": true}))).await?.expect(200)?;
    ensure!(
        plan["object"] == "fine_tuning.plan" && plan["error"]["param"] == "training_file" && plan["report"] == report,
        "{plan}"
    );
    let id = create(&server, &request(&file, 2, json!({}))).await?;
    let job = ended(&server, &id).await?;
    ensure!(job["status"] == "failed" && job["error"]["code"] == "invalid_training_file", "{job}");
    let words = job["error"]["message"].as_str().context("a message")?;
    ensure!(words.contains(" errors in 10 rows; its data report lists them.") && !words.contains("hearth."), "{words}");
    ensure!(job["hearth"]["report"] == report, "the job's report is another");
    Ok(())
}

#[tokio::test]
async fn requests_are_checked_planned_and_made_once() -> Result<()> {
    let server = server().await?;
    let file = training_file(&server, 12).await?;
    let mut wrong = vec![(request(&file, 2, json!({"lora": {"r": 0}})), 400, "hearth.lora.r")];
    let mut change = |key: &str, value: Value, status: u16, param: &'static str| {
        let mut body = request(&file, 2, json!({}));
        body[key] = value;
        wrong.push((body, status, param));
    };
    change("model", json!("nobody"), 404, "model");
    change("training_file", json!("file-nothing"), 400, "training_file");
    change("integrations", json!([{"type": "wandb"}]), 400, "integrations");
    change("method", json!({"type": "reinforcement"}), 400, "method.type");
    let beta = json!({"type": "supervised", "supervised": {"hyperparameters": {"beta": 0.1}}});
    change("method", beta, 400, "method.supervised.hyperparameters.beta");
    change("method", json!({"type": "dpo", "dpo": {"hyperparameters": {"beta": 99}}}), 400, "beta");
    change("hearth", json!({"early_stop": 2}), 400, "hearth.early_stop");
    change("hearth", json!({"tuning": "full", "base_weights": "nf4"}), 400, "hearth.base_weights");
    change("hearth", json!({"tuning": "prompt", "virtual_tokens": 0}), 400, "hearth.virtual_tokens");
    change("hearth", json!({"frozen_layers": 1}), 400, "hearth.frozen_layers");
    change("hearth", json!({"lora": {"alhpa": 8}}), 400, "hearth.lora.alhpa");
    change("hearth", json!({"tuning": "loraa"}), 400, "hearth.tuning");
    change("training_fil", json!("file-nothing"), 400, "training_fil");
    change("suffix", json!("no/slash"), 400, "suffix");
    for (body, status, param) in wrong {
        let reply = server.post("/v1/fine_tuning/jobs", &body).await?;
        ensure!(reply.status == status && reply.json()?["error"]["param"] == param, "{body}: {}", reply.text());
    }
    let plan = server.post("/v1/fine_tuning/jobs", &request(&file, 6, json!({"dry_run": true}))).await?.expect(200)?;
    ensure!(plan["total_steps"] == 6 && plan["spec"]["batch_size"] == 4, "{plan}");
    let (memory, flops) = (&plan["memory"], plan["flops"].as_f64());
    let parts = ["weights", "gradients", "optimizer", "activations", "temporary", "checkpoint"]
        .map(|part| memory[part].as_u64());
    ensure!(parts.iter().all(Option::is_some) && memory["total"].as_u64() == parts.into_iter().sum(), "{plan}");
    ensure!(plan["trained_parameters"].as_u64() > Some(1000) && flops > Some(1e6), "{plan}");
    ensure!(plan["seconds"].as_f64() > Some(0.0), "{plan}");
    ensure!(server.get("/v1/fine_tuning/jobs").await?.expect(200)?["data"] == json!([]));

    let post = async |body: &Value| {
        let request =
            server.client().post(server.url("/v1/fine_tuning/jobs")).header("idempotency-key", "once").json(body);
        server.send(request).await
    };
    let body = request(&file, 2, json!({}));
    let first = post(&body).await?.expect(200)?;
    ensure!(post(&body).await?.expect(200)?["id"] == first["id"]);
    let other = post(&request(&file, 3, json!({}))).await?;
    ensure!(other.status == 409, "{}", other.text());
    ensure!(
        server.get("/v1/fine_tuning/jobs").await?.expect(200)?["data"].as_array().is_some_and(|jobs| jobs.len() == 1)
    );
    ended(&server, first["id"].as_str().context("an id")?).await?;
    Ok(())
}

#[tokio::test]
async fn a_stream_of_events_replays_and_ends() -> Result<()> {
    let server = server().await?;
    let file = training_file(&server, 12).await?;
    let id = create(&server, &request(&file, 6, json!({}))).await?;
    let path = server.url(&format!("/v1/fine_tuning/jobs/{id}/events"));
    let stream = async |last: Option<u64>| {
        let mut request = server.client().get(&path).header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last.to_string());
        }
        anyhow::Ok(request.send().await?)
    };
    // Live, from the first moment to the end.
    let mut body = stream(None).await?.bytes_stream();
    let mut text = String::new();
    while let Some(chunk) = body.next().await {
        text.push_str(&String::from_utf8_lossy(&chunk?));
    }
    ensure!(text.starts_with("retry: 3000\n\n") && text.ends_with("event: end\ndata: {}\n\n"), "{text}");
    let ids =
        |text: &str| text.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect::<Vec<u64>>();
    let all = ids(&text);
    ensure!(all == (1..=all.len() as u64).collect::<Vec<_>>() && all.len() > 8, "{all:?}");
    let replayed = stream(Some(4)).await?.text().await?;
    ensure!(ids(&replayed) == all[4..], "{replayed}");
    let done = stream(Some(all.len() as u64)).await?;
    ensure!(done.status() == 204, "{}", done.status());
    Ok(())
}

#[tokio::test]
async fn jobs_pause_resume_and_cancel() -> Result<()> {
    let server = server().await?;
    let file = training_file(&server, 24).await?;
    // Far more steps than any machine makes before the cancel.
    let id = create(&server, &request(&file, 100_000, json!({"checkpoint_every": 50}))).await?;
    let path = format!("/v1/fine_tuning/jobs/{id}");
    let act = async |what: &str| server.post(&format!("{path}/{what}"), &json!({})).await;
    server.poll(&path, LIMIT, |job| job["hearth"]["step"].as_u64() >= Some(3)).await?;
    ensure!(act("pause").await?.expect(200)?["status"] == "paused");
    ensure!(act("pause").await?.status == 400, "a paused job was paused");
    // "paused" is said at once; the process then ends its step and saves, which a busy machine may take its time for.
    let paused = Instant::now();
    while !children(&id).is_empty() {
        ensure!(paused.elapsed() < LIMIT, "the process of a paused job stays");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let rest = server.get(&path).await?.expect(200)?;
    // Its place in the queue is free, so it may run before the answer is written.
    let resumed = act("resume").await?.expect(200)?;
    ensure!(["queued", "running"].iter().any(|status| resumed["status"] == *status), "{resumed}");
    let further = rest["hearth"]["step"].as_u64().map(|step| step + 2);
    let job = server.poll(&path, LIMIT, |job| job["hearth"]["step"].as_u64() >= further).await?;
    ensure!(job["hearth"]["attempt"] == 2, "{job}");
    ensure!(act("cancel").await?.expect(200)?["status"] == "cancelled");
    ensure!(act("resume").await?.status == 400);
    let all = events(&server, &id).await?;
    let steps: Vec<_> =
        all.iter().filter(|e| e["type"] == "metrics").filter_map(|e| e["data"]["step"].as_u64()).collect();
    ensure!(steps == (1..=steps.len() as u64).collect::<Vec<_>>(), "{steps:?}");
    Ok(())
}

/// Pairs of answers: a job of the method `dpo` begins where neither is likelier than before, and moves away from there.
#[tokio::test]
async fn preferences_move_a_model() -> Result<()> {
    let server = server().await?;
    let pair = |n: usize| {
        json!({
            "input": {"messages": [{"role": "user", "content": format!("Number {n}?")}]},
            "preferred_output": [{"role": "assistant", "content": format!("{{\"number\": {n}}}")}],
            "non_preferred_output": [{"role": "assistant", "content": format!("It is {n}, as you said.")}],
        })
    };
    let pairs: String = (0..12).map(|n| format!("{}\n", pair(n))).collect();
    let pairs = server.upload("pairs.jsonl", &pairs).await?["id"].as_str().context("an id")?.to_owned();
    let options = json!({"ema_decay": 0.2, "lora": {"r": 4, "alpha": 8, "dora": true}});
    let mut body = request(&pairs, 8, options);
    body["method"] = json!({"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2, "n_epochs": 8, "batch_size": 4}}});
    let id = create(&server, &body).await?;
    let job = ended(&server, &id).await?;
    ensure!(job["status"] == "succeeded", "{job}");
    ensure!(job["method"]["type"] == "dpo" && job["method"]["dpo"]["hyperparameters"]["beta"] == 0.2, "{job}");
    let losses: Vec<f64> = events(&server, &id)
        .await?
        .iter()
        .filter(|event| event["type"] == "metrics")
        .filter_map(|event| event["data"]["train_loss"].as_f64())
        .collect();
    ensure!(losses.len() == 8 && (losses[0] - std::f64::consts::LN_2).abs() < 1e-4, "{losses:?}");
    ensure!(losses[7] < 0.6, "{losses:?}");

    // Either kind of data with the other kind's method.
    let chats = training_file(&server, 12).await?;
    let mut swapped = body.clone();
    swapped["training_file"] = json!(chats);
    for body in [request(&pairs, 2, json!({})), swapped] {
        let id = create(&server, &body).await?;
        let job = ended(&server, &id).await?;
        ensure!(job["status"] == "failed" && job["error"]["param"] == "training_file", "{job}");
    }
    Ok(())
}

/// A run that only gets worse on what it doesn't see ends early, and its result is its best checkpoint.
#[tokio::test]
async fn a_run_stops_when_it_no_longer_improves() -> Result<()> {
    let server = server().await?;
    let file = training_file(&server, 12).await?;
    let mut body = request(&file, 200, json!({"early_stop": 2, "eval_every": 1, "learning_rate": 0.5}));
    body["validation_file"] = json!(training_file(&server, 10).await?);
    body["method"]["supervised"]["hyperparameters"]["n_epochs"] = json!(100);
    let id = create(&server, &body).await?;
    let job = ended(&server, &id).await?;
    ensure!(job["status"] == "succeeded", "{job}");
    let step = job["hearth"]["step"].as_u64().context("a step")?;
    ensure!(step < 200, "it went to its end");
    let all = events(&server, &id).await?;
    let best = step - 2;
    for words in ["Stopped early: 2 evaluations", &format!("The result is step {best},")] {
        let said = all.iter().any(|event| event["message"].as_str().is_some_and(|text| text.starts_with(words)));
        ensure!(said, "nobody said {words:?}");
    }
    let checkpoints = server.get(&format!("/v1/fine_tuning/jobs/{id}/checkpoints")).await?.expect(200)?;
    let steps: Vec<_> =
        checkpoints["data"].as_array().into_iter().flatten().map(|c| c["step_number"].clone()).collect();
    ensure!(steps.contains(&json!(best)) && steps.contains(&json!(step)), "{steps:?}");
    Ok(())
}
