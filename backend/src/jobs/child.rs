//! The process that runs one job: `hearth job`, started by the supervisor. It reads `spec.json`, runs the engine, writes
//! every event to `events.jsonl` before it says on its output that there is something new, and obeys orders from its input.
//! When the input closes the server is gone, and it stops at once: the next attempt does the lost steps again, bit for bit.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use hearth_model::device;
use hearth_shared::event::RunEvent;
use hearth_shared::spec::WorkSpec;
use serde::{Deserialize, Serialize};

use super::engine;
use super::events::{LOG, Line};

/// What the server tells the process, one JSON line each.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Save a checkpoint and leave; the job is paused, or the server stops.
    Suspend,
    /// Leave without saving.
    Cancel,
}

/// What the process tells the server, one JSON line each.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// It lives.
    Beat,
    /// There is something new in `events.jsonl`.
    News,
    /// Its last words.
    Outcome(Outcome),
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The result is in `result/`.
    Done,
    /// It followed an order to leave.
    Left,
    /// Nothing more can be written; the last checkpoint is whole.
    Full { message: String },
    /// Another attempt would fail in the same way.
    Failed { message: String },
}

/// Exit code of a process whose server is gone.
const ORPHANED: i32 = 9;
const BEAT: Duration = Duration::from_secs(2);

/// A job's folder.
pub fn folder(data_dir: &Path, id: &str) -> PathBuf {
    data_dir.join("jobs").join(id)
}

/// The entry of `hearth job`.
pub fn run(data_dir: &Path, id: &str, attempt: u32) -> Result<()> {
    device::one_heap();
    let folder = folder(data_dir, id);
    let order = listen();
    let _lock = lock(&folder)?;
    let mouth = Mouth;
    mouth.beat();
    let outcome = match work(&folder, attempt, &order, &mouth) {
        Ok(outcome) => outcome,
        Err(error) if has_no_room(&error) => Outcome::Full { message: format!("{error:#}") },
        Err(error) => {
            eprintln!("{error:#}");
            Outcome::Failed { message: format!("{error:#}") }
        }
    };
    mouth.say(&Said::Outcome(outcome));
    Ok(())
}

/// The entry of `hearth checkpoint`: writes a checkpoint of whole weights to `place/model`. The run's spec is in `place`, with paths as they are now.
pub fn write_checkpoint(data_dir: &Path, id: &str, step: u64, place: &Path) -> Result<()> {
    device::one_heap();
    let folder = folder(data_dir, id);
    let checkpoint = folder.join("checkpoints").join(format!("step-{step}"));
    engine::whole::write(&spec(place)?, &folder, &checkpoint, &place.join("model"))
}

fn spec(folder: &Path) -> Result<WorkSpec> {
    let text = std::fs::read_to_string(folder.join("spec.json")).context("cannot read the job's spec.json")?;
    serde_json::from_str(&text).context("spec.json is not a job's spec")
}

/// Whether it is the disk, a quota, or the most that a file may have (`ulimit -f`) that is full: room can be made, and then the same
/// attempt goes through.
pub fn has_no_room(error: &anyhow::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    // SQLITE_FULL
    let full = |error: &sqlx::Error| error.as_database_error().is_some_and(|e| e.code().as_deref() == Some("13"));
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|error| matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge))
            || cause.downcast_ref::<sqlx::Error>().is_some_and(full)
    })
}

fn work(folder: &Path, attempt: u32, order: &Orders, mouth: &Mouth) -> Result<Outcome> {
    let spec = spec(folder)?;
    let mut log = EventLog::open(folder, attempt)?;
    engine::run(&spec, folder, &|| order.get(), &mut |event| {
        log.write(event)?;
        mouth.say(&Said::News);
        Ok(())
    })
}

/// At most one process works in a job's folder. A former one that is still dying gets a moment.
pub fn lock(folder: &Path) -> Result<File> {
    let file = File::create(folder.join("lock"))?;
    let patience = Instant::now() + Duration::from_secs(60);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < patience => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(TryLockError::WouldBlock) => {
                anyhow::bail!("another process still works in {}", folder.display())
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", folder.display()));
            }
        }
    }
}

