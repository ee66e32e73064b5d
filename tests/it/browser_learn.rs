//! The learning path in a real browser: an exercise sees what was done in the lab beside it, refuses a wrong attempt with the reader's own
//! number, keeps a right one over a reload, a file and another language; and without a server the chapters are still there.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hearth_shared::learn::exercise::{Facts, Verdict, find};
use hearth_shared::learn::progress::Progress;
use hearth_tests::{Browser, Look, Server};
use serde_json::Value;
use thirtyfour::Key;

const PATIENCE: Duration = Duration::from_secs(120);
const FRAME: &str = "const frame = document.querySelector('.learn-lab iframe'), inside = frame.contentDocument;";
const EASY: &str = "quantize-eight";
/// The text that the sampling chapter begins with, as an address has it.
const SAMPLED: &str = "The%20old%20man%20and%20the%20sea.%20The%20old%20man%20and%20the";
const SAMPLED_READY: &str = "return document.querySelector('[data-lab=ready][data-runs=ready]') !== null";

async fn chapter(browser: &Browser, server: &Server, name: &str) -> Result<()> {
    browser.goto(&server.url(&format!("/learn/{name}"))).await?;
    ready(browser).await
}

/// The lab in the frame has something to judge.
async fn ready(browser: &Browser) -> Result<()> {
    browser.wait_within("return document.querySelector('iframe[data-frame=ready]') !== null", PATIENCE).await
}

/// Clicks a setting of the quantization lab in the frame.
async fn set(browser: &Browser, name: &str, value: &str) -> Result<()> {
    let click =
        format!("{FRAME} inside.querySelector(\"[data-setting={name}] [data-value='{value}']\").click(); return null");
    browser.eval::<Value>(&click).await?;
    Ok(())
}

async fn wait_for(browser: &Browser, exercise: &str, state: &str) -> Result<String> {
    let card = format!("[data-exercise={exercise}][data-state={state}]");
    browser.wait_within(&format!("return document.querySelector('{card}') !== null"), PATIENCE).await?;
    browser.eval(&format!("return document.querySelector('{card} .learn-answer').textContent.trim()")).await
}

/// What the exercise itself says of the state in the frame.
async fn judged(browser: &Browser, exercise: &str) -> Result<(bool, Facts)> {
    let json: String =
        browser.eval(&format!("{FRAME} return JSON.stringify(frame.contentWindow.__hearth.quantize)")).await?;
    let verdict = find(exercise).context("an exercise")?.judge(&json)?.context("a verdict")?;
    Ok((matches!(verdict, Verdict::Solved { .. }), verdict.facts().clone()))
}

async fn solved(browser: &Browser, count: usize) -> Result<()> {
    browser.wait(&format!("return document.querySelector('[data-solved]')?.dataset.solved === '{count}'")).await
}

/// An arrow key widens the text, and Enter takes that back.
async fn the_separator_moves(browser: &Browser) -> Result<()> {
    let share = "Number(document.querySelector('[role=separator]').getAttribute('aria-valuenow'))";
    let width = "document.querySelector('.learn-text').getBoundingClientRect().width";
    let (shared, wide): (f64, f64) = browser.eval(&format!("return [{share}, {width}]")).await?;
    browser.find("[role=separator]").await?.focus().await?;
    browser.press(Key::Right + "").await?;
    browser.wait(&format!("return {share} > {shared} && {width} > {wide} + 9")).await?;
    browser.press(Key::Enter + "").await?;
    browser.wait(&format!("return {share} === {shared} && {width} === {wide}")).await
}

