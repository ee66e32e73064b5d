//! The rows of the registry.

use anyhow::Result;

use crate::db::{Db, from_row};

/// A model's row.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub id: String,
    pub hash: String,
    pub created: i64,
    pub owned_by: String,
    pub base: Option<String>,
    pub base_hash: Option<String>,
    pub job: Option<String>,
    /// `huggingface`, `gguf` or `adapter`.
    pub format: String,
    pub bytes: i64,
    pub parameters: i64,
    pub architecture: String,
    pub context: i64,
    pub chat: bool,
    pub listed: bool,
}

from_row!(Entry {
    id,
    hash,
    created,
    owned_by,
    base,
    base_hash,
    job,
    format,
    bytes,
    parameters,
    architecture,
    context,
    chat,
    listed,
});

pub(super) async fn get(db: &Db, id: &str) -> Result<Option<Entry>> {
    Ok(sqlx::query_as("SELECT * FROM models WHERE id = ?").bind(id).fetch_optional(db.pool()).await?)
}

pub(super) async fn list(db: &Db) -> Result<Vec<Entry>> {
    Ok(sqlx::query_as("SELECT * FROM models WHERE listed ORDER BY created DESC, id").fetch_all(db.pool()).await?)
}

/// Adds the row, or replaces the one of the same name.
pub(super) async fn put(db: &Db, entry: &Entry) -> Result<()> {
    sqlx::query(
        "INSERT OR REPLACE INTO models (id, hash, created, owned_by, base, base_hash, job, format, bytes, parameters, \
         architecture, context, chat, listed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&entry.id)
    .bind(&entry.hash)
    .bind(entry.created)
    .bind(&entry.owned_by)
    .bind(&entry.base)
    .bind(&entry.base_hash)
    .bind(&entry.job)
    .bind(&entry.format)
    .bind(entry.bytes)
    .bind(entry.parameters)
    .bind(&entry.architecture)
    .bind(entry.context)
    .bind(entry.chat)
    .bind(entry.listed)
    .execute(db.pool())
    .await?;
    Ok(())
}

/// Listed models that need the weights of `id`, unless another listed name holds the same weights.
pub(super) async fn tuned_from(db: &Db, id: &str, hash: &str) -> Result<Vec<String>> {
    let rows: Vec<(String,)> = sqlx::query_as(
        "SELECT id FROM models WHERE base_hash = ?2 AND listed \
         AND NOT EXISTS (SELECT 1 FROM models WHERE hash = ?2 AND id <> ?1 AND listed)",
    )
    .bind(id)
    .bind(hash)
    .fetch_all(db.pool())
    .await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// Removes the row, and with a run's result the hidden name that its last checkpoint has for the same weights. Whether the files are
/// needed by no other row.
pub(super) async fn delete(db: &Db, entry: &Entry) -> Result<bool> {
    let mut write = db.write().await?;
    sqlx::query(
        "DELETE FROM models WHERE id = ?1 \
         OR (?2 AND hash = ?3 AND job IS ?4 AND NOT listed AND format <> 'adapter')",
    )
    .bind(&entry.id)
    .bind(entry.listed)
    .bind(&entry.hash)
    .bind(&entry.job)
    .execute(&mut *write)
    .await?;
    let (users,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM models WHERE hash = ?1 OR base_hash = ?1")
        .bind(&entry.hash)
        .fetch_one(&mut *write)
        .await?;
    write.commit().await?;
    Ok(users == 0)
}
