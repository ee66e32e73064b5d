//! The tokenizer lab in a real browser: its cut is the tokenizer's own, the last merge ends there too, and a vocabulary that is
//! learned in the tab is the one that the native trainer learns.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hearth_model::tokenizer::bpe::{BpeSpec, read_folder, train};
use hearth_model::tokenizer::{Special, Tokenizer};
use hearth_shared::lab::words::{MIN_FREQUENCY, MOST_CHARACTERS, PARALLEL};
use hearth_tests::{Browser, Look, Server, places};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);
const MIXED: &str = "The whale 却说曹操引大军杀来。\n\tx += 3.14;  يقطع النص 👩‍🚀👍🏽 <|im_end|>";
const SIZE: usize = 400;

fn address(text: &str, rest: &str) -> String {
    let text: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("/lab/tokenizer?text={text}{rest}")
}

async fn ready(browser: &Browser) -> Result<Value> {
    browser.wait_within("return document.querySelector('[data-lab=ready]') !== null", PATIENCE).await?;
    published(browser).await
}

async fn published(browser: &Browser) -> Result<Value> {
    let text: String = browser.eval("return JSON.stringify(window.__hearth.words)").await?;
    Ok(serde_json::from_str(&text)?)
}

fn ids(value: &Value) -> Result<Vec<u32>> {
    let ids = value.as_array().context("a list of ids")?.iter();
    ids.map(|id| Ok(u32::try_from(id.as_u64().context("an id")?)?)).collect()
}

