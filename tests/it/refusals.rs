//! What can't be is refused when it is asked for, over REST and at the command line alike: no model is taken in and no job is made that
//! would only fail later, and the refusal names the field and what would do.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use hearth::db::Db;
use hearth::registry::{NANO, Registry};
use hearth_shared::spec::{AdapterSpec, BottleneckSpec, VirtualTokensSpec};
use hearth_tests::{Server, places};
use serde_json::{Value, json};

use crate::api_chat::server;
use crate::exporting::{done, refused, tune};
use crate::jobs_tuning::{request, training_file};

const BOTTLENECKED: &str = "ft:hearth-nano:local:bottleneck:3";
const PROMPTED: &str = "ft:hearth-nano:local:prompt:4";

/// hearth-nano with another word in its configuration.
fn altered(folder: &Path, field: &str, value: Value) -> Result<()> {
    fs::create_dir_all(folder)?;
    for entry in fs::read_dir(places::nano())? {
        let path = entry?.path();
        if path.is_file() {
            fs::copy(&path, folder.join(path.file_name().context("a file has a name")?))?;
        }
    }
    let path = folder.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path)?)?;
    config[field] = value;
    Ok(fs::write(path, config.to_string())?)
}

#[test]
fn a_model_whose_configuration_is_another_ones_is_not_taken_in() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let data = scratch.path().join("data");
    let cases = [
        ("hidden_size", 160, "`hidden_size` is 160 in config.json and 128 by the tensors: set it to 128"),
        ("hidden_size", 160, "shape [4096, 128], the model needs [4096, 160]"),
        ("num_hidden_layers", 6, "`num_hidden_layers` is 6 in config.json and 4 by the tensors: set it to 4"),
        ("num_hidden_layers", 3, "`num_hidden_layers` is 3 in config.json and 4 by the tensors: set it to 4"),
        ("intermediate_size", 512, "`intermediate_size` is 512 in config.json and 384 by the tensors"),
        (
            "num_attention_heads",
            3,
            "`num_attention_heads` has an impossible value: 3 does not divide `hidden_size`, 128; 2 does",
        ),
        ("num_key_value_heads", 3, "3 does not divide `num_attention_heads`, 4; 2 does"),
    ];
    for (at, (field, value, words)) in cases.into_iter().enumerate() {
        let folder = scratch.path().join(format!("model-{at}"));
        altered(&folder, field, json!(value))?;
        let said = refused(&data, &["model", "import", folder.to_str().context("a plain path")?, "--name", "altered"])?;
        ensure!(said.contains(words), "{field} {value}: {said}");
    }
    ensure!(!done(&data, &["model", "list"])?.contains("altered"), "it was taken in");
    Ok(())
}

async fn texts(server: &Server) -> Result<String> {
    let file = server.upload("texts.txt", &"Call me Ishmael. Some years ago I went to sea. ".repeat(200)).await?;
    Ok(file["id"].as_str().context("an id")?.to_owned())
}

fn pretrain(file: &str) -> Value {
    json!({
        "kind": "pretrain",
        "training_files": [file],
        "architecture": {"depth": 2, "d_model": 32, "n_heads": 2, "max_positions": 128},
        "tokenizer": {"train": {"vocab_size": 600}},
        "options": {"max_length": 64, "max_steps": 2},
    })
}

/// The refusal's `error`; no job is made of it.
async fn refusal(server: &Server, path: &str, body: &Value) -> Result<Value> {
    let error = server.post(path, body).await?.expect(400)?["error"].clone();
    let jobs = server.get("/v1/jobs").await?.expect(200)?;
    ensure!(jobs["data"] == json!([]), "{body} made {jobs}");
    Ok(error)
}

#[tokio::test]
async fn a_run_that_no_memory_holds_is_no_job() -> Result<()> {
    let server = server().await?;
    let mut body = pretrain(&texts(&server).await?);
    body["architecture"] = json!({"depth": 100, "max_positions": 128});
    for tokenizer in [json!({"train": {"vocab_size": 600}}), json!({"model": NANO})] {
        body["tokenizer"] = tokenizer;
        body["dry_run"] = json!(true);
        let plan = server.post("/v1/jobs", &body).await?.expect(200)?;
        body["dry_run"] = json!(false);
        let error = refusal(&server, "/v1/jobs", &body).await?;
        ensure!(error["code"] == "not_enough_memory" && error["param"].is_string(), "{error}");
        ensure!(error["message"] == plan["error"]["message"], "the plan says {}, not {error}", plan["error"]);
    }
    Ok(())
}

