//! The sampling lab: what can follow a text, stage by stage; what would have followed, as a tree; what each seed makes of it. The text
//! that was read last waits here, so that a slider needs no new pass and one more token needs one position.

use std::rc::{Rc, Weak};

use hearth_model::{
    look::{reading::Reading, runs, tree::Growth},
    sampler::stages,
    tokenizer::Special,
};
use hearth_shared::lab::{
    LabError, Reply, Stage as Doing,
    sampling::{
        Ask, Chance, DEPTH, DRAWS, Distribution, Drawn, Draws, Found, NEW, PROMPT, RUNS, Runs, SHOWN, Stage, Tree,
        TreeSpec,
    },
};
use hearth_shared::spec::Sampling;

use crate::{
    desk::{Done, Pace, Task},
    engine::{Lab, Open, lost},
    port,
};

/// A text that was read. It does not keep its model alive: another one may need the room.
pub struct Kept {
    model: Weak<Open>,
    reading: Rc<Reading>,
}

/// A text, read to its end, and what that took.
struct Text {
    reading: Rc<Reading>,
    /// Length of the whole in tokens when only its end is read.
    cut_from: Option<u32>,
    /// Tokens that went through the model just now.
    forwarded: u32,
    ms: f64,
}

/// # Errors
/// Whatever ends the call.
pub async fn answer(task: &Rc<Task>, lab: &Lab, ask: Ask) -> Result<Done, LabError> {
    let open = lab.current()?;
    let found = match ask {
        Ask::Distribution { text, sampling } => {
            checked(&sampling)?;
            let text = read(task, lab, &open, &text).await?;
            Found::Distribution(Box::new(distribution(&open, &text, &sampling)))
        }
        Ask::Tree { text, sampling, tree } => {
            checked(&sampling)?;
            let text = read(task, lab, &open, &text).await?;
            Found::Tree(grown(task, &open, &text.reading, (&sampling, tree)).await?)
        }
        Ask::Runs { text, sampling, first, runs, count } => {
            checked(&sampling)?;
            let text = read(task, lab, &open, &text).await?;
            let seeds: Vec<u64> = (0..u64::from(runs.clamp(RUNS.0, RUNS.1))).map(|at| first.wrapping_add(at)).collect();
            let count = count.clamp(1, NEW.1);
            Found::Runs(continued(task, &open, &text.reading, (&sampling, &seeds, count)).await?)
        }
        Ask::Draws { text, sampling, first } => {
            checked(&sampling)?;
            let text = read(task, lab, &open, &text).await?;
            Found::Draws(drawn(task, &text.reading, &sampling, first).await?)
        }
    };
    task.check()?;
    Ok(Done { reply: Reply::Sampling(Box::new(found)), buffers: Vec::new() })
}

fn checked(sampling: &Sampling) -> Result<(), LabError> {
    sampling.validate().map_err(|error| LabError::Other { message: error.to_string() })
}

/// Reads the end of a text, as far as it is not read already.
async fn read(task: &Rc<Task>, lab: &Lab, open: &Rc<Open>, text: &str) -> Result<Text, LabError> {
    let start = port::now();
    let model = &open.bundle.transformer;
    let ids = open.bundle.tokenizer.encode(text, Special::Parse);
    // A tree and a continuation need room behind the text.
    let room = (model.context() as u32).saturating_sub(NEW.1.max(DEPTH.1));
    let skipped = ids.len().saturating_sub(PROMPT.min(room).max(1) as usize);
    let tokens = &ids[skipped..];
    if tokens.is_empty() {
        return Err(LabError::EmptyText);
    }
    let kept = lab.reading.borrow().as_ref().and_then(|kept| {
        let same = kept.model.upgrade().is_some_and(|model| Rc::ptr_eq(&model, open));
        same.then(|| kept.reading.clone())
    });
    let mut reading = match kept {
        Some(kept) => kept.turned_to(tokens),
        None => Reading::new(&open.bundle.config, tokens),
    };
    let before = reading.read();
    while !reading.is_done() {
        task.tell(Doing::Forward, reading.read() as u64, Some(tokens.len() as u64), None);
        task.breathe().await?;
        reading.read_on(model).await.map_err(lost)?;
    }
    let forwarded = (reading.read() - before) as u32;
    let reading = Rc::new(reading);
    *lab.reading.borrow_mut() = Some(Kept { model: Rc::downgrade(open), reading: reading.clone() });
    let cut_from = (skipped > 0).then_some(ids.len() as u32);
    Ok(Text { reading, cut_from, forwarded, ms: port::now() - start })
}

