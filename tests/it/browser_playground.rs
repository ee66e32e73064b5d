//! The playground keeps what was said: over a reload, with two models, and with an answer that was still being written. A new chat puts it
//! away, and can be undone. Its settings begin calm and stay as they were set. At a phone's width nothing is wider than the window.

use anyhow::{Result, ensure};
use hearth_tests::{Browser, Look, Server};
use serde_json::{Value, json};

use crate::jobs_tuning::chats;

const TWO: &str = "/playground?model=hearth-nano&other=hearth-nano";

/// With `held` in the tab's storage, an answer begins and never ends.
const HOLD: &str = r#"
    const plain = window.fetch;
    window.fetch = (request, ...rest) => {
        const held = String(request.url ?? request).endsWith('/v1/chat/completions') && sessionStorage.held;
        if (!held) return plain(request, ...rest);
        const chunk = { id: 'c', object: 'chat.completion.chunk', created: 0, model: 'hearth-nano',
            choices: [{ index: 0, delta: { content: 'Half an' }, finish_reason: null }] };
        const start = (stream) => stream.enqueue(new TextEncoder().encode(`data: ${JSON.stringify(chunk)}\n\n`));
        const headers = { 'content-type': 'text/event-stream' };
        return Promise.resolve(new Response(new ReadableStream({ start }), { headers }));
    };"#;

async fn run(browser: &Browser, script: &str) -> Result<()> {
    browser.eval::<Value>(&format!("{script}; return null")).await?;
    Ok(())
}

async fn say(browser: &Browser, prompt: &str) -> Result<()> {
    browser.fill(".composer-input", prompt).await?;
    browser.click(".composer-button").await
}

/// Every answer there is has ended, and there are so many.
async fn answered(browser: &Browser, count: usize) -> Result<()> {
    let script = format!(
        "const all = [...document.querySelectorAll('.answer')];
         return all.length === {count} && all.every(answer => answer.getAttribute('aria-busy') === 'false')"
    );
    browser.wait(&script).await
}

async fn texts(browser: &Browser) -> Result<Vec<String>> {
    browser.eval("return [...document.querySelectorAll('.prompt p, .answer-text')].map(part => part.textContent)").await
}

async fn exchanges(browser: &Browser, count: usize) -> Result<()> {
    browser.wait(&format!("return document.querySelectorAll('.exchange').length === {count}")).await
}

async fn setting(browser: &Browser, name: &str) -> Result<String> {
    browser.wait(&format!("return document.querySelector('[name={name}]') !== null")).await?;
    browser.eval(&format!("return document.querySelector('[name={name}]').value")).await
}

