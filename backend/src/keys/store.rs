//! The rows of API keys.

use anyhow::Result;

use super::Key;
use crate::db::Db;

pub(super) async fn insert(db: &Db, id: &str, name: &str, hash: &str) -> Result<()> {
    sqlx::query("INSERT INTO api_keys (id, name, hash, created_at) VALUES (?, ?, ?, ?)")
        .bind(id)
        .bind(name)
        .bind(hash)
        .bind(crate::ids::now())
        .execute(db.pool())
        .await?;
    Ok(())
}

pub(super) async fn list(db: &Db) -> Result<Vec<Key>> {
    let query = "SELECT id, name, datetime(created_at, 'unixepoch') AS created_at FROM api_keys ORDER BY api_keys.created_at, id";
    Ok(sqlx::query_as(query).fetch_all(db.pool()).await?)
}

pub(super) async fn delete(db: &Db, id: &str) -> Result<bool> {
    let done = sqlx::query("DELETE FROM api_keys WHERE id = ?").bind(id).execute(db.pool()).await?;
    Ok(done.rows_affected() > 0)
}

pub(super) async fn count(db: &Db) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT COUNT(*) FROM api_keys").fetch_one(db.pool()).await?)
}

pub(super) async fn contains(db: &Db, hash: &str) -> Result<bool> {
    let found: Option<String> =
        sqlx::query_scalar("SELECT id FROM api_keys WHERE hash = ?").bind(hash).fetch_optional(db.pool()).await?;
    Ok(found.is_some())
}