/// The bytes of a token's text in `tokenizer.json`, in hexadecimal as the page publishes them.
fn hex(tokenizer: &Tokenizer, text: &Value) -> Result<String> {
    let id = text.as_str().and_then(|text| tokenizer.id_of(text)).context("a merge of known tokens")?;
    let bytes = tokenizer.decode_bytes(id);
    Ok(bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(" "))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tab_cuts_and_merges_as_the_tokenizer_does() -> Result<()> {
    let server = Server::start().await?;
    let browser = Browser::open(&Look::desktop()).await?;
    let nano = read_folder(&places::nano())?;
    browser.goto(&server.url(&address(MIXED, "&step=0"))).await?;
    let page = ready(&browser).await?;
    let expected = nano.encode(MIXED, Special::Plain);
    let row = &page["vocabularies"][0];
    ensure!(ids(&row["ids"])? == expected, "{row}");
    ensure!(row["exact"] == true && row["name"] == "hearth-nano", "{row}");
    ensure!(page["bytes"] == MIXED.len() && page["characters"] == MIXED.chars().count(), "{page}");

    // At the start there are bytes; one step joins the pair of the best rank; the last is the tokenizer's cut.
    let merging = &page["merging"];
    ensure!(merging["step"] == 0, "{merging}");
    ensure!(ids(&merging["pieces"])?.len() == MIXED.len(), "the walk begins with bytes");
    browser.click("[data-walk=forward]").await?;
    browser.wait("return window.__hearth.words.merging.step === 1").await?;
    let first = published(&browser).await?["merging"].clone();
    ensure!(ids(&first["pieces"])?.len() < MIXED.len() && first["rank"].is_u64(), "{first}");
    browser.click("[data-walk=last]").await?;
    browser.wait("const m = window.__hearth.words.merging; return m.step === m.steps && m.steps > 5").await?;
    let last = published(&browser).await?["merging"].clone();
    ensure!(ids(&last["pieces"])? == expected, "{last}");
    ensure!(last["equal"] == true && browser.count("[data-equal=true]").await? == 1, "{last}");

    // Languages cost what the tokenizer says.
    let english = nano.encode(PARALLEL[0].text, Special::Plain).len() as f64;
    for (language, cost) in PARALLEL.iter().zip(page["costs"][0]["costs"].as_array().context("costs")?) {
        let tokens = nano.encode(language.text, Special::Plain).len();
        ensure!(cost["tokens"] == tokens && cost["language"] == language.code, "{cost}");
        let relative = cost["relative"].as_f64().context("a number")?;
        ensure!((relative - tokens as f64 / english).abs() < 1e-9, "{cost}");
    }

    // What it shows can be taken away as a picture.
    let folder = tempfile::tempdir()?;
    browser.save_into(folder.path()).await?;
    browser.click("[data-action=picture]").await?;
    let picture = browser.saved(&folder.path().join("hearth-tokens.png")).await?;
    std::fs::write(places::output("words-picture.png")?, &picture)?;
    ensure!(picture.starts_with(b"\x89PNG") && picture.len() > 8_000, "{} bytes of no picture", picture.len());

    // The same text with its control token read as one.
    browser.goto(&server.url(&address(MIXED, "&special=1"))).await?;
    let page = ready(&browser).await?;
    let parsed = nano.encode(MIXED, Special::Parse);
    ensure!(parsed != expected && ids(&page["vocabularies"][0]["ids"])? == parsed, "{page}");
    ensure!(page["merging"]["equal"] == true, "{page}");
    let complaints = browser.severe_messages().await?;
    ensure!(complaints.is_empty(), "{complaints:?}");
    browser.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vocabulary_learned_in_the_tab_is_the_native_one() -> Result<()> {
    let server = Server::start().await?;
    let browser = Browser::open(&Look::desktop()).await?;
    browser.goto(&server.url(&address(MIXED, &format!("&size={SIZE}")))).await?;
    ready(&browser).await?;
    browser.click("[data-action=learn]").await?;
    let learned = "const w = window.__hearth.words;
        return w.learned.length === 1 && w.vocabularies.length === 2 && document.querySelector('[data-lab=ready]') !== null";
    browser.wait_within(learned, PATIENCE).await?;
    let page = published(&browser).await?;
    browser.screenshot("words-learned").await?;

    let heldout = std::fs::read_to_string(places::nano().join("heldout.jsonl"))?;
    let lines: Vec<Value> = heldout.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let texts: Vec<&str> = lines.iter().filter_map(|line| line["text"].as_str()).collect();
    let spec = BpeSpec { vocab_size: SIZE, special_tokens: Vec::new(), min_frequency: MIN_FREQUENCY };
    let json = train(texts.iter(), &spec)?;
    let native = Tokenizer::from_hf(&json, None)?;
    let file: Value = serde_json::from_slice(&json)?;
    let ours = page["learned"][0]["merges"].as_array().context("merges")?;
    let theirs = file["model"]["merges"].as_array().context("merges")?;
    ensure!(ours.len() == theirs.len() && ours.len() == SIZE - 256, "{} and {} merges", ours.len(), theirs.len());
    for (rank, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        let pair = [hex(&native, &theirs[0])?, hex(&native, &theirs[1])?];
        ensure!(ours[0] == pair[0] && ours[1] == pair[1], "merge {rank} is {ours}, natively {pair:?}");
        ensure!(ours[2].as_u64() >= Some(MIN_FREQUENCY), "{ours}");
    }
    // It stands beside the model's vocabulary, and in the stepper.
    ensure!(ids(&page["vocabularies"][1]["ids"])? == native.encode(MIXED, Special::Plain), "{page}");
    ensure!(page["merging"]["name"] == page["learned"][0]["name"] && page["merging"]["equal"] == true, "{page}");

    // From the person's own text, which is too short for so many merges.
    browser.click("[data-texts=own]").await?;
    browser.click("[data-action=learn]").await?;
    browser.wait_within("return window.__hearth.words.learned.length === 2", PATIENCE).await?;
    let page = published(&browser).await?;
    let few = page["learned"][1]["merges"].as_array().context("merges")?.len();
    ensure!(few > 0 && few < 60, "{few} merges of one sentence");

    // From a file: of another model nothing else is needed. It is in this tab only, so no link names it.
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("other.json");
    std::fs::write(&file, &json)?;
    browser.choose_file("[data-action=bring]", &file).await?;
    let brought = "return window.__hearth.words.vocabularies.some(row => row.name === 'other' && row.ids)";
    browser.wait_within(brought, PATIENCE).await?;
    let page = ready(&browser).await?;
    let rows = page["vocabularies"].as_array().context("vocabularies")?;
    let row = rows.iter().find(|row| row["name"] == "other").context("the file's vocabulary")?;
    ensure!(ids(&row["ids"])? == native.encode(MIXED, Special::Plain), "{row}");
    let address: String = browser.eval("return location.search").await?;
    ensure!(!address.contains("other"), "{address}");
    std::fs::write(&file, "{\"hidden_size\": 128}")?;
    browser.choose_file("[data-action=bring]", &file).await?;
    browser.wait("return document.querySelector('.toast.bad')?.textContent.includes('other.json')").await?;
    std::fs::write(&file, r#"{"model": {"type": "BPE", "vocab": {}, "merges": []}}"#)?;
    browser.choose_file("[data-action=bring]", &file).await?;
    let empty =
        "return [...document.querySelectorAll('.toast.bad')].some(toast => toast.textContent.includes('empty'))";
    browser.wait(empty).await?;

    // What does not load, and what is not there, is said in the reader's language.
    std::fs::write(&file, r#"{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]]}}"#)?;
    browser.choose_file("[data-action=bring]", &file).await?;
    browser.wait_within("return document.querySelector('.words-rows .notice.bad') !== null", PATIENCE).await?;
    let said = browser.text(".words-rows .notice.bad p").await?;
    ensure!(said.starts_with("This tokenizer does not load:") && said.len() > 35, "{said}");
    browser.goto(&server.url(&self::address("a", "&vocabulary=nope"))).await?;
    browser.wait_within("return document.querySelector('.words-rows .notice.bad') !== null", PATIENCE).await?;
    browser.click(".switch[lang=zh]").await?;
    browser.text_when(".words-rows .notice.bad p", PATIENCE, |said| said == "这里没有这个名字的模型。").await?;
    browser.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_that_are_empty_or_huge_are_said_to_be() -> Result<()> {
    let server = Server::start().await?;
    let browser = Browser::open(&Look::desktop()).await?;
    browser.goto(&server.url("/lab/tokenizer")).await?;
    ready(&browser).await?;
    // A link has the first text too: who opens it may read another language.
    browser.click("[data-action=link]").await?;
    browser.wait("return new URLSearchParams(location.search).get('text')?.length > 5").await?;
    let write = |text: &str| {
        format!(
            "const area = document.getElementById('lab-text');
             area.value = {text}; area.dispatchEvent(new Event('input', {{bubbles: true}})); return null"
        )
    };
    browser.eval::<Value>(&write("''")).await?;
    browser.wait_within("return window.__hearth.words.vocabularies[0].ids.length === 0", PATIENCE).await?;
    // Ten million characters, controls and lone marks among them.
    browser.eval::<Value>(&write("'a\\u0000\\u0301字\\u200f👍'.repeat(1500000)")).await?;
    let kept = format!("return window.__hearth.words.characters === {MOST_CHARACTERS}");
    browser.wait_within(&kept, PATIENCE).await?;
    let page = ready(&browser).await?;
    ensure!(page["vocabularies"][0]["exact"] == true, "the cut text is cut byte for byte");
    ensure!(browser.count(".lab-cut").await? == 1, "the page says what it kept");
    let held: usize = browser.eval("return [...document.getElementById('lab-text').value].length").await?;
    ensure!(held == MOST_CHARACTERS, "the box holds {held} characters");
    browser.click("[data-action=reset]").await?;
    browser.wait("return document.querySelector('.lab-cut') === null").await?;
    // Without a vocabulary there is nothing to show, and the page says so.
    browser.click("input[name=vocabulary]:checked").await?;
    browser.wait_within("return document.querySelector('.words-unchosen') !== null", PATIENCE).await?;
    browser.close().await
}
