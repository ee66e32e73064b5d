//! `hearth data clean`: the documents of texts that break no rule and repeat none before them, cleaned, as JSONL.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use hearth_shared::text::clean::cleaned;
use hearth_shared::text::counted;
use hearth_shared::text::filters::Filter;
use hearth_shared::text::personal;
use hearth_shared::text::rules::Lang;
use hearth_shared::text::sieve::Sieve;

use super::data_report::each_document;
use super::texts::TextArguments;

#[derive(Args, Debug)]
pub(super) struct CleanArguments {
    #[command(flatten)]
    texts: TextArguments,
    /// The JSONL file to write, a row of `text` and `source` each; must not exist
    #[arg(long, value_name = "FILE.jsonl")]
    out: PathBuf,
    /// Write [email], [phone] and the like in the place of personal data
    #[arg(long)]
    mask_personal: bool,
    /// Take HTML tags out first
    #[arg(long)]
    html: bool,
    /// Rules that drop a document, by their ids as `hearth data report` shows them [default: all but words.braces]
    #[arg(long, value_name = "RULE", value_delimiter = ',', value_parser = filter, conflicts_with = "keep_all")]
    drop: Vec<Filter>,
    /// Drop empty and repeated documents only
    #[arg(long)]
    keep_all: bool,
}

fn filter(id: &str) -> Result<Filter, String> {
    Filter::from_id(id).ok_or_else(|| {
        let ids: Vec<&str> = Filter::ALL.iter().map(|filter| filter.id()).collect();
        format!("no such rule; the rules are {}", ids.join(", "))
    })
}

impl CleanArguments {
    fn filters(&self) -> Vec<Filter> {
        if self.keep_all {
            Vec::new()
        } else if self.drop.is_empty() {
            Filter::ALL.iter().copied().filter(|filter| filter.is_default()).collect()
        } else {
            self.drop.clone()
        }
    }
}

/// What became of the documents.
#[derive(Default)]
struct Sums {
    kept: u64,
    bytes: u64,
    masked: u64,
    /// Dropped documents by their reason's id.
    dropped: BTreeMap<&'static str, u64>,
}

pub(super) fn clean(arguments: &CleanArguments, stopped: &AtomicBool) -> Result<()> {
    let out = &arguments.out;
    if out.symlink_metadata().is_ok() {
        bail!("{} is there already: name another file", out.display());
    }
    let parent = match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(parent)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".partial-");
    #[cfg(unix)]
    // Without it the file would be its owner's alone; what the user's own mask takes away is still taken.
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut partial = builder.tempfile_in(parent)?;
    let mut writer = BufWriter::new(partial.as_file_mut());
    let mut sieve = Sieve::new(arguments.filters());
    let mut sums = Sums::default();
    each_document(&arguments.texts, "cleaning", |document| {
        ensure!(!stopped.load(Ordering::Relaxed), "cancelled; nothing was written");
        let mut text = cleaned(&document.text, arguments.html);
        if let Some(reason) = sieve.reason(&text) {
            *sums.dropped.entry(reason.id()).or_default() += 1;
            return Ok(());
        }
        if arguments.mask_personal {
            let (masked, count) = personal::masked(&text);
            text = masked;
            sums.masked += count;
        }
        sums.kept += 1;
        sums.bytes += text.len() as u64;
        serde_json::to_writer(&mut writer, &serde_json::json!({ "text": text, "source": document.name }))?;
        Ok(writer.write_all(b"\n")?)
    })?;
    writer.flush()?;
    drop(writer);
    partial.persist_noclobber(out).with_context(|| format!("cannot make {}", out.display()))?;
    print!("{}: {}", out.display(), describe(&sums, arguments.mask_personal));
    Ok(())
}

fn describe(sums: &Sums, masked: bool) -> String {
    let mut out = format!("{}, {:.1} MB", counted(sums.kept, "document"), sums.bytes as f64 / 1e6);
    if masked {
        out += &format!(", {} of personal data masked", counted(sums.masked, "piece"));
    }
    out += &format!("; {} dropped\n", sums.dropped.values().sum::<u64>());
    for (id, count) in &sums.dropped {
        let why = match (*id, Filter::from_id(id)) {
            (_, Some(filter)) => filter.text(Lang::En).message,
            ("empty", _) => "Nothing is in it.",
            ("duplicate", _) => "It is the same as an earlier document.",
            _ => "It is nearly the same as an earlier document.",
        };
        out += &format!("{id:<30} {count:>9}  {why}\n");
    }
    out
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: CleanArguments,
    }

    fn arguments(folder: &Path, more: &[&str]) -> Result<CleanArguments, clap::Error> {
        let texts = folder.join("in.txt").display().to_string();
        let out = folder.join("out.jsonl").display().to_string();
        let line = ["clean", &texts, "--split", "line", "--out", &out];
        Line::try_parse_from(line.iter().chain(more)).map(|line| line.arguments)
    }

    #[test]
    fn what_is_written_is_clean_masked_and_said_once() {
        let folder = tempfile::tempdir().unwrap();
        let text =
            "Write to jane@example.org.  \nfn main() {}\nWRITE TO jane@example.org!\nWrite to jane@example.org.\nBye\n";
        std::fs::write(folder.path().join("in.txt"), text).unwrap();
        let arguments = arguments(folder.path(), &["--drop", "words.braces", "--mask-personal"]).unwrap();
        clean(&arguments, &AtomicBool::new(false)).unwrap();
        let written = std::fs::read_to_string(&arguments.out).unwrap();
        let rows: Vec<serde_json::Value> = written.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
        let texts: Vec<&str> = rows.iter().map(|row| row["text"].as_str().unwrap()).collect();
        assert_eq!(texts, ["Write to [email].", "Bye"]);
        assert!(rows[1]["source"].as_str().unwrap().ends_with("in.txt:5"));
        let error = clean(&arguments, &AtomicBool::new(false)).unwrap_err().to_string();
        assert!(error.contains("is there already"), "{error}");
    }

    #[test]
    fn what_is_stopped_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("in.txt"), "Some words.\n").unwrap();
        let arguments = arguments(folder.path(), &["--keep-all"]).unwrap();
        let error = clean(&arguments, &AtomicBool::new(true)).unwrap_err().to_string();
        assert!(error.contains("cancelled"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "the text alone");
    }

    #[test]
    fn rules_are_named_by_their_ids() {
        let folder = Path::new(".");
        assert!(arguments(folder, &["--keep-all"]).unwrap().filters().is_empty());
        assert_eq!(arguments(folder, &[]).unwrap().filters().len(), Filter::ALL.len() - 1);
        let two = arguments(folder, &["--drop", "words.few,lines.short"]).unwrap().filters();
        assert_eq!(two, [Filter::FewWords, Filter::ShortLines]);
        assert!(arguments(folder, &["--drop", "words.none"]).unwrap_err().to_string().contains("words.few"));
        assert!(arguments(folder, &["--drop", "words.few", "--keep-all"]).is_err());
    }

    #[test]
    fn what_was_dropped_is_said_with_its_reason() {
        let dropped = BTreeMap::from([("duplicate", 2), ("words.few", 1)]);
        let text = describe(&Sums { kept: 1, bytes: 1_000_000, masked: 2, dropped }, true);
        assert!(text.starts_with("1 document, 1.0 MB, 2 pieces of personal data masked; 3 dropped\n"), "{text}");
        assert!(text.contains("fewer than 50 words") && text.contains("the same as an earlier"), "{text}");
    }
}
