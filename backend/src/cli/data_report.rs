//! `hearth data report`: what texts hold, as a table for people or as JSON.

use anyhow::Result;
use clap::Args;
use hearth_shared::text::counted;
use hearth_shared::text::rules::Lang;
use hearth_shared::text::survey::{Survey, SurveyReport};
use indicatif::ProgressBar;

use super::progress::{Progress, bytes_style};
use super::texts::{Document, Documents, TextArguments};

#[derive(Args, Debug)]
pub(super) struct ReportArguments {
    #[command(flatten)]
    texts: TextArguments,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn report(arguments: &ReportArguments) -> Result<()> {
    let mut survey = Survey::default();
    each_document(&arguments.texts, "reading", |document| {
        survey.add(&document.name, &document.text);
        Ok(())
    })?;
    let report = survey.finish();
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", table(&report));
    }
    Ok(())
}

/// Reads the texts document by document and shows how far it is; says which documents were too long to be read whole.
pub(super) fn each_document(
    arguments: &TextArguments,
    stage: &'static str,
    mut take: impl FnMut(Document) -> Result<()>,
) -> Result<()> {
    let texts = arguments.texts()?;
    let bar = Progress::new(ProgressBar::new(texts.bytes()?).with_style(bytes_style()?));
    bar.set_message(stage);
    for document in Documents::of(&texts)? {
        let document = document?;
        if document.cut {
            bar.line(&format!("{}: only its first 16 MiB are read", document.name));
        }
        let read = document.read;
        take(document)?;
        bar.set_position(read);
        bar.plain_bytes(stage);
    }
    bar.finish_and_clear();
    Ok(())
}

fn table(report: &SurveyReport) -> String {
    let mut out = format!(
        "{}, {:.1} MB; {} empty, {} the same as an earlier one, {} nearly so\n",
        counted(report.documents, "document"),
        report.bytes as f64 / 1e6,
        report.empty,
        report.exact_duplicates,
        report.near_duplicates
    );
    for pair in &report.near_pairs {
        out += &format!("  {} is like {} ({:.2})\n", pair.document, pair.earlier, pair.similarity);
    }
    if !report.scripts.0.is_empty() {
        let mut scripts: Vec<_> = report.scripts.0.iter().collect();
        scripts.sort_by(|a, b| b.1.total_cmp(a.1));
        let scripts: Vec<String> = scripts
            .iter()
            .map(|(script, share)| format!("{} {:.1}%", format!("{script:?}").to_lowercase(), 100.0 * **share))
            .collect();
        out += &format!("\ncharacters: {}\n", scripts.join(", "));
    }
    if !report.measures.is_empty() {
        out += &format!("\n{:<20} {:>12} {:>12} {:>12}\n", "of documents", "5 %", "50 %", "95 %");
        for (name, quantiles) in &report.measures {
            let [low, middle, high] = [quantiles.p5, quantiles.p50, quantiles.p95].map(number);
            out += &format!("{name:<20} {low:>12} {middle:>12} {high:>12}\n");
        }
    }
    if !report.rules.is_empty() {
        out += "\nrules broken\n";
        for (rule, broken) in &report.rules {
            let names = broken.names.join(", ");
            out += &format!(
                "{:<30} {:>9}  {} ({})\n{:<41} {names}\n",
                rule.id(),
                broken.documents,
                rule.text(Lang::En).message,
                rule.source(),
                ""
            );
        }
    }
    if !report.personal.is_empty() {
        out += "\npersonal data\n";
        for (kind, count) in &report.personal {
            out += &format!("{:<30} {:>9}  in {}\n", kind.id(), count.found, counted(count.documents, "document"));
        }
    }
    out
}

/// Counts whole, shares with three digits.
fn number(value: f64) -> String {
    if value >= 100.0 || value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_what_was_found() {
        let mut survey = Survey::default();
        survey.add("a.txt:1", "Write to jane@example.org.");
        survey.add("a.txt:2", "Write to JANE@example.org!");
        let text = table(&survey.finish());
        assert!(
            text.starts_with("2 documents, 0.0 MB; 0 empty, 0 the same as an earlier one, 1 nearly so\n"),
            "{text}"
        );
        for part in ["a.txt:2 is like a.txt:1 (1.00)", "latin 8", "words.few", "in 2 documents", "mean_word_length"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(table(&Survey::default().finish()).lines().count(), 1);
    }
}
