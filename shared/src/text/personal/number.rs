//! Numbers that say what they are by length, range and check digit: identity numbers, payment cards, telephones.

use super::{Found, Kind, at, before};

/// Not a part of a longer number or word: `0.4111…`, `x138…`.
fn is_free(bytes: &[u8], start: usize, end: usize) -> bool {
    let (left, right) = (before(bytes, start), at(bytes, end));
    let is_joint = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let joins = |mark: u8, digit: u8| b".,-".contains(&mark) && digit.is_ascii_digit();
    let is_joined = is_joint(left)
        || is_joint(right)
        || start > 1 && joins(left, bytes[start - 2])
        || joins(right, at(bytes, end + 1));
    !is_joined
}

/// Identity numbers, cards and Chinese mobiles: digits, perhaps in groups.
pub(super) fn runs(bytes: &[u8], out: &mut Vec<Found>) {
    let mut place = 0;
    while place < bytes.len() {
        if !bytes[place].is_ascii_digit() {
            place += 1;
            continue;
        }
        let mut run = Run::read(bytes, place);
        let first = place + run.groups[0];
        // Groups behind a number may not belong to it, nor those before it: `12 13912345678 12`.
        let mut found = run.identity(bytes);
        while found.is_none() && !run.groups.is_empty() {
            found = run.card(bytes).or_else(|| run.mobile(bytes));
            run.shorten();
        }
        out.extend(found);
        place = found.map_or(first, |found| found.end);
    }
}

/// Up to seven groups of digits with one kind of mark between them.
struct Run {
    start: usize,
    end: usize,
    digits: Vec<u8>,
    /// Their lengths.
    groups: Vec<usize>,
}

