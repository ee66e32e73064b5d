//! A model from nothing over REST: from texts to a model that can be tuned; a pause changes nothing, a checkpoint
//! is a model for who asks, and bad texts are refused by line.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hearth_shared::spec::{ArchitectureSpec, Auto, Objective, TrainSpec};
use hearth_tests::{Server, places};
use serde_json::{Value, json};

use crate::api_chat::server;
use crate::jobs_tuning::{chats, create, request};

const LIMIT: Duration = Duration::from_secs(180);

/// Documents that hearth-nano never read, in rows with a field `text`.
pub(crate) fn texts(documents: usize) -> Result<String> {
    let all = std::fs::read_to_string(places::nano().join("heldout.jsonl"))?;
    Ok(all.lines().take(documents).map(|line| format!("{line}\n")).collect())
}

pub(crate) async fn upload(server: &Server, name: &str, text: &str) -> Result<String> {
    Ok(server.upload(name, text).await?["id"].as_str().context("an id")?.to_owned())
}

/// A tiny run of so many steps.
pub(crate) fn tiny(file: &str, steps: u64) -> Value {
    json!({
        "kind": "pretrain",
        "training_files": [file],
        "seed": 5,
        "architecture": {"depth": 2, "d_model": 32, "n_heads": 2, "kv_heads": 1, "max_positions": 128},
        "tokenizer": {"train": {"vocab_size": 600}},
        "n_epochs": 20,
        "batch_size": 8,
        "options": {"max_length": 64, "micro_batch_tokens": 256, "max_steps": steps, "checkpoint_every": 10, "learning_rate": 0.01},
    })
}

async fn ended(server: &Server, id: &str) -> Result<Value> {
    let over = |job: &Value| ["succeeded", "failed", "cancelled"].iter().any(|end| job["status"] == *end);
    server.poll(&format!("/v1/jobs/{id}"), LIMIT, over).await
}

pub(crate) async fn made(server: &Server, body: &Value) -> Result<Value> {
    let job = server.post("/v1/jobs", body).await?.expect(200)?;
    let job = ended(server, job["id"].as_str().context("an id")?).await?;
    ensure!(job["status"] == "succeeded", "{job}");
    Ok(job)
}