async fn set(browser: &Browser, name: &str, value: &str) -> Result<()> {
    let script = format!(
        "const input = document.querySelector('[name={name}]'); input.value = '{value}';
         input.dispatchEvent(new Event('change', {{ bubbles: true }}))"
    );
    run(browser, &script).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_outlives_a_reload_and_a_new_chat_can_be_undone() -> Result<()> {
    let server = Server::start().await?;
    let browser = Browser::open(&Look::desktop()).await?;
    browser.before_pages(HOLD).await?;
    browser.goto(&server.url(TWO)).await?;
    say(&browser, "What is red plum number 3?").await?;
    answered(&browser, 2).await?;
    set(&browser, "temperature", "0.55").await?;
    let said = texts(&browser).await?;
    ensure!(said.len() == 3, "{said:?}");
    browser.reload().await?;
    answered(&browser, 2).await?;
    ensure!(texts(&browser).await? == said, "another conversation after a reload");
    ensure!(setting(&browser, "temperature").await? == "0.55");

    // Without models in the address, who sat there last sits there.
    browser.goto(&server.url("/playground")).await?;
    browser.wait("return document.querySelectorAll('.seats-models select').length === 2").await?;
    answered(&browser, 2).await?;

    // A reload in the middle of an answer.
    run(&browser, "sessionStorage.held = 'yes'").await?;
    say(&browser, "And number 4?").await?;
    let begun = "const all = [...document.querySelectorAll('.answer.busy .answer-text')];
        return all.length === 2 && all.every(text => text.textContent === 'Half an')";
    browser.wait(begun).await?;
    browser.reload().await?;
    answered(&browser, 4).await?;
    let last = ".exchange:last-child";
    let kept: Vec<String> = browser
        .eval(&format!("return [...document.querySelectorAll('{last} .answer-text')].map(t => t.textContent)"))
        .await?;
    ensure!(kept == ["Half an", "Half an"], "{kept:?}");
    ensure!(browser.text(&format!("{last} .badge")).await? == "Stopped", "it does not say that it was stopped");
    browser.screenshot("playground-kept").await?;

    browser.click("[data-act=new-chat]").await?;
    exchanges(&browser, 0).await?;
    browser.click(".toast-action").await?;
    exchanges(&browser, 2).await?;
    browser.click("[data-act=new-chat]").await?;
    browser.reload().await?;
    browser.find(".beginning").await?;
    exchanges(&browser, 0).await?;

    // What nobody can read is passed over.
    run(
        &browser,
        "sessionStorage.setItem('hearth.conversation', '{\"version\":1,\"turns\":[{'); delete sessionStorage.held",
    )
    .await?;
    browser.reload().await?;
    browser.find(".beginning").await?;
    say(&browser, "Hello").await?;
    answered(&browser, 1).await?;
    let complaints = browser.severe_messages().await?;
    ensure!(complaints.is_empty(), "{complaints:?}");
    browser.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_settings_begin_calm_and_what_an_earlier_page_stored_is_no_choice() -> Result<()> {
    let server = Server::start().await?;
    let browser = Browser::open(&Look::desktop()).await?;
    let old = json!({"system": "", "temperature": 0.7, "top_p": 0.95, "top_k": 0.0, "min_p": 0.0,
        "repetition_penalty": 1.1, "max_tokens": 300.0, "seed": null});
    browser.before_pages(&format!("localStorage['hearth.sampling'] ??= JSON.stringify({old})")).await?;
    browser.goto(&server.url("/playground")).await?;
    ensure!(setting(&browser, "temperature").await? == "0.30" && setting(&browser, "top_p").await? == "0.90");
    ensure!(browser.text(".settings > .hint").await?.contains("0.9"), "no word on why");
    browser.wait("return JSON.parse(localStorage['hearth.sampling']).version === 2").await?;
    let kept: Value = browser.eval("return JSON.parse(localStorage['hearth.sampling'])").await?;
    ensure!(kept["max_tokens"] == 300.0 && kept["temperature"].is_null(), "{kept}");
    // Set by the person, even to what once was the default.
    set(&browser, "temperature", "0.7").await?;
    browser.wait("return JSON.parse(localStorage['hearth.sampling']).temperature === 0.7").await?;
    browser.reload().await?;
    ensure!(setting(&browser, "temperature").await? == "0.70");
    browser.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_wider_than_a_dark_phone() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Server::start().await?;
    let look = Look { width: 375, ..Look::phone() }.dark();
    let browser = Browser::open(&look).await?;
    let narrow = async |what: &str| -> Result<()> {
        browser.screenshot(&format!("narrow-{what}")).await?;
        let width: u32 = browser.eval("return document.documentElement.scrollWidth").await?;
        ensure!(width <= look.width + 1, "{what} is {width} wide");
        Ok(())
    };
    browser.goto(&server.url(TWO)).await?;
    say(&browser, &"unbroken".repeat(30)).await?;
    answered(&browser, 2).await?;
    narrow("conversation").await?;
    let bad = folder.path().join("bad.jsonl");
    std::fs::write(&bad, format!("{}{{\"messages\": []}}\n", chats(4)))?;
    browser.goto(&server.url("/fine-tune/new")).await?;
    browser.find("label.button").await?;
    browser.choose_file("input[type=file]", &bad).await?;
    browser.find(".report-verdict.bad").await?;
    narrow("report").await?;
    browser.close().await
}
