//! A hash of what is compared, not kept secret: the same in every process and on every machine, unlike std's hasher.

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
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(crate) fn value(&self) -> u64 {
        self.0
    }
}
