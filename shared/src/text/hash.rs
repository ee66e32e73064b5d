//! Hashes of what is compared, not kept secret: the same in every process and on every machine, unlike std's hasher.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// FNV-1a, 64 bits (Fowler, Noll and Vo; draft-eastlake-fnv).
pub(crate) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    /// The bytes and a mark of their end, so that `ab, c` and `a, bc` differ.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().chain(&(bytes.len() as u64).to_le_bytes()) {
            self.step(u64::from(*byte));
        }
    }

    /// One unit, such as a byte or a character.
    pub(crate) fn step(&mut self, unit: u64) {
        self.0 = (self.0 ^ unit).wrapping_mul(0x0100_0000_01b3);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0
    }
}

/// Every bit of the result depends on every bit of `x`: the last steps of splitmix64 (Steele, Lea and Flood 2014).
pub(crate) fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A hash of a sequence of hashes, in their order.
pub(crate) fn join(hashes: &[u64]) -> u64 {
    mix(hashes
        .iter()
        .fold(hashes.len() as u64, |sum, hash| sum.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(*hash)))
}

/// Takes a key that [`mix`] made as it is. For tables of one text only: whoever writes the keys can make them collide.
#[derive(Default)]
pub(crate) struct Mixed(u64);

impl Hasher for Mixed {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = mix(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

pub(crate) type MixedMap<V> = HashMap<u64, V, BuildHasherDefault<Mixed>>;
pub(crate) type MixedSet = HashSet<u64, BuildHasherDefault<Mixed>>;
