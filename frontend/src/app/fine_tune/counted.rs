//! How many of something, in words: one of a thing is named otherwise than many.

use crate::app::format;
use crate::app::i18n::{I18nContext, Locale, t_string};

pub fn examples(i18n: I18nContext<Locale>, count: u64) -> String {
    match count {
        1 => t_string!(i18n, tune.examples_single).to_owned(),
        _ => t_string!(i18n, tune.examples_count, count = format::group(count)),
    }
}

pub fn passes(i18n: I18nContext<Locale>, count: u64) -> String {
    match count {
        1 => t_string!(i18n, tune.passes_single).to_owned(),
        _ => t_string!(i18n, tune.passes_count, count = format::group(count)),
    }
}

pub fn steps(i18n: I18nContext<Locale>, count: u64) -> String {
    match count {
        1 => t_string!(i18n, tune.steps_single).to_owned(),
        _ => t_string!(i18n, tune.steps_count, count = format::group(count)),
    }
}
