//! The query of the page's address, where a place keeps the state that a link should carry.

use gloo::timers::callback::Timeout;
use js_sys::Array;
use leptos::prelude::*;
use leptos_router::hooks::use_location;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::UrlSearchParams;

use super::embed;

/// A query to be written: names, and values not yet escaped.
pub type Pairs = Vec<(&'static str, String)>;

/// The address follows what it says after this long: browsers refuse to rewrite it with every move of a slider.
const FOLLOW_MS: u32 = 300;

/// What leads to the place that is being opened: names and decoded values, in their order. The router knows it before the window
/// does, so a link on the page says as much as an address typed.
pub fn query() -> Vec<(String, String)> {
    pairs(&use_location().search.get_untracked())
}

/// What stands in the window now.
pub fn shown() -> Vec<(String, String)> {
    pairs(&window().location().search().unwrap_or_default())
}

fn pairs(query: &str) -> Vec<(String, String)> {
    let Ok(query) = UrlSearchParams::new_with_str(query) else {
        return Vec::new();
    };
    Array::from(&query)
        .iter()
        .filter_map(|pair| {
            let pair: Array = pair.dyn_into().ok()?;
            Some((pair.get(0).as_string()?, pair.get(1).as_string()?))
        })
        .collect()
}

/// The address as a person passes it on: without what only a page in a frame needs.
pub fn link() -> String {
    let location = window().location();
    let whole = location.href().unwrap_or_default();
    if !embed::is_embedded() {
        return whole;
    }
    let search = location.search().unwrap_or_default();
    let Ok(query) = UrlSearchParams::new_with_str(&search) else {
        return whole;
    };
    query.delete(embed::NAME);
    let query = String::from(query.to_string());
    let bare = whole.split('?').next().unwrap_or_default();
    if query.is_empty() { bare.to_owned() } else { format!("{bare}?{query}") }
}

/// Replaces the query without a new entry in the history, if the person is still at `place` or below it.
pub fn replace(place: &str, pairs: &[(&'static str, String)]) {
    if let Some(url) = written(place, pairs)
        && let Ok(history) = window().history()
    {
        let state = history.state().unwrap_or(JsValue::NULL);
        // A sandboxed frame may forbid it; the page works without.
        let _ = history.replace_state_with_url(&state, "", Some(&url));
    }
}

/// The same as a new entry in the history: going back leads to what stood there before.
pub fn push(place: &str, pairs: &[(&'static str, String)]) {
    if let Some(url) = written(place, pairs)
        && let Ok(history) = window().history()
    {
        let _ = history.push_state_with_url(&JsValue::NULL, "", Some(&url));
    }
}

/// The address with another query; none where the person is not at `place` or below it.
fn written(place: &str, pairs: &[(&'static str, String)]) -> Option<String> {
    let query = UrlSearchParams::new().ok()?;
    for (name, value) in pairs {
        query.append(name, value);
    }
    if embed::is_embedded() {
        query.append(embed::NAME, "1");
    }
    let path = window().location().pathname().unwrap_or_default();
    // A timer may fire after the person has gone to another place of ours.
    if !path.starts_with(place) {
        return None;
    }
    let query = String::from(query.to_string());
    Some(if query.is_empty() { path } else { format!("{path}?{query}") })
}

/// Calls `write` with what `pairs` say, a moment after they change; and once at first where the address that was opened asked for what
/// is not so, as with a value out of its bounds.
pub fn follow(pairs: impl Fn() -> Pairs + 'static, write: fn(&Pairs)) {
    let timer = StoredValue::new_local(None::<Timeout>);
    let asked = query();
    Effect::new(move |first: Option<()>| {
        let pairs = pairs();
        if first.is_some() || asks_otherwise(&asked, &pairs) {
            timer.set_value(Some(Timeout::new(FOLLOW_MS, move || write(&pairs))));
        }
    });
}

/// Whether an address says anything that the state does not; what is left unsaid is no matter.
fn asks_otherwise(asked: &[(String, String)], pairs: &[(&'static str, String)]) -> bool {
    let is_so = |name: &str, value: &str| pairs.iter().any(|(said, what)| *said == name && what == value);
    asked.iter().any(|(name, value)| name != embed::NAME && !is_so(name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_not_followed_is_noticed() {
        let asked = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let state = [("text", "a b".to_owned()), ("layer", "2".to_owned())];
        assert!(!asks_otherwise(&[], &state));
        assert!(!asks_otherwise(&asked(&[("layer", "2"), (embed::NAME, "1")]), &state));
        assert!(asks_otherwise(&asked(&[("layer", "99")]), &state));
        assert!(asks_otherwise(&asked(&[("layer", "2"), ("temperature", "hot")]), &state));
    }
}
