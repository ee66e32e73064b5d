//! The life of a job as a pure state machine. It knows no database, process or clock.

use hearth_shared::api::fine_tuning::JobStatus;

/// What can happen to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Its files were read and are good.
    Accepted,
    /// Its files were read and are not.
    Refused,
    /// A process takes it up.
    Claimed,
    /// The run reached its end and the model is registered.
    Finished,
    /// The run ended in an error that another attempt would meet again.
    Failed,
    /// The process is gone without a word.
    Lost,
    /// The process saved a checkpoint and left because the server stops.
    Suspended,
    /// Asked for by a client.
    Pause,
    Resume,
    Cancel,
}

/// The state after `change`, or `None` where that makes no sense.
pub fn next(status: JobStatus, change: Change) -> Option<JobStatus> {
    use Change as C;
    use JobStatus as S;
    Some(match (status, change) {
        (S::ValidatingFiles, C::Accepted) => S::Queued,
        (S::ValidatingFiles, C::Refused) => S::Failed,
        (S::Queued, C::Claimed) => S::Running,
        (S::Running, C::Finished) => S::Succeeded,
        (S::Running, C::Failed) => S::Failed,
        (S::Running, C::Lost | C::Suspended) => S::Queued,
        (S::Queued | S::Running, C::Pause) => S::Paused,
        (S::Paused, C::Resume) => S::Queued,
        (S::ValidatingFiles | S::Queued | S::Running | S::Paused, C::Cancel) => S::Cancelled,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGES: [Change; 10] = [
        Change::Accepted,
        Change::Refused,
        Change::Claimed,
        Change::Finished,
        Change::Failed,
        Change::Lost,
        Change::Suspended,
        Change::Pause,
        Change::Resume,
        Change::Cancel,
    ];

    #[test]
    fn no_way_leads_out_of_an_end() {
        for status in JobStatus::ALL.into_iter().filter(|status| status.ended()) {
            assert!(CHANGES.iter().all(|change| next(status, *change).is_none()), "{status:?}");
        }
    }

    #[test]
    fn every_state_but_the_ends_can_be_cancelled() {
        for status in JobStatus::ALL.into_iter().filter(|status| !status.ended()) {
            assert_eq!(next(status, Change::Cancel), Some(JobStatus::Cancelled));
        }
    }

    #[test]
    fn only_a_claim_makes_a_job_run() {
        for status in JobStatus::ALL {
            for change in CHANGES {
                if next(status, change) == Some(JobStatus::Running) {
                    assert_eq!((status, change), (JobStatus::Queued, Change::Claimed));
                }
            }
        }
    }
}
