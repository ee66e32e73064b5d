//! The languages of the page. The keys are made by `build.rs` from `locales/`; a key that one language lacks fails the build.

include!(concat!(env!("OUT_DIR"), "/i18n.rs"));

pub use i18n::*;
pub use leptos_i18n::I18nContext;

use leptos_i18n::context::CookieOptions;

/// A year: the choice is the person's, not the session's.
const REMEMBER_MS: i64 = 365 * 24 * 3600 * 1000;

/// How the chosen language is remembered.
pub fn language_cookie() -> CookieOptions<Locale> {
    CookieOptions::default().max_age(REMEMBER_MS).path("/".to_owned())
}
