//! From the texts of tokens to bytes, and from bytes to whole characters.

use std::collections::HashMap;

use super::Alphabet;

/// GPT-2's printable character for each byte: itself where it prints, else the next free one from U+0100 on.
pub(crate) fn byte_chars() -> [char; 256] {
    let mut chars = ['\0'; 256];
    let mut next = 256;
    for byte in 0..=255u8 {
        chars[byte as usize] = match byte {
            b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => char::from(byte),
            _ => {
                next += 1;
                char::from_u32(next - 1).unwrap_or_default()
            }
        };
    }
    chars
}

pub(super) fn char_bytes() -> HashMap<char, u8> {
    (0..=255).zip(byte_chars()).map(|(b, c)| (c, b)).collect()
}

/// Appends the bytes that a token of the vocabulary stands for.
pub(super) fn push_token(out: &mut Vec<u8>, text: &str, alphabet: Alphabet, chars: &HashMap<char, u8>) {
    match alphabet {
        Alphabet::ByteLevel => match text.chars().map(|c| chars.get(&c).copied()).collect::<Option<Vec<u8>>>() {
            Some(bytes) => out.extend(bytes),
            // Not of the alphabet: some vocabularies hold plain texts beside it.
            None => out.extend(text.bytes()),
        },
        Alphabet::Pieces => {
            let hex = text.strip_prefix("<0x").and_then(|t| t.strip_suffix('>')).filter(|t| t.len() == 2);
            match hex.and_then(|t| u8::from_str_radix(t, 16).ok()) {
                Some(byte) => out.push(byte),
                None => out.extend(text.replace('▁', " ").bytes()),
            }
        }
        Alphabet::Plain => out.extend(text.bytes()),
    }
}

/// Turns bytes that arrive in pieces into text, never splitting a character.
#[derive(Debug, Clone, Default)]
pub struct Utf8Stream {
    /// At most three bytes: the beginning of a character.
    pending: Vec<u8>,
}

impl Utf8Stream {
    /// Takes bytes and returns every character they complete. What can no longer become a character is U+FFFD.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut out = String::new();
        let mut done = 0;
        for chunk in self.pending.utf8_chunks() {
            out.push_str(chunk.valid());
            done += chunk.valid().len();
            let invalid = chunk.invalid();
            if invalid.is_empty() {
                continue;
            }
            let last = done + invalid.len() == self.pending.len();
            let unfinished = std::str::from_utf8(invalid).is_err_and(|e| e.error_len().is_none());
            if last && unfinished {
                break;
            }
            out.push(char::REPLACEMENT_CHARACTER);
            done += invalid.len();
        }
        self.pending.drain(..done);
        out
    }

    /// Whether bytes are held back.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// What is held back, as U+FFFD; nothing when the last character was whole.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_byte_alphabet_is_gpt2s() {
        let chars = byte_chars();
        assert_eq!((chars[b' ' as usize], chars[b'\n' as usize], chars[b'a' as usize]), ('Ġ', 'Ċ', 'a'));
        assert_eq!(char_bytes().len(), 256);
    }

    proptest! {
        #[test]
        fn pieces_of_any_bytes_join_to_the_lossy_text(bytes in prop::collection::vec(any::<u8>(), 0..40), cut in 1usize..5) {
            let mut stream = Utf8Stream::default();
            let mut text: String = bytes.chunks(cut).map(|piece| stream.push(piece)).collect();
            text.push_str(&stream.finish());
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn pieces_of_a_text_are_never_replaced(text in any::<String>(), cut in 1usize..5) {
            let mut stream = Utf8Stream::default();
            let mut out = String::new();
            for piece in text.as_bytes().chunks(cut) {
                let complete = stream.push(piece);
                prop_assert!(text[out.len()..].starts_with(&complete));
                out.push_str(&complete);
            }
            prop_assert!(stream.is_empty());
            prop_assert_eq!(out, text);
        }
    }
}
