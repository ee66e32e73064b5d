//! A real Chromium, driven through chromedriver: phone or desktop, light or dark, in a language, with or without WebGPU.
//!
//! WebGPU runs on a software adapter here, so tests that use it must be tiny.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::prelude::*;
use thirtyfour::{ChromeCapabilities, LoggingPrefsLogLevel};

use crate::places;

/// Names under which systems install Chromium; `xtask/src/setup/chromium.rs` looks for the same.
const BROWSERS: [&str; 5] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
/// How long the driver may take to start.
const DRIVER_LIMIT: Duration = Duration::from_secs(30);
/// How long [`Browser::wait`] waits unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the page sees of its surroundings.
#[derive(Clone, Debug)]
pub struct Look {
    /// CSS pixels.
    pub width: u32,
    /// CSS pixels.
    pub height: u32,
    /// Touch, mobile viewport, two device pixels for each CSS pixel.
    pub phone: bool,
    pub dark: bool,
    /// As in `Accept-Language`: `en`, `zh-CN`.
    pub language: String,
    /// Switches WebGPU on, with the software adapter.
    pub webgpu: bool,
}

impl Look {
    /// A desktop window, light, English, without WebGPU.
    pub fn desktop() -> Self {
        Self { width: 1280, height: 900, phone: false, dark: false, language: "en".to_owned(), webgpu: false }
    }

    /// A phone held upright.
    pub fn phone() -> Self {
        Self { width: 390, height: 844, phone: true, ..Self::desktop() }
    }

    pub fn dark(mut self) -> Self {
        self.dark = true;
        self
    }

    pub fn language(mut self, language: &str) -> Self {
        language.clone_into(&mut self.language);
        self
    }

    pub fn webgpu(mut self) -> Self {
        self.webgpu = true;
        self
    }
}

/// One browser window with a fresh profile. Dropping it ends the driver, and with it the browser.
pub struct Browser {
    driver: Option<WebDriver>,
    process: Child,
    _profile: TempDir,
}

