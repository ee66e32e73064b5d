//! The cache lab: the same tokens generated with keys and values kept and without, in turn, each step timed. The page asks for
//! them piece by piece, so that it can draw while they come; between two pieces the run waits here.

use std::rc::{Rc, Weak};

use hearth_model::{
    look::decode::{Decoded, Decoder, furthest},
    plan,
    tokenizer::Special,
    transformer::Transformer,
};
use hearth_shared::lab::{
    LabError, Reply, Stage,
    cache::{Advanced, Ask, Begun, Found, Held, NEW, PROMPT, Step, Token},
};

use crate::{
    desk::{Done, Task},
    engine::{Lab, Open, lost},
    port,
};

/// After this long a piece is sent.
const PIECE_MS: f64 = 120.0;

/// A run between two pieces. It does not keep its model alive: another one may need the room.
pub struct Run {
    model: Weak<Open>,
    count: u32,
    done: u32,
    kept: Decoder,
    again: Decoder,
    windowed: Option<Windowed>,
}

struct Windowed {
    window: usize,
    decoder: Decoder,
}

/// # Errors
/// Whatever ends the call.
pub async fn answer(task: &Rc<Task>, lab: &Lab, ask: Ask) -> Result<Done, LabError> {
    let open = lab.current()?;
    let found = match ask {
        Ask::Begin { text, count, window } => {
            let (run, begun) = begin(&open, &text, count, window)?;
            *lab.decoding.borrow_mut() = Some(run);
            Found::Begun(Box::new(begun))
        }
        Ask::Advance => {
            let waiting = lab.decoding.borrow_mut().take();
            let run = waiting.filter(|run| run.model.upgrade().is_some_and(|model| Rc::ptr_eq(&model, &open)));
            let mut run = run.ok_or_else(|| LabError::Other { message: "no run has begun".to_owned() })?;
            let advanced = advance(task, &open, &mut run).await?;
            if !advanced.done {
                *lab.decoding.borrow_mut() = Some(run);
            }
            Found::Advanced(advanced)
        }
    };
    Ok(Done { reply: Reply::Cache(Box::new(found)), buffers: Vec::new() })
}

fn begin(open: &Rc<Open>, text: &str, count: u32, window: Option<u32>) -> Result<(Run, Begun), LabError> {
    let bundle = &open.bundle;
    let context = bundle.transformer.context() as u32;
    let mut prompt = bundle.tokenizer.encode(text, Special::Parse);
    let whole = prompt.len() as u32;
    let read = PROMPT.min(context.saturating_sub(1));
    prompt.truncate(read as usize);
    if prompt.is_empty() {
        return Err(LabError::EmptyText);
    }
    let count = count.clamp(1, NEW.1).min(context - prompt.len() as u32);
    let window = window.filter(|&window| window > 0);
    let keeping = || Decoder::keeping(&bundle.config, &prompt, count as usize);
    let run = Run {
        model: Rc::downgrade(open),
        count,
        done: 0,
        kept: keeping(),
        again: Decoder::forgetting(&prompt),
        windowed: window.map(|window| Windowed { window: window as usize, decoder: keeping() }),
    };
    let begun = Begun {
        model: open.id.clone(),
        engine: open.engine,
        prompt,
        cut_from: (whole > read).then_some(whole),
        count,
        window,
        facts: open.facts.clone(),
        shape: plan::shape(&bundle.config),
    };
    Ok((run, begun))
}

async fn advance(task: &Rc<Task>, open: &Open, run: &mut Run) -> Result<Advanced, LabError> {
    let start = port::now();
    let model = &open.bundle.transformer;
    // The same weights; only what a query may see is different.
    let narrow = run.windowed.as_ref().map(|windowed| {
        let mut narrow = model.clone();
        narrow.set_window(Some(windowed.window));
        narrow
    });
    let mut steps = Vec::new();
    while run.done < run.count && (steps.is_empty() || port::now() - start < PIECE_MS) {
        task.tell(Stage::Forward, u64::from(run.done), Some(u64::from(run.count)), None);
        let together = run.kept.tokens() == run.again.tokens();
        let (kept, kept_logits) = timed(task, &mut run.kept, model).await?;
        let (again, again_logits) = timed(task, &mut run.again, model).await?;
        let windowed = match (&mut run.windowed, &narrow) {
            (Some(windowed), Some(narrow)) => Some(timed(task, &mut windowed.decoder, narrow).await?.0),
            _ => None,
        };
        let apart = together.then(|| furthest(&kept_logits, &again_logits));
        steps.push(Step { kept, again, windowed, apart });
        run.done += 1;
    }
    let held = run
        .kept
        .cache()
        .map_or_else(Held::default, |cache| Held { positions: cache.len() as u32, bytes: cache.bytes() as u64 });
    Ok(Advanced { steps, held, done: run.done == run.count })
}

/// One step by the clock, and its logits `[V]`.
async fn timed(task: &Rc<Task>, decoder: &mut Decoder, model: &Transformer) -> Result<(Token, Vec<f32>), LabError> {
    task.breathe().await?;
    let start = port::now();
    let Decoded { id, positions, logits, margin } = decoder.step(model).await.map_err(lost)?;
    let ms = port::now() - start;
    Ok((Token { id, ms, positions: positions as u32, margin }, logits))
}