#[tokio::test]
async fn what_a_new_model_has_no_use_for_is_refused_by_its_field() -> Result<()> {
    let server = server().await?;
    let file = texts(&server).await?;
    let cases = [
        ("options", json!({"tuning": "lora"}), "options.tuning", "has no meaning"),
        ("architecture", json!({"experts": 4}), "architecture.experts", "`moe`"),
        ("tokenizer", json!({"file": file}), "tokenizer.file", "the file is no tokenizer.json"),
        ("tokenizer", json!({"model": "hearth-nan"}), "tokenizer.model", "Did you mean `hearth-nano`?"),
        ("tokenizer", json!({"model": NANO, "train": {"vocab_size": 600}}), "tokenizer", "`model` and `train`"),
        ("options", json!({"batch_size": 4}), "options.batch_size", "it belongs at the top level"),
        ("options", json!({"max_steps": "many"}), "options.max_steps", "must be a whole number from 0"),
        ("kind", json!("pretran"), "kind", "did you mean `pretrain`?"),
    ];
    for (field, value, param, words) in cases {
        let mut body = pretrain(&file);
        body[field] = value;
        let error = refusal(&server, "/v1/jobs", &body).await?;
        ensure!(error["param"] == param && error["message"].as_str().unwrap_or_default().contains(words), "{error}");
    }
    Ok(())
}

#[tokio::test]
async fn a_fine_tune_that_its_model_cannot_be_given_is_no_job() -> Result<()> {
    let server = server().await?;
    let file = training_file(&server, 12).await?;
    let path = "/v1/fine_tuning/jobs";
    let frozen = json!({"tuning": "full", "frozen_layers": 99});
    let mut planned = frozen.clone();
    planned["dry_run"] = json!(true);
    for hearth in [frozen, planned] {
        let mut body = request(&file, 2, json!({}));
        body["hearth"] = hearth;
        let error = refusal(&server, path, &body).await?;
        let words = "The model has 4 layers: freeze 3 at most.";
        ensure!(error["param"] == "hearth.frozen_layers" && error["message"] == words, "{error}");
    }
    let body = request(&file, 2, json!({"lora": {"target_modules": ["q_prj"]}}));
    let error = refusal(&server, path, &body).await?;
    ensure!(error["param"] == "hearth.lora.target_modules", "{error}");
    ensure!(error["message"].as_str().is_some_and(|words| words.ends_with("did you mean `q_proj`?")), "{error}");
    let mut body = request(&file, 2, json!({}));
    body["model"] = json!("hearth-nan");
    let error = server.post(path, &body).await?.expect(404)?;
    ensure!(error["error"]["message"].as_str().is_some_and(|words| words.contains("`hearth-nano`")), "{error}");
    let said = refused(server.data_dir(), &["chat", "--model", "hearth-nan", "--prompt", "Hello"])?;
    ensure!(said.contains("did you mean `hearth-nano`?"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_cannot_be_is_no_job() -> Result<()> {
    let server = server().await?;
    let registry = Registry::new(Db::open(server.data_dir()).await?, server.data_dir());
    tune(&registry, BOTTLENECKED, &AdapterSpec::Bottleneck(BottleneckSpec { width: 4 })).await?;
    tune(&registry, PROMPTED, &AdapterSpec::Prompt(VirtualTokensSpec { virtual_tokens: 4 })).await?;
    let cases = [
        (BOTTLENECKED, "gguf", "cannot be merged into one: PEFT has none either"),
        (BOTTLENECKED, "peft", "PEFT has no bottleneck adapters, only low-rank ones"),
        (PROMPTED, "safetensors", "cannot be merged into one: export the adapter alone"),
    ];
    let scratch = tempfile::tempdir()?;
    for (model, format, words) in cases {
        let body = json!({"kind": "export", "model": model, "format": format});
        let error = refusal(&server, "/v1/jobs", &body).await?;
        ensure!(error["param"] == "format" && error["message"].as_str().unwrap_or_default().contains(words), "{error}");
        let out = scratch.path().join("out.gguf");
        let place = out.to_str().context("a plain path")?;
        let said = refused(server.data_dir(), &["model", "export", model, "--format", format, "--out", place])?;
        ensure!(said.contains(words) && !said.contains("Loading the model"), "{said}");
    }
    Ok(())
}
