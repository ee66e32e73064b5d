//! What is still to be computed, and in which order: one call after the other, because a newer call would stop the one before.
//! Pure.

use hearth_shared::lab::position::{Ask, Distances, Found, Losses, Method, Scaling, Task, Turns, lengths};

use super::siblings::{COUNT, Document, SIBLINGS, TRAINED, rope};

/// Windows that every loss is a mean over.
pub const WINDOWS: u32 = 8;

/// One call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Job {
    Turns(Scaling),
    /// Of the sibling at this place.
    Distances(usize),
    Losses {
        sibling: usize,
        scaling: Scaling,
        longest: u32,
    },
}

/// What the page shows, as far as it needs the engine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wanted {
    pub longest: u32,
    pub shown: [bool; COUNT],
    pub scaling: Scaling,
    pub attention: usize,
}

impl Wanted {
    /// Quick ones first, then what a person has asked for: the stretched model, and the same one unstretched to compare it with.
    pub fn jobs(&self) -> Vec<Job> {
        let losses = |sibling, scaling| Job::Losses { sibling, scaling, longest: self.longest };
        let is_stretched = self.scaling.method != Method::None;
        let mut shown: Vec<usize> = (0..COUNT).filter(|sibling| self.shown[*sibling]).collect();
        let mut jobs = vec![Job::Turns(self.scaling), Job::Distances(self.attention)];
        if is_stretched {
            jobs.push(losses(rope(), self.scaling));
            shown.sort_by_key(|sibling| *sibling != rope());
        }
        jobs.extend(shown.into_iter().map(|sibling| losses(sibling, Scaling::NONE)));
        jobs
    }

    /// Whether `example` answers what `had` does not.
    pub fn borrows(&self, had: &Had, example: &Had) -> bool {
        self.jobs().into_iter().any(|job| !had.has(job) && example.has(job))
    }

    /// Whether the two together answer everything.
    pub fn is_covered(&self, had: &Had, example: &Had) -> bool {
        self.jobs().into_iter().all(|job| had.has(job) || example.has(job))
    }

    /// The first that nothing answers yet.
    pub fn next(&self, had: &Had) -> Option<Job> {
        self.jobs().into_iter().find(|job| !had.has(*job))
    }
}

/// What was answered so far. Answers stay, so that going back is free.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Had {
    pub turns: Vec<Turns>,
    pub distances: Vec<Distances>,
    pub losses: Vec<Losses>,
}

impl Had {
    pub fn take(&mut self, found: Found) {
        match found {
            Found::Turns(turns) => self.turns.push(turns),
            Found::Distances(distances) => self.distances.push(distances),
            Found::Losses(losses) => self.losses.push(losses),
        }
    }

    pub fn turns(&self, scaling: Scaling) -> Option<&Turns> {
        self.turns.iter().find(|turns| turns.scaling == scaling)
    }

    pub fn distances(&self, sibling: usize) -> Option<&Distances> {
        let name = SIBLINGS.get(sibling)?.name;
        self.distances.iter().find(|distances| distances.model == name)
    }

    pub fn losses(&self, sibling: usize, scaling: Scaling, longest: u32) -> Option<&Losses> {
        let name = SIBLINGS.get(sibling)?.name;
        let is_it = |losses: &&Losses| {
            losses.model == name
                && losses.scaling == scaling
                && losses.longest().is_some_and(|read| read.length == longest)
        };
        self.losses.iter().find(is_it)
    }

    fn has(&self, job: Job) -> bool {
        match job {
            Job::Turns(scaling) => self.turns(scaling).is_some(),
            Job::Distances(sibling) => self.distances(sibling).is_some(),
            Job::Losses { sibling, scaling, longest } => self.losses(sibling, scaling, longest).is_some(),
        }
    }
}

