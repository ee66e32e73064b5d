//! Fetching a model from the home page: the bar moves, Cancel ends it, nothing is left, and it can be begun again. The hub is one of our
//! own that hangs half-way.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Result, ensure};
use hearth_tests::{Browser, Look, Server, ServerOptions};
use serde_json::json;

/// Of each file.
const BYTES: usize = 4_000_000;
/// What comes before the hub hangs.
const FIRST: usize = 1_000_000;
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers every question for a file's size, begins every transfer and finishes none. Its address.
fn hanging_hub() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            std::thread::spawn(move || {
                // The other side hangs up when it has had enough.
                let _ = answer(socket);
            });
        }
    });
    Ok(format!("http://{address}"))
}

fn answer(mut socket: TcpStream) -> Result<()> {
    let mut lines = BufReader::new(socket.try_clone()?).lines();
    let question = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    write!(socket, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {BYTES}\r\n\r\n")?;
    if question.starts_with("GET") {
        socket.write_all(&vec![7; FIRST])?;
        socket.flush()?;
        std::thread::sleep(PATIENCE * 2);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_can_be_watched_and_cancelled() -> Result<()> {
    let environment = vec![("HF_ENDPOINT".into(), hanging_hub()?.into())];
    let server = Server::start_with(ServerOptions { environment, ..ServerOptions::default() }).await?;
    let browser = Browser::open(&Look::desktop()).await?;
    browser.goto(&server.url("/")).await?;
    for round in 0..2 {
        browser.find_within(".offer .button.primary", PATIENCE).await?;
        browser.click(".offer .button.primary").await?;
        browser.text_when(".pull p", PATIENCE, |text| text.contains("MB of 20")).await?;
        browser.find(".offer [role=progressbar]").await?;
        browser.screenshot(&format!("pull-{round}")).await?;
        browser.click(".offer .model-actions .button").await?;
        browser.wait_within("return document.querySelector('.pull') === null", PATIENCE).await?;
        let pulls = server.get("/v1/hearth/pulls").await?.expect(200)?;
        ensure!(pulls["data"][0]["state"] == "cancelled", "{pulls}");
    }
    ensure!(browser.count(".pull-error").await? == 0, "a download that was cancelled is called a failure");
    let models = server.get("/v1/models").await?.expect(200)?;
    ensure!(models["data"].as_array().is_some_and(|models| models.len() == 1), "{models}");
    ensure!(server.get("/v1/hearth/pullable").await?.expect(200)?["data"][0]["present"] == json!(false));
    browser.close().await?;
    Ok(())
}