#[tokio::test]
async fn a_model_comes_from_nothing_and_can_be_tuned() -> Result<()> {
    let server = server().await?;
    let file = upload(&server, "texts.jsonl", &texts(12)?).await?;
    let held_out = upload(&server, "held-out.txt", "Fellow citizens, the state of the union is strong. ").await?;
    let mut body = tiny(&file, 40);
    body["name"] = json!("tiny");
    body["validation_file"] = json!(held_out);
    body["options"]["samples"] = json!([{"prompt": "The people", "max_tokens": 6}]);

    body["dry_run"] = json!(true);
    let plan = server.post("/v1/jobs", &body).await?.expect(200)?;
    ensure!(plan["object"] == "job.plan" && plan["total_steps"] == 40 && plan["error"].is_null(), "{plan}");
    ensure!(plan["report"]["documents"] == 12 && plan["memory"]["total"].as_u64() > Some(0), "{plan}");
    ensure!(plan["seconds"].as_f64() > Some(0.0) && plan["warnings"] == json!([]), "{plan}");
    body["dry_run"] = json!(false);

    let job = made(&server, &body).await?;
    ensure!(
        job["object"] == "job" && job["hearth"]["kind"] == "pretrain" && job["fine_tuned_model"] == "tiny",
        "{job}"
    );
    ensure!(job["hearth"]["spec"]["objective"] == "documents" && job["hearth"]["texts"]["documents"] == 12, "{job}");
    let (planned, measured) = (&job["hearth"]["planned"], &job["hearth"]["measured"]);
    ensure!(planned["memory"]["total"].as_u64() > Some(0) && measured["peak_memory"].as_u64() > Some(0), "{job}");
    ensure!(planned["step_seconds"].as_f64() > Some(0.0) && measured["step_seconds"].as_f64() > Some(0.0), "{job}");
    let id = job["id"].as_str().context("an id")?;
    let events = server.get(&format!("/v1/jobs/{id}/events?limit=100")).await?.expect(200)?;
    let events: Vec<&Value> = events["data"].as_array().context("a list")?.iter().rev().collect();
    let metrics = events.iter().filter(|event| event["type"] == "metrics");
    let losses: Vec<f64> = metrics.filter_map(|event| event["data"]["train_loss"].as_f64()).collect();
    let of = |kind: &str| events.iter().filter(|event| event["data"]["type"] == kind).count();
    // Of 600 tokens, evenly: 6.4.
    ensure!(losses[0] > 6.3 && losses[losses.len() - 1] < 5.8, "{losses:?}");
    ensure!(of("decided") == 1 && of("stage") >= 1 && of("sample") == 4 && of("metrics") == 40, "{events:?}");
    ensure!(events.iter().any(|event| event["data"]["valid_loss"].is_f64()), "no validation");

    // The model answers, and can be taught turns.
    let body = json!({"model": "tiny", "prompt": "The people", "max_tokens": 4});
    let answer = server.post("/v1/completions", &body).await?.expect(200)?;
    ensure!(answer["usage"]["completion_tokens"].as_u64() > Some(0), "{answer}");
    let file = upload(&server, "chats.jsonl", &chats(12)).await?;
    let mut tune = request(&file, 2, json!({"max_length": 120}));
    tune["model"] = json!("tiny");
    let tuned = ended(&server, &create(&server, &tune).await?).await?;
    ensure!(tuned["status"] == "succeeded" && tuned["hearth"]["kind"] == "fine_tune", "{tuned}");

    // Each list has its own, and one has all.
    let count = async |path: &str| -> Result<usize> {
        Ok(server.get(path).await?.expect(200)?["data"].as_array().context("a list")?.len())
    };
    ensure!(count("/v1/fine_tuning/jobs").await? == 1 && count("/v1/jobs").await? == 2, "lists");
    ensure!(count("/v1/jobs?kind=pretrain").await? == 1, "the list of a kind");
    ensure!(server.get(&format!("/v1/fine_tuning/jobs/{id}")).await?.status == 404, "a pretraining is no fine-tune");
    ensure!(server.get("/v1/jobs?kind=x").await?.status == 400, "an unknown kind");
    let again = server.post("/v1/jobs", &tiny_named(id, "tiny")).await?.expect(400)?;
    ensure!(again["error"]["param"] == "name" || again["error"]["param"] == "training_files[0]", "{again}");
    Ok(())
}

fn tiny_named(file: &str, name: &str) -> Value {
    let mut body = tiny(file, 10);
    body["name"] = json!(name);
    body
}

#[tokio::test]
async fn a_vocabulary_is_a_job_and_a_pause_changes_no_weight() -> Result<()> {
    let server = server().await?;
    let file = upload(&server, "texts.jsonl", &texts(8)?).await?;
    let asked = json!({"kind": "tokenizer", "training_files": [file], "vocab_size": 500, "name": "mine"});
    let vocabulary = made(&server, &asked).await?;
    let result = vocabulary["result_files"][0].as_str().context("a file")?;
    let json: Value = serde_json::from_str(&server.get(&format!("/v1/files/{result}/content")).await?.text())?;
    ensure!(json["model"]["vocab"].as_object().map(serde_json::Map::len) == Some(500), "{}", json["model"]["type"]);

    let mut body = tiny(&file, 60);
    body["tokenizer"] = json!({"file": result});
    let whole = made(&server, &body).await?;
    let job = server.post("/v1/jobs", &body).await?.expect(200)?;
    let id = job["id"].as_str().context("an id")?;
    let path = format!("/v1/jobs/{id}");
    server.poll(&path, LIMIT, |job| job["hearth"]["step"].as_u64() >= Some(13)).await?;
    server.post(&format!("{path}/pause"), &json!({})).await?.expect(200)?;
    server.poll(&path, LIMIT, |job| job["status"] == "paused").await?;
    // The process of a paused job may still be leaving; a resumed one waits for it.
    server.post(&format!("{path}/resume"), &json!({})).await?.expect(200)?;
    let resumed = ended(&server, id).await?;
    ensure!(resumed["status"] == "succeeded" && resumed["hearth"]["attempt"] == 2, "{resumed}");
    let weights = async |job: &Value| -> Result<Vec<u8>> {
        let name = job["fine_tuned_model"].as_str().context("a model")?;
        let model = server.get(&format!("/v1/models/{name}")).await?.expect(200)?;
        let folder = server.data_dir().join("models").join(model["hearth"]["hash"].as_str().context("a hash")?);
        Ok(std::fs::read(folder.join("model.safetensors"))?)
    };
    ensure!(weights(&whole).await? == weights(&resumed).await?, "the pause changed the weights");
    Ok(())
}

