//! The sentences that server and run say of a job, in the reader's language. They come as English text, with the numbers in it; the patterns of
//! those that the program itself makes stand here, once. A sentence of no known pattern stays as it is.

use crate::app::i18n::{I18nContext, Locale, t_string};

/// The sentence in the reader's language.
pub fn say(i18n: I18nContext<Locale>, sentence: &str) -> String {
    of_a_job(i18n, sentence).or_else(|| of_a_run(i18n, sentence)).unwrap_or_else(|| sentence.to_owned())
}

/// Tries patterns in their order. What stands in a pattern's hole may be a sentence itself, such as the reason of a failure.
macro_rules! first_of {
    ($i18n:ident, $sentence:ident: $($pattern:literal => $key:ident($($hole:ident),*);)+) => {
        $(
            if let Some(found) = holes($sentence, $pattern)
                && let [$($hole),*] = found.as_slice()
            {
                return Some(t_string!($i18n, tune.$key $(, $hole = say($i18n, $hole))*).to_string());
            }
        )+
    };
}

/// What the server says: how a job's life goes on.
fn of_a_job(i18n: I18nContext<Locale>, sentence: &str) -> Option<String> {
    first_of! { i18n, sentence:
        "Created fine-tuning job: {}" => log_created_tune(id);
        "Created pretrain job: {}" => log_created_pretrain(id);
        "Created {} job: {}" => log_created(kind, id);
        "Validating training file: {}" => log_validating(file);
        "Reading {} file{s}" => log_reading(count);
        "Exporting {}" => log_exporting(model);
        "Files validated, moving job to queued state" => log_queued();
        "Job started" => log_started();
        "Job taken up again (attempt {})" => log_again(attempt);
        "The job was cancelled" => log_cancelled();
        "The job was paused" => log_paused();
        "The job was resumed" => log_resumed();
        "No room on the disk, so the job is paused ({}): make room, then resume it." => log_full(reason);
        "The training process is gone; the job continues from its last checkpoint." => log_lost();
        "The training process ended {} time{s} without a new step; most often that is too little memory. The job's log says what it said last."
            => log_lost_often(count);
        "New fine-tuned model created: {}" => log_model(model);
        "The job has successfully completed" => log_succeeded();
        "The job failed: {}" => log_failed(reason);
        "`dpo` learns from pairs of answers, and this file holds none: give rows of `input`, `preferred_output` and `non_preferred_output`, or use the method `supervised`."
            => log_want_pairs();
        "The file holds pairs of answers: use the method `dpo`." => log_are_pairs();
    }
    refused(i18n, sentence)
}

/// The report itself is on the page, so its first problem need not be told here. Events of earlier servers count rows first.
fn refused(i18n: I18nContext<Locale>, sentence: &str) -> Option<String> {
    let found = holes(sentence, "The file has {} error{}")
        .or_else(|| Some(holes(sentence, "The file's {} rows hold {} error{}")?.split_off(1)))?;
    let errors = found.first()?;
    Some(t_string!(i18n, tune.log_refused, errors = (*errors).to_owned()))
}

/// What a run says of itself.
fn of_a_run(i18n: I18nContext<Locale>, sentence: &str) -> Option<String> {
    first_of! { i18n, sentence:
        "Checkpoint created at step {}" => log_checkpoint(step);
        "Training ended after step {}" => log_ended(step);
        "Continuing after step {}" => log_continued(step);
        "Done" => log_done();
        "Reading texts: {} of {} MB" => log_texts(done, total);
        "Learning a vocabulary: {} of {} MB" => log_learning(done, total);
        "Tokenizing: {} of {} MB" => log_tokenizing(done, total);
        "A model of {} million parameters, {} tokens in its vocabulary; {} document{s}, {} million tokens"
            => log_decided(parameters, vocabulary, documents, tokens);
        "Stopped early: {} evaluation{s} without a better validation loss" => log_stopped_early(count);
        "The result is step {}, with a validation loss of {}" => log_best(step, loss);
        "Step {}: a gradient overflowed and nothing was changed; the loss scale falls from {} to {}" => log_overflow(step, from, to);
        "Step {}: the loss scale rises from {} to {}" => log_scale_up(step, from, to);
        "Step {}: {} → {}" => log_sample(step, prompt, text);
        "{}; back to step {}, and the examples since then are left out" => log_rolled_back(reason, step);
        "{}; the step's examples are left out" => log_skipped(reason);
        "the loss is not a finite number at step {}: lower the learning rate" => log_no_number(step);
        "the loss jumped to {} at step {}, where {} is usual: lower the learning rate" => log_spike(loss, step, usual);
        "The texts have no more pairs that come twice: {} tokens, {} were asked for" => log_small_vocabulary(found, wanted);
        "Learned a vocabulary of {} tokens from {} MB" => log_vocabulary(count, size);
        "Loading the model" => log_export_loading();
        "Reading a text with the model" => log_export_scoring();
        "Writing" => log_export_writing();
        "Loading what was written" => log_export_again();
        "Reading the text with that" => log_export_comparing();
        "{} MB written; mean NLL {} nats a token over {} token{s}, {} before" => log_exported(size, after, tokens, before);
    }
    None
}

/// What stands in a sentence where its pattern has `{}`, from left to right; none where it has another pattern. `{s}` is the ending of a plural,
/// there or not.
pub fn holes<'a>(sentence: &'a str, pattern: &str) -> Option<Vec<&'a str>> {
    filled(sentence, &pattern.replace("{s}", "s")).or_else(|| filled(sentence, &pattern.replace("{s}", "")))
}

/// The same for a pattern with no `{s}`. Each hole but the last ends where the words behind it come first.
fn filled<'a>(sentence: &'a str, pattern: &str) -> Option<Vec<&'a str>> {
    let mut words = pattern.split("{}");
    let mut rest = sentence.strip_prefix(words.next()?)?;
    let mut found = Vec::new();
    let mut words = words.peekable();
    while let Some(behind) = words.next() {
        let (hole, after) = match words.peek() {
            Some(_) => rest.split_once(behind)?,
            None => (rest.strip_suffix(behind)?, ""),
        };
        found.push(hole);
        rest = after;
    }
    rest.is_empty().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_gives_what_stands_in_its_holes() {
        let found = holes("Step 3: the loss scale rises from 2 to 4", "Step {}: the loss scale rises from {} to {}");
        assert_eq!(found, Some(vec!["3", "2", "4"]));
        assert_eq!(holes("Done", "Done"), Some(vec![]));
        assert_eq!(holes("Reading 1 file", "Reading {} file{s}"), Some(vec!["1"]));
        assert_eq!(holes("Reading 2 files", "Reading {} file{s}"), Some(vec!["2"]));
        assert_eq!(holes("The job failed: a; b", "The job failed: {}"), Some(vec!["a; b"]));
        assert_eq!(
            holes("x; the step's examples are left out", "{}; the step's examples are left out"),
            Some(vec!["x"])
        );
    }

    #[test]
    fn another_sentence_has_no_holes() {
        for sentence in ["Done!", "", "Do", "Jobs done"] {
            assert_eq!(holes(sentence, "Done"), None, "{sentence}");
        }
        assert_eq!(holes("Step 3: the loss scale", "Step {}: the loss scale rises from {} to {}"), None);
    }
}