impl Browser {
    /// Starts chromedriver and Chromium.
    pub async fn open(look: &Look) -> Result<Self> {
        let profile = tempfile::Builder::new().prefix("hearth-chromium").tempdir()?;
        let (process, port) = start_driver()?;
        let mut browser = Self { driver: None, process, _profile: profile };
        let capabilities = capabilities(look, browser._profile.path())?;
        hearth::tls::install();
        let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), capabilities)
            .await
            .context("chromedriver could not start Chromium")?;
        driver.set_script_timeout(Duration::from_secs(300)).await?;
        browser.driver = Some(driver);
        browser.show_as(look).await?;
        Ok(browser)
    }

    /// The WebDriver session, for what the short forms below do not do.
    pub fn driver(&self) -> Result<&WebDriver> {
        self.driver.as_ref().context("the browser is open")
    }

    /// Changes size and colour scheme of the open window.
    pub async fn show_as(&self, look: &Look) -> Result<()> {
        let devtools = self.driver()?.cdp();
        devtools
            .send_raw(
                "Emulation.setDeviceMetricsOverride",
                json!({"width": look.width, "height": look.height, "mobile": look.phone,
                       "deviceScaleFactor": if look.phone { 2 } else { 1 }}),
            )
            .await?;
        devtools.send_raw("Emulation.setTouchEmulationEnabled", json!({"enabled": look.phone})).await?;
        let scheme = if look.dark { "dark" } else { "light" };
        devtools
            .send_raw(
                "Emulation.setEmulatedMedia",
                json!({"features": [
                    {"name": "prefers-color-scheme", "value": scheme},
                    {"name": "prefers-reduced-motion", "value": "reduce"}]}),
            )
            .await?;
        Ok(())
    }

    /// Runs a script in every page opened from now on, before the page's own.
    pub async fn before_pages(&self, script: &str) -> Result<()> {
        let parameters = json!({"source": script});
        self.driver()?.cdp().send_raw("Page.addScriptToEvaluateOnNewDocument", parameters).await?;
        Ok(())
    }

    pub async fn goto(&self, url: &str) -> Result<()> {
        self.driver()?.goto(url).await?;
        Ok(())
    }

    pub async fn reload(&self) -> Result<()> {
        self.driver()?.refresh().await?;
        Ok(())
    }

    /// Whether the network is there.
    pub async fn offline(&self, offline: bool) -> Result<()> {
        let devtools = self.driver()?.cdp();
        devtools.send_raw("Network.enable", json!({})).await?;
        devtools
            .send_raw(
                "Network.emulateNetworkConditions",
                json!({"offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}),
            )
            .await?;
        Ok(())
    }

    /// The first element of a CSS selector, as soon as it is shown.
    pub async fn find(&self, css: &str) -> Result<WebElement> {
        self.find_within(css, PATIENCE).await
    }

    /// As [`Browser::find`] with a limit of its own.
    pub async fn find_within(&self, css: &str, limit: Duration) -> Result<WebElement> {
        let started = Instant::now();
        loop {
            if let Ok(element) = self.driver()?.find(By::Css(css)).await
                && element.is_displayed().await.unwrap_or(false)
            {
                return Ok(element);
            }
            if started.elapsed() > limit {
                return Err(self.complain(&format!("{css} does not show")).await);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// How many elements match now.
    pub async fn count(&self, css: &str) -> Result<usize> {
        Ok(self.driver()?.find_all(By::Css(css)).await?.len())
    }

    /// Clicks an element once it is shown. A page that re-renders under the pointer gets another try.
    pub async fn click(&self, css: &str) -> Result<()> {
        let started = Instant::now();
        loop {
            let element = self.find(css).await?;
            let _ = element.scroll_into_view().await;
            match element.click().await {
                Ok(()) => return Ok(()),
                Err(error) if started.elapsed() > PATIENCE => {
                    return Err(self.complain(&format!("cannot click {css}: {error}")).await);
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Replaces the content of a text field.
    pub async fn fill(&self, css: &str, text: &str) -> Result<()> {
        let element = self.find(css).await?;
        element.clear().await?;
        element.send_keys(text).await?;
        Ok(())
    }

    /// Gives a file input its file; such inputs are often hidden.
    pub async fn choose_file(&self, css: &str, file: &Path) -> Result<()> {
        let element = self.driver()?.find(By::Css(css)).await?;
        element.send_keys(file.to_string_lossy().as_ref()).await?;
        Ok(())
    }

    /// Presses keys where the focus is.
    pub async fn press(&self, keys: impl Into<TypingData>) -> Result<()> {
        self.driver()?.action_chain().send_keys(keys).perform().await?;
        Ok(())
    }

    /// Lets the page save files into `folder` without asking.
    pub async fn save_into(&self, folder: &Path) -> Result<()> {
        let parameters = json!({"behavior": "allow", "downloadPath": folder});
        self.driver()?.cdp().send_raw("Browser.setDownloadBehavior", parameters).await?;
        Ok(())
    }

    /// A download's bytes, once the browser has written it.
    pub async fn saved(&self, file: &Path) -> Result<Vec<u8>> {
        let started = Instant::now();
        loop {
            if let Ok(bytes) = std::fs::read(file)
                && !bytes.is_empty()
            {
                return Ok(bytes);
            }
            if started.elapsed() > PATIENCE {
                return Err(self.complain(&format!("{} was not saved", file.display())).await);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// An element's visible text.
    pub async fn text(&self, css: &str) -> Result<String> {
        Ok(self.find(css).await?.text().await?)
    }

    /// Waits until an element's text satisfies `ready`; gives the text.
    pub async fn text_when(&self, css: &str, limit: Duration, ready: impl Fn(&str) -> bool) -> Result<String> {
        let started = Instant::now();
        let mut last = String::new();
        loop {
            if let Ok(element) = self.driver()?.find(By::Css(css)).await
                && let Ok(text) = element.text().await
            {
                if ready(&text) {
                    return Ok(text);
                }
                last = text;
            }
            if started.elapsed() > limit {
                return Err(self.complain(&format!("{css} still says {last:?}")).await);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Runs a script's body and gives what it returns.
    pub async fn eval<T: DeserializeOwned>(&self, script: &str) -> Result<T> {
        let result = self.driver()?.execute(script, Vec::new()).await?;
        Ok(serde_json::from_value(result.json().clone())?)
    }

    /// Runs a script that calls `done(value)` when it is ready.
    pub async fn eval_async<T: DeserializeOwned>(&self, script: &str) -> Result<T> {
        let wrapped = format!("const done = arguments[arguments.length - 1]; {script}");
        let result = self.driver()?.execute_async(wrapped, Vec::new()).await?;
        Ok(serde_json::from_value(result.json().clone())?)
    }

    /// Waits until a script's body returns something true.
    pub async fn wait(&self, script: &str) -> Result<()> {
        self.wait_within(script, PATIENCE).await
    }

    /// As [`Browser::wait`] with a limit of its own.
    pub async fn wait_within(&self, script: &str, limit: Duration) -> Result<()> {
        let started = Instant::now();
        loop {
            let value = self.eval::<Value>(script).await.unwrap_or(Value::Null);
            if !matches!(value, Value::Null | Value::Bool(false)) {
                return Ok(());
            }
            if started.elapsed() > limit {
                return Err(self.complain(&format!("never true: {script}")).await);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Keeps a picture of the window in `<target>/test-output/NAME.png`.
    pub async fn screenshot(&self, name: &str) -> Result<PathBuf> {
        let path = places::output(&format!("{name}.png"))?;
        self.driver()?.screenshot(&path).await?;
        Ok(path)
    }

    /// Messages of the page's console at level SEVERE since the last call: errors, failed requests, panics.
    pub async fn severe_messages(&self) -> Result<Vec<String>> {
        let entries = self.driver()?.browser_log().await?;
        Ok(entries.into_iter().filter(|entry| entry.level == "SEVERE").map(|entry| entry.message).collect())
    }

    /// Closes the window in order.
    pub async fn close(mut self) -> Result<()> {
        if let Some(driver) = self.driver.take() {
            driver.quit().await?;
        }
        Ok(())
    }

    /// An error with a screenshot and the console beside it.
    async fn complain(&self, what: &str) -> anyhow::Error {
        let picture = self
            .screenshot(&format!("{}-failed", places::test_name()))
            .await
            .map_or_else(|error| error.to_string(), |path| path.display().to_string());
        let console = self.severe_messages().await.unwrap_or_default().join("\n");
        anyhow::anyhow!("{what}\nscreenshot: {picture}\nconsole: {console}")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.take() {
            // Its own drop would block on a runtime that may be gone; the driver's end takes the browser with it.
            let _ = driver.leak();
        }
        // TERM, so that chromedriver ends Chromium too.
        let _ = crate::server::signal(self.process.id(), "TERM");
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(5) {
            if matches!(self.process.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn capabilities(look: &Look, profile: &Path) -> Result<ChromeCapabilities> {
    let mut capabilities = DesiredCapabilities::chrome();
    let browser =
        on_path(&BROWSERS).context("no Chromium on PATH: `cargo xtask setup` installs it, or says what to do")?;
    capabilities.set_binary(&browser.to_string_lossy())?;
    capabilities.set_browser_log_level(LoggingPrefsLogLevel::All)?;
    let mut arguments = vec![
        "--headless".to_owned(),
        "--no-sandbox".to_owned(),
        "--disable-dev-shm-usage".to_owned(),
        "--no-first-run".to_owned(),
        "--disable-background-networking".to_owned(),
        "--disable-component-update".to_owned(),
        "--disable-sync".to_owned(),
        "--disable-quic".to_owned(),
        "--hide-scrollbars".to_owned(),
        format!("--window-size={},{}", look.width, look.height),
        format!("--accept-lang={}", look.language),
        format!("--lang={}", look.language),
        format!("--user-data-dir={}", profile.display()),
    ];
    if look.webgpu {
        arguments.extend(
            ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"]
                .map(str::to_owned),
        );
    } else {
        arguments.push("--disable-gpu".to_owned());
    }
    for argument in arguments {
        capabilities.add_arg(&argument)?;
    }
    Ok(capabilities)
}

/// Starts chromedriver on a port it chooses; gives the port from its output.
fn start_driver() -> Result<(Child, u16)> {
    let program = on_path(&["chromedriver"])
        .context("no chromedriver on PATH: `cargo xtask setup` installs it, or says what to do")?;
    let log = places::output(&format!("{}-chromedriver.log", places::test_name()))?;
    let mut child = Command::new(program)
        .arg("--port=0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let stdout = child.stdout.take().context("stdout is piped")?;
    let (found, port) = mpsc::channel();
    let mut file = File::create(log)?;
    thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        let mut line = String::new();
        while matches!(reader.read_line(&mut line), Ok(n) if n > 0) {
            let _ = file.write_all(line.as_bytes());
            if let Some(port) = port_in(&line) {
                let _ = found.send(port);
            }
            line.clear();
        }
        let _ = reader.read_to_string(&mut line);
    });
    match port.recv_timeout(DRIVER_LIMIT) {
        Ok(port) => Ok((child, port)),
        Err(_) => {
            let _ = child.kill();
            let _ = child.wait();
            bail!("chromedriver printed no port");
        }
    }
}

/// `ChromeDriver was started successfully on port 4242.` → 4242.
fn port_in(line: &str) -> Option<u16> {
    let (_, rest) = line.split_once("successfully on port ")?;
    rest.trim().trim_end_matches('.').parse().ok()
}

fn on_path(names: &[&str]) -> Option<PathBuf> {
    let search = std::env::var_os("PATH")?;
    names.iter().find_map(|name| {
        std::env::split_paths(&search).map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
    })
}