/// What a run only goes on from becomes a model when somebody asks for it; that of the last step is the result, to the byte.
#[tokio::test]
async fn a_checkpoint_of_whole_weights_is_a_model_for_who_asks() -> Result<()> {
    let server = server().await?;
    let file = upload(&server, "texts.jsonl", &texts(8)?).await?;
    let mut body = tiny_named(&file, "stages");
    for (option, value) in [("max_steps", 8), ("checkpoint_every", 2), ("keep_checkpoints", 2)] {
        body["options"][option] = json!(value);
    }
    let job = made(&server, &body).await?;
    let id = job["id"].as_str().context("an id")?;
    let ask = async |id: &str, step: &str| {
        server.post(&format!("/v1/hearth/jobs/{id}/checkpoints/{step}/model"), &json!({})).await
    };
    // Two at once, and one later, make one model, which no list shows and nothing is left of beside it.
    let (first, second) = tokio::join!(ask(id, "6"), ask(id, "6"));
    let (first, second) = (first?.expect(200)?, second?.expect(200)?);
    ensure!(first == second && first == ask(id, "6").await?.expect(200)?, "{first} {second}");
    ensure!(first["id"] == "stages:ckpt-step-6" && first["hearth"]["job"] == id, "{first}");
    let listed = server.get("/v1/models").await?.expect(200)?;
    ensure!(!listed.to_string().contains("ckpt-step"), "{listed}");
    let found = server.get("/v1/models/stages:ckpt-step-6").await?.expect(200)?;
    ensure!(found["hearth"]["hash"] == first["hearth"]["hash"], "{found}");
    ensure!(std::fs::read_dir(server.data_dir().join("tmp"))?.count() == 0, "half a model is left");

    let last = ask(id, "8").await?.expect(200)?;
    let result = server.get("/v1/models/stages").await?.expect(200)?;
    ensure!(last["hearth"]["hash"] == result["hearth"]["hash"], "{last} {result}");
    let score = async |model: &str| -> Result<Value> {
        let body =
            json!({"model": model, "prompt": "The people of the union", "echo": true, "logprobs": 1, "max_tokens": 0});
        let scored = server.post("/v1/completions", &body).await?.expect(200)?;
        Ok(scored["choices"][0]["logprobs"]["token_logprobs"].clone())
    };
    let whole = score("stages").await?;
    ensure!(whole.as_array().is_some_and(|scores| scores.len() > 2), "{whole}");
    ensure!(whole == score("stages:ckpt-step-8").await? && whole != score("stages:ckpt-step-6").await?, "{whole}");

    // What was cleared away is not there, and what is there is said.
    let gone = ask(id, "4").await?.expect(404)?;
    let words = gone["error"]["message"].as_str().unwrap_or_default();
    ensure!(gone["error"]["param"] == "step" && words.contains("there are 6, 8"), "{gone}");
    ensure!(ask(id, "last").await?.expect(400)?["error"]["param"] == "step", "a word is no step");
    ensure!(ask("job-none", "8").await?.status == 404, "a job that is not there");
    of_a_tune_with_frozen_layers(&server).await?;

    // The hidden name of the result's weights goes with the result; another step's stands by itself.
    server.delete("/v1/models/stages").await?.expect(200)?;
    ensure!(server.get("/v1/models/stages:ckpt-step-8").await?.status == 404, "weights that no list shows are left");
    server.get("/v1/models/stages:ckpt-step-6").await?.expect(200)?;
    Ok(())
}

