//! E-mail and IPv4 addresses.

use super::{Found, Kind, at, before};

/// Of the part before the @ (RFC 5321, 4.5.3.1.1).
const LONGEST_LOCAL: usize = 64;
const LONGEST_LABEL: usize = 63;
/// Files named like `icon@2x.png` are no addresses.
const FILE_ENDINGS: [&[u8]; 7] = [b"png", b"jpg", b"jpeg", b"gif", b"webp", b"svg", b"js"];

fn is_local(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._%+-".contains(&byte)
}

/// `local@label.label.tld`, in the letters that people use of what RFC 5322 allows.
pub(super) fn emails(bytes: &[u8], out: &mut Vec<Found>) {
    for (sign, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'@') {
        let local = bytes[..sign].iter().rev().take(LONGEST_LOCAL + 1).take_while(|byte| is_local(**byte)).count();
        let mut start = sign - local.min(sign);
        while start < sign && !bytes[start].is_ascii_alphanumeric() {
            start += 1;
        }
        let dots_are_well = before(bytes, sign) != b'.' && !bytes[start..sign].windows(2).any(|two| two == b"..");
        if local > LONGEST_LOCAL || start == sign || !dots_are_well {
            continue;
        }
        if let Some(end) = domain(bytes, sign + 1) {
            out.push(Found { kind: Kind::Email, start, end });
        }
    }
}

/// The end of a host name with at least two labels, the last one of letters.
fn domain(bytes: &[u8], start: usize) -> Option<usize> {
    let (mut place, mut labels, mut end, mut last) = (start, 0, None, start..start);
    loop {
        let rest = bytes.get(place..)?;
        let length =
            rest.iter().take(LONGEST_LABEL + 1).take_while(|b| b.is_ascii_alphanumeric() || **b == b'-').count();
        if length == 0 || length > LONGEST_LABEL || rest[0] == b'-' {
            break;
        }
        labels += 1;
        let label = &rest[..length];
        if labels > 1 && length > 1 && label.iter().all(u8::is_ascii_alphabetic) {
            end = Some(place + length);
            last = place..place + length;
        } else if labels > 1 {
            end = None;
        }
        place += length;
        if at(bytes, place) != b'.' {
            break;
        }
        place += 1;
    }
    let end = end?;
    let ending = bytes[last].to_ascii_lowercase();
    // `git@host.org:path` is a repository.
    let is_path = at(bytes, end) == b':' && (at(bytes, end + 1).is_ascii_alphabetic() || at(bytes, end + 1) == b'/');
    (!FILE_ENDINGS.contains(&ending.as_slice()) && !is_path).then_some(end)
}

/// Four numbers up to 255 with dots that are no part of a longer dotted number. Those that all have one digit are taken for
/// versions and sections.
pub(super) fn ips(bytes: &[u8], out: &mut Vec<Found>) {
    let mut place = 0;
    while place < bytes.len() {
        if !bytes[place].is_ascii_digit() {
            place += 1;
            continue;
        }
        let start = place;
        while at(bytes, place).is_ascii_digit() || at(bytes, place) == b'.' && at(bytes, place + 1).is_ascii_digit() {
            place += 1;
        }
        let is_free = |byte: u8| !byte.is_ascii_alphanumeric() && !b"_-.".contains(&byte);
        let (left, right) = (before(bytes, start), at(bytes, place));
        let ends = is_free(left) && (is_free(right) || right == b'.');
        if ends && octets(&bytes[start..place]).is_some_and(is_public) && !names_a_version(bytes, start) {
            out.push(Found { kind: Kind::IpAddress, start, end: place });
        }
    }
}

fn octets(bytes: &[u8]) -> Option<[u8; 4]> {
    if bytes.len() > 15 {
        return None;
    }
    let mut out = [0; 4];
    let mut parts = bytes.split(|byte| *byte == b'.');
    for octet in &mut out {
        let part = parts.next()?;
        let has_zero_in_front = part.len() > 1 && part[0] == b'0';
        *octet = std::str::from_utf8(part).ok()?.parse().ok().filter(|_| !has_zero_in_front)?;
    }
    parts.next().is_none().then_some(out)
}

/// Whether a person could be behind it: not one of RFC 6890's special addresses, nor multicast, nor a section's number.
fn is_public([a, b, c, d]: [u8; 4]) -> bool {
    let special = matches!(
        (a, b, c),
        (0 | 10 | 127 | 224.., _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 168, _)
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    );
    !special && [a, b, c, d].iter().any(|octet| *octet > 9)
}

fn names_a_version(bytes: &[u8], start: usize) -> bool {
    let head = bytes[start.saturating_sub(10)..start].to_ascii_lowercase();
    let head = head.trim_ascii_end();
    [b"version".as_slice(), b"release", b"build", "版本".as_bytes()].iter().any(|word| head.ends_with(word))
}