/// On a phone the card is out of sight while the lab is in hand: a mark below the lab and a message say that it is solved.
async fn the_marks_beside_the_lab_say_so_and_lead_there(browser: &Browser) -> Result<()> {
    let standings =
        "return [...document.querySelectorAll('.learn-marks [data-mark]')].map(mark => mark.dataset.standing)";
    let standings: Vec<String> = browser.eval(standings).await?;
    ensure!(standings == ["solved", "tried"] || standings == ["solved", "untried"], "{standings:?}");
    ensure!(browser.count(".toast.good").await? == 1, "no message says so");
    // By script: the message may lie over it.
    browser.eval::<Value>(&format!("document.querySelector('[data-mark={EASY}]').click(); return null")).await?;
    browser.wait(&format!("return document.activeElement.id === 'exercise-{EASY}'")).await?;
    ensure!(
        browser.eval::<String>("return location.pathname").await? == "/learn/quantization",
        "the page went elsewhere"
    );
    let title: String = browser.eval("return document.title").await?;
    ensure!(title.starts_with("How few bits are enough · "), "the title is {title:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exercise_is_refused_solved_and_kept() -> Result<()> {
    let server = Server::start().await?;
    let browser = Browser::open(&Look { width: 1440, ..Look::desktop() }).await?;
    browser.goto(&server.url("/learn")).await?;
    browser.wait("return document.querySelectorAll('.learn-card').length === 7").await?;
    solved(&browser, 0).await?;
    browser.screenshot("learn-path").await?;
    browser.click(".learn-card[data-chapter=quantization]").await?;
    ready(&browser).await?;

    // The page in the frame has no rail, and its address keeps saying so.
    let bare: bool = browser.eval(&format!("{FRAME} return inside.querySelector('.rail') === null")).await?;
    ensure!(bare, "a rail in the frame");
    the_separator_moves(&browser).await?;
    ensure!(browser.count("[data-state=untried]").await? == 2, "something counts as tried before anything was done");

    // A wrong attempt: 4 bits, however they share a scale.
    set(&browser, "grain", "row").await?;
    let answer = wait_for(&browser, EASY, "tried").await?;
    let (right, facts) = judged(&browser, EASY).await?;
    ensure!(!right && answer.contains(&facts["rise"]), "{answer:?} does not say {facts:?}");
    ensure!(answer.contains(&facts["asked"]), "{answer:?} does not say what is asked for: {facts:?}");
    let hint = format!("return document.querySelector('[data-exercise={EASY}] .learn-hint').hidden === false");
    browser.wait(&hint).await?;
    browser.screenshot("learn-refused").await?;

    set(&browser, "bits", "8").await?;
    let answer = wait_for(&browser, EASY, "solved").await?;
    let (right, facts) = judged(&browser, EASY).await?;
    ensure!(right && answer.contains(&facts["size"]), "{answer:?} does not say {facts:?}");
    the_marks_beside_the_lab_say_so_and_lead_there(&browser).await?;
    let address: String = browser.eval(&format!("{FRAME} return inside.location.search")).await?;
    ensure!(address.contains("embed=1"), "the frame is at {address}");
    browser.screenshot("learn-solved").await?;

    browser.reload().await?;
    let kept = wait_for(&browser, EASY, "solved").await?;
    ensure!(kept == answer, "{kept:?} was {answer:?}");
    let complaints = browser.severe_messages().await?;
    ensure!(complaints.is_empty(), "{complaints:?}");
    browser.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn links_set_the_lab_and_another_language_leaves_it_alone() -> Result<()> {
    let server = Server::start().await?;
    let browser = Browser::open(&Look { width: 1440, ..Look::desktop() }).await?;
    chapter(&browser, &server, "quantization").await?;
    browser.click("a.learn-try[href*='grain=block']").await?;
    let there = format!("{FRAME} return inside.location.search.includes('grain=block')");
    browser.wait_within(&there, PATIENCE).await?;
    browser.wait_within(&format!("{FRAME} return inside.querySelector('[data-lab=ready]') !== null"), PATIENCE).await?;
    ensure!(browser.eval::<String>("return location.pathname").await? == "/learn/quantization", "the page went along");

    browser.eval::<Value>(&format!("{FRAME} frame.contentWindow.marked = true; return null")).await?;
    browser.click(".switch[lang=zh]").await?;
    browser.wait("return document.querySelector('.learn-title h1').textContent === '几个比特才够用'").await?;
    browser.wait_within(&format!("{FRAME} return inside.documentElement.lang === 'zh'"), PATIENCE).await?;
    let same: bool = browser.eval(&format!("{FRAME} return frame.contentWindow.marked === true")).await?;
    ensure!(same, "another language loads the lab anew");

    // To the next chapter, which has another lab or none, and to the one before.
    browser.click("[data-to=behind]").await?;
    browser.wait("return document.querySelector('.learn-jobs') !== null").await?;
    browser.click("[data-to=before]").await?;
    ready(&browser).await?;
    browser.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_goes_into_a_file_and_comes_back() -> Result<()> {
    let server = Server::start().await?;
    let browser = Browser::open(&Look::desktop()).await?;
    let folder = tempfile::tempdir()?;
    browser.save_into(folder.path()).await?;
    let mut progress = Progress::default();
    progress.solve(EASY, Facts::from([("size".to_owned(), "25.3".to_owned())]));
    let brought = folder.path().join("brought.json");
    fs::write(&brought, progress.to_file())?;

    browser.goto(&server.url("/learn")).await?;
    solved(&browser, 0).await?;
    browser.choose_file("[data-action=import]", &brought).await?;
    solved(&browser, 1).await?;
    browser.click("[data-action=export]").await?;
    let saved = folder.path().join("hearth-learning.json");
    for round in 0.. {
        if saved.exists() {
            break;
        }
        ensure!(round < 300, "nothing was saved");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    ensure!(Progress::from_file(&fs::read_to_string(&saved)?)?.solved == progress.solved);

    // A file of something else, and one that is far too large, change nothing.
    let foreign = folder.path().join("foreign.json");
    for content in ["{\"🔥\": 1}".to_owned(), "x".repeat(10_000_000)] {
        fs::write(&foreign, content)?;
        browser.choose_file("[data-action=import]", &foreign).await?;
        browser.wait("return document.querySelector('.toast.bad') !== null").await?;
        browser.click(".toast.bad .icon-button").await?;
    }
    solved(&browser, 1).await?;

    // Beginning anew asks, and can be undone.
    browser.click("[data-action=reset]").await?;
    browser.click(".dialog .button.danger").await?;
    solved(&browser, 0).await?;
    browser.click(".toast-action").await?;
    solved(&browser, 1).await?;
    browser.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chapters_come_back_without_a_server() -> Result<()> {
    let mut server = Server::start().await?;
    let browser = Browser::open(&Look::desktop()).await?;
    chapter(&browser, &server, "quantization").await?;
    let kept = "caches.keys().then(names => Promise.all(names.map(name => caches.open(name).then(c => c.keys()))))
        .then(all => all.flat().map(k => k.url))
        .then(urls => done([/\\/learn\\/zh\\/cache\\.md$/, /\\.safetensors$/].every(part => urls.some(u => part.test(u)))))";
    for round in 0.. {
        if browser.eval_async::<bool>(kept).await? {
            break;
        }
        ensure!(round < 300, "chapters and model are never kept");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    server.kill()?;
    chapter(&browser, &server, "quantization").await?;
    // A chapter that the first visit never opened.
    browser.goto(&server.url("/learn/cache")).await?;
    browser.wait_within("return document.querySelectorAll('.learn-exercise').length === 3", PATIENCE).await?;
    browser.close().await
}

/// What an exercise says of the lab's state in the browser: the name of a line, or `solved`.
fn ensure_said(id: &str, query: &str, state: &str, wanted: &str) -> Result<()> {
    let verdict = find(id).context("an exercise")?.judge(state)?.context("a verdict")?;
    let said = match &verdict {
        Verdict::Missing { line, .. } => line,
        Verdict::Solved { .. } => "solved",
    };
    ensure!(said == wanted, "{query}: {id} says {verdict:?}, not {wanted}");
    Ok(())
}

/// The models are what they are: which of these exercises they solve, and how, is measured and not arranged.
#[tokio::test(flavor = "multi_thread")]
async fn the_exercises_of_position_and_sampling_can_be_solved_and_not_by_anything() -> Result<()> {
    let server = Server::start().await?;
    let browser = Browser::open(&Look::desktop()).await?;
    for (query, beyond, stretched) in [
        ("", "lost", "plain"),
        ("hidden=learned.sinusoidal.rope", "solved", "plain"),
        ("hidden=learned.sinusoidal.alibi&scaling=linear", "lost", "beyond"),
        ("hidden=learned.sinusoidal.alibi&scaling=ntk", "lost", "solved"),
    ] {
        browser.goto(&server.url(&format!("/lab/position?engine=cpu&{query}"))).await?;
        browser.wait_within("return document.querySelector('[data-lab=ready]') !== null", PATIENCE).await?;
        let state: String = browser.eval("return JSON.stringify(window.__hearth.position)").await?;
        ensure_said("position-beyond", query, &state, beyond)?;
        ensure_said("position-stretched", query, &state, stretched)?;
    }
    for (query, few, sharp, one) in [
        // As the chapter opens the lab: nobody has solved anything yet.
        ("", "many", "cut", "apart"),
        ("&temperature=1&top_k=0&top_p=1&min_p=0&penalty=1", "many", "flat", "apart"),
        ("&temperature=1&top_k=5&top_p=1&min_p=0&penalty=1", "little", "cut", "apart"),
        ("&temperature=0&runs=3", "little", "cut", "cold"),
        ("&temperature=1&top_k=1&runs=3", "little", "cut", "short"),
        ("&temperature=0.3&top_k=0&top_p=1&min_p=0&penalty=1", "many", "solved", "cold"),
        ("&temperature=1.5&top_k=1", "little", "cut", "solved"),
        ("&temperature=1&top_k=0&penalty=1&text=The%20people%20of%20the%20United", "solved", "cut", "apart"),
    ] {
        browser.goto(&server.url(&format!("/lab/sampling?engine=cpu&text={SAMPLED}&depth=1{query}"))).await?;
        browser.wait_within(SAMPLED_READY, PATIENCE).await?;
        let state: String = browser.eval("return JSON.stringify(window.__hearth.sampling)").await?;
        ensure_said("sampling-few", query, &state, few)?;
        ensure_said("sampling-sharp", query, &state, sharp)?;
        ensure_said("sampling-one", query, &state, one)?;
    }
    browser.close().await
}