impl Job {
    /// The call itself; none for a sibling that is not there.
    pub fn ask(self, documents: &[Document]) -> Option<Ask> {
        let texts = || documents.iter().map(|document| document.text.clone()).collect();
        let (sibling, scaling, task) = match self {
            Self::Turns(scaling) => (rope(), scaling, Task::Turns),
            Self::Distances(sibling) => (sibling, Scaling::NONE, Task::Distances { texts: texts(), length: TRAINED }),
            Self::Losses { sibling, scaling, longest } => {
                let task = Task::Losses { texts: texts(), windows: WINDOWS, lengths: lengths(TRAINED, longest) };
                (sibling, scaling, task)
            }
        };
        let model = SIBLINGS.get(sibling)?.model();
        Some(Ask { model, trained: TRAINED, scaling, task })
    }

    /// Whose numbers these are.
    pub fn sibling(self) -> usize {
        match self {
            Self::Turns(_) => rope(),
            Self::Distances(sibling) | Self::Losses { sibling, .. } => sibling,
        }
    }
}

#[cfg(test)]
mod tests {
    use hearth_shared::lab::position::LengthLoss;

    use super::*;

    fn wanted() -> Wanted {
        Wanted { longest: 512, shown: [true, false, true, true], scaling: Scaling::new(Method::Ntk, 4.0), attention: 2 }
    }

    fn answer(job: Job) -> Found {
        let name = SIBLINGS[job.sibling()].name.to_owned();
        match job {
            Job::Turns(scaling) => {
                Found::Turns(Turns { scaling, frequencies: Vec::new(), plain: Vec::new(), attention_factor: 1.0 })
            }
            Job::Distances(_) => {
                Found::Distances(Distances { model: name, layers: 0, heads: 0, time: 0, means: Vec::new() })
            }
            Job::Losses { scaling, longest, .. } => {
                let lengths = vec![LengthLoss { length: longest, stretches: Vec::new() }];
                Found::Losses(Losses { model: name, scaling, windows: 8, lengths, ms: 1.0 })
            }
        }
    }

    #[test]
    fn work_ends_when_everything_shown_is_answered() {
        let (wanted, mut had) = (wanted(), Had::default());
        let mut done = Vec::new();
        while let Some(job) = wanted.next(&had) {
            assert!(!done.contains(&job), "{job:?} is done twice");
            had.take(answer(job));
            done.push(job);
        }
        assert_eq!(done, wanted.jobs());
        assert_eq!(done.len(), 2 + 3 + 1);

        // Another factor asks for what depends on it, and nothing else.
        let further = Wanted { scaling: Scaling::new(Method::Ntk, 2.0), ..wanted };
        let missing: Vec<Job> = further.jobs().into_iter().filter(|job| !had.has(*job)).collect();
        assert_eq!(missing.len(), 2);
        assert!(missing.iter().all(|job| job.sibling() == rope()));
    }

    #[test]
    fn a_stretched_model_waits_behind_no_sibling() {
        let losses = |sibling, scaling| Job::Losses { sibling, scaling, longest: 512 };
        let jobs = wanted().jobs();
        assert_eq!(jobs[2..4], [losses(rope(), wanted().scaling), losses(rope(), Scaling::NONE)]);
        assert!(jobs[4..].iter().all(|job| job.sibling() != rope()), "{jobs:?}");
    }

    #[test]
    fn without_a_method_nothing_is_stretched() {
        let plain = Wanted { scaling: Scaling::new(Method::None, 3.0), ..wanted() };
        let stretched = plain
            .jobs()
            .into_iter()
            .filter(|job| matches!(job, Job::Losses { scaling, .. } if *scaling != Scaling::NONE));
        assert_eq!(stretched.count(), 0);
    }

    #[test]
    fn a_call_names_its_model_and_lengths() {
        let ask = Job::Losses { sibling: 2, scaling: Scaling::NONE, longest: 512 }.ask(&[]);
        let ask = ask.unwrap_or_else(|| panic!("the sibling is there"));
        assert_eq!((ask.model.id.as_str(), ask.trained), (SIBLINGS[2].name, TRAINED));
        assert!(matches!(ask.task, Task::Losses { lengths, .. } if lengths.last() == Some(&512)));
    }
}
