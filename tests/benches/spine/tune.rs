//! The main job as its user does it: SmolLM2-135M learns a form from 50 chats on a real server, and is asked 20 new questions.

use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hearth_model::bundle::ModelBundle;
use hearth_model::train::{Batches, data, run::evaluate};
use hearth_model::{device, peft};
use hearth_shared::spec::TrainSpec;
use hearth_shared::text::{Example, Message, Role};
use hearth_tests::{Server, places};
use serde_json::{Value, json};

use hearth_tests::bench::table::Table;

const TRAINED: usize = 50;
const HELD_OUT: usize = 10;
const ASKED: usize = 20;
const LIMIT: Duration = Duration::from_secs(900);

/// A note about a thing at a place, and the answer that is wanted: an object with the keys `item` and `place`.
struct Note {
    text: String,
    item: String,
    place: String,
}

/// All pairs of things and places in a fixed scattered order: what is trained, held out and asked never shares a pair.
fn notes() -> Vec<Note> {
    let items =
        "umbrella,blue notebook,camera,bicycle,passport,red scarf,guitar,water bottle,laptop,pair of gloves".split(',');
    let places = "in the kitchen,on the train,at the office,under the bed,behind the door,in the garden,at the station,on the roof";
    let places: Vec<&str> = places.split(',').collect();
    let frames = [
        "I left my {i} {p}.",
        "The {i} is {p}, I think.",
        "Somebody found a {i} {p} this morning.",
        "Look {p}: there is the {i}.",
    ];
    let items: Vec<&str> = items.collect();
    let all = items.len() * places.len();
    (0..all)
        .map(|n| n * 37 % all)
        .map(|n| {
            let (item, place) = (items[n % items.len()], places[n / items.len()]);
            let text = frames[n % frames.len()].replace("{i}", item).replace("{p}", place);
            Note { text, item: item.to_owned(), place: place.to_owned() }
        })
        .collect()
}

impl Note {
    fn chat(&self) -> Vec<Message> {
        let answer = json!({"item": self.item, "place": self.place}).to_string();
        vec![Message::new(Role::User, &self.text), Message::new(Role::Assistant, &answer)]
    }

    fn line(&self) -> String {
        let answer = json!({"item": self.item, "place": self.place}).to_string();
        let messages = json!([{"role": "user", "content": self.text}, {"role": "assistant", "content": answer}]);
        json!({"messages": messages}).to_string() + "\n"
    }
}

pub(crate) async fn run(table: &mut Table) -> Result<()> {
    let notes = notes();
    let (trained, rest) = notes.split_at(TRAINED);
    let (held_out, asked) = rest.split_at(HELD_OUT);
    ensure!(asked.len() >= ASKED);
    let folder = tempfile::tempdir()?;
    import(folder.path())?;
    let options = hearth_tests::ServerOptions { data_dir: Some(folder.path().to_owned()), ..Default::default() };
    let server = Server::start_with(options).await?;
    let upload = async |name: &str, notes: &[Note]| {
        let file = server.upload(name, &notes.iter().map(Note::line).collect::<String>()).await?;
        Ok::<_, anyhow::Error>(file["id"].as_str().context("an id")?.to_owned())
    };
    let training_file = upload("notes.jsonl", trained).await?;
    let validation_file = upload("held-out.jsonl", held_out).await?;
    let started = Instant::now();
    let request = json!({
        "model": "smollm2-135m", "training_file": training_file, "validation_file": validation_file, "seed": 7,
        "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 4, "batch_size": 4}}},
    });
    let job = server.post("/v1/fine_tuning/jobs", &request).await?.expect(200)?;
    let path = format!("/v1/fine_tuning/jobs/{}", job["id"].as_str().context("an id")?);
    let ended = |job: &Value| ["succeeded", "failed", "cancelled"].iter().any(|end| job["status"] == *end);
    let job = server.poll(&path, LIMIT * 2, ended).await?;
    ensure!(job["status"] == "succeeded", "{job}");
    let minutes = started.elapsed().as_secs_f64() / 60.0;
    let tuned = job["fine_tuned_model"].as_str().context("a model")?;

    let mark = Some(("15 min", minutes <= 15.0));
    let what = format!("tuning SmolLM2-135M on {TRAINED} chats, 4 epochs");
    table.add(&what, format!("{minutes:.1} min"), "", String::new(), mark);
    let result = folder.path().join("jobs").join(job["id"].as_str().context("an id")?).join("result");
    let (before, after) = losses(&result, held_out)?;
    let fall = 1.0 - after / before;
    let hearth = format!("{before:.3} → {after:.3}");
    let mark = Some(("−30 %", fall >= 0.3));
    table.add("loss on 10 held-out chats", hearth, "", format!("−{:.0} %", 100.0 * fall), mark);
    let new = &asked[..ASKED];
    let (base, tuned) = (conform(&server, "smollm2-135m", new).await?, conform(&server, tuned, new).await?);
    let hearth = format!("tuned {tuned} of {ASKED}, base {base}");
    let mark = Some(("≥ 16, base ≤ 2", tuned >= 16 && base <= 2));
    table.add("answers that are JSON with the two keys", hearth, "", String::new(), mark);
    Ok(())
}

fn import(data_dir: &Path) -> Result<()> {
    let status = Command::new(places::program()?)
        .args(["model", "import"])
        .arg(places::smollm2()?)
        .args(["--name", "smollm2-135m", "--data-dir"])
        .arg(data_dir)
        .status()?;
    ensure!(status.success(), "`hearth model import` ended with {status}");
    Ok(())
}

/// Mean loss on the answers, before and after.
fn losses(adapter: &Path, notes: &[Note]) -> Result<(f64, f64)> {
    let mut bundle = ModelBundle::load(&places::smollm2()?, &device::cpu(), &mut |_| ControlFlow::Continue(()))?;
    let examples: Vec<(u64, Example)> = (1..).zip(notes.iter().map(|note| Example::Chat(note.chat()))).collect();
    let sequences = data::encode(&examples, &bundle.voice(), 512)?;
    let passes = Batches::in_order(sequences, &TrainSpec::default()).all();
    let before = evaluate(&bundle.transformer, &passes).loss;
    peft::load(adapter, &mut bundle.transformer, &device::cpu())?;
    Ok((before, evaluate(&bundle.transformer, &passes).loss))
}

/// How many greedy answers are an object with exactly the keys `item` and `place`, both text.
async fn conform(server: &Server, model: &str, notes: &[Note]) -> Result<usize> {
    let mut count = 0;
    for note in notes {
        let messages = json!([{"role": "user", "content": note.text}]);
        let body = json!({"model": model, "temperature": 0, "max_tokens": 48, "messages": messages});
        let answer = server.post("/v1/chat/completions", &body).await?.expect(200)?;
        let text = answer["choices"][0]["message"]["content"].as_str().unwrap_or_default();
        let object = serde_json::from_str::<serde_json::Map<String, Value>>(text.trim()).unwrap_or_default();
        count += usize::from(
            object.len() == 2 && ["item", "place"].iter().all(|key| object.get(*key).is_some_and(Value::is_string)),
        );
    }
    Ok(count)
}
