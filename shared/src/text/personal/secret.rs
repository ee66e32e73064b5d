//! Bank accounts and keys of services.

use super::{Found, Kind, at, before};

/// Letters and digits of each country's account numbers (SWIFT, IBAN registry).
const IBAN_LENGTHS: [(&[u8; 2], usize); 52] = [
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BR", 29),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DK", 18),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GR", 27),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"MC", 27),
    (b"MT", 31),
    (b"NL", 18),
    (b"NO", 15),
    (b"PK", 24),
    (b"PL", 28),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"SA", 24),
    (b"SE", 24),
    (b"TR", 26),
    (b"UA", 29),
];

/// Account numbers, whole or in groups of four.
pub(super) fn ibans(bytes: &[u8], out: &mut Vec<Found>) {
    let mut place = 0;
    while place + 4 < bytes.len() {
        let starts = bytes[place].is_ascii_uppercase()
            && bytes[place + 1].is_ascii_uppercase()
            && bytes[place + 2].is_ascii_digit()
            && bytes[place + 3].is_ascii_digit()
            && !before(bytes, place).is_ascii_alphanumeric();
        match starts.then(|| iban(bytes, place)).flatten() {
            Some(end) => {
                out.push(Found { kind: Kind::Iban, start: place, end });
                place = end;
            }
            None => place += 1,
        }
    }
}

fn iban(bytes: &[u8], start: usize) -> Option<usize> {
    let (_, length) = IBAN_LENGTHS.iter().find(|(country, _)| bytes[start..].starts_with(*country))?;
    let mut number = Vec::with_capacity(*length);
    let mut place = start;
    let grouped = at(bytes, start + 4) == b' ';
    while number.len() < *length {
        let byte = at(bytes, place);
        if grouped && byte == b' ' && number.len().is_multiple_of(4) && before(bytes, place) != b' ' {
            place += 1;
        } else if byte.is_ascii_digit() || byte.is_ascii_uppercase() {
            number.push(byte);
            place += 1;
        } else {
            return None;
        }
    }
    // ISO 7064 MOD 97-10, with the first four at the end and letters as 10 to 35.
    number.rotate_left(4);
    let rest = number.iter().fold(0u32, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        _ => (rest * 100 + u32::from(byte - b'A') + 10) % 97,
    });
    (rest == 1 && !at(bytes, place).is_ascii_alphanumeric()).then_some(place)
}

/// A maker's prefix, what follows it, and how much of that at least and at most.
struct Form {
    prefix: &'static [u8],
    is_part: fn(u8) -> bool,
    least: usize,
    most: usize,
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn is_upper(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

const FORMS: [Form; 12] = [
    Form { prefix: b"sk-", is_part: is_word, least: 32, most: 256 },
    Form { prefix: b"ghp_", is_part: is_plain, least: 36, most: 255 },
    Form { prefix: b"gho_", is_part: is_plain, least: 36, most: 255 },
    Form { prefix: b"ghu_", is_part: is_plain, least: 36, most: 255 },
    Form { prefix: b"ghs_", is_part: is_plain, least: 36, most: 255 },
    Form { prefix: b"github_pat_", is_part: is_word, least: 40, most: 255 },
    Form { prefix: b"hf_", is_part: is_plain, least: 34, most: 40 },
    Form { prefix: b"AKIA", is_part: is_upper, least: 16, most: 16 },
    Form { prefix: b"ASIA", is_part: is_upper, least: 16, most: 16 },
    Form { prefix: b"AIza", is_part: is_word, least: 35, most: 35 },
    Form { prefix: b"xoxb-", is_part: is_word, least: 24, most: 255 },
    Form { prefix: b"xoxp-", is_part: is_word, least: 24, most: 255 },
];

/// Keys by their prefix, with at least a letter and a digit behind it.
pub(super) fn keys(bytes: &[u8], out: &mut Vec<Found>) {
    let mut place = 0;
    while place < bytes.len() {
        if !matches!(bytes[place], b's' | b'g' | b'h' | b'x' | b'A') || is_word(before(bytes, place)) {
            place += 1;
            continue;
        }
        match FORMS.iter().find_map(|form| key(bytes, place, form)) {
            Some(end) => {
                out.push(Found { kind: Kind::ApiKey, start: place, end });
                place = end;
            }
            None => place += 1,
        }
    }
}

fn key(bytes: &[u8], start: usize, form: &Form) -> Option<usize> {
    let rest = bytes[start..].strip_prefix(form.prefix)?;
    let length = rest.iter().take(form.most + 1).take_while(|byte| (form.is_part)(**byte)).count();
    let end = start + form.prefix.len() + length;
    let part = &rest[..length];
    let is_drawn = part.iter().any(u8::is_ascii_digit) && part.iter().any(u8::is_ascii_alphabetic);
    (length >= form.least && length <= form.most && is_drawn && !at(bytes, end).is_ascii_alphanumeric()).then_some(end)
}
