//! How far a command is: a bar on a terminal; where standard error is none, a plain line now and then.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Between two plain lines of one stage.
const EVERY: Duration = Duration::from_secs(10);

/// A bar that also knows when a plain line is due.
pub(super) struct Progress {
    bar: ProgressBar,
    pace: Mutex<Pace>,
}

impl Deref for Progress {
    type Target = ProgressBar;

    fn deref(&self) -> &ProgressBar {
        &self.bar
    }
}

impl Progress {
    pub fn new(bar: ProgressBar) -> Self {
        Self { bar, pace: Mutex::default() }
    }

    /// Without a terminal: `line`, when `stage` begins and every few seconds while it lasts.
    pub fn plain(&self, stage: &str, line: impl FnOnce() -> String) {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        if self.bar.is_hidden() && pace.is_due(Instant::now(), stage) {
            eprintln!("{}", line());
        }
    }

    /// The same of a bar that counts bytes.
    pub fn plain_bytes(&self, stage: &str) {
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        self.plain(stage, || match self.bar.length().filter(|total| *total > 0) {
            Some(total) => format!("{stage}: {:.1} of {:.1} MB", megabytes(self.bar.position()), megabytes(total)),
            None => stage.to_owned(),
        });
    }

    /// What is worth keeping: above the bar, or a line of its own where there is none.
    pub fn line(&self, text: &str) {
        if self.bar.is_hidden() {
            eprintln!("{text}");
        } else {
            self.bar.println(text);
        }
    }
}

/// Becomes true with Ctrl-C, which ends the program no more.
pub(super) fn interrupted() -> Arc<AtomicBool> {
    let stopped = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stopped);
    tokio::spawn(async move {
        let _ = tokio::signal::ctrl_c().await;
        flag.store(true, Ordering::Relaxed);
    });
    stopped
}

/// Bytes done, speed and time left.
pub(super) fn bytes_style() -> anyhow::Result<ProgressStyle> {
    Ok(ProgressStyle::with_template("{msg:16} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}")?)
}

/// The last plain line: when, and of what stage.
#[derive(Default)]
struct Pace(Option<(Instant, String)>);

impl Pace {
    fn is_due(&mut self, now: Instant, stage: &str) -> bool {
        let is_early = |(last, of): &(Instant, String)| of == stage && now.duration_since(*last) < EVERY;
        if self.0.as_ref().is_some_and(is_early) {
            return false;
        }
        self.0 = Some((now, stage.to_owned()));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_due_when_a_stage_begins_and_then_now_and_then() {
        let start = Instant::now();
        let mut pace = Pace::default();
        let due = [(0, "a"), (1, "a"), (9, "a"), (10, "a"), (11, "a"), (12, "b"), (13, "b"), (22, "b")]
            .map(|(second, stage)| pace.is_due(start + Duration::from_secs(second), stage));
        assert_eq!(due, [true, false, false, true, false, true, false, true]);
    }
}
