//! Settings: flags, then environment (`HEARTH_*`), then `hearth.toml`, then defaults. Parsed once, into values that hold.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::misspelt::nearest;

/// One layer: what a source says, and `None` for what it leaves open. Flags and environment reach this through clap,
/// `hearth.toml` through serde.
#[derive(clap::Args, Deserialize, Clone, Debug, Default)]
pub struct Settings {
    /// Folder of everything Hearth keeps [default: the platform's data folder + /hearth]
    #[arg(long, env = "HEARTH_DATA_DIR", value_name = "DIR", global = true)]
    pub data_dir: Option<PathBuf>,
    /// A file of settings, TOML [default: hearth.toml in the data folder, if there is one]
    #[arg(long, env = "HEARTH_CONFIG", value_name = "FILE", global = true)]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Organisation in the ids of tuned models [default: local]
    #[arg(long, env = "HEARTH_ORGANIZATION", value_name = "NAME", global = true, hide = true)]
    pub organization: Option<String>,
    #[arg(skip)]
    #[serde(flatten)]
    pub serve: ServeSettings,
}

/// Every key a settings file may hold; a misspelt one is refused, not passed over.
const KEYS: [&str; 9] = [
    "data_dir",
    "organization",
    "addr",
    "max_upload_bytes",
    "max_loaded_bytes",
    "max_job_bytes",
    "allowed_hosts",
    "job_slots",
    "drain_seconds",
];

/// What only `hearth serve` asks for.
#[derive(clap::Args, Deserialize, Clone, Debug, Default)]
pub struct ServeSettings {
    /// Where to listen [default: 127.0.0.1:8420]
    #[arg(long, env = "HEARTH_ADDR", value_name = "HOST:PORT")]
    pub addr: Option<String>,
    /// Most bytes of one upload [default: 512 MiB]
    #[arg(long, env = "HEARTH_MAX_UPLOAD_BYTES", value_name = "BYTES")]
    pub max_upload_bytes: Option<u64>,
    /// Most bytes of loaded models [default: half of the machine's memory]
    #[arg(long, env = "HEARTH_MAX_LOADED_BYTES", value_name = "BYTES")]
    pub max_loaded_bytes: Option<u64>,
    /// Most bytes a training process may be planned to hold [default: the machine's memory]
    #[arg(long, env = "HEARTH_MAX_JOB_BYTES", value_name = "BYTES")]
    pub max_job_bytes: Option<u64>,
    /// More host names under which clients may call a loopback server, comma-separated
    #[arg(long, env = "HEARTH_ALLOWED_HOSTS", value_name = "NAMES", value_delimiter = ',')]
    pub allowed_hosts: Option<Vec<String>>,
    /// Fine-tunes that run at once [default: 1]
    #[arg(long, env = "HEARTH_JOB_SLOTS", value_name = "N")]
    pub job_slots: Option<usize>,
    /// Seconds that running answers get at shutdown [default: 10]
    #[arg(long, env = "HEARTH_DRAIN_SECONDS", value_name = "SECONDS")]
    pub drain_seconds: Option<u64>,
}

/// Settings decided and checked.
#[derive(Clone, Debug)]
pub struct Config {
    pub data_dir: PathBuf,
    pub organization: String,
    pub addr: SocketAddr,
    pub max_upload_bytes: u64,
    pub max_loaded_bytes: Option<u64>,
    pub max_job_bytes: Option<u64>,
    pub allowed_hosts: Vec<String>,
    pub job_slots: usize,
    pub drain: Duration,
}

impl Settings {
    /// Decides every value. `self` holds flags and environment; the file comes below them.
    pub fn decide(self) -> Result<Config> {
        let data_dir = match &self.data_dir {
            Some(dir) => dir.clone(),
            None => dirs::data_dir().context("no data folder on this platform: pass --data-dir DIR")?.join("hearth"),
        };
        let file = match &self.config {
            Some(path) => Settings::read(path)?,
            None => match data_dir.join("hearth.toml") {
                path if path.exists() => Settings::read(&path)?,
                _ => Settings::default(),
            },
        };
        let (above, below) = (self.serve, file.serve);
        Ok(Config {
            data_dir: std::path::absolute(self.data_dir.or(file.data_dir).unwrap_or(data_dir))?,
            organization: organization(self.organization.or(file.organization))?,
            addr: address(above.addr.or(below.addr).as_deref())?,
            max_upload_bytes: above.max_upload_bytes.or(below.max_upload_bytes).unwrap_or(512 << 20),
            max_loaded_bytes: above.max_loaded_bytes.or(below.max_loaded_bytes),
            max_job_bytes: above.max_job_bytes.or(below.max_job_bytes),
            allowed_hosts: above.allowed_hosts.or(below.allowed_hosts).unwrap_or_default(),
            job_slots: above.job_slots.or(below.job_slots).unwrap_or(1).clamp(1, 64),
            drain: Duration::from_secs(above.drain_seconds.or(below.drain_seconds).unwrap_or(10)),
        })
    }

    fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let wrong = || format!("{} is not a valid settings file", path.display());
        let table: toml::Table = toml::from_str(&text).with_context(wrong)?;
        if let Some(key) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
            let meant = nearest(key, KEYS.map(str::to_owned));
            let meant = meant.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
            anyhow::bail!("{}: unknown setting `{key}`{meant} (known: {})", path.display(), KEYS.join(", "));
        }
        table.try_into().with_context(wrong)
    }
}

impl Config {
    /// Only programs on this machine can reach the server.
    pub fn is_loopback(&self) -> bool {
        self.addr.ip().is_loopback()
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.data_dir.join(below)
    }
}

fn organization(name: Option<String>) -> Result<String> {
    let name = name.unwrap_or_else(|| "local".to_owned());
    anyhow::ensure!(crate::ids::is_plain(&name), "organization `{name}`: letters, digits, - and _ only");
    Ok(name)
}

fn address(text: Option<&str>) -> Result<SocketAddr> {
    let Some(text) = text else {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8420));
    };
    let text = text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    text.parse().with_context(|| format!("--addr `{text}` is not HOST:PORT with HOST an IP address or localhost"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("hearth.toml"), "addr = \"127.0.0.1:1\"\njob_slots = 3\n").unwrap();
        let mut settings = Settings { data_dir: Some(dir.path().into()), ..Settings::default() };
        settings.serve.addr = Some("localhost:2".into());
        let config = settings.decide().unwrap();
        assert_eq!((config.addr.port(), config.job_slots), (2, 3));
        assert!(config.is_loopback());
        assert_eq!(config.max_upload_bytes, 512 << 20);
    }

    #[test]
    fn a_misspelt_setting_is_refused_with_the_nearest_one() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("hearth.toml"), "job_slot = 3\n").unwrap();
        let settings = Settings { data_dir: Some(dir.path().into()), ..Settings::default() };
        let words = settings.decide().unwrap_err().to_string();
        assert!(words.contains("unknown setting `job_slot`; did you mean `job_slots`?"), "{words}");
    }

    #[test]
    fn a_bad_address_is_refused_with_its_text() {
        assert!(address(Some("example.com")).unwrap_err().to_string().contains("example.com"));
        assert!(!address(Some("0.0.0.0:8420")).unwrap().ip().is_loopback());
    }
}
