//! Which models stay in memory: the least recently used one that nobody uses goes first. Pure; it knows sizes and names only.

/// The models in memory, least recently used first.
#[derive(Debug)]
pub struct Shelf<K> {
    budget: u64,
    items: Vec<Item<K>>,
}

#[derive(Debug)]
struct Item<K> {
    key: K,
    bytes: u64,
    users: usize,
}

/// A model does not fit, even with everything unused put away.
#[derive(thiserror::Error, Clone, Copy, Debug, PartialEq, Eq)]
#[error("needs {needed} bytes of memory, and {free} are free of the {budget} models may use")]
pub struct NoRoom {
    pub needed: u64,
    pub free: u64,
    pub budget: u64,
}

impl<K: Clone + PartialEq> Shelf<K> {
    pub fn new(budget: u64) -> Self {
        Self { budget, items: Vec::new() }
    }

    pub fn contains(&self, key: &K) -> bool {
        self.items.iter().any(|item| item.key == *key)
    }

    /// What to put away, so that `bytes` more fit. The caller does it; the shelf already forgot them.
    pub fn make_room(&mut self, bytes: u64) -> Result<Vec<K>, NoRoom> {
        let pinned: u64 = self.items.iter().filter(|item| item.users > 0).map(|item| item.bytes).sum();
        if pinned + bytes > self.budget {
            return Err(NoRoom { needed: bytes, free: self.budget.saturating_sub(pinned), budget: self.budget });
        }
        let mut evicted = Vec::new();
        let mut used: u64 = self.items.iter().map(|item| item.bytes).sum();
        while used + bytes > self.budget {
            let Some(at) = self.items.iter().position(|item| item.users == 0) else {
                break;
            };
            let item = self.items.remove(at);
            used -= item.bytes;
            evicted.push(item.key);
        }
        Ok(evicted)
    }

    pub fn put(&mut self, key: K, bytes: u64) {
        self.items.push(Item { key, bytes, users: 0 });
    }

    /// Marks the model used, and pins it until [`Self::release`].
    pub fn hold(&mut self, key: &K) {
        if let Some(at) = self.items.iter().position(|item| item.key == *key) {
            let mut item = self.items.remove(at);
            item.users += 1;
            self.items.push(item);
        }
    }

    pub fn release(&mut self, key: &K) {
        if let Some(item) = self.items.iter_mut().find(|item| item.key == *key) {
            item.users = item.users.saturating_sub(1);
        }
    }

    pub fn remove(&mut self, key: &K) {
        self.items.retain(|item| item.key != *key);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_and_the_held_stays() {
        let mut shelf = Shelf::new(10);
        shelf.put("a", 4);
        shelf.put("b", 4);
        shelf.hold(&"a");
        shelf.release(&"a");
        assert_eq!(shelf.make_room(4).unwrap(), ["b"]);
        shelf.put("c", 4);
        shelf.hold(&"a");
        assert_eq!(shelf.make_room(6).unwrap(), ["c"]);
        assert_eq!(shelf.make_room(7), Err(NoRoom { needed: 7, free: 6, budget: 10 }));
        assert!(shelf.contains(&"a"), "a refusal puts nothing away");
    }
}
