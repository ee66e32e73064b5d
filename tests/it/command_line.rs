//! The command line's way from texts to a model, over a folder: a vocabulary, how well it fits, shards of token ids, and a run that
//! reads them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use hearth_tests::places;
use serde_json::Value;

/// `hearth` in a folder.
fn hearth(folder: &Path, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(places::program()?);
    Ok(command.current_dir(folder).args(["--data-dir", "data"]).args(arguments).output()?)
}

/// What it prints where it succeeds.
fn prints(folder: &Path, arguments: &[&str]) -> Result<String> {
    let output = hearth(folder, arguments)?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What it complains of where it fails.
fn complains(folder: &Path, arguments: &[&str]) -> Result<String> {
    let output = hearth(folder, arguments)?;
    ensure!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Three documents in rows and one of plain text.
fn write_texts(folder: &Path) -> Result<()> {
    fs::create_dir(folder.join("texts"))?;
    let held_out = fs::read_to_string(places::nano().join("heldout.jsonl"))?;
    let rows: String = held_out.lines().skip(5).take(3).map(|row| format!("{row}\n")).collect();
    fs::write(folder.join("texts/speech.jsonl"), rows)?;
    let story = "Call me Ishmael. Some years ago I went to sea. ".repeat(40);
    Ok(fs::write(folder.join("texts/story.txt"), story)?)
}

fn learn(folder: &Path, vocab_size: &str, out: &str) -> Result<String> {
    let special = ["--special", "<|im_start|>", "--special", "<|im_end|>"];
    let learn = ["tokenizer", "train", "texts", "--vocab-size", vocab_size, "--out", out];
    prints(folder, &[&learn[..], &special].concat())
}

const SHARDS: [&str; 9] =
    ["data", "tokenize", "texts", "--tokenizer", "mine", "--out", "shards", "--shard-tokens", "4000"];

#[test]
fn texts_become_a_vocabulary_a_report_and_shards_that_are_checked() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let folder = scratch.path();
    write_texts(folder)?;
    ensure!(learn(folder, "420", "mine")?.starts_with("mine: 420 tokens"), "another size");
    let json: Value = serde_json::from_slice(&fs::read(folder.join("mine/tokenizer.json"))?)?;
    ensure!(json["model"]["vocab"].as_object().map(serde_json::Map::len) == Some(420), "{}", json["model"]["type"]);
    let again = complains(folder, &["tokenizer", "train", "texts", "--out", "mine"])?;
    ensure!(again.contains("mine is there already"), "{again}");

    learn(folder, "330", "small")?;
    let report = ["tokenizer", "report", "texts", "--tokenizer", "mine", "--tokenizer", "small"];
    let table = prints(folder, &report)?;
    ensure!(table.starts_with("script") && table.contains("mine (420)") && table.contains("small (330)"), "{table}");
    let rows: Value = serde_json::from_str(&prints(folder, &[&report[..], &["--json"]].concat())?)?;
    let rows = rows.as_array().context("a list")?;
    let tokens = |name: &str, domain: &str| {
        let row = rows.iter().find(|row| row["tokenizer"] == name && row["domain"] == domain);
        row.and_then(|row| row["sums"]["tokens"].as_u64()).with_context(|| format!("no row for {name} on {domain}"))
    };
    let speech = tokens("mine", "speech")?;
    ensure!(rows.len() == 4 && speech < tokens("small", "speech")?, "more merges need no more tokens: {rows:?}");

    let made = prints(folder, &SHARDS)?;
    ensure!(made.starts_with("shards: 4 documents") && made.contains("of 2 bytes in 3 shards"), "{made}");
    let index: Value = serde_json::from_slice(&fs::read(folder.join("shards/index.json"))?)?;
    // The report's tokens, and an end for each of the documents.
    ensure!(index["tokens"] == speech + tokens("mine", "story")? + 4, "{index}");
    let before = fs::metadata(folder.join("shards/shard-00000.bin"))?.modified()?;
    ensure!(prints(folder, &SHARDS)? == made, "the same command says something else");
    ensure!(fs::metadata(folder.join("shards/shard-00000.bin"))?.modified()? == before, "what stood was made again");
    let other = complains(folder, &SHARDS.map(|word| if word == "mine" { "small" } else { word }))?;
    ensure!(other.contains("shards holds another data set"), "{other}");

    ensure!(prints(folder, &["data", "check", "shards"])?.starts_with("4 documents"), "another count");
    let path = folder.join("shards/shard-00001.bin");
    let mut bytes = fs::read(&path)?;
    bytes[100] ^= 1;
    fs::write(&path, bytes)?;
    let changed = complains(folder, &["data", "check", "shards"])?;
    ensure!(changed.contains("shard-00001.bin: its checksum is not the index's"), "{changed}");
    Ok(())
}

#[test]
fn a_run_reads_shards_in_place_of_texts_and_refuses_those_of_another_vocabulary() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let folder = scratch.path();
    write_texts(folder)?;
    for (vocab_size, out) in [("330", "small"), ("420", "mine"), ("430", "large")] {
        learn(folder, vocab_size, out)?;
    }
    prints(folder, &SHARDS)?;
    let spec = |data: &str, tokenizer: &str| {
        let text = format!(
            "kind = \"pretrain\"\n{data}\nseed = 3\nbatch_size = 4\n[tokenizer]\n{tokenizer}\n\
             [architecture]\ndepth = 1\nd_model = 32\nn_heads = 2\nmax_positions = 64\n\
             [options]\nmax_length = 32\nmax_steps = 6\nlearning_rate = 0.01\n"
        );
        fs::write(folder.join("spec.toml"), text)
    };
    let file = |name: &str| format!("file = \"{name}/tokenizer.json\"");
    let train = |out| ["train", "spec.toml", "--out", out];
    spec("shards = \"shards\"", &file("mine"))?;
    prints(folder, &train("from-shards"))?;
    ensure!(!folder.join("from-shards/shards").exists(), "the shards were made again");
    // The same texts, tokenized on the way, give the same weights.
    spec("training_files = [\"texts\"]", &file("mine"))?;
    prints(folder, &train("from-texts"))?;
    let weights = |out: &str| fs::read(folder.join(out).join("result/model.safetensors"));
    ensure!(weights("from-shards")? == weights("from-texts")?, "shards train another model than their texts");

    let refused = |data: &str, tokenizer: &str, words: &str| -> Result<()> {
        spec(data, tokenizer)?;
        let said = complains(folder, &train("refused"))?;
        ensure!(said.contains(words), "{said}");
        ensure!(!folder.join("refused").exists(), "it was begun: {said}");
        Ok(())
    };
    let shards = "shards = \"shards\"";
    let smallest =
        "tokenizer: the shards hold ids of 0 to 419, the vocabulary has 330 tokens: the smallest that will do has 420";
    refused(shards, &file("small"), smallest)?;
    refused(shards, &file("large"), "tokenizer: the shards hold another one's ids")?;
    refused(shards, "train = { vocab_size = 420 }", "tokenizer: shards are token ids")?;
    refused("shards = \"texts\"", &file("mine"), "shards")?;
    refused(&format!("{shards}\ntraining_files = [\"texts\"]"), &file("mine"), "training_files")?;
    refused("", &file("mine"), "training_files")
}
