//! The Hugging Face hub over plain HTTP: ranges, so that a broken download goes on where it stopped, and the checksums the
//! hub gives for its large files. `HF_ENDPOINT` names another hub, as it does for Hugging Face's own tools.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use hearth_shared::api::models::PullState;
use reqwest::header::{CONTENT_LENGTH, ETAG, HeaderMap, RANGE};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use tokio::io::AsyncWriteExt as _;

use super::Meter;
use crate::keys::hex;
use crate::registry::import::file_hash;
use crate::tls;

/// A machine without the internet should not wait long to find out.
const CONNECT: Duration = Duration::from_secs(4);
/// Silence after which a transfer is started again.
const STALL: Duration = Duration::from_secs(30);
const ATTEMPTS: u32 = 5;

#[derive(Debug)]
pub(super) struct Repository {
    pub id: &'static str,
    pub revision: &'static str,
    pub files: &'static [&'static str],
}

pub(super) enum HubError {
    /// Nobody answers there; another way may work.
    Unreachable(String),
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for HubError {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// One that follows redirects and one that stays.
struct Clients {
    staying: Client,
    following: Client,
}

fn client(redirects: Policy) -> reqwest::Result<Client> {
    tls::install();
    Client::builder()
        .connect_timeout(CONNECT)
        .read_timeout(STALL)
        .redirect(redirects)
        .user_agent(concat!("hearth/", env!("CARGO_PKG_VERSION")))
        .build()
}

struct Remote {
    name: &'static str,
    url: String,
    bytes: u64,
    /// Hexadecimal; the hub gives it for files kept in LFS, which the weights are.
    sha256: Option<String>,
}

/// Fetches every file into a folder below `scratch`, which stays there if it breaks, to go on from.
pub(super) async fn fetch(repository: &Repository, scratch: &Path, meter: &Meter) -> Result<PathBuf, HubError> {
    let endpoint = std::env::var("HF_ENDPOINT").unwrap_or_else(|_| "https://huggingface.co".into());
    fetch_from(endpoint.trim_end_matches('/'), repository, scratch, meter).await
}

async fn fetch_from(
    endpoint: &str,
    repository: &Repository,
    scratch: &Path,
    meter: &Meter,
) -> Result<PathBuf, HubError> {
    let clients = Clients {
        staying: client(Policy::none()).context("cannot make an HTTP client")?,
        following: client(Policy::default()).context("cannot make an HTTP client")?,
    };
    let mut remotes = Vec::new();
    for name in repository.files {
        remotes.push(look(&clients, endpoint, repository, name).await?);
    }
    let folder = scratch.join(format!("hub-{}", repository.id.replace('/', "-")));
    tokio::fs::create_dir_all(&folder).await.context("cannot make a folder for the download")?;
    let total = remotes.iter().map(|remote| remote.bytes).sum();
    let already =
        |remote: &Remote| std::fs::metadata(folder.join(remote.name)).map_or(0, |file| file.len().min(remote.bytes));
    let mut before: u64 = remotes.iter().map(already).sum();
    meter.begin("huggingface", Some(total), before);
    let first = before;
    before = 0;
    for remote in &remotes {
        let place = Place { file: folder.join(remote.name), before, first };
        download(&clients.following, remote, &place, meter).await?;
        before += remote.bytes;
    }
    meter.write(|pull| pull.state = PullState::Checking);
    for remote in &remotes {
        check(remote, &folder.join(remote.name)).await?;
    }
    Ok(folder)
}

/// Size and checksum. Only the first question can find nobody there.
async fn look(
    clients: &Clients,
    endpoint: &str,
    repository: &Repository,
    name: &'static str,
) -> Result<Remote, HubError> {
    let url = format!("{endpoint}/{}/resolve/{}/{name}", repository.id, repository.revision);
    // The hub's own answer tells of large files; what it redirects to does not know their checksum.
    let mut headers = head(&clients.staying, &url).await?;
    if text(&headers, "x-linked-size").is_none() {
        headers = head(&clients.following, &url).await?;
    }
    let bytes = text(&headers, "x-linked-size").or_else(|| text(&headers, CONTENT_LENGTH.as_str()));
    let bytes = bytes.and_then(|text| text.parse().ok()).with_context(|| format!("{url}: no size given"))?;
    let etag = text(&headers, "x-linked-etag").or_else(|| text(&headers, ETAG.as_str()));
    let sha256 = etag.map(|etag| etag.trim_start_matches("W/").trim_matches('"').to_owned());
    Ok(Remote { name, url, bytes, sha256: sha256.filter(|hash| hash.len() == 64) })
}

async fn head(client: &Client, url: &str) -> Result<HeaderMap, HubError> {
    let request = client.head(url).timeout(CONNECT * 3).send().await;
    let answer = request.map_err(|error| HubError::Unreachable(error.to_string()))?;
    let status = answer.status();
    // A proxy that refuses the host is as good as nobody there.
    if !status.is_success() && !status.is_redirection() {
        return Err(HubError::Unreachable(format!("{url} answers {status}")));
    }
    Ok(answer.headers().clone())
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

struct Place {
    file: PathBuf,
    /// Bytes of the files before this one.
    before: u64,
    /// Bytes that were there at the start.
    first: u64,
}

async fn download(client: &Client, remote: &Remote, place: &Place, meter: &Meter) -> Result<()> {
    let mut last = None;
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            tokio::time::sleep(Duration::from_millis(300) * attempt).await;
        }
        match part(client, remote, place, meter).await {
            Ok(()) => return Ok(()),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| anyhow::anyhow!("no attempt was made")))
        .with_context(|| format!("{}: gave up", remote.url))
}

/// From where the file ends to where it should.
async fn part(client: &Client, remote: &Remote, place: &Place, meter: &Meter) -> Result<()> {
    let mut file = tokio::fs::OpenOptions::new().create(true).append(true).open(&place.file).await?;
    let mut done = file.metadata().await?.len();
    if done > remote.bytes {
        file.set_len(0).await?;
        done = 0;
    }
    if done == remote.bytes {
        return Ok(());
    }
    let mut request = client.get(&remote.url);
    if done > 0 {
        request = request.header(RANGE, format!("bytes={done}-"));
    }
    let answer = request.send().await?.error_for_status()?;
    if done > 0 && answer.status() != StatusCode::PARTIAL_CONTENT {
        file.set_len(0).await?;
        done = 0;
    }
    let mut stream = answer.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        file.write_all(&chunk).await?;
        done += chunk.len() as u64;
        let all = place.before + done;
        meter.at(all, all.saturating_sub(place.first));
    }
    file.flush().await?;
    if done != remote.bytes {
        bail!("{} ended after {done} of {} bytes", remote.url, remote.bytes);
    }
    Ok(())
}

