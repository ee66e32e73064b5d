//! Tokens as the worker writes them, put together to a text: a part of a character stands as its bytes, `⟨E6 9D⟩`. Pure text.

/// The text of tokens. Bytes that are no character become U+FFFD.
pub fn joined(words: impl Iterator<Item = String>) -> String {
    String::from_utf8_lossy(&bytes(words)).into_owned()
}

/// The same where it is whole: none where it begins or ends inside a character.
pub fn whole(words: impl Iterator<Item = String>) -> Option<String> {
    String::from_utf8(bytes(words)).ok()
}

/// Whether a token is a part of a character.
pub fn is_part(word: &str) -> bool {
    hex(word).is_some()
}

fn bytes(words: impl Iterator<Item = String>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in words {
        match hex(&word) {
            Some(part) => bytes.extend(part),
            None => bytes.extend(word.bytes()),
        }
    }
    bytes
}

fn hex(word: &str) -> Option<Vec<u8>> {
    let inside = word.strip_prefix('⟨')?.strip_suffix('⟩')?;
    inside.split(' ').map(|byte| u8::from_str_radix(byte, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_characters_come_together() {
        let words = ["a ", "⟨E6 9D⟩", "⟨8E⟩", "⟨", "b"].map(str::to_owned);
        assert_eq!(joined(words.clone().into_iter()), "a 李⟨b");
        assert_eq!(whole(words.into_iter()).as_deref(), Some("a 李⟨b"));
        let half = || ["x".to_owned(), "⟨E6⟩".to_owned()].into_iter();
        assert_eq!((joined(half()), whole(half())), ("x\u{fffd}".to_owned(), None));
        assert!(is_part("⟨E6 9D⟩") && !is_part("⟨") && !is_part("⟨a⟩ b"));
    }
}
