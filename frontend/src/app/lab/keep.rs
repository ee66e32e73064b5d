//! What a lab keeps in the tab's own storage, so that a reload does not lose it: a list under a name, the newest of it where not all fits.
//! What this page cannot read is passed over. It knows no lab.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::app::client;

/// Raised when a page could misread what an earlier one stored.
const VERSION: u32 = 1;
/// Of a list: a storage holds a few million characters for all of them.
const MOST_BYTES: usize = 1_000_000;

#[derive(Deserialize)]
struct Kept<T> {
    version: u32,
    items: Vec<T>,
}

/// What was stored under a name; nothing where that cannot be read.
pub fn load<T: DeserializeOwned>(name: &str) -> Vec<T> {
    let stored = client::tab_storage().and_then(|storage| storage.get_item(&key(name)).ok().flatten());
    stored.and_then(|text| parse(&text)).unwrap_or_default()
}

/// Stores the newest of `items`, which are its last.
pub fn store<T: Serialize>(name: &str, items: &[T]) {
    if let Some(storage) = client::tab_storage() {
        // A full or forbidden storage only means that they end with the page.
        let _ = storage.set_item(&key(name), &text(items));
    }
}

fn key(name: &str) -> String {
    format!("hearth.lab.{name}")
}

fn text<T: Serialize>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().filter_map(|item| serde_json::to_string(item).ok()).collect();
    let mut bytes = 0;
    let fitting = items.iter().rev().take_while(|item| {
        bytes += item.len();
        bytes <= MOST_BYTES
    });
    let newest = &items[items.len() - fitting.count()..];
    format!("{{\"version\":{VERSION},\"items\":[{}]}}", newest.join(","))
}

fn parse<T: DeserializeOwned>(text: &str) -> Option<Vec<T>> {
    let kept: Kept<T> = serde_json::from_str(text).ok()?;
    (kept.version == VERSION).then_some(kept.items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_comes_back_and_its_newest_where_not_all_fits() {
        assert_eq!(parse(&text(&[1, 2, 3])), Some(vec![1, 2, 3]));
        assert_eq!(parse(&text::<u32>(&[])), Some(Vec::<u32>::new()));
        let half = "x".repeat(MOST_BYTES / 2);
        let all = ["first".to_owned(), half.clone(), "last".to_owned(), half];
        assert_eq!(parse::<String>(&text(&all)).as_deref(), Some(&all[2..]));
        assert_eq!(parse::<String>(&text(&["x".repeat(MOST_BYTES)])), Some(Vec::new()));
    }

    #[test]
    fn foreign_data_is_passed_over() {
        for text in ["", "null", "[1]", "{\"version\":2,\"items\":[1]}", "{\"version\":1,\"items\":[\"a\"]}"] {
            assert_eq!(parse::<u32>(text), None, "{text}");
        }
    }
}