/// The last order heard.
#[derive(Clone, Default)]
struct Orders(Arc<AtomicU8>);

impl Orders {
    fn get(&self) -> Option<Order> {
        match self.0.load(Ordering::Relaxed) {
            1 => Some(Order::Suspend),
            2 => Some(Order::Cancel),
            _ => None,
        }
    }

    fn set(&self, order: Order) {
        let number = match order {
            Order::Suspend => 1,
            Order::Cancel => 2,
        };
        self.0.fetch_max(number, Ordering::Relaxed);
    }
}

fn listen() -> Orders {
    let orders = Orders::default();
    let heard = orders.clone();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if let Ok(order) = serde_json::from_str(&line) {
                heard.set(order);
            }
        }
        std::process::exit(ORPHANED);
    });
    orders
}

/// The process's output, shared by the run and the heartbeat.
#[derive(Clone, Default)]
struct Mouth;

impl Mouth {
    fn say(&self, said: &Said) {
        let Ok(mut line) = serde_json::to_vec(said) else {
            return;
        };
        line.push(b'\n');
        let mut out = std::io::stdout().lock();
        if out.write_all(&line).and_then(|()| out.flush()).is_err() {
            std::process::exit(ORPHANED);
        }
    }

    fn beat(&self) {
        let mouth = self.clone();
        std::thread::spawn(move || {
            loop {
                mouth.say(&Said::Beat);
                std::thread::sleep(BEAT);
            }
        });
    }
}

/// A run's `events.jsonl`, which it writes before anybody hears of an event.
pub struct EventLog {
    file: File,
    attempt: u32,
    count: u64,
}

impl EventLog {
    pub fn open(folder: &Path, attempt: u32) -> Result<Self> {
        let path = folder.join(LOG);
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        // A line cut off by a kill must not run into the next one.
        let bytes = std::fs::read(&path)?;
        if bytes.last().is_some_and(|byte| *byte != b'\n') {
            file.write_all(b"\n")?;
        }
        Ok(Self { file, attempt, count: 0 })
    }

    /// One write, so that a kill leaves a whole line or a cut one, never two mixed.
    pub fn write(&mut self, event: RunEvent) -> Result<()> {
        self.count += 1;
        let mut line = serde_json::to_vec(&Line::new(event, self.attempt, self.count))?;
        line.push(b'\n');
        Ok(self.file.write_all(&line)?)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail loudly")]
mod tests {
    use super::*;
    use hearth_shared::event::Level;

    #[test]
    fn a_cut_line_does_not_swallow_the_next() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(LOG), "{\"key\":\"cut").unwrap();
        let mut log = EventLog::open(dir.path(), 2).unwrap();
        log.write(RunEvent::Message { level: Level::Info, text: "hello".into() }).unwrap();
        let (lines, _) = super::super::events::whole_lines(&std::fs::read(dir.path().join(LOG)).unwrap());
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].key, "message:2:1");
    }

    #[test]
    fn a_full_disk_is_told_from_other_faults() {
        let fault = |kind| {
            let source = std::io::Error::from(kind);
            anyhow::Error::from(hearth_model::train::TrainError::Io { what: "can't write".into(), source })
        };
        assert!(has_no_room(&fault(std::io::ErrorKind::StorageFull).context("step 3")));
        assert!(has_no_room(&fault(std::io::ErrorKind::FileTooLarge)));
        assert!(!has_no_room(&fault(std::io::ErrorKind::PermissionDenied)));
    }

    #[test]
    fn the_protocol_is_one_line_of_json() {
        assert_eq!(serde_json::to_string(&Order::Suspend).unwrap(), "\"suspend\"");
        let said = Said::Outcome(Outcome::Failed { message: "two\nlines".into() });
        let text = serde_json::to_string(&said).unwrap();
        assert!(!text.contains('\n'));
        assert_eq!(serde_json::from_str::<Said>(&text).unwrap(), said);
    }
}
