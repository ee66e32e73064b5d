//! The harness itself: a browser opens a page in the size, language and colour scheme asked for, with and without WebGPU.

use anyhow::Result;
use hearth_tests::{Browser, Look};
use serde_json::{Value, json};

/// A page that needs no server.
const PAGE: &str = "data:text/html,<!doctype html><title>t</title><meta name=viewport content='width=device-width'>\
    <input id=name><button id=go onclick=\"out.textContent=document.getElementById('name').value\">go</button><p id=out>none</p>";

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_in_the_dark_speaks_chinese() -> Result<()> {
    let look = Look::phone().dark().language("zh-CN");
    let browser = Browser::open(&look).await?;
    browser.goto(PAGE).await?;
    let seen: Value = browser
        .eval(
            "return [innerWidth, devicePixelRatio, navigator.language, \
             matchMedia('(prefers-color-scheme: dark)').matches, !!navigator.maxTouchPoints]",
        )
        .await?;
    assert_eq!(seen, json!([390, 2, "zh-CN", true, true]));
    browser.fill("#name", "壁炉").await?;
    browser.click("#go").await?;
    assert_eq!(browser.text("#out").await?, "壁炉");
    let picture = browser.screenshot("harness-phone-dark").await?;
    assert!(picture.metadata()?.len() > 1000);
    browser.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn webgpu_is_the_software_adapter_and_only_when_asked_for() -> Result<()> {
    let script = "const give = (value) => done(value); \
        if (!navigator.gpu) give('none'); else navigator.gpu.requestAdapter().then(a => give(a ? a.info.architecture : 'none'), e => give(String(e)))";
    // Only a secure context has WebGPU, so the page comes from the loopback address.
    let server = hearth_tests::Server::start().await?;
    let with = Browser::open(&Look::desktop().webgpu()).await?;
    with.goto(&server.url("/healthz")).await?;
    assert_eq!(with.eval_async::<String>(script).await?, "swiftshader");
    with.close().await?;
    let without = Browser::open(&Look::desktop()).await?;
    without.goto(&server.url("/healthz")).await?;
    assert_eq!(without.eval_async::<String>(script).await?, "none");
    without.close().await
}
