//! Cleaning that loses nothing a reader sees: line ends, characters that are not there for the eye, empty space; and, where asked
//! for, the tags of HTML. Linear in the text's length.

/// Tags that end a line where they stand.
const BLOCKS: [&str; 18] = [
    "address",
    "blockquote",
    "br",
    "dd",
    "div",
    "dt",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "li",
    "p",
    "pre",
    "table",
    "tr",
];
/// Elements whose content is not for reading.
const UNREAD: [&str; 4] = ["script", "style", "noscript", "template"];
const ENTITIES: [(&str, &str); 20] = [
    ("amp", "&"),
    ("lt", "<"),
    ("gt", ">"),
    ("quot", "\""),
    ("apos", "'"),
    ("nbsp", " "),
    ("ensp", " "),
    ("emsp", " "),
    ("mdash", "—"),
    ("ndash", "–"),
    ("hellip", "…"),
    ("lsquo", "‘"),
    ("rsquo", "’"),
    ("ldquo", "“"),
    ("rdquo", "”"),
    ("laquo", "«"),
    ("raquo", "»"),
    ("middot", "·"),
    ("copy", "©"),
    ("reg", "®"),
];

/// The text with `\n` as its line ends; without control characters, byte order marks, soft hyphens and zero-width spaces (joiners
/// stay: Persian, Hindi and emoji need them); without spaces at line ends, blank lines around it and more than two in it.
/// With `html`, tags are taken out first, and entities become their characters.
pub fn cleaned(text: &str, html: bool) -> String {
    let plain = if html { entities(&untagged(text)) } else { text.to_owned() };
    let mut visible = String::with_capacity(plain.len());
    let mut chars = plain.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' => {
                chars.next_if_eq(&'\n');
                visible.push('\n');
            }
            '\u{2028}' | '\u{2029}' | '\u{85}' => visible.push('\n'),
            '\n' | '\t' => visible.push(c),
            '\u{ad}' | '\u{200b}' | '\u{2060}' | '\u{feff}' => {}
            _ if c.is_control() => {}
            _ => visible.push(c),
        }
    }
    let mut out = String::with_capacity(visible.len());
    let mut blank = 0;
    for line in visible.split('\n').map(str::trim_end) {
        if line.is_empty() {
            blank += 1;
            continue;
        }
        if !out.is_empty() {
            out.push_str(&"\n\n\n"[..(blank + 1).min(3)]);
        }
        blank = 0;
        out.push_str(line);
    }
    out
}

/// A `<` followed by a letter, `/` or `!` opens a tag, which ends at the next `>`; without one it is a character.
fn untagged(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    // What has no end is looked for once.
    let (mut comments_end, mut unclosed) = (true, [false; UNREAD.len()]);
    while let Some(open) = rest.find('<') {
        out.push_str(&rest[..open]);
        rest = &rest[open..];
        if comments_end && rest.starts_with("<!--") {
            match rest.find("-->") {
                Some(end) => {
                    rest = &rest[end + 3..];
                    continue;
                }
                None => comments_end = false,
            }
        }
        let is_tag = rest[1..].starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '!');
        if !is_tag || rest.starts_with("<!--") {
            out.push('<');
            rest = &rest[1..];
            continue;
        }
        let Some(end) = rest.find('>') else {
            break;
        };
        let tag = &rest[1..end];
        let name = tag.trim_start_matches('/').split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        rest = &rest[end + 1..];
        let unread = UNREAD.iter().position(|one| one.eq_ignore_ascii_case(name)).filter(|_| !tag.starts_with('/'));
        if let Some(index) = unread.filter(|index| !unclosed[*index]) {
            match behind(rest, name) {
                Some(after) => rest = after,
                None => unclosed[index] = true,
            }
        }
        if BLOCKS.iter().any(|one| one.eq_ignore_ascii_case(name)) && !out.ends_with('\n') {
            out.push('\n');
        }
    }
    out.push_str(rest);
    out
}

/// What follows the element's end, if it has one.
fn behind<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut done = 0;
    while let Some(close) = text[done..].find("</") {
        let start = done + close + 2;
        let is_name = text.get(start..start + name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name));
        if is_name {
            return Some(text[start..].find('>').map_or("", |end| &text[start + end + 1..]));
        }
        done = start;
    }
    None
}

/// `&amp;`, `&#38;` and `&#x26;` as characters; what is no entity stays.
fn entities(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('&') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        // The longest that is known has eight characters.
        let end = rest.bytes().take(10).position(|byte| byte == b';');
        let found = end.and_then(|end| Some((entity(&rest[1..end])?, end + 1)));
        let (character, length) = found.unwrap_or_else(|| ("&".to_owned(), 1));
        out.push_str(&character);
        rest = &rest[length..];
    }
    out.push_str(rest);
    out
}

fn entity(name: &str) -> Option<String> {
    let Some(number) = name.strip_prefix('#') else {
        return ENTITIES.iter().find(|(known, _)| *known == name).map(|(_, character)| (*character).to_owned());
    };
    let code = match number.strip_prefix(['x', 'X']) {
        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
        None => number.parse().ok()?,
    };
    char::from_u32(code).map(String::from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_the_eye_does_not_see_is_gone() {
        assert_eq!(
            cleaned("\u{feff}one \r\ntwo\t\rth\u{200b}ree\u{0}\u{ad}\n\n\n\n\n  four\n\n\nfive\n\n", false),
            "one\ntwo\nthree\n\n\n  four\n\n\nfive"
        );
        assert_eq!(cleaned("می\u{200c}خواهم 👩\u{200d}🚀　\n", false), "می\u{200c}خواهم 👩\u{200d}🚀");
        assert_eq!(cleaned("1 < 2 &amp; <b>3</b>", false), "1 < 2 &amp; <b>3</b>");
    }

    #[test]
    fn tags_go_and_their_text_stays() {
        let page = "<!DOCTYPE html><html><head><style>p > a { x }</style></head><body><h1>Title</h1>\
            <!-- a <b> note --><p class=\"x\">One &amp; <b>two</b>&nbsp;&#8212;&#x4e09;</p><script>if (a < b) {}</SCRIPT >\
            <ul><li>3 < 4<li>5 &unknown; & six</ul></body>";
        assert_eq!(cleaned(page, true), "Title\nOne & two —三\n3 < 4\n5 &unknown; & six");
        assert_eq!(cleaned("a <b unclosed", true), "a <b unclosed");
        assert_eq!(cleaned("x <script> y", true), "x  y");
        assert_eq!(cleaned("a <!-- b <i>c</i>", true), "a <!-- b c");
        assert_eq!(cleaned("&amp;lt;", true), "&lt;");
    }

    proptest! {
        #[test]
        fn cleaning_twice_is_cleaning_once(text in "(\\PC|[ \t\r\n\u{0}\u{feff}\u{85}\u{3000}<>&;/!a-]){0,60}") {
            let once = cleaned(&text, false);
            prop_assert_eq!(cleaned(&once, false), once.clone());
            prop_assert!(!once.contains("\n\n\n\n") && !once.contains('\r'));
            cleaned(&text, true);
        }
    }
}
