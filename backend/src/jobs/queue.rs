//! The queue: which job runs, who holds it, and every change of its state, each in one transaction that holds the write
//! lock. A holder renews its lease; a lease that ran out gives the job back to the queue.

use anyhow::Result;
use hearth_shared::api::fine_tuning::{JobError, JobStatus};
use hearth_shared::event::Level;
use sqlx::{Sqlite, Transaction};

use super::state::{self, Change};
use super::store::NewEvent;
use super::{events, store};
use crate::db::{Db, from_row};
use crate::ids;

/// Seconds without a renewal after which a job is thought abandoned.
pub const LEASE_SECONDS: i64 = 60;

/// How often a process may vanish without one new step before the job is called failed.
const MOST_LOSSES: i64 = 3;

/// A job that is now ours to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    pub id: String,
    pub attempt: i64,
}

from_row!(Claim { id, attempt });

/// Takes the oldest queued job that is not in `busy` (whose former process is still leaving).
pub async fn claim(db: &Db, owner: &str, busy: &[String]) -> Result<Option<Claim>> {
    let mut write = db.write().await?;
    let waiting: Vec<String> = sqlx::query_scalar("SELECT id FROM jobs WHERE status = 'queued' ORDER BY number")
        .fetch_all(&mut *write)
        .await?;
    let Some(id) = waiting.into_iter().find(|id| !busy.contains(id)) else {
        return Ok(None);
    };
    if move_on(&mut write, &id, Change::Claimed).await?.is_none() {
        return Ok(None);
    }
    let claim = sqlx::query_as(
        "UPDATE jobs SET attempt = attempt + 1, lease_owner = ?2, lease_until = ?3 WHERE id = ?1 RETURNING id, attempt",
    )
    .bind(&id)
    .bind(owner)
    .bind(ids::now() + LEASE_SECONDS)
    .fetch_one(&mut *write)
    .await?;
    write.commit().await?;
    Ok(Some(claim))
}

/// Renews the lease. `false`: the job is no longer this owner's.
pub async fn renew(db: &Db, id: &str, owner: &str) -> Result<bool> {
    let done =
        sqlx::query("UPDATE jobs SET lease_until = ?3 WHERE id = ?1 AND lease_owner = ?2 AND status = 'running'")
            .bind(id)
            .bind(owner)
            .bind(ids::now() + LEASE_SECONDS)
            .execute(db.pool())
            .await?;
    Ok(done.rows_affected() == 1)
}

/// Gives back to the queue what other owners left running: all of it if `all` (this process holds the data directory
/// alone, so they are dead), else only what ran out of lease.
pub async fn reclaim(db: &Db, owner: &str, all: bool) -> Result<Vec<String>> {
    let mut write = db.write().await?;
    let left: Vec<String> = sqlx::query_scalar(
        "SELECT id FROM jobs WHERE status = 'running' AND lease_owner IS NOT ?1 AND (?2 OR lease_until < ?3)",
    )
    .bind(owner)
    .bind(all)
    .bind(ids::now())
    .fetch_all(&mut *write)
    .await?;
    for id in &left {
        move_on(&mut write, id, Change::Suspended).await?;
    }
    write.commit().await?;
    Ok(left)
}

/// Makes one change, with what there is to say about it: whoever sees the new state sees the event too. `None`: the job is
/// not in a state for it (or does not exist), and nothing is said.
pub async fn change(db: &Db, id: &str, change: Change, event: Option<NewEvent>) -> Result<Option<JobStatus>> {
    let mut write = db.write().await?;
    let status = move_on(&mut write, id, change).await?;
    if status.is_some() {
        store::append_in(&mut write, id, event.as_slice()).await?;
    }
    write.commit().await?;
    Ok(status)
}

/// A process vanished: back to the queue, or failed if that happens again and again without a step forward.
pub async fn lose(db: &Db, id: &str) -> Result<Option<JobStatus>> {
    let mut write = db.write().await?;
    let losses: Option<i64> = sqlx::query_scalar("UPDATE jobs SET losses = losses + 1 WHERE id = ? RETURNING losses")
        .bind(id)
        .fetch_optional(&mut *write)
        .await?;
    let status = if losses.is_some_and(|losses| losses >= MOST_LOSSES) {
        let error = JobError {
            code: "process_lost".into(),
            message: format!(
                "The training process ended {MOST_LOSSES} times without a new step; most often that is too little \
                 memory. The job's log says what it said last."
            ),
            param: None,
        };
        fail_in(&mut write, id, Change::Failed, &error).await?
    } else {
        let words = "The training process is gone; the job continues from its last checkpoint.";
        let status = move_on(&mut write, id, Change::Lost).await?;
        if status.is_some() {
            let event = events::sentence(ids::new("lost:"), Level::Warn, words);
            store::append_in(&mut write, id, &[event]).await?;
        }
        status
    };
    write.commit().await?;
    Ok(status)
}

/// Ends a job in an error.
pub async fn fail(db: &Db, id: &str, change: Change, error: &JobError) -> Result<Option<JobStatus>> {
    let mut write = db.write().await?;
    let status = fail_in(&mut write, id, change, error).await?;
    write.commit().await?;
    Ok(status)
}