fn distribution(open: &Open, text: &Text, sampling: &Sampling) -> Distribution {
    let start = port::now();
    let (logits, seen) = (text.reading.logits(), text.reading.tokens());
    let all = stages::stages(logits, seen, sampling);
    let ids = stages::shown(&all, SHOWN);
    let tokens = ids.iter().map(|&id| Chance {
        id,
        logit: logits[id as usize],
        seen: seen.contains(&id),
        shares: all.iter().map(|stage| stage.share(id)).collect(),
    });
    let told = |stage: &stages::Stage| Stage {
        step: stage.step,
        kept: stage.kept as u32,
        removed: stage.removed,
        entropy: stage.entropy,
        rest: (1.0 - ids.iter().map(|&id| stage.share(id)).sum::<f64>()).max(0.0),
    };
    let mass: f64 = match (all.first(), all.last()) {
        (Some(model), Some(last)) => last.support().map(|id| model.share(id)).sum(),
        _ => 0.0,
    };
    Distribution {
        model: open.id.clone(),
        engine: open.engine,
        prompt: seen.to_vec(),
        cut_from: text.cut_from,
        vocab_size: logits.len() as u32,
        forwarded: text.forwarded,
        forward_ms: text.ms,
        stages: all.iter().map(told).collect(),
        mass,
        tokens: tokens.collect(),
        stages_ms: port::now() - start,
    }
}

async fn grown(
    task: &Rc<Task>,
    open: &Open,
    reading: &Reading,
    (sampling, spec): (&Sampling, TreeSpec),
) -> Result<Tree, LabError> {
    let start = port::now();
    let spec = spec.bounded();
    let mut tree = Growth::new(reading, sampling, spec, &open.bundle.eos);
    while !tree.is_done() {
        let (level, levels) = tree.levels();
        task.tell(Doing::Forward, u64::from(level), Some(u64::from(levels)), None);
        task.breathe().await?;
        tree.grow(&open.bundle.transformer, reading).await.map_err(lost)?;
    }
    let forwarded = tree.forwarded() as u32;
    Ok(Tree { spec, nodes: tree.into_nodes(), forwarded, ms: port::now() - start })
}

async fn continued(
    task: &Rc<Task>,
    open: &Open,
    reading: &Reading,
    (sampling, seeds, count): (&Sampling, &[u64], u32),
) -> Result<Runs, LabError> {
    let start = port::now();
    let mut runs = runs::Runs::new(reading, sampling, seeds, (&open.bundle.eos, count as usize));
    while !runs.is_done() {
        task.tell(Doing::Forward, runs.steps() as u64, Some(u64::from(count)), None);
        task.breathe().await?;
        runs.step(&open.bundle.transformer).await.map_err(lost)?;
    }
    Ok(Runs { runs: runs.into_runs(), count, ms: port::now() - start })
}

async fn drawn(task: &Rc<Task>, reading: &Reading, sampling: &Sampling, first: u64) -> Result<Draws, LabError> {
    /// Draws between two looks at the clock.
    const PIECE: u64 = 10;
    let mut pace = Pace::begin();
    let mut drawn: Vec<Drawn> = Vec::new();
    let end = first.saturating_add(u64::from(DRAWS));
    for from in (first..end).step_by(PIECE as usize) {
        task.tell(Doing::Forward, from - first, Some(end - first), None);
        pace.breathe(task).await?;
        for (id, times) in stages::tally(reading.logits(), reading.tokens(), sampling, from..end.min(from + PIECE)) {
            match drawn.iter_mut().find(|drawn| drawn.id == id) {
                Some(drawn) => drawn.times += times,
                None => drawn.push(Drawn { id, times }),
            }
        }
    }
    drawn.sort_by(|a, b| b.times.cmp(&a.times).then(a.id.cmp(&b.id)));
    Ok(Draws { first, count: (end - first) as u32, drawn })
}
