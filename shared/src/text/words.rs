//! Words of any script, for comparing and measuring texts. Scripts that put no spaces between words give a word a character.

use super::hash::{Fnv, mix};

/// Han, kana, Thai, Lao, Burmese and Khmer are written without spaces between words.
pub(crate) fn is_unspaced(c: char) -> bool {
    matches!(c,
        '\u{0e00}'..='\u{0eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3005}'..='\u{3007}'
        | '\u{3040}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}')
}

/// A hash of each word: a run of letters and digits in lower case, or one character of an unspaced script.
pub(crate) fn word_hashes(text: &str) -> Vec<u64> {
    let mut out = Vec::with_capacity(text.len() / 6);
    let mut open: Option<Fnv> = None;
    for c in text.chars() {
        let alone = is_unspaced(c);
        if (alone || !c.is_alphanumeric())
            && let Some(word) = open.take()
        {
            out.push(mix(word.value()));
        }
        if !c.is_alphanumeric() {
            continue;
        }
        let mut word = open.take().unwrap_or_default();
        if c.is_ascii() {
            word.step(u64::from(u32::from(c.to_ascii_lowercase())));
        } else {
            c.to_lowercase().for_each(|lower| word.step(u64::from(u32::from(lower))));
        }
        if alone {
            out.push(mix(word.value()));
        } else {
            open = Some(word);
        }
    }
    out.extend(open.map(|word| mix(word.value())));
    out
}

/// What stands between spaces, marks included; of unspaced scripts each character. As byte ranges, in order.
pub(crate) fn spaced(text: &str) -> Vec<(usize, usize)> {
    let mut out = Vec::with_capacity(text.len() / 6);
    let mut open: Option<usize> = None;
    for (at, c) in text.char_indices() {
        let alone = is_unspaced(c);
        if alone || c.is_whitespace() {
            out.extend(open.take().map(|start| (start, at)));
        }
        if alone {
            out.push((at, at + c.len_utf8()));
        } else if !c.is_whitespace() {
            open.get_or_insert(at);
        }
    }
    out.extend(open.map(|start| (start, text.len())));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_marks_make_no_other_word() {
        assert_eq!(word_hashes("The quick, brown FOX!"), word_hashes("the Quick — brown fox"));
        assert_ne!(word_hashes("the quick"), word_hashes("thequick"));
        assert_eq!(word_hashes("  ,;— ").len(), 0);
    }

    #[test]
    fn an_unspaced_character_is_a_word() {
        assert_eq!(word_hashes("用GPT-4写诗").len(), 5);
        let text = "用GPT-4写诗。 ok";
        let words: Vec<&str> = spaced(text).into_iter().map(|(start, end)| &text[start..end]).collect();
        assert_eq!(words, ["用", "GPT-4", "写", "诗", "。", "ok"]);
        assert_eq!(word_hashes("한국어 문장").len(), 2);
    }
}