impl Run {
    fn read(bytes: &[u8], start: usize) -> Self {
        let (mut place, mut digits, mut groups) = (start, Vec::new(), Vec::new());
        let mut mark = None;
        loop {
            let length = bytes[place..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            // Nothing here is longer than 19 digits.
            digits.extend(bytes[place..place + length].iter().take(20).map(|digit| digit - b'0'));
            groups.push(length);
            place += length;
            let next = at(bytes, place);
            let goes_on = matches!(next, b' ' | b'-') && at(bytes, place + 1).is_ascii_digit();
            if !goes_on || *mark.get_or_insert(next) != next || groups.len() == 7 || digits.len() > 19 {
                return Self { start, end: place, digits, groups };
            }
            place += 1;
        }
    }

    /// Without its last group.
    fn shorten(&mut self) {
        if let Some(last) = self.groups.pop() {
            self.digits.truncate(self.digits.len() - last.min(20));
            self.end = self.end.saturating_sub(last + 1);
        }
    }

    /// Seventeen digits and a check, X for ten.
    fn identity(&self, bytes: &[u8]) -> Option<Found> {
        let end = self.start + 18;
        let number = bytes.get(self.start..end)?;
        let is_number = number[..17].iter().all(u8::is_ascii_digit) && matches!(number[17], b'0'..=b'9' | b'X' | b'x');
        let digits: Vec<u32> = number.iter().map(|byte| u32::from(byte.wrapping_sub(b'0'))).collect();
        let value = |from: usize, to: usize| digits[from..to].iter().fold(0, |sum, digit| sum * 10 + digit);
        if !is_number || !is_free(bytes, self.start, end) || !is_province(value(0, 2)) {
            return None;
        }
        // ISO 7064 MOD 11-2: the weights are powers of two.
        let sum: u32 = (0..17).map(|i| digits[i] * ((1 << (17 - i)) % 11)).sum();
        let check = (12 - sum % 11) % 11;
        let is_right = if check == 10 { number[17] | 0x20 == b'x' } else { digits[17] == check };
        (is_right && is_date(value(6, 10), value(10, 12), value(12, 14))).then_some(Found {
            kind: Kind::ChinaResidentId,
            start: self.start,
            end,
        })
    }

    fn card(&self, bytes: &[u8]) -> Option<Found> {
        let is_grouped = match self.groups.as_slice() {
            [one] => matches!(one, 15 | 16) || self.digits.starts_with(&[6, 2]),
            [4, 6, 4 | 5] | [4, 4, 4, 1..=4] | [4, 4, 4, 4, 1..=3] | [6, 13] => true,
            _ => false,
        };
        (is_grouped && is_issued(&self.digits) && luhn(&self.digits) && is_free(bytes, self.start, self.end))
            .then_some(Found { kind: Kind::PaymentCard, start: self.start, end: self.end })
    }

    /// 1, 3 to 9, and nine more, at most grouped as 3-4-4, with or without 86 or 0086 in front.
    fn mobile(&self, bytes: &[u8]) -> Option<Found> {
        let is_grouped = matches!(self.groups.as_slice(), [11 | 13 | 15] | [2 | 4, 11] | [3, 4, 4] | [2 | 4, 3, 4, 4]);
        let digits = self.digits.as_slice();
        let own = digits.strip_prefix(&[0, 0, 8, 6]).or_else(|| digits.strip_prefix(&[8, 6])).unwrap_or(digits);
        let is_mobile = own.len() == 11 && own[0] == 1 && own[1] >= 3;
        (is_grouped && is_mobile && before(bytes, self.start) != b'+' && is_free(bytes, self.start, self.end))
            .then_some(Found { kind: Kind::Phone, start: self.start, end: self.end })
    }
}

/// GB/T 2260.
fn is_province(code: u32) -> bool {
    matches!(code, 11..=15 | 21..=23 | 31..=37 | 41..=46 | 50..=54 | 61..=65 | 71 | 81..=83)
}

fn is_date(year: u32, month: u32, day: u32) -> bool {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    (1900..2100).contains(&year) && (1..=days).contains(&day)
}

/// An issuer's range, and a length that it gives.
fn is_issued(digits: &[u8]) -> bool {
    if digits.len() < 13 {
        return false;
    }
    let head = digits[..4].iter().fold(0, |sum, digit| sum * 10 + u32::from(*digit));
    match digits.len() {
        // Visa.
        13 => head / 1000 == 4,
        // Diners Club.
        14 => matches!(head / 10, 300..=305) || matches!(head / 100, 36 | 38 | 39),
        // American Express.
        15 => matches!(head / 100, 34 | 37),
        // Visa, Mastercard, Discover, JCB, UnionPay.
        16 => {
            head / 1000 == 4
                || matches!(head, 2221..=2720 | 3528..=3589 | 6011)
                || matches!(head / 100, 51..=55 | 62 | 64 | 65)
        }
        17 | 18 => head / 100 == 62,
        19 => head / 1000 == 4 || head / 100 == 62,
        _ => false,
    }
}

/// ISO/IEC 7812-1, annex B.
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(i, digit)| match (i % 2, u32::from(*digit)) {
            (0, digit) => digit,
            (_, digit) => digit * 2 / 10 + digit * 2 % 10,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// International and North American numbers.
pub(super) fn phones(bytes: &[u8], out: &mut Vec<Found>) {
    let mut place = 0;
    while place < bytes.len() {
        let found = match bytes[place] {
            b'+' => international(bytes, place),
            b'(' | b'1'..=b'9' => north_american(bytes, place),
            _ => None,
        };
        out.extend(found);
        place = match found {
            Some(found) => found.end,
            // The rest of a number is no number.
            None if bytes[place].is_ascii_digit() => {
                place + bytes[place..].iter().take_while(|byte| byte.is_ascii_digit()).count()
            }
            None => place + 1,
        };
    }
}

/// + and 9 to 15 digits, with single marks between them.
fn international(bytes: &[u8], start: usize) -> Option<Found> {
    let left = before(bytes, start);
    let (mut place, mut digits, mut end) = (start + 1, Vec::new(), start);
    let mut mark = 0;
    // Behind +1 there are ten, whatever follows.
    while digits.len() < if digits.first() == Some(&b'1') { 11 } else { 16 } {
        let byte = at(bytes, place);
        if byte.is_ascii_digit() {
            digits.push(byte);
            mark = 0;
            end = place + 1;
        } else if b" -.()".contains(&byte) && mark < 2 && !digits.is_empty() {
            mark += 1;
        } else {
            break;
        }
        place += 1;
    }
    let is_long_enough = match digits.as_slice() {
        [b'1', rest @ ..] => rest.len() == 10 && rest[0] > b'1' && rest[3] > b'1',
        [b'2'..=b'9', ..] => (9..=15).contains(&digits.len()),
        _ => false,
    };
    let ends = !left.is_ascii_alphanumeric() && left != b'+' && !at(bytes, end).is_ascii_alphanumeric();
    (is_long_enough && ends).then_some(Found { kind: Kind::Phone, start, end })
}

/// `(NNN) NNN-NNNN`, `NNN-NNN-NNNN` or `NNN.NNN.NNNN`, perhaps with 1 in front; neither area nor exchange begins with 0 or 1.
fn north_american(bytes: &[u8], start: usize) -> Option<Found> {
    let mut place = start;
    if at(bytes, place) == b'1' && matches!(at(bytes, place + 1), b'-' | b'.' | b' ') {
        place += 2;
    }
    let digits = |from: usize, count: usize| {
        bytes.get(from..from + count).is_some_and(|part| part.iter().all(u8::is_ascii_digit))
    };
    let is_code = |from: usize| digits(from, 3) && bytes[from] > b'1';
    let mark;
    if at(bytes, place) == b'(' {
        if !is_code(place + 1) || at(bytes, place + 4) != b')' {
            return None;
        }
        place += 5;
        place += usize::from(matches!(at(bytes, place), b' ' | b'-'));
        mark = at(bytes, place + 3);
    } else {
        mark = at(bytes, place + 3);
        if !is_code(place) || mark == b' ' {
            return None;
        }
        place += 4;
    }
    let end = place + 8;
    (matches!(mark, b'-' | b'.' | b' ')
        && is_code(place)
        && at(bytes, place + 3) == mark
        && digits(place + 4, 4)
        && is_free(bytes, start, end))
    .then_some(Found { kind: Kind::Phone, start, end })
}
