//! Personal data in a text, by form and checksum: what a model should not learn by heart. Names and addresses have neither
//! and are not found. Linear in the text's length.

mod address;
mod number;
mod secret;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident $id:literal $mask:literal)+) => {
        /// What was found. Of two that overlap the earlier kind of this list counts.
        #[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($(#[$doc])* #[serde(rename = $id)] $name,)+
        }

        impl Kind {
            pub const ALL: &'static [Kind] = &[$(Kind::$name,)+];

            pub fn id(self) -> &'static str {
                match self { $(Self::$name => $id,)+ }
            }

            /// What [`masked`] writes instead.
            pub fn mask(self) -> &'static str {
                match self { $(Self::$name => $mask,)+ }
            }
        }
    };
}

kinds! {
    /// Keys by their makers' prefixes (OpenAI, Anthropic, GitHub, AWS, Google, Slack, Hugging Face).
    ApiKey "api_key" "[api_key]"
    Email "email" "[email]"
    /// An international bank account number: ISO 13616, its country's length, checked modulo 97.
    Iban "iban" "[iban]"
    /// A Chinese resident identity number: GB 11643, checked by ISO 7064 MOD 11-2, with a date of birth.
    ChinaResidentId "china_resident_id" "[china_resident_id]"
    /// A payment card: an issuer's range and length (ISO/IEC 7812), Luhn's check digit.
    PaymentCard "payment_card" "[payment_card]"
    /// International with + (ITU-T E.164), North American with an area code, Chinese mobile.
    Phone "phone" "[phone]"
    /// A public IPv4 address: none of the special ones of RFC 6890.
    IpAddress "ip_address" "[ip_address]"
}

/// One place of a text.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub kind: Kind,
    /// The first byte.
    pub start: usize,
    /// The byte behind the last.
    pub end: usize,
}

/// All personal data, in order and without overlaps.
pub fn find(text: &str) -> Vec<Found> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    address::emails(bytes, &mut found);
    address::ips(bytes, &mut found);
    number::runs(bytes, &mut found);
    number::phones(bytes, &mut found);
    secret::keys(bytes, &mut found);
    secret::ibans(bytes, &mut found);
    found.sort_by_key(|one| (one.start, one.kind));
    let mut out: Vec<Found> = Vec::with_capacity(found.len());
    for one in found {
        match out.last_mut() {
            Some(last) if one.start < last.end => {
                if one.kind < last.kind {
                    *last = one;
                }
            }
            _ => out.push(one),
        }
    }
    out
}

/// How much of each kind.
pub fn counts(found: &[Found]) -> BTreeMap<Kind, u64> {
    let mut out = BTreeMap::new();
    for one in found {
        *out.entry(one.kind).or_default() += 1;
    }
    out
}

/// The text with [`Kind::mask`] in the place of what [`find`] finds, and in how many places; nothing is found in it any more.
pub fn masked(text: &str) -> (String, u64) {
    let (mut out, mut count) = (text.to_owned(), 0);
    loop {
        let found = find(&out);
        if found.is_empty() {
            return (out, count);
        }
        count += found.len() as u64;
        // What touched it may be a number of its own now, so look again.
        let mut next = String::with_capacity(out.len());
        let mut done = 0;
        for one in found {
            next.push_str(&out[done..one.start]);
            next.push_str(one.kind.mask());
            done = one.end;
        }
        next.push_str(&out[done..]);
        out = next;
    }
}

/// The byte at a place, 0 outside.
fn at(bytes: &[u8], place: usize) -> u8 {
    bytes.get(place).copied().unwrap_or(0)
}

/// The byte before a place, 0 at the start.
fn before(bytes: &[u8], place: usize) -> u8 {
    place.checked_sub(1).map_or(0, |place| at(bytes, place))
}

#[cfg(test)]
mod tests;