/// What was not trained comes from the base.
async fn of_a_tune_with_frozen_layers(server: &Server) -> Result<()> {
    let file = upload(server, "chats.jsonl", &chats(12)).await?;
    let hearth =
        json!({"tuning": "full", "frozen_layers": 1, "max_steps": 2, "max_length": 120, "learning_rate": 0.001});
    let method = json!({"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 4}}});
    let body = json!({"model": "stages", "training_file": file, "seed": 3, "method": method, "hearth": hearth});
    let job = ended(server, &create(server, &body).await?).await?;
    ensure!(job["status"] == "succeeded" && job["hearth"]["step"] == 2, "{job}");
    let (id, tuned) = job["id"].as_str().zip(job["fine_tuned_model"].as_str()).context("a tuned model")?;
    let asked = server.post(&format!("/v1/hearth/jobs/{id}/checkpoints/2/model"), &json!({})).await?.expect(200)?;
    let result = server.get(&format!("/v1/models/{tuned}")).await?.expect(200)?;
    ensure!(asked["id"] == format!("{tuned}:ckpt-step-2") && asked["hearth"]["base"] == "stages", "{asked}");
    ensure!(asked["hearth"]["hash"] == result["hearth"]["hash"], "{asked} {result}");
    Ok(())
}

#[tokio::test]
async fn bad_texts_and_impossible_models_are_refused_before_anything_runs() -> Result<()> {
    let server = server().await?;
    let good = upload(&server, "good.txt", &"Call me Ishmael. ".repeat(200)).await?;
    let bad = upload(&server, "bad.jsonl", "{\"text\": \"fine\"}\n{\"words\": \"no text here\"}\n").await?;
    let job = server.post("/v1/jobs", &tiny(&bad, 5)).await?.expect(200)?;
    let job = ended(&server, job["id"].as_str().context("an id")?).await?;
    let message = job["error"]["message"].as_str().unwrap_or_default();
    ensure!(job["status"] == "failed" && message.contains("line 2") && message.contains(&bad), "{job}");
    ensure!(!message.contains(&server.data_dir().display().to_string()), "a path of the server: {message}");

    let refused = async |change: &dyn Fn(&mut Value), param: &str| -> Result<()> {
        let mut body = tiny(&good, 5);
        change(&mut body);
        let error = server.post("/v1/jobs", &body).await?.expect(400)?;
        ensure!(error["error"]["param"] == param, "{param}: {error}");
        Ok(())
    };
    refused(&|body| body["architecture"]["n_heads"] = json!(5), "architecture.n_heads").await?;
    refused(&|body| body["tokenizer"] = json!({"model": "nobody"}), "tokenizer.model").await?;
    refused(&|body| body["tokenizer"] = json!({"train": {"vocab_size": 9}}), "tokenizer.train.vocab_size").await?;
    refused(&|body| body["options"]["max_length"] = json!(4096), "options.max_length").await?;
    refused(&|body| body["options"]["lora"] = json!({"r": 2}), "options.lora").await?;
    refused(&|body| body["options"]["learning_rte"] = json!(0.1), "options.learning_rte").await?;
    refused(&|body| body["max_length"] = json!(32), "max_length").await?;
    refused(&|body| body["training_files"] = json!([]), "training_files").await?;
    refused(&|body| body["training_files"] = json!(["file-none"]), "training_files[0]").await?;
    refused(&|body| body["name"] = json!("hearth-nano"), "name").await?;
    // More tokens than the texts have.
    let mut body = tiny(&good, 5);
    body["architecture"]["max_positions"] = json!(4096);
    body["options"]["max_length"] = json!(4096);
    let job = server.post("/v1/jobs", &body).await?.expect(200)?;
    let job = ended(&server, job["id"].as_str().context("an id")?).await?;
    ensure!(job["error"]["param"] == "options.max_length", "{job}");
    Ok(())
}

/// A model as files for other programs: they are listed with what was compared, and can be taken in again.
#[tokio::test]
async fn an_export_is_files_that_say_the_same() -> Result<()> {
    let server = server().await?;
    let exported = async |body: Value| -> Result<(Value, Vec<(String, u64)>)> {
        let job = made(&server, &body).await?;
        let mut files = Vec::new();
        for id in job["result_files"].as_array().context("files")? {
            let file = server.get(&format!("/v1/files/{}", id.as_str().context("an id")?)).await?.expect(200)?;
            files.push((file["filename"].as_str().unwrap_or_default().to_owned(), file["bytes"].as_u64().unwrap_or(0)));
        }
        Ok((job, files))
    };
    let gguf = json!({"kind": "export", "model": "hearth-nano", "format": "gguf", "dtype": "q8_0"});
    let (job, files) = exported(gguf).await?;
    ensure!(files.len() == 1 && files[0].0 == "hearth-nano.q8_0.gguf" && files[0].1 > 1_000_000, "{files:?}");
    let id = job["id"].as_str().context("an id")?;
    let events = server.get(&format!("/v1/jobs/{id}/events")).await?.expect(200)?.to_string();
    ensure!(events.contains("mean NLL"), "{events}");
    let whole = json!({"kind": "export", "model": "hearth-nano", "format": "safetensors", "dtype": "bf16"});
    let names: Vec<String> = exported(whole).await?.1.into_iter().map(|(name, _)| name).collect();
    ensure!(names.iter().any(|name| name == "model.safetensors") && names.iter().any(|name| name == "config.json"));
    // The file is a model like any other.
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("again.gguf");
    let content = format!("/v1/files/{}/content", job["result_files"][0].as_str().context("an id")?);
    let bytes = server.client().get(server.url(&content)).send().await?.bytes().await?;
    std::fs::write(&path, bytes)?;
    let head = hearth_model::bundle::ModelHead::load(&path)?;
    ensure!(head.template.is_some() && head.config.d_model == 128, "{:?}", head.config);

    let refused = async |body: Value, param: &str| -> Result<()> {
        let error = server.post("/v1/jobs", &body).await?;
        let status = error.status;
        let error = error.json()?;
        ensure!(status >= 400 && error["error"]["param"] == param, "{param}: {error}");
        Ok(())
    };
    refused(json!({"kind": "export", "model": "hearth-nano", "format": "peft"}), "format").await?;
    refused(json!({"kind": "export", "model": "hearth-nano", "format": "gguf", "dtype": "bf16"}), "dtype").await?;
    refused(json!({"kind": "export", "model": "nobody", "format": "gguf"}), "model").await
}

/// The command line runs the same engine on the same spec.
#[test]
fn the_command_line_trains_by_a_spec_file() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text);
    write("texts.jsonl", &texts(6)?)?;
    write(
        "spec.toml",
        "kind = \"pretrain\"\ntraining_files = [\"texts.jsonl\"]\nbatch_size = 4\nseed = 3\n\
         [architecture]\ndepth = 1\nd_model = 32\nn_heads = 2\nmax_positions = 64\n\
         [tokenizer.train]\nvocab_size = 400\n[options]\nmax_length = 32\nmax_steps = 12\nlearning_rate = 0.01\n",
    )?;
    let program = places::program()?;
    let train = |out: &Path, spec: &str| {
        std::process::Command::new(&program)
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .arg("train")
            .arg(folder.path().join(spec))
            .arg("--out")
            .arg(out)
            .output()
    };
    let out = folder.path().join("run");
    let output = train(&out, "spec.toml")?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{words}");
    // Without a terminal it says in plain lines how far it is.
    for step in ["step 1/12: loss ", "step 12/12: loss "] {
        ensure!(words.lines().any(|line| line.starts_with(step)), "no line `{step}`: {words}");
    }
    ensure!(!words.contains('\u{1b}'), "control codes in a pipe: {words}");
    ensure!(out.join("result/model.safetensors").is_file() && out.join("events.jsonl").is_file(), "no result");
    write("other.toml", "kind = \"pretrain\"\ntraining_files = [\"texts.jsonl\"]\n")?;
    let refused = train(&out, "other.toml")?;
    ensure!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("another spec"));
    write("misspelt.toml", "kind = \"pretrain\"\ntraining_files = [\"texts.jsonl\"]\n[options]\nmax_step = 3\n")?;
    let refused = train(&folder.path().join("none"), "misspelt.toml")?;
    ensure!(String::from_utf8_lossy(&refused.stderr).contains("did you mean `max_steps`?"));
    write("wrong.toml", "kind = \"pretrain\"\ntraining_files = [\"gone.txt\"]\n")?;
    let refused = train(&folder.path().join("none"), "wrong.toml")?;
    ensure!(String::from_utf8_lossy(&refused.stderr).contains("gone.txt"));
    Ok(())
}

