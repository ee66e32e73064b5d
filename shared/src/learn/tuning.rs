//! The exercise of the last chapter: a fine-tune that went to its end and learned something. What it is judged by comes from the server.

use serde::{Deserialize, Serialize};

use super::exercise::{Exercise, Verdict, Watched, named, read};
use crate::api::fine_tuning::JobStatus;

/// What the server says of fine-tuning jobs, newest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tuned {
    pub jobs: Vec<TunedJob>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TunedJob {
    pub id: String,
    pub status: JobStatus,
    /// The training loss of its first step and of its last, nats a token; none before they are known.
    pub losses: Option<(f64, f64)>,
}

/// First and last training loss of a job's result file: lines of `step,train_loss,…` below a line of names. None where there are not two.
#[must_use]
pub fn losses(csv: &str) -> Option<(f64, f64)> {
    let loss = |line: &str| line.split(',').nth(1)?.parse::<f64>().ok();
    let mut losses = csv.lines().skip(1).filter_map(loss);
    Some((losses.next()?, losses.last()?))
}

pub static LOWER: Exercise = Exercise {
    id: "tuning-lower",
    watched: Watched::Jobs,
    lines: &["none", "running", "failed", "risen"],
    found: &["first", "last"],
    asked: || named([]),
    judge: |json| read(json, lower),
};

fn lower(tuned: &Tuned) -> Option<Verdict> {
    let jobs = &tuned.jobs;
    if jobs.is_empty() {
        return Some(Verdict::missing("none", []));
    }
    let succeeded = jobs.iter().filter(|job| job.status == JobStatus::Succeeded);
    let mut known = succeeded.clone().filter_map(|job| job.losses);
    let facts = |(first, last): (f64, f64)| [("first", format!("{first:.3}")), ("last", format!("{last:.3}"))];
    if let Some(fell) = known.clone().find(|(first, last)| last < first) {
        return Some(Verdict::solved(facts(fell)));
    }
    if let Some(newest) = known.next() {
        return Some(Verdict::missing("risen", facts(newest)));
    }
    if succeeded.count() > 0 {
        // Their losses are on the way.
        return None;
    }
    let runs = jobs.iter().any(|job| !job.status.ended());
    Some(Verdict::missing(if runs { "running" } else { "failed" }, []))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::exercise::probe::line;
    use super::*;

    fn said(jobs: &[(JobStatus, Option<(f64, f64)>)]) -> &'static str {
        let job = |(status, losses): &(JobStatus, Option<(f64, f64)>)| TunedJob {
            id: "ftjob-1".into(),
            status: *status,
            losses: *losses,
        };
        let tuned = Tuned { jobs: jobs.iter().map(job).collect() };
        line(&LOWER, &serde_json::to_value(tuned).unwrap()).map_or("nothing", |(line, _)| line)
    }

    #[test]
    fn a_job_must_end_well_and_its_loss_fall() {
        use JobStatus::{Cancelled, Failed, Queued, Running, Succeeded};
        assert_eq!(said(&[]), "none");
        assert_eq!(said(&[(Running, None), (Cancelled, None)]), "running");
        assert_eq!(said(&[(Failed, None)]), "failed");
        assert_eq!(said(&[(Succeeded, None)]), "nothing");
        assert_eq!(said(&[(Succeeded, Some((2.0, 2.5)))]), "risen");
        assert_eq!(said(&[(Queued, None), (Succeeded, Some((2.0, 2.5))), (Succeeded, Some((3.0, 1.25)))]), "solved");
        // A run that was stopped has no result, whatever its losses were.
        assert_eq!(said(&[(Cancelled, Some((3.0, 1.0)))]), "failed");
    }

    #[test]
    fn losses_are_read_from_the_result_file() {
        let csv = "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n1,3.5,0.1,,\n2,2.5,0.2,,\n3,1.25,0.4,2,0.5\n";
        assert_eq!(losses(csv), Some((3.5, 1.25)));
        assert_eq!(losses("step,train_loss\n1,3.5\n"), None);
        assert_eq!((losses(""), losses("step,train_loss\n1,x\n")), (None, None));
    }
}