/// A file that fails is removed, so that the next pull fetches it anew.
async fn check(remote: &Remote, file: &Path) -> Result<()> {
    let Some(wanted) = &remote.sha256 else {
        return Ok(());
    };
    let path = file.to_owned();
    let found = hex(&tokio::task::spawn_blocking(move || file_hash(&path)).await??);
    if found != *wanted {
        tokio::fs::remove_file(file).await?;
        bail!("{}: SHA-256 is {found}, not {wanted}; the file was removed", remote.url);
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail loudly")]
mod tests {
    use super::*;
    use sha2::Digest as _;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::{AsyncBufReadExt as _, BufReader};
    use tokio::net::TcpListener;

    const REPOSITORY: Repository = Repository { id: "org/model", revision: "main", files: &["weights.bin"] };

    /// A hub that breaks the first transfer off half-way.
    async fn hub(content: &'static [u8], sha256: String) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ranges = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&ranges);
        tokio::spawn(async move {
            let mut transfers = 0;
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let (mut method, mut from) = (String::new(), 0);
                {
                    let mut lines = BufReader::new(&mut socket).lines();
                    while let Some(line) = lines.next_line().await.unwrap().filter(|line| !line.is_empty()) {
                        if method.is_empty() {
                            method = line.split(' ').next().unwrap().to_owned();
                        } else if let Some(range) = line.to_lowercase().strip_prefix("range: bytes=") {
                            from = range.trim_end_matches('-').parse().unwrap();
                            seen.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
                let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
                let head = format!(
                    "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\nx-linked-etag: \"{sha256}\"\r\n\r\n",
                    content.len() - from
                );
                socket.write_all(head.as_bytes()).await.unwrap();
                if method == "GET" {
                    transfers += 1;
                    let to = if transfers == 1 { content.len() / 2 } else { content.len() };
                    socket.write_all(&content[from..to]).await.unwrap();
                }
                socket.shutdown().await.unwrap();
            }
        });
        (format!("http://{address}"), ranges)
    }

    const CONTENT: &[u8] = &[7; 10_000];

    #[tokio::test]
    async fn a_broken_transfer_goes_on_where_it_stopped() {
        let (endpoint, ranges) = hub(CONTENT, hex(&sha2::Sha256::digest(CONTENT))).await;
        let dir = tempfile::tempdir().unwrap();
        let meter = Meter::new("test");
        let folder = fetch_from(&endpoint, &REPOSITORY, dir.path(), &meter).await.ok().unwrap();
        assert_eq!(std::fs::read(folder.join("weights.bin")).unwrap(), CONTENT);
        assert_eq!(ranges.load(Ordering::Relaxed), 1);
        assert_eq!(meter.read().bytes_done, 10_000);
    }

    #[tokio::test]
    async fn a_wrong_checksum_removes_the_file() {
        let (endpoint, _) = hub(CONTENT, "0".repeat(64)).await;
        let dir = tempfile::tempdir().unwrap();
        let Err(HubError::Failed(error)) = fetch_from(&endpoint, &REPOSITORY, dir.path(), &Meter::new("test")).await
        else {
            panic!("the checksum is wrong");
        };
        assert!(error.to_string().contains("SHA-256"), "{error}");
        assert!(!dir.path().join("hub-org-model").join("weights.bin").exists());
    }

    #[tokio::test]
    async fn nobody_there_is_found_out_quickly() {
        let started = std::time::Instant::now();
        let dir = tempfile::tempdir().unwrap();
        let result = fetch_from("http://127.0.0.1:9", &REPOSITORY, dir.path(), &Meter::new("test")).await;
        assert!(matches!(result, Err(HubError::Unreachable(_))));
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}
