//! How bytes are written for people: white space, control characters and joiners are visible, and what is no whole character
//! shows its bytes.

use hearth_shared::lab::words::part;

use super::super::visible;

/// A token as a chip shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub text: String,
    /// It is a part of a character.
    pub part: bool,
    /// A line of the text ends in it.
    pub ends_line: bool,
}

#[must_use]
pub fn seen(bytes: &[u8]) -> Seen {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Seen { text: part(bytes), part: true, ends_line: false };
    };
    let shown = if !text.is_empty() && text.chars().all(is_unseen) {
        text.chars().map(|c| format!("⟨U+{:04X}⟩", u32::from(c))).collect()
    } else {
        visible(text).chars().map(picture).collect()
    };
    Seen { text: shown, part: false, ends_line: text.contains('\n') }
}

/// Unicode has pictures of the control characters.
fn picture(c: char) -> char {
    match c {
        '\u{0}'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or(c),
        '\u{7f}' => '\u{2421}',
        c => c,
    }
}

/// Characters that show nothing by themselves: joiners, marks of direction, variation selectors, tags.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0020}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_invisible() {
        let text = |bytes: &[u8]| seen(bytes).text;
        assert_eq!(text(b" a\n"), "·a↵");
        assert_eq!(text("\u{200d}".as_bytes()), "⟨U+200D⟩");
        assert_eq!(text("👩\u{200d}🚀".as_bytes()), "👩\u{200d}🚀");
        assert_eq!(text(b"\0\x7f"), "␀␡");
        assert_eq!(text(b""), "∅");
        let part = seen(&"杀".as_bytes()[..2]);
        assert_eq!((part.text.as_str(), part.part), ("⟨E6 9D⟩", true));
        assert!(seen(b"\n\n").ends_line && !part.ends_line);
    }
}