/// Ends a job in success.
pub async fn succeed(db: &Db, id: &str, model: Option<&str>, result_file: &str) -> Result<Option<JobStatus>> {
    let mut write = db.write().await?;
    let status = move_on(&mut write, id, Change::Finished).await?;
    if status.is_some() {
        sqlx::query("UPDATE jobs SET fine_tuned_model = ?2, result_file = ?3 WHERE id = ?1")
            .bind(id)
            .bind(model)
            .bind(result_file)
            .execute(&mut *write)
            .await?;
        let created = model.map(|model| format!("New fine-tuned model created: {model}"));
        let words = "The job has successfully completed";
        let mut events: Vec<_> =
            created.into_iter().map(|created| events::sentence("created", Level::Info, created)).collect();
        events.push(events::sentence("succeeded", Level::Info, words));
        store::append_in(&mut write, id, &events).await?;
    }
    write.commit().await?;
    Ok(status)
}

async fn fail_in(
    write: &mut Transaction<'static, Sqlite>,
    id: &str,
    change: Change,
    error: &JobError,
) -> Result<Option<JobStatus>> {
    let status = move_on(write, id, change).await?;
    if status.is_some() {
        sqlx::query("UPDATE jobs SET error = ?2 WHERE id = ?1")
            .bind(id)
            .bind(serde_json::to_string(error)?)
            .execute(&mut **write)
            .await?;
        let words = format!("The job failed: {}", error.message);
        store::append_in(write, id, &[events::sentence("failed", Level::Error, words)]).await?;
    }
    Ok(status)
}

async fn move_on(write: &mut Transaction<'static, Sqlite>, id: &str, change: Change) -> Result<Option<JobStatus>> {
    let word: Option<String> =
        sqlx::query_scalar("SELECT status FROM jobs WHERE id = ?").bind(id).fetch_optional(&mut **write).await?;
    let status = word.as_deref().and_then(JobStatus::parse);
    let Some(next) = status.and_then(|status| state::next(status, change)) else {
        return Ok(None);
    };
    sqlx::query(
        "UPDATE jobs SET status = ?2, lease_owner = NULL, lease_until = NULL, \
         finished_at = CASE WHEN ?3 THEN ?4 END, estimated_finish = NULL WHERE id = ?1",
    )
    .bind(id)
    .bind(next.as_str())
    .bind(next.ended())
    .bind(ids::now())
    .execute(&mut **write)
    .await?;
    Ok(Some(next))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail loudly")]
mod tests {
    use super::*;
    use hearth_shared::api::jobs::JobKind;

    async fn queue_of(count: usize) -> (tempfile::TempDir, Db, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(dir.path()).await.unwrap();
        let mut ids = Vec::new();
        for n in 0..count {
            let id = format!("ftjob-{n}");
            let new = store::NewJob { id: &id, kind: JobKind::FineTune, request: "{}", model_hash: "h", seed: 1 };
            store::insert(&db, &new, None).await.unwrap();
            change(&db, &id, Change::Accepted, None).await.unwrap();
            ids.push(id);
        }
        (dir, db, ids)
    }

    #[tokio::test]
    async fn two_claimers_never_get_the_same_job() {
        let (_dir, db, ids) = queue_of(8).await;
        let claims = futures::future::join_all((0..16).map(|n| {
            let db = db.clone();
            tokio::spawn(async move { claim(&db, &format!("owner-{n}"), &[]).await.unwrap() })
        }))
        .await;
        let mut taken: Vec<_> = claims.into_iter().filter_map(|claim| claim.unwrap()).map(|claim| claim.id).collect();
        taken.sort();
        assert_eq!(taken, ids);
    }

    #[tokio::test]
    async fn a_lost_job_comes_back_and_fails_after_three_losses_in_a_row() {
        let (_dir, db, ids) = queue_of(1).await;
        for attempt in 1..=3 {
            let claim = claim(&db, "me", &[]).await.unwrap().unwrap();
            assert_eq!((claim.attempt, &claim.id), (attempt, &ids[0]));
            assert!(renew(&db, &ids[0], "me").await.unwrap() && !renew(&db, &ids[0], "other").await.unwrap());
            let want = if attempt < 3 { JobStatus::Queued } else { JobStatus::Failed };
            assert_eq!(lose(&db, &ids[0]).await.unwrap(), Some(want));
        }
        assert!(claim(&db, "me", &[]).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_new_server_takes_over_what_a_dead_one_left() {
        let (_dir, db, ids) = queue_of(1).await;
        claim(&db, "dead", &[]).await.unwrap().unwrap();
        assert!(reclaim(&db, "new", false).await.unwrap().is_empty(), "its lease still runs");
        assert_eq!(reclaim(&db, "new", true).await.unwrap(), ids);
        assert_eq!(claim(&db, "new", &ids).await.unwrap(), None, "busy jobs wait");
        assert_eq!(claim(&db, "new", &[]).await.unwrap().unwrap().attempt, 2);
        assert!(reclaim(&db, "new", true).await.unwrap().is_empty(), "its own jobs stay");
    }
}
