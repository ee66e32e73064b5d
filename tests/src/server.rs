//! `hearth serve` as a child process on a free port with a data directory of its own.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::places;

/// How long the program may take from start to the first answer on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How a server is started.
#[derive(Default)]
pub struct ServerOptions {
    /// More arguments behind `serve`.
    pub arguments: Vec<OsString>,
    /// More environment.
    pub environment: Vec<(OsString, OsString)>,
    /// An existing data directory; else a fresh one, removed at the end.
    pub data_dir: Option<PathBuf>,
    /// Start the program but do not wait until it answers.
    pub no_wait: bool,
    /// Another copy of the program than [`places::program`].
    pub program: Option<PathBuf>,
}

/// A running server. Dropping it kills the process.
pub struct Server {
    child: Child,
    address: String,
    data_dir: PathBuf,
    log: PathBuf,
    client: reqwest::Client,
    _scratch: Option<TempDir>,
}

/// An answer: status, headers and body.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Vec<u8>,
}

impl Reply {
    /// The body as JSON; the text in the error where it is none.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("status {}, body {:?}", self.status, self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value, empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The JSON body of a reply that must have this status.
    pub fn expect(&self, status: u16) -> Result<Value> {
        if self.status != status {
            bail!("status {} instead of {status}: {}", self.status, self.text());
        }
        self.json()
    }
}

impl Server {
    /// A server with default options.
    pub async fn start() -> Result<Self> {
        Self::start_with(ServerOptions::default()).await
    }

    /// Starts the program and waits until `/healthz` answers.
    pub async fn start_with(options: ServerOptions) -> Result<Self> {
        let scratch = match options.data_dir {
            Some(_) => None,
            None => Some(tempfile::Builder::new().prefix("hearth-test").tempdir()?),
        };
        let data_dir = match (&options.data_dir, &scratch) {
            (Some(folder), _) => folder.clone(),
            (None, Some(scratch)) => scratch.path().to_path_buf(),
            (None, None) => bail!("a server needs a data directory"),
        };
        let log = places::output(&format!("{}-server.log", places::test_name()))?;
        let program = options.program.map_or_else(places::program, Ok)?;
        let mut child = Command::new(program)
            .args(["serve", "--addr", "127.0.0.1:0", "--data-dir"])
            .arg(&data_dir)
            .args(&options.arguments)
            .envs(options.environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start the program")?;
        let address = watch(&mut child, &log)?;
        let mut server = Self { child, address: String::new(), data_dir, log, client: client()?, _scratch: scratch };
        server.address = address.recv_timeout(START_LIMIT).map_err(|_| server.failure("it printed no address"))?;
        if !options.no_wait {
            server.wait_until_healthy().await?;
        }
        Ok(server)
    }

    async fn wait_until_healthy(&mut self) -> Result<()> {
        let started = Instant::now();
        loop {
            if let Ok(reply) = self.get("/healthz").await
                && reply.status == 200
            {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(self.failure(&format!("it ended with {status}")));
            }
            if started.elapsed() > START_LIMIT {
                return Err(self.failure("/healthz does not answer"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn failure(&self, what: &str) -> anyhow::Error {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(30)..].join("\n");
        anyhow!("hearth serve: {what}\n{tail}")
    }

    /// `http://127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The address of a path that begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// What the program has printed so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The HTTP client, for requests that the short forms below do not make.
    pub fn client(&self) -> &reqwest::Client {
        &self.client
    }

    pub async fn get(&self, path: &str) -> Result<Reply> {
        self.send(self.client.get(self.url(path))).await
    }

    pub async fn delete(&self, path: &str) -> Result<Reply> {
        self.send(self.client.delete(self.url(path))).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Reply> {
        self.send(self.client.post(self.url(path)).json(body)).await
    }

    /// Sends a request made with [`Server::client`].
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Result<Reply> {
        let response = request.send().await?;
        Ok(Reply {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.bytes().await?.to_vec(),
        })
    }

    /// Uploads a file for fine-tuning as OpenAI's clients do; gives its object.
    pub async fn upload(&self, name: &str, content: &str) -> Result<Value> {
        let boundary = "hearth-test-boundary";
        let body = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nfine-tune\r\n\
             --{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n{content}\r\n--{boundary}--\r\n"
        );
        let request = self
            .client
            .post(self.url("/v1/files"))
            .header("content-type", format!("multipart/form-data; boundary={boundary}"))
            .body(body);
        self.send(request).await?.expect(200)
    }

    /// Asks `path` again and again until `ready` accepts the answer.
    pub async fn poll(&self, path: &str, limit: Duration, ready: impl Fn(&Value) -> bool) -> Result<Value> {
        let started = Instant::now();
        loop {
            let value = self.get(path).await?.json()?;
            if ready(&value) {
                return Ok(value);
            }
            if started.elapsed() > limit {
                bail!("{path} after {} s: {value}", limit.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// SIGKILL, as a power cut would; waits for the end.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Ctrl-C, and the wait for an orderly end.
    pub async fn stop(&mut self, limit: Duration) -> Result<ExitStatus> {
        signal(self.pid(), "INT")?;
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if started.elapsed() > limit {
                return Err(self.failure("it did not stop after SIGINT"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client for requests that are no server's own.
pub fn client() -> Result<reqwest::Client> {
    hearth::tls::install();
    Ok(reqwest::Client::builder().timeout(Duration::from_secs(300)).build()?)
}

/// Sends a signal by name to one process.
pub fn signal(pid: u32, name: &str) -> Result<()> {
    let status = Command::new("kill").args(["-s", name, &pid.to_string()]).status()?;
    if !status.success() {
        bail!("kill -s {name} {pid}: {status}");
    }
    Ok(())
}

/// Keeps what the program prints in `log`; gives the address from the line that names it.
fn watch(child: &mut Child, log: &Path) -> Result<mpsc::Receiver<String>> {
    let (found, address) = mpsc::channel();
    let file = File::options().create(true).append(true).open(log)?;
    let stdout = child.stdout.take().context("stdout is piped")?;
    let stderr = child.stderr.take().context("stderr is piped")?;
    let copy = |pipe: Box<dyn std::io::Read + Send>, mut file: File, found: mpsc::Sender<String>| {
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                let _ = writeln!(file, "{line}");
                if let Some(address) = address_in(&line) {
                    let _ = found.send(address);
                }
            }
        })
    };
    copy(Box::new(stdout), file.try_clone()?, found.clone());
    copy(Box::new(stderr), file, found);
    Ok(address)
}

/// `listening on http://127.0.0.1:4242/ now` → `http://127.0.0.1:4242`.
fn address_in(line: &str) -> Option<String> {
    let head = "http://127.0.0.1:";
    let rest = &line[line.find(head)? + head.len()..];
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let port: u16 = port.parse().ok().filter(|port| *port != 0)?;
    Some(format!("{head}{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_found_in_a_line() {
        assert_eq!(address_in("Hearth: http://127.0.0.1:8420/ (cpu)").as_deref(), Some("http://127.0.0.1:8420"));
        assert_eq!(address_in("http://127.0.0.1:0"), None);
        assert_eq!(address_in("nothing"), None);
    }
}
