//! Random ids in OpenAI's shapes, and secrets.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::RngExt as _;

const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// `prefix` and 24 random letters and digits (142 bits).
pub fn new(prefix: &str) -> String {
    random(prefix, 24)
}

/// An API key: 43 letters and digits, 256 bits.
pub fn secret() -> String {
    random("hearth-", 43)
}

fn random(prefix: &str, length: usize) -> String {
    let mut rng = rand::rng();
    let tail = (0..length).map(|_| ALPHABET[rng.random_range(0..ALPHABET.len())] as char);
    prefix.chars().chain(tail).collect()
}

/// Whether `id` is a word that may stand in a path: letters, digits, `-`, `_`; it can leave no folder.
pub fn is_plain(id: &str) -> bool {
    !id.is_empty() && id.len() <= 80 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// Seconds since 1970.
pub fn now() -> i64 {
    since_1970().as_secs() as i64
}

/// The same with their fraction.
pub fn now_exact() -> f64 {
    since_1970().as_secs_f64()
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_plain_and_paths_are_not() {
        assert!(is_plain(&new("ftjob-")));
        for bad in ["", "..", "a/b", "a\\b", "a.b", "é"] {
            assert!(!is_plain(bad), "{bad}");
        }
    }
}
