//! API keys: 256 random bits each, kept only as SHA-256. A slow hash would add nothing against guessing that many bits.

mod store;

use anyhow::Result;
use sha2::{Digest as _, Sha256};

use crate::db::{Db, from_row};
use crate::ids;

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub id: String,
    pub name: String,
    /// `2026-01-31 12:00:00`, UTC.
    pub created_at: String,
}

from_row!(Key { id, name, created_at });

/// Makes a key and returns it; it can never be shown again.
pub async fn create(db: &Db, name: &str) -> Result<String> {
    let secret = ids::secret();
    store::insert(db, &ids::new("key_"), name, &hash(&secret)).await?;
    Ok(secret)
}

/// Every key, oldest first.
pub async fn list(db: &Db) -> Result<Vec<Key>> {
    store::list(db).await
}

/// Forgets a key; `false` if there is none of that id.
pub async fn revoke(db: &Db, id: &str) -> Result<bool> {
    store::delete(db, id).await
}

/// Whether there is any key.
pub async fn any(db: &Db) -> Result<bool> {
    Ok(store::count(db).await? > 0)
}

/// Whether `secret` is one of the keys.
pub async fn accepts(db: &Db, secret: &str) -> Result<bool> {
    store::contains(db, &hash(secret)).await
}

fn hash(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_is_known_and_not_stored() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let db = Db::open(dir.path()).await?;
        assert!(!any(&db).await?);
        let secret = create(&db, "test").await?;
        assert!(accepts(&db, &secret).await? && any(&db).await?);
        assert!(!accepts(&db, "hearth-wrong").await?);
        let [key] = list(&db).await?.try_into().expect("there is one key");
        assert_eq!(key.name, "test");
        assert!(!revoke(&db, "key_other").await? && accepts(&db, &secret).await?);
        assert!(revoke(&db, &key.id).await? && !accepts(&db, &secret).await? && !any(&db).await?);
        let file = std::fs::read(dir.path().join("hearth.db"))?;
        let log = std::fs::read(dir.path().join("hearth.db-wal")).unwrap_or_default();
        for bytes in [file, log] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
        }
        Ok(())
    }
}