/// A queued job has the whole machine when its turn comes; whoever asks now hears that not all of it is free.
#[tokio::test]
async fn a_dry_run_warns_of_more_memory_than_is_free() -> Result<()> {
    const LENGTH: u32 = 512;
    let server = server().await?;
    let file = upload(&server, "texts.jsonl", &texts(12)?).await?;
    let mut body = tiny(&file, 5);
    body["dry_run"] = json!(true);
    let plan = server.post("/v1/jobs", &body).await?.expect(200)?;
    let [limit, free] = ["memory_limit", "memory_available"].map(|key| plan[key].as_u64());
    let (limit, free) = limit.zip(free).context("what the machine has")?;
    ensure!(free < limit && plan["warnings"] == json!([]), "{plan}");
    // The smallest of these that takes more than half of what is not free on top of what is.
    let wanted = free + (limit - free) / 2;
    let mut sizes = [2, 8, 32, 128].into_iter().flat_map(|depth| (1..=1024).map(move |rows| (depth, rows)));
    let takes = |(depth, rows): (u32, u32)| -> Result<u64> {
        let (d_model, n_heads) = (Auto::Value(1024), Auto::Value(16));
        let shape = ArchitectureSpec { depth, d_model, n_heads, ..ArchitectureSpec::default() }.shape(600)?;
        let spec = TrainSpec {
            objective: Objective::Documents,
            adapter: None,
            batch_size: rows,
            max_length: LENGTH,
            micro_batch_tokens: rows * LENGTH,
            ..TrainSpec::default()
        };
        Ok(shape.memory(&spec).total)
    };
    let fitting = |size: &(u32, u32)| takes(*size).is_ok_and(|bytes| bytes > wanted && bytes < limit);
    let (depth, rows) = sizes.find(fitting).context("no run takes that much")?;
    body["architecture"] = json!({"depth": depth, "d_model": 1024, "n_heads": 16, "max_positions": LENGTH});
    body["batch_size"] = json!(rows);
    body["options"] = json!({"max_length": LENGTH, "micro_batch_tokens": rows * LENGTH, "max_steps": 5});
    let plan = server.post("/v1/jobs", &body).await?.expect(200)?;
    ensure!(plan["error"].is_null() && plan["memory"]["total"].as_u64() > Some(wanted), "{plan}");
    ensure!(plan["warnings"][0].as_str().is_some_and(|words| words.contains("free now")), "{plan}");
    Ok(())
}

