//! Inside a pass of the attention lab: the stack and its residual stream, the logit lens, the text without a head, what each head
//! looks at. A stream is made once for a text and stays until another one is asked for.

use std::{
    cell::RefCell,
    rc::{Rc, Weak},
};

use hearth_model::look::{
    ablate::without,
    heads::{Seen, facts, random, twice, weights},
    lens::readings,
    losses::losses,
    stack::stack,
    stream::Stream,
};
use hearth_shared::lab::{
    LabError, Reply, Stage,
    inside::{Ablated, Ask, At, Found, HeadLoss, Lens, PERIOD, Statistics, Task as Wanted},
};

use crate::{
    desk::{Done, Task},
    engine::{Lab, Open, lost},
};

/// What is worked out once for a text.
#[derive(Default)]
pub struct Bench {
    stream: Kept<Stream>,
    base: Kept<Vec<f32>>,
}

/// Something about the last text, as long as its model is open.
struct Kept<T>(RefCell<Option<Of<T>>>);

struct Of<T> {
    model: Weak<Open>,
    tokens: Vec<u32>,
    value: Rc<T>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(RefCell::new(None))
    }
}

impl<T> Kept<T> {
    fn get(&self, open: &Rc<Open>, tokens: &[u32]) -> Option<Rc<T>> {
        let kept = self.0.borrow();
        let kept = kept.as_ref().filter(|kept| kept.tokens == tokens)?;
        let same = kept.model.upgrade().is_some_and(|model| Rc::ptr_eq(&model, open));
        same.then(|| kept.value.clone())
    }

    fn put(&self, open: &Rc<Open>, tokens: &[u32], value: T) -> Rc<T> {
        let value = Rc::new(value);
        let of = Of { model: Rc::downgrade(open), tokens: tokens.to_vec(), value: value.clone() };
        *self.0.borrow_mut() = Some(of);
        value
    }
}

/// # Errors
/// Whatever ends the call.
pub async fn answer(task: &Rc<Task>, lab: &Lab, ask: Ask) -> Result<Done, LabError> {
    let open = lab.current()?;
    checked(&open, &ask.tokens)?;
    let subject = Subject { task, open: &open, bench: &lab.inside, tokens: &ask.tokens };
    let found = match ask.task {
        Wanted::Stack => {
            let stream = subject.stream().await?;
            Found::Stack(stack(&open.bundle.transformer, &stream).await.map_err(lost)?)
        }
        Wanted::Lens => Found::Lens(subject.lens().await?),
        Wanted::Ablate { heads } => Found::Ablated(subject.ablated(&heads).await?),
        Wanted::Statistics => Found::Statistics(subject.statistics().await?),
    };
    task.check()?;
    Ok(Done { reply: Reply::Inside(Box::new(found)), buffers: Vec::new() })
}

/// Tokens come from a pass of this very model, unless another one was opened meanwhile.
fn checked(open: &Open, tokens: &[u32]) -> Result<(), LabError> {
    if tokens.is_empty() {
        return Err(LabError::EmptyText);
    }
    let facts = &open.facts;
    if tokens.len() > open.max_tokens as usize || tokens.iter().any(|id| *id >= facts.vocab_size) {
        return Err(other("the text is not of this model's tokens"));
    }
    Ok(())
}

fn other(message: &str) -> LabError {
    LabError::Other { message: message.to_owned() }
}

/// What a call is about.
#[derive(Clone, Copy)]
struct Subject<'a> {
    task: &'a Rc<Task>,
    open: &'a Rc<Open>,
    bench: &'a Bench,
    tokens: &'a [u32],
}

impl Subject<'_> {
    async fn stream(self) -> Result<Rc<Stream>, LabError> {
        if let Some(known) = self.bench.stream.get(self.open, self.tokens) {
            return Ok(known);
        }
        self.task.tell(Stage::Forward, 0, None, None);
        self.task.breathe().await?;
        let stream = Stream::of(&self.open.bundle.transformer, self.tokens);
        Ok(self.bench.stream.put(self.open, self.tokens, stream))
    }

    async fn lens(self) -> Result<Lens, LabError> {
        let stream = self.stream().await?;
        let mut states = Vec::with_capacity(stream.states());
        for state in 0..stream.states() {
            self.task.tell(Stage::Forward, state as u64, Some(stream.states() as u64), None);
            self.task.breathe().await?;
            let found = readings(&self.open.bundle.transformer, &stream, state, self.tokens).await;
            states.push(found.map_err(lost)?);
        }
        Ok(Lens { states })
    }

    async fn ablated(self, heads: &[At]) -> Result<Ablated, LabError> {
        let facts = &self.open.facts;
        if let Some(At { layer, head }) = heads.iter().find(|at| at.layer >= facts.n_layers || at.head >= facts.n_heads)
        {
            return Err(other(&format!("there is no head {head} in layer {layer}")));
        }
        let model = &self.open.bundle.transformer;
        let total = heads.len() as u64;
        self.task.tell(Stage::Forward, 0, Some(total), None);
        let base = match self.bench.base.get(self.open, self.tokens) {
            Some(known) => known,
            None => {
                self.task.breathe().await?;
                let base = losses(model, self.tokens).await.map_err(lost)?;
                self.bench.base.put(self.open, self.tokens, base)
            }
        };
        let mut found = Vec::with_capacity(heads.len());
        for (done, &at) in (0..).zip(heads) {
            self.task.tell(Stage::Forward, done, Some(total), None);
            self.task.breathe().await?;
            let ablated = without(model, at.layer as usize, &[at.head as usize]);
            let losses = losses(&ablated, self.tokens).await.map_err(lost)?;
            found.push(HeadLoss { at, losses });
        }
        Ok(Ablated { base: base.to_vec(), heads: found })
    }

    async fn statistics(self) -> Result<Statistics, LabError> {
        const PASSES: u64 = 2;
        let (model, facts_of_model) = (&self.open.bundle.transformer, &self.open.facts);
        // Said twice they have to fit into the model's positions; a large model reads as many tokens as a trace takes.
        let period = PERIOD.min(self.open.max_tokens as usize).min(facts_of_model.max_positions as usize / 2).max(1);
        let random = twice(&random(facts_of_model.vocab_size as usize, period));
        let mut seen = Vec::new();
        for (done, tokens) in (0..).zip([self.tokens, random.as_slice()]) {
            self.task.tell(Stage::Forward, done, Some(PASSES), None);
            self.task.breathe().await?;
            seen.push(weights(model, tokens).await.map_err(lost)?);
        }
        let of = |at: usize, time: usize| Seen { layers: &seen[at], time };
        let heads = facts(of(0, self.tokens.len()), of(1, random.len()));
        Ok(Statistics { period: period as u32, heads })
    }
}
