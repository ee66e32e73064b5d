//! Whether a file is text at all, by its first bytes, and what it is where it is not. It does not know rows.

/// Bytes that decide.
pub(super) const HEAD: usize = 1024;
/// A head is no text when more than one byte in so many is none: a slip of an encoding here and there is a fault of its row.
const ODD_SHARE: usize = 8;

/// What files of some kinds begin with (their formats' specifications; as file(1) knows them).
const MAGIC: [(&[u8], &str); 14] = [
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF-", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive, or a document kept in one, as xlsx, docx and pt are"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"PAR1", "a Parquet table"),
    (b"ARROW1", "an Arrow table"),
    (b"GGUF", "a GGUF model"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\xff\xfe", "text in UTF-16"),
    (b"\xfe\xff", "text in UTF-16"),
];

/// What a file that begins with `head` (its first [`HEAD`] bytes, or all) is instead of text.
pub(super) fn kind(head: &[u8]) -> Option<String> {
    let mut odd = 0;
    let mut first = None;
    let mut at = 0;
    for chunk in head.utf8_chunks() {
        let control = chunk.valid().bytes().enumerate().filter(|(_, byte)| is_control(*byte));
        for (offset, _) in control {
            first.get_or_insert(at + offset);
            odd += 1;
        }
        at += chunk.valid().len();
        if !chunk.invalid().is_empty() {
            first.get_or_insert(at);
            odd += chunk.invalid().len();
            at += chunk.invalid().len();
        }
    }
    // A text may begin with the word GGUF.
    let byte = first? + 1;
    if let Some((_, kind)) = MAGIC.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Some((*kind).to_owned());
    }
    if is_safetensors(head) {
        return Some("a safetensors model".to_owned());
    }
    (odd * ODD_SHARE > head.len()).then(|| format!("contains bytes that are not UTF-8 text, the first at byte {byte}"))
}

/// Eight bytes that count the header's, then the header, a JSON object. No text has four zeros there.
fn is_safetensors(head: &[u8]) -> bool {
    head.get(4..9).is_some_and(|bytes| bytes == b"\0\0\0\0{")
}

/// Control characters that no text has: not white space, backspace or escape.
fn is_control(byte: u8) -> bool {
    byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x08 | 0x0b | 0x0c | 0x1b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_kinds_have_their_names() {
        let cases: [(&[u8], &str); 5] = [
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "PNG"),
            (b"%PDF-1.7\n%\xe2\xe3", "PDF"),
            (b"PK\x03\x04\x14\0", "xlsx"),
            (b"\x58\0\0\0\0\0\0\0{\"a\":{}}", "safetensors"),
            (b"\xff\xfeh\0i\0", "UTF-16"),
        ];
        for (head, name) in cases {
            assert!(kind(head).is_some_and(|kind| kind.contains(name)), "{name}");
        }
    }

    #[test]
    fn other_bytes_are_counted() {
        assert!(kind(b"abc\0\x01\x02\xff\xfe").is_some_and(|kind| kind.ends_with("at byte 4")));
        // GB18030: no row of it could be read.
        assert!(kind(b"\xc4\xe3\xba\xc3\xa3\xac\xca\xc0\xbd\xe7").is_some_and(|kind| kind.ends_with("at byte 1")));
        let fine: [&[u8]; 6] = [
            b"",
            b"{\"messages\": \"\xff\"}",
            "你好\r\n\tرحبا \u{1b}[0m".as_bytes(),
            b"Der K\xe4se liegt auf dem Tisch.",
            b"a text with one \0 in it",
            b"GGUF is a word",
        ];
        for text in fine {
            assert_eq!(kind(text), None, "{}", String::from_utf8_lossy(text));
        }
        // Cut inside of a character.
        let long = "你".repeat(HEAD);
        assert_eq!(kind(&long.as_bytes()[..HEAD]), None);
    }
}