/// What the server's validator would refuse is refused before a vocabulary is learned, and what it names instead is a run.
#[test]
fn the_command_line_refuses_what_needs_more_memory_than_there_is() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    std::fs::create_dir_all(&data)?;
    std::fs::write(data.join("hearth.toml"), "max_job_bytes = 20000000\n")?;
    std::fs::write(folder.path().join("texts.jsonl"), texts(6)?)?;
    let program = places::program()?;
    let out = folder.path().join("run");
    let train = |depth: u32, pass: u64| -> Result<(bool, String)> {
        let spec = folder.path().join("spec.toml");
        let text = format!(
            "kind = \"pretrain\"\ntraining_files = [\"texts.jsonl\"]\nbatch_size = 256\n\
             [architecture]\ndepth = {depth}\nd_model = 32\nn_heads = 2\nmax_positions = 64\n\
             [tokenizer.train]\nvocab_size = 400\n[options]\nmax_length = 64\nmax_steps = 1\nmicro_batch_tokens = {pass}\n"
        );
        std::fs::write(&spec, text)?;
        let mut command = std::process::Command::new(&program);
        command.arg("--data-dir").arg(&data).arg("train").arg(&spec).arg("--out").arg(&out);
        let output = command.output()?;
        Ok((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    let (done, words) = train(1, 256 * 64)?;
    let named = "options.micro_batch_tokens: The run needs about ";
    ensure!(!done && words.contains(named) && words.contains("a job may take 20 MB here"), "{words}");
    ensure!(!out.exists(), "something ran before it was refused");
    let pass = words.split("It fits with `options.micro_batch_tokens`: ").nth(1).context("a way out")?;
    let pass: u64 = pass.chars().take_while(char::is_ascii_digit).collect::<String>().parse()?;
    ensure!((64..256 * 64).contains(&pass), "{words}");
    let (done, words) = train(1, pass)?;
    ensure!(done && out.join("result/model.safetensors").is_file(), "{words}");

    // Where nothing else helps it is the depth, and how deep it may be.
    let (done, words) = train(128, 64)?;
    ensure!(!done && words.contains("architecture.depth: ") && words.contains(" instead of 128."), "{words}");
    Ok(())
}
