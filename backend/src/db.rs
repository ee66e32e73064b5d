//! The SQLite database: one file, write-ahead log, migrations embedded in the program.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, SqlSafeStr as _, Sqlite, Transaction};

/// Every change of the schema; a file that was released never changes.
const MIGRATIONS: [(i64, &str, &str); 3] = [
    (1, "start", include_str!("../migrations/0001_start.sql")),
    (2, "plans", include_str!("../migrations/0002_plans.sql")),
    (3, "kinds", include_str!("../migrations/0003_kinds.sql")),
];

/// Reads a struct from a row whose columns have the names of its fields.
macro_rules! from_row {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl<'r> sqlx::FromRow<'r, sqlx::sqlite::SqliteRow> for $name {
            fn from_row(row: &'r sqlx::sqlite::SqliteRow) -> sqlx::Result<Self> {
                use sqlx::Row as _;
                Ok(Self { $($field: row.try_get(stringify!($field))?),* })
            }
        }
    };
}
pub(crate) use from_row;

fn migrations() -> Vec<Migration> {
    MIGRATIONS
        .into_iter()
        .map(|(version, name, sql)| {
            Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
        })
        .collect()
}

/// A handle to the database; clones share one pool.
#[derive(Clone, Debug)]
pub struct Db {
    pool: SqlitePool,
}

/// The database's file in the data folder.
const FILE: &str = "hearth.db";

impl Db {
    /// Whether there is a database in `data_dir` already.
    pub fn is_in(data_dir: &Path) -> bool {
        data_dir.join(FILE).exists()
    }

    /// Opens (and makes, and migrates) `hearth.db` in `data_dir`.
    pub async fn open(data_dir: &Path) -> Result<Self> {
        if !data_dir.exists() {
            // A mistyped folder would otherwise look like one that lost everything.
            eprintln!("hearth: new data folder {}", data_dir.display());
        }
        std::fs::create_dir_all(data_dir).with_context(|| format!("cannot make {}", data_dir.display()))?;
        let options = SqliteConnectOptions::new()
            .filename(data_dir.join(FILE))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // With the write-ahead log, NORMAL loses no committed row to a killed process, only to a power cut.
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(Duration::from_secs(15));
        let pool = SqlitePoolOptions::new()
            .max_connections(6)
            // A full disk ends a transaction behind the connection's back, which then would begin no other.
            .before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
            .connect_with(options)
            .await
            .with_context(|| format!("cannot open {}", data_dir.join(FILE).display()))?;
        Migrator::with_migrations(migrations()).run(&pool).await.context("cannot migrate the database")?;
        Ok(Self { pool })
    }

    /// For reads and single statements.
    pub fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// A transaction that holds the write lock from its first moment: it never has to be retried half-way.
    pub async fn write(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        self.pool.begin_with("BEGIN IMMEDIATE").await
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> bool {
        sqlx::query("SELECT 1").execute(&self.pool).await.is_ok()
    }
}
