//! The rows of files.

use anyhow::Result;
use hearth_shared::api::files::FileObject;

use super::FileFilter;
use crate::db::{Db, from_row};

struct Row {
    id: String,
    bytes: i64,
    created_at: i64,
    filename: String,
    purpose: String,
}

from_row!(Row { id, bytes, created_at, filename, purpose });

impl From<Row> for FileObject {
    fn from(row: Row) -> Self {
        FileObject {
            id: row.id,
            object: "file".into(),
            bytes: row.bytes as u64,
            created_at: row.created_at,
            expires_at: None,
            filename: row.filename,
            purpose: row.purpose,
            status: "processed".into(),
            status_details: None,
        }
    }
}

pub(super) async fn insert(db: &Db, id: &str, bytes: i64, filename: &str, purpose: &str) -> Result<()> {
    sqlx::query("INSERT OR IGNORE INTO files (id, bytes, created_at, filename, purpose) VALUES (?, ?, ?, ?, ?)")
        .bind(id)
        .bind(bytes)
        .bind(crate::ids::now())
        .bind(filename)
        .bind(purpose)
        .execute(db.pool())
        .await?;
    Ok(())
}

pub(super) async fn get(db: &Db, id: &str) -> Result<Option<FileObject>> {
    let row: Option<Row> = sqlx::query_as("SELECT id, bytes, created_at, filename, purpose FROM files WHERE id = ?")
        .bind(id)
        .fetch_optional(db.pool())
        .await?;
    Ok(row.map(Into::into))
}

pub(super) async fn list(db: &Db, filter: &FileFilter) -> Result<(Vec<FileObject>, bool)> {
    // The direction cannot be a bound value; both texts are constant.
    let sql = if filter.ascending {
        "SELECT id, bytes, created_at, filename, purpose FROM files WHERE (?1 IS NULL OR purpose = ?1) \
         AND (?2 IS NULL OR number > (SELECT number FROM files WHERE id = ?2)) ORDER BY number LIMIT ?3"
    } else {
        "SELECT id, bytes, created_at, filename, purpose FROM files WHERE (?1 IS NULL OR purpose = ?1) \
         AND (?2 IS NULL OR number < (SELECT number FROM files WHERE id = ?2)) ORDER BY number DESC LIMIT ?3"
    };
    let mut rows: Vec<Row> = sqlx::query_as(sql)
        .bind(&filter.purpose)
        .bind(&filter.after)
        .bind(i64::from(filter.limit) + 1)
        .fetch_all(db.pool())
        .await?;
    let has_more = rows.len() > filter.limit as usize;
    rows.truncate(filter.limit as usize);
    Ok((rows.into_iter().map(Into::into).collect(), has_more))
}

pub(super) async fn delete(db: &Db, id: &str) -> Result<bool> {
    let done = sqlx::query("DELETE FROM files WHERE id = ?").bind(id).execute(db.pool()).await?;
    Ok(done.rows_affected() == 1)
}
