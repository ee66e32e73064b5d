//! The figures of a run as the table that README shows, and which of them miss their mark.

use std::fmt;

use anyhow::{Result, bail};

/// Rows in the order in which they were measured.
#[derive(Default)]
pub struct Table {
    rows: Vec<[String; 5]>,
    missed: Vec<String>,
}

impl Table {
    /// One figure; `mark` says what it had to reach, `met` whether it does.
    pub fn add(&mut self, what: &str, hearth: String, peer: &str, ratio: String, mark: Option<(&str, bool)>) {
        let goal = match mark {
            Some((goal, true)) => format!("{goal} ✓"),
            Some((goal, false)) => {
                self.missed.push(format!("{what}: {hearth} {ratio}, not {goal}"));
                format!("{goal} ✗")
            }
            None => String::new(),
        };
        let row = [what.to_owned(), hearth, peer.to_owned(), ratio, goal];
        eprintln!("  {}", row.join(" · "));
        self.rows.push(row);
    }

    /// An error that names every figure that misses its mark.
    pub fn verdict(&self) -> Result<()> {
        if self.missed.is_empty() {
            return Ok(());
        }
        bail!("missed: {}", self.missed.join("; "))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | Hearth | beside it | ratio | to reach |\n|---|---|---|---|---|")?;
        self.rows.iter().try_for_each(|row| writeln!(f, "| {} |", row.join(" | ")))
    }
}

/// The middle value.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) { (values[middle - 1] + values[middle]) / 2.0 } else { values[middle] }
}
